# SPDX-License-Identifier: Apache-2.0
"""Measured data of real cells: files with time, voltage, current and temperature. No ROS."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from msgspec import Meta, Struct

FloatArray = npt.NDArray[np.float64]


class RecordingError(ValueError):
    """A recording that cannot be used; the text says file, place and how to mend it."""


class Columns(Struct, frozen=True, forbid_unknown_fields=True):
    """Names of the columns in a file, in units s, V, A, degC, Ah; an empty name means none."""

    time: str = "time_s"
    voltage: str = "voltage_V"
    current: str = "current_A"
    temperature: str = ""
    charge: str = ""
    discharge_positive: Annotated[
        bool, Meta(description="true where the file counts discharge as positive")
    ] = False


@dataclass(frozen=True)
class Recording:
    """A time series of one cell, all arrays (samples,).

    Time starts at 0 and rises strictly; current is charge positive; what was not measured is NaN.
    ``charge_ah`` falls on discharge. ``repeated`` counts rows left out as their time had been seen.
    """

    time_s: FloatArray
    voltage_v: FloatArray
    current_a: FloatArray
    temperature_c: FloatArray
    charge_ah: FloatArray
    repeated: int

    @property
    def duration_s(self) -> float:
        """Time from the first to the last sample."""
        return float(self.time_s[-1])


def load_recording(file: Path, columns: Columns, gaps_allowed: bool = False) -> Recording:
    """Read a parquet or CSV file.

    Args:
        file: the file.
        columns: what is where.
        gaps_allowed: values that are missing or not finite count as unmeasured, except of the time.

    Raises:
        RecordingError: if it cannot be read, lacks a column, holds no two samples, or if time falls
            or, unless allowed, a value is not finite; with the row.
    """
    return to_recording(file, read_table(file), columns, gaps_allowed)


def to_recording(
    file: Path, table: pyarrow.Table, columns: Columns, gaps_allowed: bool = False
) -> Recording:
    """The recording in a table that was read from ``file``; as ``load_recording``."""
    names = [columns.time, columns.voltage, columns.current]
    names += [name for name in (columns.temperature, columns.charge) if name]
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise RecordingError(
            f"{file}: has no column {missing[0]!r}, it has {', '.join(table.column_names)}"
        )
    values = {
        name: _numbers(file, table, name, gaps_allowed and name != columns.time) for name in names
    }
    time_s = values[columns.time]
    step_s = np.diff(time_s, prepend=-np.inf)
    falling = np.flatnonzero(step_s < 0)
    if len(falling):
        row = int(falling[0])
        raise RecordingError(
            f"{file}: time falls from {time_s[row - 1]:g} to {time_s[row]:g} s in row {row}; "
            "split it into series with rising time"
        )
    new = step_s > 0
    if int(new.sum()) < 2:
        raise RecordingError(f"{file}: holds fewer than two samples")
    unmeasured = np.full(int(new.sum()), np.nan)
    sign = -1.0 if columns.discharge_positive else 1.0
    return Recording(
        time_s=time_s[new] - time_s[0],
        voltage_v=values[columns.voltage][new],
        current_a=sign * values[columns.current][new],
        temperature_c=values[columns.temperature][new] if columns.temperature else unmeasured,
        charge_ah=values[columns.charge][new] if columns.charge else unmeasured,
        repeated=int(len(new) - new.sum()),
    )


def read_table(file: Path) -> pyarrow.Table:
    """Read a parquet or CSV file; raises RecordingError if that fails."""
    try:
        if file.suffix == ".parquet":
            return pyarrow.parquet.read_table(file)
        return pyarrow.csv.read_csv(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise RecordingError(f"{file}: cannot be read as parquet or CSV: {error}") from error


def _numbers(file: Path, table: pyarrow.Table, name: str, gaps_allowed: bool) -> FloatArray:
    try:
        values = table.column(name).cast(pyarrow.float64()).to_numpy()
    except pyarrow.ArrowException as error:
        raise RecordingError(f"{file}: column {name!r} does not hold numbers: {error}") from error
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong) and gaps_allowed:
        values = np.where(np.isfinite(values), values, np.nan)
    elif len(wrong):
        raise RecordingError(f"{file}: column {name!r} has no finite value in row {int(wrong[0])}")
    return np.asarray(values, dtype=np.float64)
