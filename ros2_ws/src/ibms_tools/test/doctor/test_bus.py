# SPDX-License-Identifier: Apache-2.0
"""Tests of the doctor's look at a CAN bus."""

import os
import threading
from collections import Counter
from pathlib import Path

import can
import pytest

from ibms_bringup.launcher.packages import find_share
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import load_databases
from ibms_tools.doctor import bus
from ibms_tools.doctor.bus import Heard, check, compare
from ibms_tools.doctor.finding import Finding

BUS = BusConfiguration(channel=str(20000 + os.getpid() % 20000))
DATABASE = find_share("ibms_bringup", os.environ) / "config" / "can" / "ibms.dbc"


def texts(findings: list[Finding], level: str) -> str:
    return "\n".join(str(finding) for finding in findings if finding.level == level)


def test_seen_missing_and_unknown_messages() -> None:
    heard = Heard(Counter({0x90: 100, 0x100: 50, 0x101: 50, 0x7FF: 3}))
    findings = compare(heard, load_databases([DATABASE]), "can0")
    good, bad = texts(findings, "OK"), texts(findings, "WARN")
    assert "PACK_SENSOR sends PackSensor 100/s" in good
    assert "AFE sends AfeMeasurement_00 50/s, AfeMeasurement_01 50/s" in good
    assert "SWITCH_BOARD does not send SwitchFeedback -> is SWITCH_BOARD powered" in bad
    assert "BMS does not send" in bad
    assert "not in the database: identifiers 0x7ff" in bad
    assert "AfeHistory" not in good + bad  # sent on request only


def test_a_charger_need_not_be_plugged_in() -> None:
    database = load_databases([DATABASE.parent / "elcon.dbc"])
    findings = compare(Heard(Counter({0x1806E5F4: 1})), database, "can0")
    assert "CHARGER does not send ElconStatus" in texts(findings, "OK")
    assert not texts(findings, "WARN")


@pytest.mark.parametrize(("is_expected", "level"), [(True, "FAIL"), (False, "OK")])
def test_a_silent_bus(monkeypatch: pytest.MonkeyPatch, is_expected: bool, level: str) -> None:
    monkeypatch.setattr(bus, "LISTEN_S", 0.05)
    findings = check(BUS, is_expected, [DATABASE])
    assert f"ibms_local:{BUS.channel}: nobody sends" in texts(findings, level)


def test_a_bus_with_frames_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "LISTEN_S", 0.5)
    ended = threading.Event()

    def send() -> None:
        with open_bus(BUS) as sender:
            while not ended.wait(0.01):
                sender.send(can.Message(arbitration_id=0x90, is_extended_id=False, data=bytes(8)))
                sender.send(can.Message(is_error_frame=True, is_extended_id=False, check=False))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        findings = check(BUS, True, [DATABASE])
    finally:
        ended.set()
        thread.join()
    assert "PACK_SENSOR sends PackSensor" in texts(findings, "OK")
    assert "error frames in 0.5 s -> check bit rate, termination" in texts(findings, "WARN")


def test_a_bus_that_does_not_open() -> None:
    (finding,) = check(BusConfiguration(channel="nonsense"), True, [DATABASE])
    assert finding.level == "FAIL"
    assert "ibms_local:nonsense does not open" in finding.text


def test_a_missing_database(tmp_path: Path) -> None:
    (finding,) = check(BUS, True, [tmp_path / "none.dbc"])
    assert finding.level == "FAIL"
    assert "none.dbc" in finding.text
