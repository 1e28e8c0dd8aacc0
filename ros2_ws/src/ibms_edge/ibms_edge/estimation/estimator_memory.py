# SPDX-License-Identifier: Apache-2.0
"""What an estimator's state is kept with, and what a restart can conclude from it. No ROS."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import msgspec
import numpy as np
import numpy.typing as npt

from ibms_battery.clock import NS_PER_S
from ibms_edge.estimation.charge_counter import begun_anew

FloatArray = npt.NDArray[np.float64]

SCHEMA = 2
_LONGEST_GAP_S = 3600.0
_LONGEST_AWAY_S = 5 * 365 * 86_400.0
_CLOCK_TOLERANCE_S = 60.0
_RESTING_SHARE = 0.002  # of the capacity: a counter that moved no further shows a rest


class ForeignMemoryError(ValueError):
    """What was kept does not belong to this estimator."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What a state belongs to."""

    pack: str
    cell: str
    chemistry: str
    estimator: str
    cells: int
    capacity_ah: float  # of the description, to which factors refer


@dataclass(frozen=True, slots=True)
class Moment:
    """When a scan was, by all clocks, and the charge counter then."""

    boot_id: str
    boot_ns: int
    wall_ns: int
    charge_c: float


@dataclass(frozen=True, slots=True)
class Memory:
    """A state and the scan that it followed."""

    owner: Owner
    moment: Moment
    states: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class Absence:
    """What is known of the time since a state was kept.

    With ``is_gap`` scans are merely missing: ``away_s`` has passed, and the pack may have been in
    use. Otherwise it has rested for ``away_s``, or anything may have happened where that is NaN.
    """

    away_s: float
    is_gap: bool = False


class _Array(msgspec.Struct, frozen=True):
    shape: list[int]
    data: bytes


class _File(msgspec.Struct, frozen=True):
    schema: int
    owner: Owner
    moment: Moment
    states: dict[str, _Array]


def encode(memory: Memory) -> bytes:
    """For a file."""
    states = {
        name: _Array(list(values.shape), np.ascontiguousarray(values, "<f8").tobytes())
        for name, values in memory.states.items()
    }
    return msgspec.msgpack.encode(_File(SCHEMA, memory.owner, memory.moment, states))


def decode(data: bytes, owner: Owner) -> Memory:
    """From a file.

    Raises:
        ForeignMemoryError: if it cannot be read or belongs to something else than ``owner``.
    """
    try:
        file = msgspec.msgpack.decode(data, type=_File)
        states = {
            name: np.frombuffer(array.data, "<f8").reshape(array.shape).astype(np.float64)
            for name, array in file.states.items()
        }
    except (msgspec.DecodeError, ValueError) as error:
        raise ForeignMemoryError(f"cannot be read: {error}") from error
    if file.schema != SCHEMA:
        raise ForeignMemoryError(f"has schema {file.schema}, expected {SCHEMA}")
    for name in Owner.__dataclass_fields__:
        found, wanted = getattr(file.owner, name), getattr(owner, name)
        if found != wanted:
            raise ForeignMemoryError(f"is of {name} {found!r}, this is {wanted!r}")
    return Memory(file.owner, file.moment, states)


def absence(kept: Moment, now: Moment, capacity_c: float) -> Absence:
    """What is known of the time between two scans with a restart between them.

    In the same boot of the computer the time is sure, and a short one is a restart of the node
    alone, unless the sensor's counter has begun anew: then somebody worked on the pack. After a
    boot of the computer the wall clock tells, if it can be right: it may have lost its battery, but
    never shows less than the computer has been up. Without the computer the pack is open; a charge
    counter that went on and moved says that it was used nevertheless.

    Args:
        kept: scan of the kept state.
        now: first scan after the restart.
        capacity_c: of the pack [C].
    """
    moved_c = now.charge_c - kept.charge_c  # NaN without a counter
    if now.boot_id == kept.boot_id:
        away_s = (now.boot_ns - kept.boot_ns) / NS_PER_S
        if away_s < 0.0 or begun_anew(kept.charge_c, now.charge_c, capacity_c):
            return Absence(nan)
        if away_s <= _LONGEST_GAP_S:
            return Absence(away_s, is_gap=True)
        return Absence(away_s if abs(moved_c) <= _RESTING_SHARE * capacity_c else nan)
    away_s = (now.wall_ns - kept.wall_ns) / NS_PER_S
    up_s = now.boot_ns / NS_PER_S
    if not up_s - _CLOCK_TOLERANCE_S <= away_s <= _LONGEST_AWAY_S or away_s < 0.0:
        return Absence(nan)
    went_on = not begun_anew(kept.charge_c, now.charge_c, capacity_c)
    if went_on and abs(moved_c) > _RESTING_SHARE * capacity_c:  # False for NaN
        return Absence(nan)
    return Absence(away_s)
