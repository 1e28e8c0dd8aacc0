# SPDX-License-Identifier: Apache-2.0
"""How each diagnosis is provoked from outside: faults of the simulated hardware, and what follows.

``PROVOCATIONS`` is keyed by the name of the diagnosis. A value is given in the diagnosis's own
unit: beyond the limit that is to be passed, short of the next stronger limit of the same signal.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from ibms_battery.pack import Pack
from ibms_msgs.msg import PackState

# Not off, which ends by itself with the first inputs, and not shutdown, judged as standby is.
ALL_STATES = ("standby", "precharge", "drive", "charge", "rest", "error")
EARLIER_FAULT = "interlock_open"  # for which the pack has opened that is in error
CONNECTED = ("drive", "charge")
DRIVE, STANDBY = int(PackState.STATE_DRIVE), int(PackState.STATE_STANDBY)

# Load of the simulated pack, of each cell in parallel: high and low current in turn [A].
LOAD_A_PER_CELL = {"drive": (-2.5, -0.75), "charge": (1.5, 0.45)}
MEAN_DRIVE_A_PER_CELL = sum(LOAD_A_PER_CELL["drive"]) / 2

_CELL_V = 3.9  # about what the simulated cells have at the start of a case
_AMBIENT_C = 22.0

Where = Literal["same", "others", "module", "none", "all", "main", "first"]
Action = Literal["inject", "request", "freeze", "second_publisher", "wall_step"]


@dataclass(frozen=True)
class Aim:
    """What a provocation aims at: a value of the signal, in a pack."""

    value: float
    pack: Pack


Value = Callable[[Aim], float]


@dataclass(frozen=True)
class Step:
    """One thing done to the pack.

    Attributes:
        name: of the fault, node, or topic; for a request the number of the state.
        where: element of the fault: the one of the case, all others, its AFE module, none, each
            that there is, the switches that are closed while driving, or the first one.
        value: of the fault, from the aim.
        after_s: after the first step.
        lasts_s: the fault is removed after this; 0: it stays.
    """

    name: str
    where: Where = "same"
    value: Value | None = None
    after_s: float = 0.0
    lasts_s: float = 0.0
    action: Action = "inject"


@dataclass(frozen=True)
class Provocation:
    """How a diagnosis is provoked and what may be seen.

    Attributes:
        steps: what is done.
        margin: how far beyond the last limit the value lies, in the signal's unit; 0: half of it.
        share: where between this limit and the next stronger one it lies.
        states: pack states from which it can be provoked.
        also: other diagnoses that this causes as well, so that they may come first.
        delay_s: until the signal shows it, beyond the debounce of the table.
        target_s: bound on the detection that the project has set itself, whatever the table says.
        warm_up_s: time in the state before, in which the signal learns.
        spike: what disturbs single samples, where that is another fault than the steps'.
        may_open: whether something that this causes as well opens the pack.
        silences: the input that nobody hears any more, so that what it measures is not seen.
        hides: diagnoses that cannot be seen once this is provoked.
        modules: AFE modules that the pack needs for it.
        configuration: of its switches that the pack needs for it.
        ramp_per_s: a value that opens nothing is approached at this rate from ``ramp_from``: a jump
            would be a fault of its own.
        opened_s: the pack is open at the latest after this, whatever the diagnosis demands.
    """

    steps: tuple[Step, ...]
    margin: float = 0.0
    share: float = 0.5
    states: tuple[str, ...] = ALL_STATES
    also: frozenset[str] = frozenset()
    delay_s: float = 0.0
    target_s: float | None = None
    warm_up_s: float = 0.0
    spike: Step | None = None
    may_open: bool = False
    silences: str = ""
    hides: frozenset[str] = frozenset()
    modules: int = 1
    configuration: str = ""
    ramp_per_s: float = 0.0
    ramp_from: float = 0.0
    opened_s: float | None = None


def _of(value: Aim) -> float:
    return value.value


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PRESSURE_PA = 101325.0
_RAMP_K_S = 0.8  # short of the rate that opens
_INSULATION_S = 1.0  # the monitor's own response


def _ohm_of_pack(aim: Aim) -> float:
    return aim.value * aim.pack.series * _CELL_V


def _module_offset(aim: Aim) -> float:
    return aim.value - _CELL_V


# The module, measured in one piece, agrees: else a wrong reading is what is seen, not a bad cell.
_CELL_VOLTAGE = (
    Step("cell_voltage", value=_of),
    Step("module_voltage_offset", "module", _module_offset),
)
_CELL_TEMPERATURE = (Step("cell_temperature", value=_of),)
_CURRENT = (Step("current_value", "none", _of),)
# A cell that reads wrong lies apart from the others, and its module's sum with it.
_WRONG_CELL = _names(
    "module_voltage sum_of_cells cell_voltage_spread internal_short_early current_does_not_fit"
)
_LOST_MODULE = _names(
    "afe_lost cell_voltage_missing cell_temperature_missing cells_lost afe_frames_rejected"
)
_HOT = _names(
    "temperature_rises_fast thermal_runaway cell_overtemperature charge_overtemperature "
    "cell_temperature_spread"
)
_COLD = _names("cell_undertemperature charge_undertemperature cell_temperature_spread")
_SENSORS = _names("current_sensors_differ current_does_not_fit charge_overload discharge_overload")
_PRECHARGE = _names("precharge_slow precharge_short precharge_open precharge_fast")


def _precharge(fault: Step, *also: str, delay_s: float = 1.5) -> Provocation:
    """A fault of the precharge path, and the request that shows it."""
    request = Step(str(DRIVE), "none", after_s=0.05, action="request")
    return Provocation(
        (fault, request),
        states=("standby", "rest"),
        also=_PRECHARGE | set(also),
        delay_s=delay_s,
    )


PROVOCATIONS: dict[str, Provocation] = {
    # Cell voltages
    "cell_overvoltage": Provocation(_CELL_VOLTAGE, margin=0.1, also=_WRONG_CELL, target_s=0.2),
    "cell_undervoltage": Provocation(_CELL_VOLTAGE, margin=0.1, also=_WRONG_CELL, target_s=0.2),
    "deep_discharge": Provocation(_CELL_VOLTAGE, margin=0.3, also=_WRONG_CELL),
    "cell_voltage_missing": Provocation(
        (Step("afe_silent", "module"),),
        modules=2,
        also=_LOST_MODULE,
        silences="cells",
        target_s=0.3,
    ),
    "cell_voltage_spread": Provocation(
        (Step("cell_voltage_offset", value=lambda aim: -aim.value),),
        margin=0.1,
        also=_WRONG_CELL,
    ),
    "open_sense_wire": Provocation(
        (Step("open_wire"),),
        also=_WRONG_CELL | _names("cell_voltage_missing cell_overvoltage cell_undervoltage"),
    ),
    "cell_imbalance": Provocation(
        # Averaged since the rest began, so the deviation must be larger than the limit.
        (Step("cell_voltage_offset", value=lambda _: -0.25),),
        also=_WRONG_CELL,
        states=("standby", "rest"),
        warm_up_s=65.0,
        delay_s=25.0,
    ),
    "internal_short_early": Provocation(
        # Draws through the cell what shows as some tens of millivolts.
        (Step("internal_short", value=lambda aim: 2.0 / aim.pack.parallel),),
        also=_WRONG_CELL | _HOT | {"cell_imbalance"},
        states=CONNECTED,
        warm_up_s=70.0,
        delay_s=8.0,
    ),
    "cell_voltage_stuck": Provocation(
        # The current of a charge moves the cells too little to tell, a change of this load just not
        # enough: what it lacks comes with the discharge.
        (Step("cell_voltage_stuck"),),
        margin=0.02,
        also=_WRONG_CELL,
        states=("drive",),
        delay_s=25.0,
    ),
    # Temperatures
    "cell_overtemperature": Provocation(
        _CELL_TEMPERATURE,
        margin=5.0,
        also=_HOT,
        target_s=2.0,
        ramp_per_s=_RAMP_K_S,
        ramp_from=_AMBIENT_C,
    ),
    "cell_undertemperature": Provocation(_CELL_TEMPERATURE, margin=5.0, also=_COLD, target_s=2.0),
    "charge_overtemperature": Provocation(
        _CELL_TEMPERATURE,
        margin=3.0,
        also=_HOT,
        target_s=2.0,
        ramp_per_s=_RAMP_K_S,
        ramp_from=_AMBIENT_C,
    ),
    "charge_undertemperature": Provocation(_CELL_TEMPERATURE, margin=3.0, also=_COLD),
    "cell_temperature_missing": Provocation(
        (Step("afe_silent", "module"),), modules=2, also=_LOST_MODULE, silences="cells"
    ),
    "cell_temperature_spread": Provocation(
        (Step("cell_temperature", value=lambda aim: _AMBIENT_C + aim.value),),
        ramp_per_s=_RAMP_K_S,
        ramp_from=_AMBIENT_C,
        margin=5.0,
        also=_HOT,
    ),
    "cell_temperature_stuck": Provocation(
        (
            Step("cell_temperature_stuck"),
            Step("cell_temperature", "others", value=lambda aim: _AMBIENT_C + aim.value),
        ),
        margin=3.0,
        ramp_per_s=_RAMP_K_S,
        ramp_from=_AMBIENT_C,
    ),
    "temperature_rises_fast": Provocation(
        (Step("temperature_rate", value=_of),), margin=0.5, also=_HOT, delay_s=4.0
    ),
    "thermal_runaway": Provocation(
        (Step("runaway", value=_of),),
        margin=3.0,
        also=_HOT | _WRONG_CELL | {"cell_undervoltage", "deep_discharge"},
        delay_s=4.0,
    ),
    # Current
    "charge_overcurrent": Provocation(_CURRENT, margin=20.0, also=_SENSORS, target_s=0.05),
    "discharge_overcurrent": Provocation(_CURRENT, margin=20.0, also=_SENSORS, target_s=0.05),
    "short_circuit_discharge": Provocation(_CURRENT, margin=200.0, also=_SENSORS, target_s=0.05),
    "charge_overload": Provocation(_CURRENT, share=0.9, also=_SENSORS),
    "discharge_overload": Provocation(_CURRENT, share=0.9, also=_SENSORS),
    "pack_current_missing": Provocation(
        (Step("pack_sensor_self_test", "none"),), target_s=0.3, silences="pack"
    ),
    "current_sensors_differ": Provocation(
        (Step("redundant_current_offset", "none", _of),), margin=10.0
    ),
    "current_does_not_fit": Provocation(
        # A sensor that stands still at the mean, while current and cells move on.
        (Step("current_value", "none", lambda aim: MEAN_DRIVE_A_PER_CELL * aim.pack.parallel),),
        also=_names("current_sensors_differ"),
        states=("drive",),
        warm_up_s=75.0,
        delay_s=20.0,
    ),
    # Voltages against each other
    "sum_of_cells": Provocation(
        (
            Step("cell_voltage_offset", "all", lambda aim: -aim.value / aim.pack.series),
            Step("module_voltage_offset", "all", lambda aim: -aim.value / aim.pack.modules),
        ),
        margin=1.0,
        also=_WRONG_CELL,
    ),
    "module_voltage": Provocation((Step("module_voltage_offset", "same", _of),), margin=1.0),
    "fuse_open": Provocation(
        (Step("fuse_open", "none"),),
        margin=0.3,
        # A charger, or the link that is half charged, holds the voltage behind the fuse.
        states=("standby", "drive", "rest"),
        also=_PRECHARGE | _names("sum_of_cells current_does_not_fit weld_negative"),
        delay_s=0.2,
    ),
    "pack_voltage_missing": Provocation(
        (Step("pack_voltage_missing", "none"),),
        hides=_names("fuse_open sum_of_cells"),
    ),
    "link_voltage_missing": Provocation((Step("link_voltage_missing", "none"),)),
    # AFE modules and pack hardware
    "afe_fault": Provocation((Step("afe_self_test"),), target_s=0.3),
    "afe_lost": Provocation(
        (Step("afe_silent"),), modules=2, also=_LOST_MODULE, silences="cells", target_s=0.3
    ),
    "afe_frames_rejected": Provocation(
        (Step("afe_corruption", "module", lambda _: 1.0),),
        modules=2,
        also=_LOST_MODULE,
        may_open=True,
        silences="cells",
    ),
    "afe_clock": Provocation((Step("device_time_jump", "none", _of),), margin=2.0),
    "hardware_mismatch": Provocation(
        (Step("wrong_identity", "none", lambda aim: aim.pack.series - 1.0),), delay_s=1.5
    ),
    # Told with the periodic state of the switches, each 50 ms.
    "switch_count": Provocation(
        (Step("wrong_switch_count", "none", lambda _aim: 24.0),), delay_s=0.15
    ),
    # Insulation and surroundings
    "insulation_error": Provocation(
        (Step("insulation_resistance", "none", _ohm_of_pack),),
        margin=30.0,
        also=_names("insulation_warning"),
        delay_s=_INSULATION_S,
    ),
    "insulation_warning": Provocation(
        (Step("insulation_resistance", "none", _ohm_of_pack),), delay_s=_INSULATION_S
    ),
    "insulation_not_measured": Provocation(
        (Step("insulation_self_test", "none"),), delay_s=0.3, silences="insulation"
    ),
    "gas_detected": Provocation((Step("gas", "none", _of),), margin=200.0, delay_s=0.3),
    "gas_not_measured": Provocation(
        (Step("gas_sensor", "none"),), delay_s=0.3, silences="environment"
    ),
    "humidity_high": Provocation(
        (Step("humidity", "none", lambda aim: 100.0 * aim.value),), margin=0.05, delay_s=0.3
    ),
    "pressure_venting": Provocation(
        (Step("pressure", "none", lambda aim: _PRESSURE_PA + aim.value),),
        margin=2000.0,
        delay_s=0.3,
    ),
    "shock": Provocation((Step("shock", "none", _of),), margin=50.0, delay_s=1.3),
    # Switches and safety inputs
    "interlock_open": Provocation(
        (Step("interlock_open", "none"),), target_s=0.05, spike=Step("interlock_glitch", "none")
    ),
    "emergency_stop": Provocation((Step("emergency_stop", "none"),), target_s=0.05),
    "crash": Provocation((Step("crash", "none"),), target_s=0.05),
    "switch_stays_open": _precharge(Step("does_not_close")),
    "switch_stays_closed": Provocation(
        (Step("weld"),), states=("standby", "rest"), also=_names("weld weld_negative"), delay_s=0.2
    ),
    "weld": Provocation(
        (
            Step("weld_hidden", "main"),
            Step(str(STANDBY), "none", after_s=0.05, action="request"),
        ),
        states=CONNECTED,
        margin=0.05,
        also=_names("weld_negative current_does_not_fit"),
        delay_s=9.0,
    ),
    "weld_negative": replace(
        _precharge(Step("weld_hidden", "first")), configuration="precharge_only"
    ),
    "precharge_slow": _precharge(Step("precharge_slow", "none", lambda _: 8.0), delay_s=5.0),
    "precharge_fast": _precharge(Step("link_open", "none")),
    "precharge_short": _precharge(
        Step("link_short", "none", lambda aim: 0.1 * aim.pack.precharge.resistor_ohm), delay_s=2.0
    ),
    "precharge_open": _precharge(Step("precharge_open", "none"), delay_s=2.0),
    # Silence, and the computer itself
    "cells_lost": Provocation(
        (Step("afe_silent", "all"),), also=_LOST_MODULE, target_s=0.3, silences="cells"
    ),
    "pack_sensor_lost": Provocation(
        (Step("pack_sensor_silent", "none"),), target_s=0.3, silences="pack"
    ),
    "insulation_monitor_lost": Provocation(
        (Step("insulation_silent", "none"),), delay_s=0.6, silences="insulation"
    ),
    "environment_lost": Provocation(
        (Step("environment_silent", "none"),), delay_s=0.6, silences="environment"
    ),
    "switch_state_lost": Provocation(
        # Switch control opens by itself before the diagnosis is told.
        (Step("switch_board_silent", "none"),),
        opened_s=0.3,
        delay_s=0.4,
        silences="switch",
    ),
    "redundant_current_lost": Provocation(
        (Step("redundant_sensor_silent", "none"),),
        delay_s=0.1,
        hides=_names("current_sensors_differ"),
    ),
    "supervisor_lost": Provocation(
        (Step("pack_supervisor", "none", action="freeze"),), delay_s=0.2, opened_s=5.0
    ),
    "foreign_publisher": Provocation(
        (Step("cells/measurement", "none", action="second_publisher"),), delay_s=0.1
    ),
    "loop_overrun": Provocation(
        (Step("protection", "none", lasts_s=0.15, action="freeze"),),
        delay_s=0.3,
        silences="everything",
    ),
    "clock_jump": Provocation(
        (Step("wall", "none", lambda _: 3600.0, action="wall_step"),), delay_s=0.1
    ),
}
