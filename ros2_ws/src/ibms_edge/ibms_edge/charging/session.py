# SPDX-License-Identifier: Apache-2.0
"""What is asked of the charger, as a state machine. No ROS.

It asks for current only while the pack is in state charge and says what it may take, and never for
more than that, than the cells' maximum voltage and than the charger's rating. It decides nothing
about the pack: who wants to charge asks the pack supervisor. ``docs/how-to/charger.md`` shows it.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Charger
from ibms_edge.charging.delivery import DeliveryWatch
from ibms_edge.charging.elcon import (
    NO_OUTPUT,
    REPORT_PERIOD_S,
    STEP_A,
    STEP_V,
    ChargerStatus,
    Report,
    Request,
    floor_to_step,
)
from ibms_edge.limits.power_limits import LimitedBy


class State(IntEnum):
    """States of the session; equal to ChargerState.STATE_*."""

    UNPLUGGED = 0
    PLUGGED = 1
    CHARGING = 2
    RAMP_DOWN = 3
    COMPLETE = 4
    FAULT = 5


class Severity(IntEnum):
    """How bad news is; equal to Event.SEVERITY_*."""

    INFO = 0
    WARNING = 1
    ERROR = 2


class Fault(IntEnum):
    """Why a session is in fault."""

    SILENT = 1
    STATUS = 2
    NOT_STARTING = 3
    OVER_DELIVERY = 4


@dataclass(frozen=True)
class Rules:
    """Times and tolerances."""

    silent_s: float = 3 * REPORT_PERIOD_S  # noticed within one step more
    gone_s: float = 5.0  # a charger that hears nothing has stopped by then
    inputs_stale_s: float = 0.3  # limits and pack state
    ramp_down_s: float = 1.0  # from the charger's rating to nothing
    settle_s: float = 3.0  # time for a charger to follow a smaller request
    full_s: float = 10.0  # small current at full voltage for so long ends the charge
    cut_off_c: float = 0.03  # current that counts as small, per capacity [1/h]
    restart_v: float = 0.1  # a cell this far below its voltage at the end begins anew
    constant_voltage_share: float = 0.995  # of the voltage asked for
    recovery_s: float = 5.0  # without complaint until a fault is over
    tolerance_a: float = 1.0
    tolerance_v: float = 2.0
    tolerance_share: float = 0.03
    samples: int = 3
    reports_to_start: int = 3  # so many may say that battery or requests are not seen


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the pack says that it may take."""

    boot_ns: int
    current_a: float
    voltage_v: float
    limited_by: LimitedBy


@dataclass(frozen=True, slots=True)
class PackNow:
    """What the pack supervisor says."""

    boot_ns: int
    in_charge: bool  # the pack is in state charge
    leaving: bool  # zero current is requested, because it is about to open


@dataclass(frozen=True, slots=True)
class Cells:
    """What the pack measures."""

    boot_ns: int
    current_a: float  # charge positive
    highest_cell_v: float


_BROKEN = (
    ChargerStatus.HARDWARE_FAILURE | ChargerStatus.OVERTEMPERATURE | ChargerStatus.INPUT_VOLTAGE
)
_WORDS = {
    ChargerStatus.HARDWARE_FAILURE: "a hardware failure",
    ChargerStatus.OVERTEMPERATURE: "that it is too hot",
    ChargerStatus.INPUT_VOLTAGE: "a wrong input voltage",
    ChargerStatus.STARTING: "that it sees no battery",
    ChargerStatus.COMMUNICATION: "that it hears no requests",
}
_CAUSES = {
    LimitedBy.RATING: "its limit is small",
    LimitedBy.CELL_VOLTAGE: "a cell is at its highest voltage",
    LimitedBy.TEMPERATURE: "the cells are too cold or too hot",
    LimitedBy.STATE_OF_CHARGE: "the pack is full",
    LimitedBy.FAULT: "a fault",
    LimitedBy.INPUT_STALE: "a value is missing",
    LimitedBy.PACK_STATE: "the pack's state",
}
_FULL = (LimitedBy.CELL_VOLTAGE, LimitedBy.STATE_OF_CHARGE)


class ChargeSession:
    """The session of one pack and charger; call ``step`` ten times per second.

    Args:
        charger: the charger's rating.
        capacity_ah: of the pack.
        groups: cell groups in series.
        maximum_cell_v: of a cell.
        rules: times and tolerances.
    """

    def __init__(
        self,
        charger: Charger,
        capacity_ah: float,
        groups: int,
        maximum_cell_v: float,
        rules: Rules | None = None,
    ) -> None:
        self.rules = rules or Rules()
        self.state = State.UNPLUGGED
        self.text = "no charger is heard"
        self.requested = NO_OUTPUT
        self.report: Report | None = None
        self.over_delivery = False
        self.news: list[tuple[Severity, str]] = []  # for people; taken away by who tells them
        self.cut_off_a = self.rules.cut_off_c * capacity_ah
        # Less is not worth asking for.
        self._least_a = max(self.cut_off_a / 4, 2 * STEP_A)
        self._charger = charger
        self._maximum_cell_v = maximum_cell_v
        self._maximum_voltage_v = min(groups * maximum_cell_v, charger.maximum_voltage_v)
        self._delivery = DeliveryWatch(
            self.rules.settle_s,
            self.rules.tolerance_a,
            self.rules.tolerance_v,
            self.rules.tolerance_share,
            self.rules.samples,
        )
        self._excess = ""
        self._not_starting = 0
        self._allowed: Allowed | None = None
        self._cells: Cells | None = None
        self._pack: PackNow | None = None
        self._fault = Fault.STATUS
        self._good_since_ns: int | None = None
        self._full_since_ns: int | None = None
        self._ramp_since_ns = 0
        self._ramp_from_a = 0.0
        self._after_ramp = State.PLUGGED
        self._full_cell_v = math.inf

    # What comes in ------------------------------------------------------------------------------

    def take_report(self, report: Report) -> None:
        """A report of the charger."""
        self.report = report
        waiting = report.status & (ChargerStatus.STARTING | ChargerStatus.COMMUNICATION)
        asked = self.state is State.CHARGING
        self._not_starting = self._not_starting + 1 if waiting and asked else 0
        self._excess = self._delivery.current("charger", report.current_a) or self._excess
        if report.current_a > self.rules.tolerance_a:
            self._excess = self._delivery.voltage("charger", report.voltage_v) or self._excess

    def take_allowed(self, allowed: Allowed) -> None:
        """Limits of the pack."""
        self._allowed = allowed

    def take_pack_state(self, pack: PackNow) -> None:
        """State of the pack."""
        self._pack = pack

    def take_cells(self, cells: Cells) -> None:
        """Measured values of the pack; in state charge, what flows comes from the charger."""
        self._cells = cells
        if self.state is State.UNPLUGGED or not self._in_charge():
            return
        self._excess = self._delivery.current("pack sensor", cells.current_a) or self._excess

    def take_pack_voltage(self, voltage_v: float) -> None:
        """Voltage of the pack as the switch board measures it."""
        cells = self._cells
        if cells is not None and self._in_charge() and cells.current_a > self.rules.tolerance_a:
            self._excess = self._delivery.voltage("pack", voltage_v) or self._excess

    # What goes out ------------------------------------------------------------------------------

    def step(self, now_ns: int) -> Request:
        """Advance; returns what is to be asked for from now on."""
        if not self._hears(now_ns, self.rules.silent_s):
            self._silent(now_ns)
        elif self.state is State.UNPLUGGED:
            self._enter(State.PLUGGED, "a charger is plugged in")
        if self.state is not State.UNPLUGGED:
            self._look_for_faults()
        steps = {
            State.PLUGGED: self._plugged,
            State.CHARGING: self._charging,
            State.RAMP_DOWN: self._ramping_down,
            State.COMPLETE: self._complete,
            State.FAULT: self._faulty,
        }
        step = steps.get(self.state)
        request = step(now_ns) if step is not None else NO_OUTPUT
        self.requested = Request(
            floor_to_step(request.voltage_v, STEP_V), floor_to_step(request.current_a, STEP_A)
        )
        self._delivery.ask(self.requested, now_ns)
        return self.requested

    # Faults -------------------------------------------------------------------------------------

    def _hears(self, now_ns: int, limit_s: float) -> bool:
        return self.report is not None and now_ns - self.report.boot_ns <= limit_s * NS_PER_S

    def _silent(self, now_ns: int) -> None:
        if self.state in (State.CHARGING, State.RAMP_DOWN):
            self._fail(Fault.SILENT, Severity.WARNING, "the charger fell silent while charging")
        elif self.state is State.FAULT and self._hears(now_ns, self.rules.gone_s):
            return
        elif self.state is not State.UNPLUGGED:
            self.over_delivery = False
            self._enter(State.UNPLUGGED, "the charger was unplugged")

    def _look_for_faults(self) -> None:
        excess, self._excess = self._excess, ""
        if excess:
            if not self.over_delivery:
                self._fail(Fault.OVER_DELIVERY, Severity.ERROR, f"over-delivery: {excess}")
            self.over_delivery, self._good_since_ns = True, None
        report = self.report
        if report is None or self.state is State.FAULT:
            return
        if report.status & _BROKEN:
            self._fail(Fault.STATUS, Severity.WARNING, _said(report.status & _BROKEN))
        elif self._not_starting > self.rules.reports_to_start:
            self._fail(Fault.NOT_STARTING, Severity.WARNING, _said(report.status))

    def _fail(self, fault: Fault, severity: Severity, text: str) -> None:
        self._fault, self._good_since_ns = fault, None
        self._enter(State.FAULT, text, severity)

    def _faulty(self, now_ns: int) -> Request:
        report = self.report
        well = (
            report is not None
            and self._hears(now_ns, self.rules.silent_s)
            and not report.status & _BROKEN
            and report.current_a <= self.rules.tolerance_a
        )
        if not well:
            self._good_since_ns = None
        elif self._good_since_ns is None:
            self._good_since_ns = now_ns
        elif now_ns - self._good_since_ns >= self.rules.recovery_s * NS_PER_S and (
            # What trying again would only repeat waits until somebody asks for charge anew.
            self._fault < Fault.NOT_STARTING or not self._in_charge()
        ):
            self.over_delivery = False
            self._delivery.forget()
            self._enter(State.PLUGGED, "the charger has recovered")
        return NO_OUTPUT

    # States -------------------------------------------------------------------------------------

    def _plugged(self, now_ns: int) -> Request:
        obstacle = self._obstacle(now_ns)
        if obstacle:
            self.text = f"plugged in; {obstacle}"
            return NO_OUTPUT
        most = self._most()
        if most.current_a < 2 * self._least_a:
            assert self._allowed is not None
            cause = self._allowed.limited_by
            if cause in _FULL and self._cell_is_high():
                return self._end()
            self.text = f"plugged in; the pack takes no current: {_CAUSES[cause]}"
            return NO_OUTPUT
        self._not_starting, self._full_since_ns = 0, None
        self._enter(State.CHARGING, "charging begins")
        return most

    def _charging(self, now_ns: int) -> Request:
        if self._pack is not None and self._pack.in_charge and self._pack.leaving:
            return self._begin_ramp(now_ns, State.PLUGGED, "the pack is about to leave charge")
        obstacle = self._obstacle(now_ns)
        if obstacle:
            self._enter(State.PLUGGED, f"charging ended; {obstacle}")
            return NO_OUTPUT
        most = self._most()
        self.text = f"charging, at most {most.current_a:.1f} A and {most.voltage_v:.1f} V"
        if self._is_full(most):
            if self._full_since_ns is None:
                self._full_since_ns = now_ns
            if now_ns - self._full_since_ns >= self.rules.full_s * NS_PER_S:
                return self._begin_ramp(now_ns, State.COMPLETE, "the pack is full")
            return most
        self._full_since_ns = None
        if most.current_a < self._least_a:
            assert self._allowed is not None
            cause = _CAUSES[self._allowed.limited_by]
            self._enter(State.PLUGGED, f"charging ended; the pack takes no current: {cause}")
            return NO_OUTPUT
        return most

    def _ramping_down(self, now_ns: int) -> Request:
        rules = self.rules
        ramp_ns = now_ns - self._ramp_since_ns
        rate_a_s = self._charger.maximum_current_a / rules.ramp_down_s
        current_a = self._ramp_from_a - rate_a_s * ramp_ns / NS_PER_S
        goes_on = current_a >= STEP_A and self.requested.current_a >= STEP_A
        if goes_on and not self._obstacle(now_ns, ramping=True):
            most = self._most()
            return Request(most.voltage_v, min(current_a, most.current_a))
        report = self.report
        ended = report is not None and report.boot_ns > self._ramp_since_ns
        still = report is not None and ended and report.current_a > rules.tolerance_a
        if (ended and not still) or ramp_ns > (rules.ramp_down_s + rules.settle_s) * NS_PER_S:
            if self._after_ramp is State.COMPLETE:
                return self._end()
            self._enter(State.PLUGGED, "charging ended")
        return NO_OUTPUT

    def _complete(self, now_ns: int) -> Request:
        if not self._in_charge():
            self._enter(State.PLUGGED, "the pack has left charge")
        elif (
            self._cells is not None
            and now_ns - self._cells.boot_ns <= self.rules.inputs_stale_s * NS_PER_S
            and self._cells.highest_cell_v < self._full_cell_v - self.rules.restart_v
        ):
            self._enter(State.PLUGGED, "the pack is no longer full")
        return NO_OUTPUT

    def _begin_ramp(self, now_ns: int, after: State, text: str) -> Request:
        self._ramp_since_ns, self._ramp_from_a = now_ns, self.requested.current_a
        self._after_ramp = after
        self._enter(State.RAMP_DOWN, text)
        return self._ramping_down(now_ns)

    def _end(self) -> Request:
        cells = self._cells
        self._full_cell_v = cells.highest_cell_v if cells is not None else math.inf
        self._enter(State.COMPLETE, "the pack is full")
        return NO_OUTPUT

    # What is known ------------------------------------------------------------------------------

    def _in_charge(self) -> bool:
        return self._pack is not None and self._pack.in_charge

    def _obstacle(self, now_ns: int, ramping: bool = False) -> str:
        """Why no current may be asked for, in words; empty if nothing is against it."""
        oldest_ns = now_ns - round(self.rules.inputs_stale_s * NS_PER_S)
        if self._pack is None or self._pack.boot_ns < oldest_ns:
            return "the state of the pack is not known"
        if not self._in_charge():
            return "the pack is not in state charge"
        if self._pack.leaving and not ramping:
            return "the pack is about to leave charge"
        if self._allowed is None or self._allowed.boot_ns < oldest_ns:
            return "the limits of the pack are not known"
        return ""

    def _most(self) -> Request:
        """The most that may be asked for; only where there is no obstacle."""
        assert self._allowed is not None
        return Request(
            min(self._allowed.voltage_v, self._maximum_voltage_v),
            max(min(self._allowed.current_a, self._charger.maximum_current_a), 0.0),
        )

    def _is_full(self, most: Request) -> bool:
        """Whether little current flows at full voltage: of a cell, or of what the charger gives."""
        assert self._allowed is not None
        small = most.current_a <= self.cut_off_a
        if small and self._allowed.limited_by in _FULL and self._cell_is_high():
            return True
        report = self.report
        return (
            report is not None
            and not report.status
            and report.voltage_v >= self.rules.constant_voltage_share * most.voltage_v
            and report.current_a <= self.cut_off_a
        )

    def _cell_is_high(self) -> bool:
        """Whether a limit by voltage or charge concerns the upper end, not an empty cell."""
        near_v = self._maximum_cell_v - self.rules.restart_v
        return self._cells is not None and self._cells.highest_cell_v >= near_v

    def _enter(self, state: State, text: str, severity: Severity = Severity.INFO) -> None:
        self.state, self.text = state, text
        self.news.append((severity, text))


def _said(status: ChargerStatus) -> str:
    return "the charger says " + " and ".join(
        words for bit, words in _WORDS.items() if bit & status
    )
