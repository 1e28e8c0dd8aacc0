# SPDX-License-Identifier: Apache-2.0
"""What the event memory keeps forbids closing, and never opens a pack that drives."""

from array import array
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.pack import Pack
from ibms_edge.protection.engine import Verdict
from ibms_edge.protection.judge import Judge
from ibms_edge.protection.samples import CellsSample, PackSample
from ibms_edge.protection.table import Reaction, load_table
from ibms_msgs.msg import ProtectionLockouts, SwitchState

MS = 1_000_000
DEEP, RUNAWAY = 106, 118


class Drive:
    """A judge whose pack is well; less than two seconds, in which silent inputs are no fault."""

    def __init__(self, pack: Pack, config: Path) -> None:
        self.pack = pack
        self.now_ns = 1_000_000 * MS
        self.judge = Judge(pack, load_table(config / "diagnoses" / "nmc_3p.yaml"), self.now_ns)
        self.closed = True
        self.board_valid = True
        self.voltage_v = 3.7

    def run(self, samples: int = 5) -> Verdict:
        for _ in range(samples):
            self.now_ns += 10 * MS
            count = len(self.pack.switching.switches)
            self.judge.take_cells_sample(
                CellsSample(
                    self.now_ns,
                    np.full(self.pack.series, self.voltage_v),
                    np.full(self.pack.temperature_sensors, 25.0),
                )
            )
            self.judge.take_pack_sample(PackSample(self.now_ns, -1.0, 44.4, 44.4))
            self.judge.take_switch(
                SwitchState(
                    boot_ns=self.now_ns,
                    board_valid=self.board_valid,
                    interlock_closed=True,
                    configuration="closed" if self.closed else "open",
                    closed=array("B", [int(self.closed)] * count),
                    mismatch=array("B", bytes(count)),
                    pack_voltage_v=44.4,
                    link_voltage_v=44.4 if self.closed else 0.0,
                )
            )
            verdict = self.judge.judge(self.now_ns)
        return verdict

    def told(self, *diagnoses: int) -> bool:
        return self.judge.take_lockouts(
            ProtectionLockouts(
                boot_ns=self.now_ns,
                diagnosis=array("H", diagnoses),
                element=array("i", [-1] * len(diagnoses)),
                value=array("f", [float("nan")] * len(diagnoses)),
            )
        )


@pytest.fixture
def drive(pack: Pack, config: Path) -> Drive:
    made = Drive(pack, config)
    assert not made.run().close_allowed  # the memory has said nothing yet
    assert made.told()
    verdict = made.run()
    assert verdict.close_allowed
    assert verdict.reaction is Reaction.NONE
    return made


def active(verdict: Verdict) -> list[int]:
    return [fault.diagnosis.id for fault in verdict.active]


def test_a_memory_that_was_lost_opens_no_pack_that_drives(drive: Drive) -> None:
    assert drive.told(DEEP, RUNAWAY)
    verdict = drive.run(50)
    assert (verdict.reaction, active(verdict)) == (Reaction.NONE, [])
    assert not verdict.close_allowed
    assert not drive.judge.status(verdict).close_allowed


def test_it_counts_once_the_pack_is_open_and_until_it_is_acknowledged(drive: Drive) -> None:
    drive.told(DEEP)
    drive.run()
    drive.closed = False
    verdict = drive.run(1)
    assert (verdict.reaction, active(verdict)) == (Reaction.OPEN_NOW, [DEEP])
    assert verdict.first_cause is not None
    assert verdict.first_cause.tripped_ns == drive.now_ns  # no cause of an opening before it
    drive.run(110)  # its cells have to be seen good
    assert drive.judge.engine.acknowledge([DEEP]) == ([DEEP], [])
    verdict = drive.run()
    assert (verdict.close_allowed, active(verdict)) == (True, [])  # and is not restored again


def test_unknown_switches_are_no_open_ones(drive: Drive) -> None:
    drive.told(DEEP)
    drive.board_valid = drive.closed = False
    verdict = drive.run()
    assert (active(verdict), verdict.close_allowed) == ([], False)


def test_the_newest_word_of_the_memory_counts(drive: Drive) -> None:
    drive.told(DEEP)
    drive.run()
    drive.told()  # acknowledged meanwhile
    assert drive.run().close_allowed
    drive.closed = False
    assert active(drive.run()) == []


def test_after_a_restart_it_counts_at_once(pack: Pack, config: Path) -> None:
    drive = Drive(pack, config)
    drive.told(DEEP)
    assert active(drive.run(1)) == [DEEP]


def test_a_lock_out_that_the_table_does_not_hold_is_refused_and_the_others_count(
    drive: Drive,
) -> None:
    assert not drive.told(60_000, DEEP)
    drive.closed = False
    assert active(drive.run()) == [DEEP]


def test_what_is_measured_takes_the_place_of_a_lock_out_without_a_value(drive: Drive) -> None:
    drive.told(DEEP)
    drive.closed = False
    assert [f.value for f in drive.run(1).active] == pytest.approx([float("nan")], nan_ok=True)
    drive.voltage_v = 0.5
    told = [fault for _ in range(100) for fault in drive.run(1).set_now]
    assert [f.value for f in told if f.diagnosis.id == DEEP and f.opens] == [0.5]
    assert (DEEP, 0.5) in [(f.diagnosis.id, f.value) for f in drive.run(1).active]
