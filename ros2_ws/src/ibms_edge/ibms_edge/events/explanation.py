# SPDX-License-Identifier: Apache-2.0
"""Why did the pack open? The story of one opening, out of the event memory. No ROS."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from ibms_battery.clock import NS_PER_S
from ibms_edge.events.frame import BEFORE_NS
from ibms_edge.events.reader import EventReader, FrameInfo
from ibms_edge.events.records import DiagnosisText, EventRecord, Opening

_AFTER_NS = 3 * NS_PER_S
_CAUSE_NS = NS_PER_S  # the board may open before protection has debounced the cause

# What each SwitchCommand.REASON_* means to people; a test holds it against the message.
REASONS = {
    0: "somebody asked for it",
    1: "protection demanded it",
    2: "the verdicts of protection stopped",
    3: "the pack supervisor fell silent",
    4: "feedback of the switch board was missing or contradicted the command",
    5: "a topic of the time-critical chain had a second publisher",
    6: "switch control ended",
    7: "the switch board opened by itself",
    8: "opening was demanded and held back while the current was above what the contactors break",
    9: "protection wanted a cell bypassed",
}


@dataclass(frozen=True, slots=True)
class Step:
    """An event with its time from the first demand [ms]."""

    offset_ms: float
    event: EventRecord


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of one opening."""

    index: int
    openings: int
    opening: Opening
    boot_id: str
    diagnosis: DiagnosisText | None
    demand: EventRecord | None  # the event with which the cause was told
    first_ns: int  # the offsets count from here
    steps: list[Step]
    frame: FrameInfo | None

    @property
    def opened_after_ms(self) -> float:
        """From the first demand to verified open switches [ms]; NaN if never verified."""
        if self.opening.opened_ns is None:
            return math.nan
        return (self.opening.opened_ns - self.first_ns) / 1e6


def explain(memory: EventReader, index: int) -> Explanation | None:
    """Explain opening ``index``, 0 being the last one; None if there are not so many.

    Raises:
        MemoryReadError: if the memory cannot be read.
    """
    stored = memory.opening(index)
    if stored is None:
        return None
    opening = stored.opening
    end_ns = opening.opened_ns or opening.boot_ns
    demand = None
    if opening.cause:
        demand = memory.last_fault(
            stored.boot, opening.cause, opening.cause_element, end_ns + _CAUSE_NS
        )
    # A fault may have stood for long, e.g. as the cause of an opening that somebody else did.
    from_ns = opening.boot_ns - BEFORE_NS
    first_ns = opening.boot_ns
    if demand is not None and demand.boot_ns >= from_ns:
        first_ns = min(first_ns, demand.boot_ns)
    events = memory.events(stored.boot, from_ns, end_ns + _AFTER_NS)
    return Explanation(
        index=index,
        openings=memory.openings(),
        opening=opening,
        boot_id=stored.boot_id,
        diagnosis=memory.diagnosis(opening.cause) if opening.cause else None,
        demand=demand,
        first_ns=first_ns,
        steps=[Step((event.boot_ns - first_ns) / 1e6, event) for event in events],
        frame=memory.frame_of(stored),
    )


def story(explanation: Explanation) -> str:
    """The explanation for people, several lines."""
    opening = explanation.opening
    lines = [f"{_wall(opening.wall_ns)}: the pack opened, {_reason(opening)}."]
    if opening.closed_until_wall_ns is not None:
        lines.append(
            "Nobody recorded it: the record ended with closed switches at "
            f"{_wall(opening.closed_until_wall_ns)}, and they were open when it went on. When "
            "permits stop, the switch board opens by itself."
        )
    lines += _cause(explanation)
    lines += _opened(explanation)
    lines += _moment(explanation)
    if explanation.steps:
        lines.append("What happened, in ms from the first demand:")
        lines += [
            f"  {round(step.offset_ms):+9d}  {step.event.source}: {step.event.text}"
            for step in explanation.steps
        ]
    lines.append(_frame(explanation.frame))
    return "\n".join(lines)


def _reason(opening: Opening) -> str:
    if opening.closed_until_wall_ns is not None:
        return "when is not known"
    if opening.commanded_ns is None:
        return "without a command: the switch board opened by itself"
    return REASONS.get(opening.reason, f"reason {opening.reason}")


def _cause(explanation: Explanation) -> list[str]:
    opening, row = explanation.opening, explanation.diagnosis
    if opening.cause == 0:
        return ["No diagnosis stood behind it."]
    name = f"diagnosis {opening.cause}" + (f" ({row.name})" if row else "")
    place = ""
    if opening.cause_element >= 0:
        place = f", {row.element if row else 'element'} {opening.cause_element}"
    value = ""
    is_flag = row is not None and not row.limit
    if not is_flag and not math.isnan(opening.cause_value):
        value = f", {opening.cause_value:.4g} {row.unit if row else ''}".rstrip()
    limit = f" (limit: {row.limit})" if row and row.limit else ""
    what = f": {row.text}" if row else ""
    return [f"First demand: {name}{what}{place}{value}{limit}."]


def _opened(explanation: Explanation) -> list[str]:
    opening = explanation.opening
    if opening.closed_until_wall_ns is not None:
        return []
    if opening.opened_ns is None:
        return ["Feedback never showed all switches open."]
    parts = [f"Open was verified {explanation.opened_after_ms:.0f} ms after the first demand"]
    if opening.commanded_ns is not None:
        command_ms = (opening.opened_ns - opening.commanded_ns) / 1e6
        parts.append(f"{command_ms:.0f} ms after the command")
    return [", ".join(parts) + "."]


def _moment(explanation: Explanation) -> list[str]:
    moment = explanation.opening.moment
    lines = []
    if not math.isnan(moment.current_a):
        flow = ""
        if abs(moment.current_a) >= 0.5:
            flow = " (charging)" if moment.current_a > 0 else " (discharging)"
        voltage = "" if math.isnan(moment.voltage_v) else f", {moment.voltage_v:.1f} V"
        lines.append(f"At that moment: {moment.current_a:.1f} A{flow}{voltage}.")
    if moment.lowest_voltage_cell >= 0:
        lines.append(
            f"Cells: {moment.lowest_voltage_v:.3f} V (cell {moment.lowest_voltage_cell}) to "
            f"{moment.highest_voltage_v:.3f} V (cell {moment.highest_voltage_cell})."
        )
    if moment.lowest_temperature_sensor >= 0:
        lines.append(
            f"Temperatures: {moment.lowest_temperature_c:.1f} degC (sensor "
            f"{moment.lowest_temperature_sensor}) to {moment.highest_temperature_c:.1f} degC "
            f"(sensor {moment.highest_temperature_sensor})."
        )
    return lines


def _frame(info: FrameInfo | None) -> str:
    if info is None:
        return "There is no freeze frame of it."
    seconds = (info.last_ns - info.first_ns) / NS_PER_S
    rest = "" if info.complete else ", incomplete: the recorder was stopped or is still recording"
    return f"Freeze frame: {info.messages} messages over {seconds:.1f} s{rest}."


def _wall(wall_ns: int) -> str:
    moment = datetime.fromtimestamp(wall_ns / NS_PER_S, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{wall_ns // 1_000_000 % 1000:03d} UTC"
