# SPDX-License-Identifier: Apache-2.0
"""Which diagnoses a recording can answer: what a signal needs, and what the recording has."""

from typing import Literal

import numpy as np

from ibms_battery.fleet_recordings import FleetRecording
from ibms_edge.protection.signals import SIGNALS, Signal
from ibms_edge.protection.table import Diagnosis

Need = Literal["current", "temperature", "pack voltage", "several cells", "several sensors"]

# Signals that follow from cell voltages, temperatures, current and pack voltage, with what they
# need beside the cell voltages. All others come from devices that no recording has.
_NEEDS: dict[Signal, tuple[Need, ...]] = {
    "cell_voltage": (),
    "cell_voltage_missing": (),
    "cell_voltage_deviation": ("several cells",),
    "cell_imbalance": ("several cells", "current"),
    "cell_internal_short": ("several cells", "current"),
    "cell_voltage_stuck": ("several cells",),
    "cell_temperature": ("temperature",),
    "cell_temperature_missing": ("temperature",),
    "cell_temperature_deviation": ("several sensors",),
    "cell_temperature_stuck": ("several sensors",),
    "cell_temperature_rate": ("temperature",),
    "thermal_runaway_rate": ("temperature",),
    "sum_of_cells_difference": ("pack voltage",),
    "pack_voltage_ratio": ("pack voltage",),
    "current_response": ("current",),
    "pack_current": ("current",),
    "pack_current_missing": ("current",),
}


def obstacle(row: Diagnosis, recording: FleetRecording) -> str | None:
    """Why a diagnosis cannot be evaluated on the recording; ``None`` if it can."""
    info = SIGNALS[row.signal]
    needs = _NEEDS.get(row.signal)
    if needs is None:
        if info.source == "clock":
            return "needs live nodes"
        return f"the recording does not hold its signal ({info.text})"
    if row.states:
        return "the recording does not hold the pack state"
    if row.direction is not None:
        needs = (*needs, "current")
    for need in needs:
        if not _has(need, recording):
            return f"the recording does not hold {need}"
    period_s = recording.sample_period_s if info.source == "cells" else recording.period_s
    if period_s > info.longest_period_s:
        return (
            f"needs a sample each {info.longest_period_s:g} s, the recording has one each "
            f"{period_s:g} s"
        )
    return None


def _has(need: Need, recording: FleetRecording) -> bool:
    values = {
        "current": recording.current_a,
        "temperature": recording.temperature_c,
        "several sensors": recording.temperature_c,
        "pack voltage": recording.pack_voltage_v,
        "several cells": recording.voltage_v,
    }[need]
    several = need.startswith("several")
    return bool(np.isfinite(values).any()) and (not several or values.shape[1] > 1)
