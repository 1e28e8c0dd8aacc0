# SPDX-License-Identifier: Apache-2.0
"""How values and states are put into words; shared by the screen and the plain lines."""

import datetime
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ibms_msgs.msg import BalancingStatus, PackLimits, PackState, ProtectionStatus, ThermalState
from ibms_tools.view.picture import Picture

UNKNOWN = "--"

_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"))


def _constants(message: Any, prefix: str) -> dict[int, str]:
    """Names of a message's constants by value, in small letters."""
    return {
        getattr(message, name): name.removeprefix(prefix).replace("_", " ").lower()
        for name in dir(type(message))
        if name.startswith(prefix)
    }


STATES = _constants(PackState, "STATE_")
LIMITED_BY = _constants(PackLimits, "LIMIT_")
INHIBITED_BY = _constants(BalancingStatus, "INHIBIT_")
REACTIONS = _constants(ProtectionStatus, "REACTION_")
THERMAL_MODES = _constants(ThermalState, "MODE_")


def number(value: float, unit: str, digits: int = 1) -> str:
    """``12.3 V``, or two dashes where it is unknown."""
    return UNKNOWN if math.isnan(value) else f"{value:.{digits}f} {unit}"


def rate(value_hz: float) -> str:
    """``49.9/s``, or dashes."""
    return UNKNOWN if math.isnan(value_hz) else f"{value_hz:.3g}/s"


def scaled(value: float, unit: str) -> str:
    """Three significant digits with a decimal prefix: ``5.03 MΩ``."""
    if math.isnan(value):
        return UNKNOWN
    for step, prefix in _STEPS:
        if abs(value) >= step:
            return f"{value / step:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def percent(ratio: float, digits: int = 0) -> str:
    """``79.8%``, or two dashes."""
    return UNKNOWN if math.isnan(ratio) else f"{ratio:.{digits}%}"


def soc(picture: Picture) -> str:
    """``79.8% ±0.6``: the pack's charge with one sigma, or dashes."""
    estimate = picture.estimate
    if estimate is None or not estimate.valid:
        return UNKNOWN
    return f"{percent(estimate.soc, 1)} ±{100.0 * estimate.soc_std:.1f}"


def direction(current_a: float) -> str:
    """What the sign of the pack current means."""
    if math.isnan(current_a) or abs(current_a) < 0.5:
        return ""
    return "charging" if current_a > 0 else "discharging"


def values(cells: Any, name: str) -> npt.NDArray[np.float64]:
    """An array of ``CellStates``, (cells,); empty if there is none."""
    if cells is None:
        return np.empty(0)
    return np.asarray(getattr(cells, name), dtype=np.float64)


def extremes(array: npt.NDArray[np.float64]) -> tuple[int, int] | None:
    """Index of the lowest and of the highest known value."""
    if not np.isfinite(array).any():
        return None
    return int(np.nanargmin(array)), int(np.nanargmax(array))


def mean(array: npt.NDArray[np.float64]) -> float:
    """Mean of the known values; NaN if there is none."""
    known = array[np.isfinite(array)]
    return float(known.mean()) if known.size else math.nan


def power_w(picture: Picture) -> float:
    """Pack power, charge positive [W]."""
    sample = picture.sample
    return math.nan if sample is None else float(sample.current_a * sample.voltage_v)


def contactors(picture: Picture) -> str:
    """Verified configuration with one sign per switch."""
    switch = picture.switch
    if switch is None or not switch.board_valid:
        return "no feedback"
    signs = "".join("●" if closed else "○" for closed in switch.closed)
    extra = " (latched)" if switch.dead_man_latched else ""
    return f"{switch.configuration} {signs}{extra}"


def clock_time(event: Any) -> str:
    """Local time of day of a message."""
    stamp = event.header.stamp
    moment = datetime.datetime.fromtimestamp(stamp.sec + stamp.nanosec * 1e-9).astimezone()
    return moment.strftime("%H:%M:%S")


def cores(picture: Picture, simulation: bool) -> float:
    """Processor time of the edge's or of the simulation's processes [cores]."""
    known = [
        load.cpu_cores
        for load in picture.loads
        if load.is_simulation is simulation and not math.isnan(load.cpu_cores)
    ]
    return sum(known) if known else math.nan


def elapsed(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
