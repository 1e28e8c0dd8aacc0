# SPDX-License-Identifier: Apache-2.0
"""./ibms why: the story, JSON, the freeze frame as bag and arrays, and clear words without them."""

import json
import os
import re
import shlex
from array import array
from pathlib import Path

import numpy as np
import pytest
from rclpy.serialization import serialize_message

from ibms_edge.events.reader import EventReader
from ibms_edge.events.records import DiagnosisText, EventRecord, Moment, Opening, Piece, Recorded
from ibms_edge.events.store import EventStore
from ibms_msgs.msg import CellMeasurement, PackMeasurement
from ibms_tools import why
from ibms_tools.bag.reader import BagReader
from ibms_tools.freeze_frame import column

TRIP_NS = 500_000_000_000
WALL_NS = 1_700_000_000_000_000_000
SCAN_NS = 20_000_000


def frame() -> list[Recorded]:
    messages = []
    for number in range(-50, 25):
        boot_ns = TRIP_NS + number * SCAN_NS
        scan = CellMeasurement(boot_ns=boot_ns, scan_counter=number + 100)
        scan.voltage_v = array("f", [3.5, 3.5 + number / 100])
        sample = PackMeasurement(boot_ns=boot_ns, current_a=float(number))
        messages += [
            Recorded("cells/measurement", boot_ns + 1000, serialize_message(scan)),
            Recorded("pack/measurement", boot_ns + 2000, serialize_message(sample)),
        ]
    return messages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder with the memory of one pack that opened twice."""
    row = DiagnosisText(101, "cell_overvoltage", "too high", "open_now", "above 4 V", "V", "cell")
    store = EventStore(tmp_path / "ev_96s.events.sqlite", "boot", diagnoses=[row])
    before_ns = TRIP_NS - 400_000_000_000
    store.put(Opening(before_ns, WALL_NS - 400_000_000_000, reason=0, commanded_ns=before_ns))
    store.add(EventRecord(WALL_NS, TRIP_NS, "protection", 1, 2, 101, 1, 4.5, "too high: 4.5"))
    store.put(
        Opening(
            boot_ns=TRIP_NS + 2_000_000,
            wall_ns=WALL_NS,
            reason=1,
            commanded_ns=TRIP_NS + 2_000_000,
            opened_ns=TRIP_NS + 20_000_000,
            cause=101,
            cause_element=1,
            cause_value=4.5,
            moment=Moment(current_a=-3.0),
        )
    )
    store.add_piece(Piece(TRIP_NS, WALL_NS, frame(), True, True))
    store.close()
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    return why.main(["--state-directory", str(folder), *arguments])


def test_the_last_opening_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    text = capsys.readouterr().out
    assert "diagnosis 101 (cell_overvoltage): too high, cell 1, 4.5 V (limit: above 4 V)" in text
    assert "Open was verified 20 ms after the first demand" in text
    assert "Opening 1 of 2" in text


def test_the_way_to_the_bag_leads_to_the_same_memory(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = folder / "a b"
    spaced.mkdir()
    for file in folder.glob("ev_96s.*"):
        file.rename(spaced / file.name)
    assert run(spaced, "--pack", "ev_96s") == 0
    (hint,) = re.findall(r"To look at it: (\./ibms why .*), then", capsys.readouterr().out)
    assert shlex.split(hint) == [
        *("./ibms", "why"),
        *("--state-directory", str(spaced)),
        *("--pack", "ev_96s"),
        *("--bag", "opening"),
    ]
    monkeypatch.chdir(spaced)
    assert why.main(shlex.split(hint)[2:]) == 0
    assert (spaced / "opening").is_dir()


def test_the_way_to_the_bag_is_short_in_the_usual_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(why, "_STATE", folder)
    assert why.main([]) == 0
    assert "To look at it: ./ibms why --bag opening, then" in capsys.readouterr().out


def test_the_one_before_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--index", "1") == 0
    text = capsys.readouterr().out
    assert "somebody asked for it" in text
    assert "There is no freeze frame of it." in text
    assert "--bag" not in text


def test_json_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--json") == 0
    known = json.loads(capsys.readouterr().out)
    assert known["opened_after_ms"] == pytest.approx(20.0)
    assert known["opening"]["cause"] == 101
    assert known["opening"]["moment"]["lowest_voltage_v"] is None  # NaN is no JSON
    assert known["steps"][0]["event"]["text"] == "too high: 4.5"
    assert known["frame"]["messages"] == 150


def test_the_freeze_frame_becomes_a_bag(folder: Path, tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    assert run(folder, "--bag", str(bag)) == 0
    with BagReader(bag) as reader:
        assert reader.counts == {"/battery/cells/measurement": 75, "/battery/pack/measurement": 75}
        assert reader.start_ns == WALL_NS - 50 * SCAN_NS + 1000
        scans = [m.message for m in reader.messages(["/battery/cells/measurement"])]
    assert [scan.scan_counter for scan in scans] == list(range(50, 125))
    assert run(folder, "--bag", str(bag)) == 1  # nothing is overwritten


def test_without_a_freeze_frame_no_bag(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--index", "1", "--bag", str(tmp_path / "bag")) == 1
    assert "no freeze frame" in capsys.readouterr().err
    assert not (tmp_path / "bag").exists()


def test_fields_over_time_as_arrays(folder: Path) -> None:
    with EventReader(folder / "ev_96s.events.sqlite") as memory:
        stored = memory.opening(0)
        assert stored is not None
        info = memory.frame_of(stored)
        assert info is not None
        messages = memory.messages(info)
    times_ns, voltage_v = column(messages, "cells/measurement", "voltage_v")
    assert voltage_v.shape == (75, 2)
    assert np.all(np.diff(times_ns) == SCAN_NS)
    _, current_a = column(messages, "pack/measurement", "current_a")
    assert current_a.tolist() == list(range(-50, 25))


# Without


def test_no_memory_says_where_it_looked_and_how_to_look_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "nowhere") == 1
    text = capsys.readouterr().err
    assert f"{tmp_path}/nowhere: no event memory; nothing was recorded there yet" in text
    assert "--state-directory" in text


def test_no_opening_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EventStore(tmp_path / "p.events.sqlite", "boot").close()
    assert run(tmp_path) == 1
    assert "no opening of the pack was recorded yet" in capsys.readouterr().err


def test_an_index_beyond_the_oldest_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--index", "5") == 1
    assert "holds 2 openings, the oldest is --index 1, not 5" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(folder, "--index", "-1")


def test_a_file_that_is_no_memory_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.events.sqlite").write_bytes(b"nonsense" * 1000)
    assert run(tmp_path) == 1
    assert "cannot be read as an event memory" in capsys.readouterr().err


def test_of_several_packs_the_one_written_last_or_the_named_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = folder / "robot.events.sqlite"
    EventStore(other, "boot").close()
    os.utime(other, (1, 1))
    assert why.memory_in(folder, None).name == "ev_96s.events.sqlite"
    assert why.memory_in(folder, "robot") == other
    assert run(folder, "--pack", "boat") == 1
    assert "no event memory of pack 'boat'; there are ev_96s, robot" in capsys.readouterr().err
