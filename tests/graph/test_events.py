# SPDX-License-Identifier: Apache-2.0
"""Every event since the start of the graph reaches the disk, and the memory knows why it opened."""

import os
import signal
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ibms_edge.events.reader import EventReader
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_end.mapping import load_map
from ibms_msgs.msg import PackState, SwitchCommand
from ibms_msgs.srv import ClearFaults, ExplainOpening, RequestPackState
from ibms_tools import why
from ibms_tools.bag.reader import BagReader
from ibms_tools.bench.pack_under_test import CHAIN, PackUnderTest

pytestmark = pytest.mark.graph

CELL, VOLTAGE_V = 37, 4.6
DEEP_DISCHARGE, DISCHARGED_V = 106, 1.5


def memory_of(pack: PackUnderTest) -> Path:
    return pack.log.parent / "state" / f"{pack.pack.name}.events.sqlite"


@pytest.fixture
def client(pack: PackUnderTest) -> Iterator[Any]:
    client = pack._node.create_client(ExplainOpening, "explain_opening")
    yield client
    pack._node.destroy_client(client)


def last_opening_on_can(pack: PackUnderTest, timeout_s: float) -> dict[str, float] | None:
    config = pack.pack_file.parent.parent / "can" / "maps" / pack.pack.can_map
    message = find_message(load_map(config, pack.pack).database, "LastOpening")
    decoder = FrameDecoder(message, protected=True)
    bus = open_bus(BusConfiguration("ibms_local", pack.channel), [message.frame_id])
    try:
        frame = bus.recv(timeout_s)
        return None if frame is None else decoder.decode(frame.data)
    finally:
        bus.shutdown()


def test_the_recorder_has_each_event_though_it_starts_last(pack: PackUnderTest) -> None:
    pack.drive()
    pack.request(PackState.STATE_STANDBY)
    pack.wait_until("standby", lambda: pack.state == PackState.STATE_STANDBY, 5.0)

    def missing() -> set[str]:
        with closing(sqlite3.connect(memory_of(pack))) as database:
            rows = database.execute("select source || ': ' || text from event").fetchall()
        return set(pack.texts()) - {text for (text,) in rows}

    assert "pack_supervisor: off -> standby: ready" in pack.texts()
    pack.wait_until("all events on disk", lambda: not missing(), 3.0)


def test_an_opening_is_explained_by_service_command_and_can(
    client: Any, driving: PackUnderTest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def explain() -> ExplainOpening.Response:
        return driving._call(client, ExplainOpening.Request(index=0))

    before = explain().openings
    assert driving.injection.inject("cell_voltage", CELL, VOLTAGE_V).success
    driving.wait_until("error", lambda: driving.state == PackState.STATE_ERROR, 5.0)
    driving.injection.inject("cell_voltage", CELL, remove=True)
    driving.wait_until("memory", lambda: explain().openings == before + 1, 3.0)
    time.sleep(6.0)  # the freeze frame goes on for 5 s

    answer = explain()
    assert answer.success
    assert (answer.reason, answer.cause) == (SwitchCommand.REASON_PROTECTION, 101)
    assert answer.cause_element == CELL
    assert answer.cause_value == pytest.approx(VOLTAGE_V, abs=0.01)
    assert "cell_overvoltage" in answer.message
    assert answer.freeze_frame_samples > 1000

    seen = last_opening_on_can(driving, 5.0)
    assert seen is not None
    assert (seen["Cause"], seen["CauseElement"]) == (101, CELL)
    assert seen["Openings"] == answer.openings

    with EventReader(memory_of(driving)) as memory:
        assert memory.check() == "ok"
        stored = memory.opening(0)
        assert stored is not None
        info = memory.frame_of(stored)
        assert info is not None
        assert info.complete
        scans = [m for m in memory.messages(info) if m.topic == "cells/measurement"]
    period_s = driving.pack.scan_period_s
    recorded_s = (info.last_ns - info.first_ns) / 1e9
    assert len(scans) > 0.97 * recorded_s / period_s  # at full rate

    assert why.main(["--state-directory", str(memory_of(driving).parent)]) == 0
    assert f"cell {CELL}, {VOLTAGE_V:g} V" in capsys.readouterr().out
    bag = tmp_path / "opening"
    arguments = ["--state-directory", str(memory_of(driving).parent), "--bag", str(bag)]
    assert why.main(arguments) == 0
    with BagReader(bag) as reader:
        assert reader.counts["/battery/cells/measurement"] == len(scans)


def test_a_recorder_killed_in_the_middle_of_a_freeze_frame_still_knows_why(
    client: Any, driving: PackUnderTest
) -> None:
    assert driving.injection.inject("cell_voltage", CELL + 1, VOLTAGE_V).success
    driving.wait_until("error", lambda: driving.state == PackState.STATE_ERROR, 5.0)
    time.sleep(1.0)
    driving.stop_process("pack_services", signal.SIGKILL)
    driving.injection.inject("cell_voltage", CELL + 1, remove=True)
    with EventReader(memory_of(driving)) as memory:
        assert memory.check() == "ok"

    answers: list[ExplainOpening.Response] = []

    def knows_again() -> bool:
        # Requests that go to the dead server, while it still looks alive, are never answered.
        future = client.call_async(ExplainOpening.Request(index=0))
        future.add_done_callback(lambda done: answers.append(done.result()))
        time.sleep(0.5)
        return any(answer.success for answer in answers)

    driving.wait_until("memory", knows_again, 30.0)
    answer = answers[-1]
    assert (answer.cause, answer.cause_element) == (101, CELL + 1)
    assert answer.freeze_frame_samples > 1000
    assert "incomplete" in answer.message


def writable_files(process: int) -> dict[str, int]:
    """Regular files that a process holds open for writing, with their sizes."""
    found = {}
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            status, target = descriptor.stat(), str(descriptor.readlink())
            flags = Path(f"/proc/{process}/fdinfo/{descriptor.name}").read_text().split()[3]
        except FileNotFoundError:
            continue  # closed meanwhile
        if stat.S_ISREG(status.st_mode) and int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
            found[target] = status.st_size
    return found


def written_bytes(process: int) -> int:
    """What a process has had written to any disk so far."""
    lines = Path(f"/proc/{process}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def test_neither_protection_nor_switch_control_writes_when_it_trips(driving: PackUnderTest) -> None:
    # Trip or not, afe_driver keeps the number of its last scan once a second.
    processes = {name: driving.pid_of(name) for name in CHAIN if name != "afe_driver"}

    def look() -> dict[str, tuple[int, dict[str, int]]]:
        return {name: (written_bytes(p), writable_files(p)) for name, p in processes.items()}

    before = look()
    # Only the log, which rclpy opens at the start of a process.
    assert all(path.endswith(".log") for _, files in before.values() for path in files)
    assert str(memory_of(driving)) in writable_files(driving.pid_of("pack_services"))
    assert driving.injection.inject("cell_voltage", CELL, VOLTAGE_V).success
    driving.wait_until("error", lambda: driving.state == PackState.STATE_ERROR, 5.0)
    time.sleep(1.0)
    driving.injection.inject("cell_voltage", CELL, remove=True)
    assert look() == before


def kept_lockouts(pack: PackUnderTest) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(memory_of(pack))) as database:
        return list(database.execute("select diagnosis, element from lockout"))


def test_a_lock_out_outlives_protection_and_memory_until_it_is_cleared_by_its_name(
    driving: PackUnderTest,
) -> None:
    pack = driving

    def stands() -> bool:
        return pack.status is not None and DEEP_DISCHARGE in pack.status.active_diagnosis

    assert pack.injection.inject("cell_voltage", CELL, DISCHARGED_V).success
    pack.wait_until("lock-out", stands, 5.0)
    pack.injection.inject("cell_voltage", CELL, remove=True)
    pack.wait_until("disk", lambda: kept_lockouts(pack) == [(DEEP_DISCHARGE, CELL)], 3.0)

    killed = {name: pack.pid_of(name) for name in ("protection", "pack_services")}
    for name in killed:
        pack.stop_process(name, signal.SIGKILL)

    def respawned() -> bool:
        try:
            return all(pack.pid_of(name) != process for name, process in killed.items())
        except LookupError:
            return False  # not started yet

    pack.wait_until("respawn", respawned, 20.0)
    pack.newest.pop("protection/status")  # the last words from before
    pack.wait_until("lock-out of the new protection", stands, 60.0)

    # The voltage is good again, and all that need no naming are cleared: it still stands.
    answer = pack.clear_faults()
    assert not answer.success
    assert answer.code == ClearFaults.Response.CODE_STILL_STANDING
    assert DEEP_DISCHARGE in answer.standing
    # From error standby has to be asked for before anything can be closed.
    refused = pack.request(PackState.STATE_STANDBY)
    assert (refused.success, refused.code) == (False, RequestPackState.Response.CODE_FAULT_STANDS)
    assert not pack.request(PackState.STATE_DRIVE).success
    assert pack.status is not None
    assert not pack.status.close_allowed

    pack.wait_until(
        "cleared by its name", lambda: bool(pack.clear_faults([DEEP_DISCHARGE]).success), 5.0
    )
    pack.drive()
    pack.wait_until("memory", lambda: not kept_lockouts(pack), 3.0)
