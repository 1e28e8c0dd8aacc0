# SPDX-License-Identifier: Apache-2.0
"""Runs the contract script, which knows only CAN and the DBC files, against the running system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ibms_tools.bench.pack_under_test import PackUnderTest

pytestmark = pytest.mark.graph

HERE = Path(__file__).parent
CAN = HERE.parent.parent / "config" / "can"


def test_the_contract_script_uses_nothing_of_the_project() -> None:
    text = (HERE / "contract.py").read_text()
    assert "import ibms" not in text
    assert "from ibms" not in text
    assert "rclpy" not in text


def test_contract_from_the_can_side(tmp_path: Path) -> None:
    domain = int(os.environ.get("ROS_DOMAIN_ID", "70"))
    channel = str(43700 + domain)
    with PackUnderTest("ev_96s", domain, channel, tmp_path) as running:
        running.wait_for_standby()
        done = subprocess.run(
            [
                sys.executable,
                str(HERE / "contract.py"),
                "--dbc",
                str(CAN / "ibms.dbc"),
                "--sim-dbc",
                str(CAN / "ibms_sim.dbc"),
                "--channel",
                channel,
            ],
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cause 101 element 37" in done.stdout
