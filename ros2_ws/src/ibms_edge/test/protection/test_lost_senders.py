# SPDX-License-Identifier: Apache-2.0
"""A sender that falls silent is missed: in the chain within 300 ms, else in 3 periods + 100 ms."""

from pathlib import Path

import pytest

from ibms_battery.pack import load_pack
from ibms_edge.protection.signals import SIGNALS, Signal
from ibms_edge.protection.table import load_table
from ibms_edge.switching.controller import SwitchController
from ibms_edge.switching.exchange import Timing
from ibms_ros_common.manifest import manifest

CONFIG = Path(__file__).resolve().parents[5] / "config"
PACKS = sorted((CONFIG / "packs").glob("*.yaml"))
# AFE, current sensors and switch board; their rows leave time for the way to the open command.
CHAIN: set[Signal] = {"cells_age", "pack_age", "redundant_current_age"}
CHAIN_S = 0.3
SLOW: dict[Signal, str] = {
    "insulation_age": "insulation/measurement",
    "environment_age": "environment/measurement",
    "pack_state_age": "pack/state",
}
# switch_control itself opens when the board falls silent, and the board when switch_control does.
BOARD: Signal = "switch_state_age"


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.stem)
def test_each_row_that_is_about_silence_trips_in_time(path: Path) -> None:
    pack = load_pack(path)
    table = load_table(CONFIG / "diagnoses" / pack.diagnoses)
    chain_s = CHAIN_S
    if SwitchController(pack).monitored_only:  # it never closes
        chain_s = 3 * max(pack.scan_period_s, pack.pack_sample_period_s) + 0.1 + 1e-6
    rows = [row for row in table.diagnoses if SIGNALS[row.signal].kind == "age"]
    assert {row.signal for row in rows} == CHAIN | set(SLOW) | {BOARD}
    for row in rows:
        limit_s = row.limits.safety + row.time_s
        if row.signal in CHAIN:
            is_polled = row.signal in ("cells_age", "pack_age")
            assert limit_s < (chain_s if is_polled else CHAIN_S), row.name
        elif row.signal in SLOW:
            rate_hz = manifest().topics[SLOW[row.signal]].rate_hz
            assert isinstance(rate_hz, float), row.name
            assert limit_s <= 3 / rate_hz + 0.1, row.name


def test_switch_control_misses_its_board_in_time() -> None:
    assert Timing().feedback_stale_s < CHAIN_S
