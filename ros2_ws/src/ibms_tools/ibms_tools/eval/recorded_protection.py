# SPDX-License-Identifier: Apache-2.0
"""The core of protection over a recording: what it would have said, and when."""

import time
from dataclasses import dataclass, field

import numpy as np

from ibms_battery.clock import NS_PER_S
from ibms_battery.fleet_recordings import FleetRecording
from ibms_battery.pack import Pack, Switch, Switching
from ibms_edge.protection.engine import Verdict
from ibms_edge.protection.judge import Judge
from ibms_edge.protection.rows import ActiveFault
from ibms_edge.protection.samples import CellsSample, PackSample
from ibms_edge.protection.signals import SIGNALS
from ibms_edge.protection.table import Diagnosis, DiagnosisTable, Level, Reaction
from ibms_tools.eval.evaluable import obstacle

_START_NS = NS_PER_S  # boot time of the first row


@dataclass
class Event:
    """All that one diagnosis said at one level about one cell or sensor."""

    diagnosis: Diagnosis
    level: Level
    element: str  # name of the column; empty: the pack as a whole
    opens: bool
    first_row: int
    first_value: float
    count: int = 1


@dataclass
class Outcome:
    """What protection said of a recording."""

    recording: FleetRecording
    events: list[Event] = field(default_factory=list)  # in the order of their first time
    openings: int = 0  # times that opening was newly demanded
    openings_by_missing: int = 0  # of these, because values were missing
    alarms: int = 0  # times that a fault below that was newly set
    not_evaluable: dict[str, str] = field(default_factory=dict)  # diagnosis -> why
    evaluated: int = 0
    judging_s: float = 0.0  # processor time, which other work on the machine does not change

    @property
    def scans_per_second(self) -> float:
        """Speed of the core, without reading of the file."""
        return len(self.recording.time_s) / self.judging_s

    def when(self, row: int) -> str:
        """Time of a row for people."""
        if len(self.recording.wall_time):
            return str(self.recording.wall_time[row].astype("datetime64[s]")).replace("T", " ")
        return f"{self.recording.time_s[row]:.1f} s"


def judge_recording(recording: FleetRecording, table: DiagnosisTable) -> Outcome:
    """Run all diagnoses that the recording can answer; the others are named.

    The pack counts as driven all the time. A latched fault is acknowledged as soon as its condition
    is gone, so that it can be counted again.
    """
    outcome = Outcome(recording)
    rows = []
    for row in table.diagnoses:
        reason = obstacle(row, recording)
        if reason is None:
            rows.append(row)
        else:
            outcome.not_evaluable[row.name] = reason
    outcome.evaluated = len(rows)
    judge = Judge(_pack(recording), DiagnosisTable(table.description, rows, table.signals), 0)
    count = _Count(outcome)
    boot_ns = (_START_NS + np.rint(recording.time_s * NS_PER_S)).astype(np.int64).tolist()
    current_a, pack_v = recording.current_a.tolist(), recording.pack_voltage_v.tolist()
    start_s = time.process_time()
    for index, (now_ns, voltage_v, temperature_c) in enumerate(
        zip(boot_ns, recording.voltage_v, recording.temperature_c, strict=True)
    ):
        judge.take_pack_sample(PackSample(now_ns, current_a[index], pack_v[index]))
        judge.take_cells_sample(
            CellsSample(now_ns, voltage_v, temperature_c, index, current_a[index])
        )
        verdict = judge.judge(now_ns)
        count.take(index, verdict)
        if verdict.active:
            judge.engine.acknowledge([fault.diagnosis.id for fault in verdict.active])
    outcome.judging_s = time.process_time() - start_s
    return outcome


class _Count:
    """Adds up what verdicts say."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._events: dict[tuple[int, Level, str], Event] = {}
        self._opening = False

    def take(self, row: int, verdict: Verdict) -> None:
        opening = verdict.reaction >= Reaction.ISOLATE
        if opening and not self._opening:
            self._outcome.openings += 1
            cause = verdict.active[0].diagnosis.signal
            self._outcome.openings_by_missing += cause.endswith("_missing")
        self._opening = opening
        for fault in verdict.set_now:
            self._add(row, fault)

    def _add(self, row: int, fault: ActiveFault) -> None:
        opens = fault.demand >= Reaction.ISOLATE
        self._outcome.alarms += not opens
        element = self._name(fault)
        key = (fault.diagnosis.id, fault.level, element)
        known = self._events.get(key)
        if known is not None:
            known.count += 1
            return
        event = Event(fault.diagnosis, fault.level, element, opens, row, fault.value)
        self._events[key] = event
        self._outcome.events.append(event)

    def _name(self, fault: ActiveFault) -> str:
        recording, kind = self._outcome.recording, SIGNALS[fault.diagnosis.signal].element
        if kind == "cell":
            return recording.cell_names[max(fault.element, 0)]
        if kind == "sensor":
            return recording.sensor_names[max(fault.element, 0)]
        return ""


def _pack(recording: FleetRecording) -> Pack:
    """A pack with as many cells and sensors; its switches take no part."""
    return Pack(
        name="recording",
        description=recording.name,
        cell="recorded",
        series=recording.voltage_v.shape[1],
        parallel=1,
        temperature_sensors=recording.temperature_c.shape[1],
        modules=1,
        scan_period_s=recording.period_s,
        pack_sample_period_s=recording.period_s,
        can_map="",
        diagnoses="",
        switching=Switching([Switch("main")], {"open": []}, []),
    )
