# SPDX-License-Identifier: Apache-2.0
"""Recordings with many cells, as vehicles and test benches write them. No ROS.

What is peculiar to a source (codes for invalid, offsets, the sign of the current) stands in a
description, a file of ``config/recordings``; what comes out is the same for all.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet
from msgspec import Meta, Struct

from ibms_battery import configuration
from ibms_battery.recording_index import find_columns
from ibms_battery.recordings import FloatArray, RecordingError, load_recording, read_table

_NUMBER = "{number}"


class Values(Struct, frozen=True, forbid_unknown_fields=True):
    """Columns of one quantity, one per cell or sensor, in the order of their numbers."""

    columns: Annotated[str, Meta(description="name with {number} in it", pattern=r"\{number\}")]
    lowest_valid: Annotated[
        float, Meta(description="below it is a code, before the offset")
    ] = -np.inf
    highest_valid: Annotated[float, Meta(description="above it is a code")] = np.inf
    offset: Annotated[float, Meta(description="added to what the file says")] = 0.0


class Description(Struct, frozen=True, forbid_unknown_fields=True):
    """How a source writes; units s, V, A, degC."""

    voltage: Values
    needs: Annotated[list[str], Meta(description="columns by which a file is recognised")] = []
    lacks: Annotated[list[str], Meta(description="columns that such a file does not have")] = []
    refresh_s: Annotated[
        float,
        Meta(
            ge=0,
            description="time in which every cell is read anew, where rows come more often and "
            "repeat the others' last values; 0: all cells of a row are sampled together",
        ),
    ] = 0.0
    time: str = "time_s"
    wall_time: Annotated[str, Meta(description="column of dates and times; empty: none")] = ""
    temperature: Values | None = None
    current: str = ""
    discharge_positive: bool = False
    pack_voltage: str = ""
    warning_level: Annotated[str, Meta(description="warnings of the vehicle's own BMS")] = ""


@dataclass(frozen=True)
class FleetRecording:
    """A time series of a pack; NaN where a value was not measured or its code says invalid.

    Time rises strictly. Current is charge positive. ``wall_time`` is empty without dates.
    """

    name: str
    time_s: FloatArray  # (rows,)
    voltage_v: FloatArray  # (rows, cells)
    temperature_c: FloatArray  # (rows, sensors)
    current_a: FloatArray  # (rows,)
    pack_voltage_v: FloatArray  # (rows,)
    warning_level: FloatArray  # (rows,)
    wall_time: npt.NDArray[np.datetime64]  # (rows,) or (0,)
    cell_names: list[str]
    sensor_names: list[str]
    repeated: int  # rows left out as their time had been seen
    invalid: int  # values that are a code or no number
    refresh_s: float = 0.0  # time in which every cell is read anew; 0: rows are sampled together

    @property
    def period_s(self) -> float:
        """Usual time from one row to the next."""
        return float(np.median(np.diff(self.time_s)))

    @property
    def sample_period_s(self) -> float:
        """Usual time from one fresh value of a cell to the next."""
        return max(self.period_s, self.refresh_s)


def load_descriptions(folder: Path) -> dict[str, Description]:
    """All descriptions of a folder by name.

    Raises:
        ConfigurationError: where one is wrong.
    """
    return {path.stem: load_description(path) for path in sorted(folder.glob("*.yaml"))}


def load_description(path: Path) -> Description:
    """Load one.

    Raises:
        ConfigurationError: where it is wrong.
    """
    document = configuration.read(path)
    description = configuration.convert(document, Description)
    for key in ("voltage", "temperature"):
        values: Values | None = getattr(description, key)
        if values is not None and values.lowest_valid >= values.highest_valid:
            raise document.error(
                [key, "lowest_valid"],
                f"found {values.lowest_valid:g}, expected less than highest_valid "
                f"{values.highest_valid:g}",
            )
    return description


def load_fleet_recording(file: Path, descriptions: dict[str, Description]) -> FleetRecording:
    """Read a parquet or CSV file of one cell that an ``index.csv`` lists, or of many cells.

    Raises:
        RecordingError: if no description or more than one fits, or the data cannot be used.
    """
    table = read_table(file)
    present = set(table.column_names)
    fitting = [
        name
        for name, description in descriptions.items()
        if description.needs
        and present.issuperset(description.needs)
        and not present & set(description.lacks)
    ]
    if len(fitting) > 1:
        raise RecordingError(f"{file}: fits the descriptions {' and '.join(fitting)}; name one")
    if fitting:
        return _as_described(file, table, descriptions[fitting[0]])
    try:
        columns = find_columns(file)
    except RecordingError as error:
        raise RecordingError(
            f"{file}: fits none of the descriptions {', '.join(descriptions)}, and no index.csv "
            "above lists it; write a description as in config/recordings"
        ) from error
    cell = load_recording(file, columns)
    unmeasured = np.full(len(cell.time_s), np.nan)
    return FleetRecording(
        name=file.stem,
        time_s=cell.time_s,
        voltage_v=cell.voltage_v[:, np.newaxis],
        temperature_c=cell.temperature_c[:, np.newaxis],
        current_a=cell.current_a,
        pack_voltage_v=unmeasured,
        warning_level=unmeasured,
        wall_time=np.array([], "datetime64[ms]"),
        cell_names=["cell"],
        sensor_names=["sensor"],
        repeated=cell.repeated,
        invalid=0,
    )


def read_fleet_recording(file: Path, description: Description) -> FleetRecording:
    """Read a file as a description says.

    Raises:
        RecordingError: if a column is missing or not a number, time falls, or there are no two
            rows.
    """
    return _as_described(file, read_table(file), description)


def _as_described(file: Path, table: pyarrow.Table, description: Description) -> FleetRecording:
    time_s = _column(file, table, description.time)
    step_s = np.diff(time_s, prepend=-np.inf)
    if len(wrong := np.flatnonzero(~(step_s >= 0))):
        row = int(wrong[0])
        raise RecordingError(f"{file}: time does not rise in row {row}, it is {time_s[row]:g} s")
    new = step_s > 0
    if int(new.sum()) < 2:
        raise RecordingError(f"{file}: holds fewer than two rows")

    def single(name: str) -> FloatArray:
        return _column(file, table, name)[new] if name else np.full(int(new.sum()), np.nan)

    voltage_v, cells = _many(file, table, description.voltage, new)
    temperature_c, sensors = np.full((int(new.sum()), 1), np.nan), ["sensor"]
    if description.temperature is not None:
        temperature_c, sensors = _many(file, table, description.temperature, new)
    wall_time = np.array([], "datetime64[ms]")
    if description.wall_time:
        wall_time = _dates(file, table, description.wall_time)[new]
    measured = [voltage_v] + ([temperature_c] if description.temperature is not None else [])
    sign = -1.0 if description.discharge_positive else 1.0
    return FleetRecording(
        name=file.stem,
        time_s=time_s[new] - time_s[0],
        voltage_v=voltage_v,
        temperature_c=temperature_c,
        current_a=sign * single(description.current),
        pack_voltage_v=single(description.pack_voltage),
        warning_level=single(description.warning_level),
        wall_time=wall_time,
        cell_names=cells,
        sensor_names=sensors,
        repeated=int(len(new) - new.sum()),
        invalid=sum(int(np.isnan(values).sum()) for values in measured),
        refresh_s=description.refresh_s,
    )


def _many(
    file: Path, table: pyarrow.Table, values: Values, rows: npt.NDArray[np.bool_]
) -> tuple[FloatArray, list[str]]:
    before, _, after = values.columns.partition(_NUMBER)
    pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    numbered = {
        int(match[1]): name for name in table.column_names if (match := pattern.fullmatch(name))
    }
    if not numbered:
        raise RecordingError(f"{file}: has no column {values.columns!r}")
    names = [numbered[number] for number in sorted(numbered)]
    read = np.stack([_column(file, table, name) for name in names], axis=1)[rows]
    valid = (read >= values.lowest_valid) & (read <= values.highest_valid)
    return np.where(valid, read + values.offset, np.nan), names


def _column(file: Path, table: pyarrow.Table, name: str) -> FloatArray:
    """A column as numbers; NaN where it is empty."""
    if name not in table.column_names:
        raise RecordingError(
            f"{file}: has no column {name!r}, it has {', '.join(table.column_names[:12])}"
        )
    try:
        values = table.column(name).cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    except pyarrow.ArrowException as error:
        raise RecordingError(f"{file}: column {name!r} does not hold numbers: {error}") from error
    return np.asarray(values, dtype=np.float64)


def _dates(file: Path, table: pyarrow.Table, name: str) -> npt.NDArray[np.datetime64]:
    if name not in table.column_names:
        raise RecordingError(f"{file}: has no column {name!r}")
    try:
        column = table.column(name).cast(pyarrow.timestamp("ms"))
    except pyarrow.ArrowException as error:
        raise RecordingError(f"{file}: column {name!r} does not hold dates: {error}") from error
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype="datetime64[ms]")
