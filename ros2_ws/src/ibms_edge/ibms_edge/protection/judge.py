# SPDX-License-Identifier: Apache-2.0
"""Protection from inputs to verdict: samples become signals, signals are judged. No DDS."""

import math
from array import array
from collections import deque
from itertools import islice

import numpy as np

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.protection import samples
from ibms_edge.protection.cell_monitor import CellMonitor, Wiring
from ibms_edge.protection.engine import ProtectionEngine, Verdict
from ibms_edge.protection.precharge_monitor import PrechargeMonitor
from ibms_edge.protection.samples import CellsSample, PackSample
from ibms_edge.protection.signals import Signal, Source
from ibms_edge.protection.table import DiagnosisTable, Direction, StateName
from ibms_msgs.msg import (
    CellMeasurement,
    EnvironmentMeasurement,
    InsulationMeasurement,
    PackMeasurement,
    PackState,
    ProtectionLockouts,
    ProtectionStatus,
    SwitchState,
)

STARTUP_S = 2.0  # an input that never came counts as silent from then on
_STATE_STALE_NS = NS_PER_S
_SWITCH_STALE_NS = NS_PER_S // 2
_OPEN, _PRECHARGE_ONLY = "open", "precharge_only"
# A link discharges within this (UN R100: 60 V after 5 s), unless a contact still conducts.
_LINK_DISCHARGE_NS = 5 * NS_PER_S
_PRESSURE_SPACING_NS = NS_PER_S
_PRESSURE_SPAN = 20  # entries of that spacing
_PRESSURE_GAP_NS = 5 * _PRESSURE_SPACING_NS  # unmeasured for longer, it may be that of another hill
_SAMPLES_OF_A_DIRECTION = 3
_HIDDEN_WHILE_LOOSE: tuple[Signal, ...] = ("sum_of_cells_difference", "pack_voltage_ratio")

_STATES: dict[int, StateName] = {
    PackState.STATE_OFF: "off",
    PackState.STATE_STANDBY: "standby",
    PackState.STATE_PRECHARGE: "precharge",
    PackState.STATE_DRIVE: "drive",
    PackState.STATE_CHARGE: "charge",
    PackState.STATE_REST: "rest",
    PackState.STATE_ERROR: "error",
    PackState.STATE_SHUTDOWN: "shutdown",
}


class Judge:
    """Protection of one pack.

    ``take_...`` accepts the newest sample of an input and returns whether it was accepted: one that
    is malformed, or not newer than the known one, proves nothing. ``judge`` turns what is new into
    signals and evaluates the table.

    Args:
        pack: the pack that is protected.
        table: its diagnoses.
        start_ns: boot time from which silent inputs count [ns].
    """

    def __init__(self, pack: Pack, table: DiagnosisTable, start_ns: int) -> None:
        self.engine = ProtectionEngine(table, pack)
        self.cells: CellsSample | None = None
        self.judged_cells: CellsSample | None = None
        self.pack_sample: PackSample | None = None
        self.switch: SwitchState | None = None
        self._pack = pack
        self._table = table
        self._checksum = table.checksum()
        self._start_ns = start_ns
        self._values = self.engine.values
        self._cell_monitor = CellMonitor(pack, table.signals, self._values)
        self._precharge_monitor = PrechargeMonitor(pack, self._values)
        self._insulation: InsulationMeasurement | None = None
        self._environment: EnvironmentMeasurement | None = None
        self._state: PackState | None = None
        self._lockouts: ProtectionLockouts | None = None
        self._newest_ns: dict[Source, int] = {}  # sampling times of the newest samples taken
        self._sampled: dict[Source, int] = {}  # and of those that became signals in this judgement
        self._redundant_seen_ns = 0
        self._direction: Direction | None = None
        self._open_since_ns: int | None = None
        self._open_link_v = 0.0  # while all was last open
        self._pressures: deque[tuple[int, float]] = deque(maxlen=_PRESSURE_SPAN)
        self._other_direction = 0  # samples in a row that show another direction
        self._judged_ns: int | None = None
        self._wall_offset_ns: int | None = None
        self._wiring = Wiring()

    # Inputs --------------------------------------------------------------------------------------

    def take_cells(self, message: CellMeasurement) -> bool:
        """A scan of all cells."""
        if not samples.is_well_formed(message, self._pack):
            return False
        return self.take_cells_sample(samples.cells_sample(message))

    def take_cells_sample(self, sample: CellsSample) -> bool:
        """The same as arrays."""
        if self.cells is not None and sample.boot_ns <= self.cells.boot_ns:
            return False
        self.cells = sample
        self._newest_ns["cells"] = sample.boot_ns
        return True

    def take_pack(self, message: PackMeasurement) -> bool:
        """A sample of the pack sensor."""
        return self.take_pack_sample(samples.pack_sample(message))

    def take_pack_sample(self, sample: PackSample) -> bool:
        """The same as numbers."""
        if self.pack_sample is not None and sample.boot_ns <= self.pack_sample.boot_ns:
            return False
        self.pack_sample = sample
        self._newest_ns["pack"] = sample.boot_ns
        return True

    def take_insulation(self, message: InsulationMeasurement) -> bool:
        """A sample of the insulation monitor."""
        if self._insulation is not None and message.boot_ns <= self._insulation.boot_ns:
            return False
        self._insulation = message
        self._newest_ns["insulation"] = message.boot_ns
        return True

    def take_environment(self, message: EnvironmentMeasurement) -> bool:
        """A sample of the environment sensors."""
        if self._environment is not None and message.boot_ns <= self._environment.boot_ns:
            return False
        self._environment = message
        self._newest_ns["environment"] = message.boot_ns
        return True

    def take_switch(self, message: SwitchState) -> bool:
        """The switches as fed back; only a newer feedback is a fresh sample of its inputs."""
        count = len(self._pack.switching.switches)
        if {len(message.closed), len(message.mismatch)} != {count} or (
            len(message.isolated) not in (0, self._pack.series)
        ):
            return False
        if self.switch is not None and message.boot_ns < self.switch.boot_ns:
            return False
        self.switch = message
        self._newest_ns["switch"] = message.boot_ns
        closed = sum(1 << index for index, closed in enumerate(message.closed) if closed)
        self._wiring.is_whole = self._pack.switching.is_whole(closed)
        self._wiring.changed_ns = message.wiring_boot_ns
        return True

    def take_pack_state(self, message: PackState) -> bool:
        """The state that the pack supervisor is in."""
        self._state = message
        return True

    def take_lockouts(self, message: ProtectionLockouts) -> bool:
        """Lock-outs that the event memory keeps; False if the table does not hold all of them.

        They hold at once after a restart, later ones once the pack is open and until then forbid
        closing: a memory says nothing of the pack as it is now, so it opens none.
        """
        self._lockouts = message
        if self.engine.waits_for_lockouts:
            self._restore_lockouts(message.boot_ns)
        return self._table.lockouts.issuperset(message.diagnosis)

    # Judgement -----------------------------------------------------------------------------------

    def judge(self, now_ns: int, wall_ns: int | None = None, foreign: bool = False) -> Verdict:
        """Evaluate what came since the last call.

        Args:
            now_ns: present boot time.
            wall_ns: present wall time, to see it step; ``None``: not looked at.
            foreign: a topic of the chain has a second publisher.
        """
        self._newest_ns["clock"] = now_ns
        self._sampled = {}
        if self._is_new("pack") and self.pack_sample is not None:
            self._pack_signals(self.pack_sample)
        self._follow_wiring(now_ns)
        self.engine.set_context(self._state_name(now_ns), self._direction)
        if self._is_new("cells") and self.cells is not None:
            self._cells_signals(self.cells)
        if self._is_new("switch") and self.switch is not None:
            self._switch_signals(self.switch)
        if self._is_new("insulation") and self._insulation is not None:
            self._insulation_signals(self._insulation)
        if self._is_new("environment") and self._environment is not None:
            self._environment_signals(self._environment)
        self._clock_signals(now_ns, wall_ns, foreign)
        if self.switches_are_open(now_ns):
            self._restore_lockouts(now_ns)
        verdict = self.engine.evaluate(self._sampled, now_ns)
        verdict.evaluated = self.engine.evaluated(self._newest_ns)
        if "cells" in self._sampled:
            self.judged_cells = self.cells
        if self._lockouts is not None and len(self._lockouts.diagnosis):
            verdict.close_allowed = False
        return verdict

    def switches_are_open(self, now_ns: int) -> bool:
        """Whether fresh feedback shows every switch open."""
        switch = self.switch
        return (
            switch is not None
            and switch.board_valid
            and now_ns - switch.boot_ns <= _SWITCH_STALE_NS
            and not any(switch.closed)
        )

    def status(self, verdict: Verdict) -> ProtectionStatus:
        """The message of a verdict, without its header and the number of the iteration."""
        scan, cause, active = self.judged_cells, verdict.first_cause, verdict.active
        status = ProtectionStatus(
            boot_ns=scan.boot_ns if scan is not None else 0,
            scan_counter=scan.scan_counter if scan is not None else 0,
            configuration_crc=self._checksum,
            diagnoses_evaluated=verdict.evaluated,
            diagnoses_total=verdict.total,
            reaction=int(verdict.reaction),
            close_allowed=verdict.close_allowed,
            first_cause=cause.diagnosis.id if cause else 0,
            first_cause_element=cause.element if cause else -1,
            first_cause_value=cause.value if cause else math.nan,
        )
        status.isolate_cells = array("i", verdict.isolate_cells)
        status.string_voltage_v = array("f", self._cell_monitor.string_voltage_v)
        if active:
            status.active_diagnosis = array("H", [fault.diagnosis.id for fault in active])
            status.active_level = array("B", [int(fault.level) for fault in active])
            status.active_reaction = array("B", [int(fault.demand) for fault in active])
            status.active_element = array("i", [fault.element for fault in active])
            status.active_value = array("f", [fault.value for fault in active])
        return status

    def _restore_lockouts(self, now_ns: int) -> None:
        kept, self._lockouts = self._lockouts, None
        if kept is not None:
            for known in zip(kept.diagnosis, kept.element, kept.value, strict=True):
                self.engine.restore(*known, now_ns)
            self.engine.waits_for_lockouts = False

    # Signals -------------------------------------------------------------------------------------

    def _put(self, signal: Signal, value: float) -> None:
        out = self._values.get(signal)
        if out is not None:
            out[0] = value

    def _is_new(self, source: Source) -> bool:
        newest_ns = self._newest_ns.get(source)
        return newest_ns is not None and newest_ns != self.engine.judged_ns.get(source)

    def _cells_signals(self, sample: CellsSample) -> None:
        self._cell_monitor.update(sample, self.pack_sample, self._wiring)
        self._sampled["cells"] = sample.boot_ns

    def _pack_signals(self, sample: PackSample) -> None:
        current_a = sample.current_a
        self._put("pack_current", current_a)
        self._put("pack_current_missing", math.isnan(current_a))
        if math.isfinite(sample.redundant_current_a):  # one that only says it is faulty is lost
            self._redundant_seen_ns = max(self._redundant_seen_ns, sample.redundant_boot_ns)
        fresh = sample.boot_ns - sample.redundant_boot_ns < NS_PER_S // 20
        redundant_a = sample.redundant_current_a if fresh else math.nan
        self._put("current_difference", abs(current_a - redundant_a))
        self._put("pack_voltage_missing", math.isnan(sample.voltage_v))
        self._put("link_voltage_missing", math.isnan(sample.link_voltage_v))
        self._follow_direction(current_a)
        configuration = self.switch.configuration if self.switch is not None else ""
        self._precharge_monitor.update(sample, configuration)
        self._sampled["pack"] = sample.boot_ns

    def _follow_direction(self, current_a: float) -> None:
        """Direction of the current; one disturbed or missing sample is no other direction."""
        if math.isnan(current_a):
            return
        shown: Direction | None = None
        if abs(current_a) > self._table.signals.flowing_current_a:
            shown = "charge" if current_a > 0.0 else "discharge"
        self._other_direction = self._other_direction + 1 if shown != self._direction else 0
        if self._other_direction >= _SAMPLES_OF_A_DIRECTION:
            self._direction, self._other_direction = shown, 0

    def _follow_wiring(self, now_ns: int) -> None:
        """Only what fresh feedback shows counts as isolated."""
        switch = self.switch
        if switch is None or not len(switch.isolated):
            self._wiring.isolated = None
        elif switch.board_valid and now_ns - switch.boot_ns <= _SWITCH_STALE_NS:
            self._wiring.isolated = np.frombuffer(switch.isolated, np.uint8) != 0
        else:
            self._wiring.isolated = np.zeros(self._pack.series, np.bool_)
        self._wiring.all_open = self.switches_are_open(now_ns)
        self._wiring.faulty = frozenset(filter(self.engine.has_fault, _HIDDEN_WHILE_LOOSE))
        self.engine.set_isolated(self._wiring.isolated)
        self.engine.set_all_open(self._wiring.all_open or self._is_opening(now_ns), now_ns)

    def _is_opening(self, now_ns: int) -> bool:
        """Whether all switches are told to open: a bypass, faster than contactors, is none lost."""
        switch = self.switch
        return (
            switch is not None
            and switch.board_valid
            and now_ns - switch.boot_ns <= _SWITCH_STALE_NS
            and switch.requested_configuration == _OPEN
        )

    def _switch_signals(self, switch: SwitchState) -> None:
        known = switch.board_valid
        self._put("interlock_open", not switch.interlock_closed if known else math.nan)
        self._put("emergency_stop", switch.emergency_stop if known else math.nan)
        self._put("crash_input", switch.crash_input if known else math.nan)
        mismatch = np.frombuffer(switch.mismatch, np.uint8)
        for signal, bad in (
            ("switch_stays_closed", mismatch == SwitchState.MISMATCH_STAYS_CLOSED),
            ("switch_stays_open", mismatch == SwitchState.MISMATCH_STAYS_OPEN),
        ):
            out = self._values.get(signal)  # type: ignore[call-overload]
            if out is not None:
                out[:] = bad if known else math.nan
        said = switch.hardware_switches
        wrong = said != len(self._pack.switching.switches) if said else math.nan
        self._put("switch_count_mismatch", wrong)
        ratio = (
            switch.link_voltage_v / switch.pack_voltage_v if switch.pack_voltage_v > 0 else math.nan
        )
        if not known or switch.configuration != _OPEN:
            self._open_since_ns = None
        elif self._open_since_ns is None:
            self._open_since_ns = switch.boot_ns
        since_ns = self._open_since_ns
        long_open = since_ns is not None and switch.boot_ns - since_ns >= _LINK_DISCHARGE_NS
        alone = switch.configuration == _PRECHARGE_ONLY
        if known and switch.configuration == _OPEN:
            self._open_link_v = switch.link_voltage_v
        # Where the wiring does not show it, nothing is pending, but a weld that was found stands.
        not_shown = math.nan if self.engine.has_fault("weld_voltage_ratio") else 0.0
        self._put("weld_voltage_ratio", (ratio if long_open else not_shown) if known else math.nan)
        rise = 0.0
        if alone:  # modules out of circuit leave no pack voltage while all is open
            risen_v = switch.link_voltage_v - self._open_link_v
            rise = risen_v / switch.pack_voltage_v if switch.pack_voltage_v > 0 else math.nan
        self._put("weld_negative_rise", rise if known else math.nan)
        self._sampled["switch"] = switch.boot_ns

    def _insulation_signals(self, message: InsulationMeasurement) -> None:
        resistance_ohm = message.resistance_ohm if message.valid else math.nan
        self._put("insulation_resistance", resistance_ohm)
        self._put("insulation_missing", math.isnan(resistance_ohm))
        self._put("insulation_per_volt", resistance_ohm / self._voltage_to_earth_v())
        self._sampled["insulation"] = message.boot_ns

    def _voltage_to_earth_v(self) -> float:
        """Largest of pack voltage and sum of cells, at least one volt; NaN where both are unknown.

        Modules that hang loose leave no pack voltage, but will have it once they are closed.
        """
        pack_v = self.pack_sample.voltage_v if self.pack_sample is not None else math.nan
        known = [v for v in (pack_v, *self._cell_monitor.string_voltage_v) if math.isfinite(v)]
        return max([1.0, *known]) if known else math.nan

    def _environment_signals(self, message: EnvironmentMeasurement) -> None:
        valid = message.valid

        def measured(bit: int, value: float) -> float:
            return value if valid & bit and math.isfinite(value) else math.nan

        gas_ppm = measured(EnvironmentMeasurement.VALID_GAS, message.gas_ppm)
        self._put("gas", gas_ppm)
        self._put("gas_missing", math.isnan(gas_ppm))
        self._put(
            "humidity", measured(EnvironmentMeasurement.VALID_HUMIDITY, message.humidity_ratio)
        )
        self._put(
            "shock", measured(EnvironmentMeasurement.VALID_VIBRATION, message.vibration_peak_m_s2)
        )
        pressure_pa = measured(EnvironmentMeasurement.VALID_PRESSURE, message.pressure_pa)
        self._put("pressure_rise", self._pressure_rise_pa(message.boot_ns, pressure_pa))
        self._sampled["environment"] = message.boot_ns

    def _pressure_rise_pa(self, boot_ns: int, pressure_pa: float) -> float:
        """Against the median of the three oldest samples: a road downhill is no venting."""
        entries = self._pressures
        if entries and boot_ns - entries[-1][0] > _PRESSURE_GAP_NS:
            entries.clear()
        if math.isfinite(pressure_pa) and (
            not entries or boot_ns - entries[-1][0] >= _PRESSURE_SPACING_NS
        ):
            entries.append((boot_ns, pressure_pa))
        if len(entries) < 3:
            return math.nan
        return pressure_pa - sorted(pressure for _, pressure in islice(entries, 3))[1]

    def _clock_signals(self, now_ns: int, wall_ns: int | None, foreign: bool) -> None:
        cells, pack, switch = self.cells, self.pack_sample, self.switch
        for signal, boot_ns in (
            ("cells_age", cells.boot_ns if cells is not None else 0),
            ("pack_age", pack.boot_ns if pack is not None else 0),
            ("insulation_age", self._insulation.boot_ns if self._insulation is not None else 0),
            ("environment_age", self._environment.boot_ns if self._environment is not None else 0),
            # The switches' state has no time of sampling before the first feedback of the board.
            ("switch_state_age", switch.boot_ns if switch is not None else 0),
            ("pack_state_age", self._state.boot_ns if self._state is not None else 0),
        ):
            self._put(signal, self._age_s(now_ns, boot_ns))  # type: ignore[arg-type]
        if self._redundant_seen_ns:  # a pack may do without; from its first sample on it may not
            self._put("redundant_current_age", self._age_s(now_ns, self._redundant_seen_ns))
        self._put("foreign_publisher", foreign)
        before, self._judged_ns = self._judged_ns, now_ns
        self._put("loop_gap", (now_ns - before) / NS_PER_S if before is not None else 0.0)
        if wall_ns is not None:
            offset_ns = wall_ns - now_ns
            known_ns, self._wall_offset_ns = self._wall_offset_ns, offset_ns
            step_ns = offset_ns - known_ns if known_ns is not None else 0
            self._put("clock_jump", abs(step_ns) / NS_PER_S)

    def _age_s(self, now_ns: int, boot_ns: int) -> float:
        if boot_ns == 0:
            return (now_ns - self._start_ns) / NS_PER_S - STARTUP_S
        return (now_ns - boot_ns) / NS_PER_S

    def _state_name(self, now_ns: int) -> StateName | None:
        state = self._state
        if state is None or now_ns - state.boot_ns > _STATE_STALE_NS:
            return None
        return _STATES.get(state.state)
