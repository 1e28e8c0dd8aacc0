# SPDX-License-Identifier: Apache-2.0
"""Catalogue of the signals that diagnoses judge: their inputs and what they mean. No ROS."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ibms_battery.pack import Pack

FloatArray = npt.NDArray[np.float64]

# Which input brings a fresh sample of a signal; "clock" is evaluated in every iteration.
Source = Literal["cells", "pack", "insulation", "environment", "switch", "clock"]
SOURCES: tuple[Source, ...] = ("cells", "pack", "insulation", "environment", "switch", "clock")
Element = Literal["pack", "cell", "sensor", "module", "switch"]
Kind = Literal["value", "flag", "age"]  # a flag is 0 or 1, an age grows from 0 s

Signal = Literal[
    "cell_voltage",
    "cell_voltage_missing",
    "cell_voltage_deviation",
    "cell_imbalance",
    "cell_internal_short",
    "cell_voltage_stuck",
    "cell_temperature",
    "cell_temperature_missing",
    "cell_temperature_deviation",
    "cell_temperature_stuck",
    "cell_temperature_rate",
    "thermal_runaway_rate",
    "open_wire",
    "afe_fault",
    "afe_lost",
    "afe_frames_rejected",
    "module_voltage_difference",
    "sum_of_cells_difference",
    "pack_voltage_ratio",
    "current_response",
    "device_clock_jump",
    "hardware_mismatch",
    "pack_current",
    "pack_current_missing",
    "pack_voltage_missing",
    "link_voltage_missing",
    "current_difference",
    "precharge_slow",
    "precharge_fast",
    "precharge_short",
    "precharge_open",
    "insulation_resistance",
    "insulation_per_volt",
    "insulation_missing",
    "gas",
    "gas_missing",
    "humidity",
    "pressure_rise",
    "shock",
    "interlock_open",
    "emergency_stop",
    "crash_input",
    "switch_stays_open",
    "switch_stays_closed",
    "weld_voltage_ratio",
    "weld_negative_rise",
    "switch_count_mismatch",
    "cells_age",
    "pack_age",
    "redundant_current_age",
    "insulation_age",
    "environment_age",
    "switch_state_age",
    "pack_state_age",
    "foreign_publisher",
    "loop_gap",
    "clock_jump",
]


@dataclass(frozen=True, slots=True)
class SignalInfo:
    """One signal.

    Attributes:
        source: the input whose samples are its samples.
        element: what it has one value of.
        kind: flag, age or value.
        unit: of its values.
        text: what it is.
        longest_period_s: between samples, so that it still means something.
    """

    source: Source
    element: Element
    kind: Kind
    unit: str
    text: str
    longest_period_s: float = math.inf


def _flag(source: Source, element: Element, text: str) -> SignalInfo:
    return SignalInfo(source, element, "flag", "1", text)


def _age(text: str) -> SignalInfo:
    return SignalInfo("clock", "pack", "age", "s", text)


SIGNALS: dict[Signal, SignalInfo] = {
    "cell_voltage": SignalInfo("cells", "cell", "value", "V", "voltage of a cell"),
    "cell_voltage_missing": _flag("cells", "cell", "a cell's voltage is not measured"),
    "cell_voltage_deviation": SignalInfo(
        "cells", "cell", "value", "V", "distance of a cell from the median cell"
    ),
    "cell_imbalance": SignalInfo(
        "cells", "cell", "value", "V", "how far a cell lies below the median at rest, over a day"
    ),
    "cell_internal_short": SignalInfo(
        "cells",
        "cell",
        "value",
        "V",
        "how far a cell has fallen below what it owed to the median at this current",
        longest_period_s=2.0,
    ),
    "cell_voltage_stuck": SignalInfo(
        "cells",
        "cell",
        "value",
        "V",
        "how far the median moved while a cell's value did not",
        longest_period_s=2.0,
    ),
    "cell_temperature": SignalInfo("cells", "sensor", "value", "degC", "temperature of a sensor"),
    "cell_temperature_missing": _flag("cells", "sensor", "a temperature is not measured"),
    "cell_temperature_deviation": SignalInfo(
        "cells", "sensor", "value", "K", "distance of a sensor from the median sensor"
    ),
    "cell_temperature_stuck": SignalInfo(
        "cells", "sensor", "value", "K", "how far the median moved while a sensor's value did not"
    ),
    "cell_temperature_rate": SignalInfo(
        "cells", "sensor", "value", "K/s", "rate of rise over three seconds", longest_period_s=5.0
    ),
    "thermal_runaway_rate": SignalInfo(
        "cells",
        "cell",
        "value",
        "K/s",
        "rate of rise of a cell whose voltage collapsed or that is hotter than it may be used",
        longest_period_s=1.5,
    ),
    "open_wire": _flag("cells", "cell", "the AFE reports an open sense wire"),
    "afe_fault": _flag("cells", "module", "an AFE module reports a fault of its own"),
    "afe_lost": _flag("cells", "module", "no valid frame of an AFE module in a scan"),
    "afe_frames_rejected": SignalInfo(
        "cells", "pack", "value", "1", "AFE frames with wrong CRC, counter, length since last scan"
    ),
    "module_voltage_difference": SignalInfo(
        "cells", "module", "value", "V", "module voltage against the sum of its cells"
    ),
    "sum_of_cells_difference": SignalInfo(
        "cells", "pack", "value", "V", "sum of the cells in circuit against the pack voltage"
    ),
    "pack_voltage_ratio": SignalInfo(
        "cells", "pack", "value", "1", "pack voltage over the sum of the cells in circuit"
    ),
    "current_response": SignalInfo(
        "cells",
        "pack",
        "value",
        "V",
        "movement of the mean cell voltage that the current does not explain, or that it lacks",
        longest_period_s=2.0,
    ),
    "device_clock_jump": SignalInfo(
        "cells", "pack", "value", "s", "step of the AFE's clock against this computer's"
    ),
    "hardware_mismatch": _flag("cells", "pack", "the pack says it is built otherwise"),
    "pack_current": SignalInfo("pack", "pack", "value", "A", "pack current, charge positive"),
    "pack_current_missing": _flag("pack", "pack", "the pack current is not measured"),
    "pack_voltage_missing": _flag("pack", "pack", "the pack voltage is not measured"),
    "link_voltage_missing": _flag("pack", "pack", "the link voltage is not measured"),
    "current_difference": SignalInfo(
        "pack", "pack", "value", "A", "difference of the two current sensors"
    ),
    "precharge_slow": _flag("pack", "pack", "the link is not charged after the time it needs"),
    "precharge_fast": _flag("pack", "pack", "the link is charged sooner than the resistor allows"),
    "precharge_short": _flag("pack", "pack", "current flows, but the link does not charge"),
    "precharge_open": _flag("pack", "pack", "no current flows, and the link does not charge"),
    "insulation_resistance": SignalInfo(
        "insulation", "pack", "value", "ohm", "insulation resistance"
    ),
    "insulation_per_volt": SignalInfo(
        "insulation", "pack", "value", "ohm/V", "insulation resistance over pack voltage"
    ),
    "insulation_missing": _flag("insulation", "pack", "the insulation is not measured"),
    "gas": SignalInfo("environment", "pack", "value", "ppm", "gas in the pack"),
    "gas_missing": _flag("environment", "pack", "gas is not measured"),
    "humidity": SignalInfo("environment", "pack", "value", "1", "relative humidity in the pack"),
    "pressure_rise": SignalInfo(
        "environment", "pack", "value", "Pa", "pressure above what it was ten to twenty seconds ago"
    ),
    "shock": SignalInfo("environment", "pack", "value", "m/s^2", "largest acceleration"),
    "interlock_open": _flag("switch", "pack", "the interlock loop is open"),
    "emergency_stop": _flag("switch", "pack", "the emergency stop is pressed"),
    "crash_input": _flag("switch", "pack", "the vehicle reports a crash"),
    "switch_stays_open": _flag("switch", "switch", "commanded closed, fed back open"),
    "switch_stays_closed": _flag("switch", "switch", "commanded open, fed back closed"),
    "weld_voltage_ratio": SignalInfo(
        "switch", "pack", "value", "1", "link over pack voltage five seconds after all was open"
    ),
    "weld_negative_rise": SignalInfo(
        "switch",
        "pack",
        "value",
        "1",
        "rise of link over pack voltage before the negative contactor is closed",
    ),
    "switch_count_mismatch": _flag("switch", "pack", "the board has another number of switches"),
    "cells_age": _age("age of the newest scan"),
    "pack_age": _age("age of the newest sample of the pack sensor"),
    "redundant_current_age": _age("age of the second current sensor's newest sample"),
    "insulation_age": _age("age of the newest insulation measurement"),
    "environment_age": _age("age of the newest environment measurement"),
    "switch_state_age": _age("age of the switch board's newest feedback"),
    "pack_state_age": _age("age of the pack supervisor's newest state"),
    "foreign_publisher": _flag("clock", "pack", "a topic of the chain has a second publisher"),
    "loop_gap": SignalInfo("clock", "pack", "value", "s", "time since the judgement before"),
    "clock_jump": SignalInfo("clock", "pack", "value", "s", "step of the wall clock"),
}


def element_count(element: Element, pack: Pack) -> int:
    """How many values a signal of this kind of element has in a pack."""
    return {
        "pack": 1,
        "cell": pack.series,
        "sensor": pack.temperature_sensors,
        "module": pack.modules,
        "switch": len(pack.switching.switches),
    }[element]
