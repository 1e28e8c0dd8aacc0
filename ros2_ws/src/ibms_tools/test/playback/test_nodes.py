# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree as ET

import pytest

from ibms_tools.playback.nodes import NODES

LAUNCH_FILE = Path(__file__).resolve().parents[5] / "launch" / "replay.launch.xml"


@pytest.mark.parametrize("name", list(NODES))
def test_no_node_of_a_replay_can_reach_a_bus(name: str) -> None:
    (kind,) = get_args(NODES[name].__orig_bases__[0])  # type: ignore[attr-defined]
    assert "pack" in kind.__struct_fields__
    assert "bus" not in kind.__struct_fields__


def test_the_launch_file_starts_nodes_of_the_replay_only() -> None:
    started = []
    for node in ET.parse(LAUNCH_FILE).iter("node"):
        assert node.get("pkg") == "ibms_tools"
        assert node.get("exec") == "replayed_nodes"
        started += node.get("args", "").partition(" --")[0].split()
    assert started
    assert set(started) <= set(NODES)
    assert len(started) == len(set(started))
