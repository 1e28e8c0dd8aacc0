# SPDX-License-Identifier: Apache-2.0
"""Listens to a CAN bus and compares what comes with the databases."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import can
from cantools.database.can import Database

from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import DatabaseError, load_databases
from ibms_tools.doctor.finding import Finding

LISTEN_S = 1.0
_TOPIC = "can bus"


@dataclass
class Heard:
    """Frames that came while listening, by identifier."""

    frames: Counter[int] = field(default_factory=Counter)
    error_frames: int = 0


def check(
    bus: BusConfiguration, is_expected: bool, database_files: Sequence[Path]
) -> list[Finding]:
    """Open ``bus``, listen, and say what of the database is there and what is missing.

    Args:
        bus: what to open.
        is_expected: whether the caller says that something is connected to it.
        database_files: the contract.
    """
    name = f"{bus.interface}:{bus.channel}"
    try:
        database = load_databases(database_files)
        heard = listen(bus)
    except (can.CanError, DatabaseError) as error:
        return [Finding("FAIL", _TOPIC, str(error))]
    findings = [Finding("OK", _TOPIC, f"{name} opens")]
    if heard.error_frames:
        findings.append(
            Finding(
                "WARN",
                _TOPIC,
                f"{name}: {heard.error_frames} error frames in {LISTEN_S:g} s",
                "check bit rate, termination and wiring",
            )
        )
    if not heard.frames:
        text = f"{name}: nobody sends"
        if is_expected:
            remedy = "is the pack powered and connected?"
            return [*findings, Finding("FAIL", _TOPIC, text, remedy)]
        return [*findings, Finding("OK", _TOPIC, f"{text}, as no graph runs on it")]
    return [*findings, *compare(heard, database, name)]


def listen(bus: BusConfiguration) -> Heard:
    """Count what comes in ``LISTEN_S``; raises ``can.CanError`` if the bus does not open."""
    heard = Heard()
    end_s = time.monotonic() + LISTEN_S
    with open_bus(bus) as opened:
        while (left_s := end_s - time.monotonic()) > 0:
            message = opened.recv(left_s)
            if message is None:
                continue
            if message.is_error_frame:
                heard.error_frames += 1
            else:
                heard.frames[message.arbitration_id] += 1
    return heard


def compare(heard: Heard, database: Database, name: str) -> list[Finding]:
    """Seen, missing and unknown messages, by who sends them."""
    by_id = {message.frame_id: message for message in database.messages}
    unknown = sorted(set(heard.frames) - set(by_id))
    findings = []
    senders: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    for message in database.messages:
        sender = message.senders[0] if message.senders else "nobody"
        if message.frame_id in heard.frames:
            senders.setdefault(sender, []).append(
                f"{message.name} {heard.frames[message.frame_id] / LISTEN_S:g}/s"
            )
        elif message.cycle_time:
            missing.setdefault(sender, []).append(message.name)
    for sender, texts in senders.items():
        findings.append(Finding("OK", _TOPIC, f"{name}: {sender} sends {_listed(texts)}"))
    for sender, names in missing.items():
        text = f"{name}: {sender} does not send {_listed(names)}"
        fewer_modules = sender == "AFE" and sender in senders
        unplugged = sender == "CHARGER" and sender not in senders
        if fewer_modules or unplugged:
            # A pack uses as many of the AFE's messages as it has modules.
            findings.append(Finding("OK", _TOPIC, text))
        else:
            remedy = f"is {sender} powered, connected and running?"
            findings.append(Finding("WARN", _TOPIC, text, remedy))
    if unknown:
        identifiers = _listed([f"0x{identifier:x}" for identifier in unknown])
        findings.append(
            Finding("WARN", _TOPIC, f"{name}: not in the database: identifiers {identifiers}")
        )
    return findings


def _listed(texts: Iterable[str]) -> str:
    names = list(texts)
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
