# SPDX-License-Identifier: Apache-2.0
"""Complete discharges of ageing tests, and windows cut from them. No ROS."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow
import pyarrow.compute

from ibms_battery.recording_index import IndexRow
from ibms_battery.recordings import Recording, RecordingError, read_table, to_recording
from ibms_edge.estimation.capacity import Window

_LEAST_SAMPLES = 20
_LOAD_SHARE = 0.9  # of the current of the discharge
_ROUNDING_V = 1e-4  # files hold 2.70000005 V where the tester ended at 2.7 V


def read_discharges(rows: Sequence[IndexRow], end_voltage_v: float) -> list[Window]:
    """Complete discharges of a cell, in the order of the rows and of time.

    Raises:
        RecordingError: if a file cannot be read, or none of them holds a complete discharge.
    """
    found = [
        discharge
        for row in rows
        for recording in _recordings(row)
        for discharge in find_discharges(recording, end_voltage_v)
    ]
    if not found:
        raise RecordingError(
            f"{rows[0].file}: no discharge at constant current goes down to {end_voltage_v:g} V"
        )
    return found


def find_discharges(recording: Recording, end_voltage_v: float) -> list[Window]:
    """Discharges at constant current down to the end voltage; those that end before are left out.

    Charge counts from the last sample before the load, to the first at or below the end voltage.
    """
    known = np.isfinite(recording.current_a) & np.isfinite(recording.voltage_v)
    time_s, current_a = recording.time_s[known], recording.current_a[known]
    voltage_v, temperature_c = recording.voltage_v[known], recording.temperature_c[known]
    if len(current_a) < _LEAST_SAMPLES:
        return []
    # The counter of a tester is better than a sum over its samples, where there is one.
    counted_ah = -recording.charge_ah[known]
    if not np.isfinite(counted_ah).all():
        steps = -0.5 * (current_a[1:] + current_a[:-1]) * np.diff(time_s) / 3600.0
        counted_ah = np.concatenate([[0.0], np.cumsum(steps)])
    found = []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], current_a < 0.0, [0]])))
    for begin, end in edges.reshape(-1, 2):
        typical_a = np.median(current_a[begin:end])
        loaded = begin + np.flatnonzero(current_a[begin:end] < _LOAD_SHARE * typical_a)
        ended = loaded[voltage_v[loaded] <= end_voltage_v + _ROUNDING_V]
        if not len(ended):
            continue
        part = slice(loaded[0], ended[0] + 1)
        if part.stop - part.start < _LEAST_SAMPLES:
            continue
        found.append(
            Window(
                charge_ah=counted_ah[part] - counted_ah[max(part.start - 1, 0)],
                voltage_v=voltage_v[part],
                current_a=current_a[part],
                temperature_c=temperature_c[part],
            )
        )
    return found


def cut(discharge: Window, begin: float, end: float) -> Window:
    """The part of a complete discharge from the SOC ``begin`` to ``end`` of its own capacity."""
    soc = 1.0 - discharge.charge_ah / discharge.charge_ah[-1]
    inside = (soc <= begin) & (soc >= end)
    return Window(
        charge_ah=discharge.charge_ah[inside],
        voltage_v=discharge.voltage_v[inside],
        current_a=discharge.current_a[inside],
        temperature_c=discharge.temperature_c[inside],
    )


def _recordings(row: IndexRow) -> Iterator[Recording]:
    """The recordings of a row; values that are missing stay so, as ageing tests have some."""
    table = read_table(row.file)
    keys = table.column(row.group) if row.group else pyarrow.array(np.zeros(table.num_rows))
    for key in pyarrow.compute.unique(keys):
        part = table.filter(pyarrow.compute.equal(keys, key))
        if part.num_rows >= _LEAST_SAMPLES:
            yield to_recording(row.file, part, row.columns, gaps_allowed=True)
