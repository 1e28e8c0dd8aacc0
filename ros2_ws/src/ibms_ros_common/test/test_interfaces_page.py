# SPDX-License-Identifier: Apache-2.0
"""docs/interfaces.md against the manifest and the CAN database."""

import re
from pathlib import Path

import pytest

from ibms_end.can.codec import load_databases
from ibms_ros_common.manifest import manifest

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "interfaces.md").read_text()


def test_every_topic_stands_there_with_type_qos_and_publisher(page: str) -> None:
    for name, topic in manifest().topics.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"`{topic.type.replace('/msg', '')}`" in row
        assert f"| {topic.qos} |" in row
        if len(topic.publishers) < 5:
            assert ", ".join(topic.publishers) in row


def test_every_service_stands_there(page: str) -> None:
    for name, service in manifest().services.items():
        assert f"| `{name}` | `{service.type.replace('/srv', '')}` | {service.server} |" in page


def test_every_can_message_stands_there_with_its_length(page: str) -> None:
    for message in load_databases([ROOT / "config" / "can" / "ibms.dbc"]).messages:
        name = re.sub(r"_\d\d$", "_00 to 15", message.name)
        row = next(line for line in page.splitlines() if f"| `{name}` |" in line)
        assert f"| {message.length} |" in row


def test_no_topic_stands_there_that_does_not_exist(page: str) -> None:
    section = page.split("## Topics")[1].split("## ", maxsplit=1)[0]
    named = set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))
    assert named == set(manifest().topics)
