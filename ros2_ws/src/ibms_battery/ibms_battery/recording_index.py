# SPDX-License-Identifier: Apache-2.0
"""Index of recordings: an ``index.csv`` that tells what each file holds and how to read it. No ROS.

Columns: path, col_time, col_voltage, col_current, col_temperature, col_ah, current_sign
(discharge_negative or discharge_positive); further ones may be absent: dataset, cell_id, chemistry,
capacity_Ah, temperature_C, test, select (terms column==value joined by &), group (column that
numbers parts whose time restarts), sample_s, role (identify, train, test, ...), notes.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.compute

from ibms_battery.recordings import Columns, Recording, RecordingError, read_table, to_recording

INDEX_NAME = "index.csv"

_NEEDED = (
    "path",
    "col_time",
    "col_voltage",
    "col_current",
    "col_temperature",
    "col_ah",
    "current_sign",
)
_SIGNS = ("discharge_negative", "discharge_positive", "")


@dataclass(frozen=True)
class IndexRow:
    """One series of an index; texts are empty and numbers NaN where the index does not say.

    Where a series has no such column, its name in ``columns`` is empty, also that of the voltage
    or current, as for capacities over cycles.
    """

    folder: Path  # of the index
    path: str  # of the file, below the folder
    columns: Columns
    dataset: str
    cell_id: str
    chemistry: str
    capacity_ah: float  # rated
    temperature_c: float  # of the chamber
    test: str
    select: tuple[tuple[str, str], ...]  # columns and the values that pick the rows
    group: str
    sample_s: float
    role: str
    notes: str

    @property
    def file(self) -> Path:
        """The file itself."""
        return self.folder / self.path


def read_index(place: Path) -> list[IndexRow]:
    """Rows of an index, given as the file or as the folder that holds it, in its order.

    Raises:
        RecordingError: if there is none, it lacks a column, or a value cannot be; with the line.
    """
    index = place / INDEX_NAME if place.is_dir() else place
    try:
        with index.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise RecordingError(f"{index}: has no column {missing[0]!r}")
            return [_row(index, reader.line_num, values) for values in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{index}: cannot be read: {error}") from error


def find_rows(file: Path) -> list[IndexRow]:
    """Rows of the nearest index in a folder above ``file`` that list it.

    Raises:
        RecordingError: if there is no such file, or no index lists it.
    """
    if not file.is_file():
        raise RecordingError(f"{file}: there is no such file")
    for folder in file.resolve().parents:
        if not (folder / INDEX_NAME).is_file():
            continue
        relative = file.resolve().relative_to(folder).as_posix()
        rows = [row for row in read_index(folder) if row.path == relative]
        if rows:
            return rows
    raise RecordingError(
        f"{file}: no {INDEX_NAME} in a folder above lists it; name the columns yourself"
    )


def find_columns(file: Path) -> Columns:
    """Columns of ``file`` as the nearest index above says.

    Raises:
        RecordingError: as ``find_rows``, or if the index lists several series in the file.
    """
    rows = find_rows(file)
    if len(rows) > 1:
        raise RecordingError(
            f"{rows[0].folder / INDEX_NAME}: lists {len(rows)} series in {rows[0].path}; "
            "name the columns yourself"
        )
    return rows[0].columns


def load_row(row: IndexRow, gaps_allowed: bool = False) -> Recording:
    """The one recording of a row; the row's temperature stands where no column holds one.

    ``gaps_allowed`` as in ``load_recording``.

    Raises:
        RecordingError: as ``load_recording``, if the row consists of parts (see ``load_parts``), or
            if it holds no voltage or no current.
    """
    if row.group:
        raise RecordingError(f"{row.file}: consists of parts, numbered by column {row.group!r}")
    return _recording(row, _selected(row), gaps_allowed)


def load_parts(row: IndexRow) -> dict[str, Recording]:
    """The recordings of a row by the value of its group column, in the file's order.

    Raises:
        RecordingError: as ``load_row``; if the row is no group.
    """
    table = _selected(row)
    if not row.group:
        raise RecordingError(f"{row.file}: is one record, its row names no group")
    keys = _texts(row, table, row.group)
    parts: dict[str, Recording] = {}
    for key in dict.fromkeys(keys.to_pylist()):
        parts[str(key)] = _recording(row, table.filter(pyarrow.compute.equal(keys, key)))
    return parts


def _recording(row: IndexRow, table: pyarrow.Table, gaps_allowed: bool = False) -> Recording:
    for name, what in ((row.columns.voltage, "voltage"), (row.columns.current, "current")):
        if not name:
            raise RecordingError(f"{row.file}: holds no {what}, so it is no recording of a cell")
    recording = to_recording(row.file, table, row.columns, gaps_allowed)
    if row.columns.temperature or math.isnan(row.temperature_c):
        return recording
    return Recording(
        time_s=recording.time_s,
        voltage_v=recording.voltage_v,
        current_a=recording.current_a,
        temperature_c=np.full(len(recording.time_s), row.temperature_c),
        charge_ah=recording.charge_ah,
        repeated=recording.repeated,
    )


def _selected(row: IndexRow) -> pyarrow.Table:
    table = read_table(row.file)
    for column, value in row.select:
        table = table.filter(pyarrow.compute.equal(_texts(row, table, column), value))
        if not table.num_rows:
            raise RecordingError(f"{row.file}: no row has {column} equal to {value!r}")
    return table


def _texts(row: IndexRow, table: pyarrow.Table, column: str) -> pyarrow.ChunkedArray:
    if column not in table.column_names:
        raise RecordingError(f"{row.file}: has no column {column!r}, which the index names")
    return table.column(column).cast(pyarrow.string())


def _row(index: Path, line: int, values: Mapping[str, str | None]) -> IndexRow:
    def text(name: str) -> str:
        return (values.get(name) or "").strip()

    def number(name: str) -> float:
        try:
            return float(text(name) or "nan")
        except ValueError as error:
            raise RecordingError(
                f"{index}:{line}: {name} is {text(name)!r}, expected a number"
            ) from error

    sign = text("current_sign")
    if sign not in _SIGNS:
        raise RecordingError(
            f"{index}:{line}: current_sign is {sign!r}, expected {_SIGNS[0]} or {_SIGNS[1]}"
        )
    terms = [term.split("==") for term in text("select").split("&") if term]
    if any(len(term) != 2 for term in terms):
        raise RecordingError(
            f"{index}:{line}: select is {text('select')!r}, expected terms column==value"
        )
    return IndexRow(
        folder=index.parent,
        path=text("path"),
        columns=Columns(
            time=text("col_time"),
            voltage=text("col_voltage"),
            current=text("col_current"),
            temperature=text("col_temperature"),
            charge=text("col_ah"),
            discharge_positive=sign == "discharge_positive",
        ),
        dataset=text("dataset"),
        cell_id=text("cell_id"),
        chemistry=text("chemistry"),
        capacity_ah=number("capacity_Ah"),
        temperature_c=number("temperature_C"),
        test=text("test"),
        select=tuple((column, value) for column, value in terms),
        group=text("group"),
        sample_s=number("sample_s"),
        role=text("role"),
        notes=text("notes"),
    )
