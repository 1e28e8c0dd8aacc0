# SPDX-License-Identifier: Apache-2.0
"""Reads speed schedules and current profiles from CSV files."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ibms_battery.configuration import ConfigurationError

FloatArray = npt.NDArray[np.float64]

KM_H_TO_M_S = 1 / 3.6
MPH_TO_M_S = 0.44704  # by definition


class Series:
    """Values over time, repeated after their last point, linear in between."""

    def __init__(self, time_s: FloatArray, values: FloatArray) -> None:
        self.time_s = time_s - time_s[0]
        self.values = values
        self.duration_s = float(self.time_s[-1])

    def at(self, time_s: float) -> float:
        """Value at ``time_s`` after the start."""
        return float(np.interp(time_s % self.duration_s, self.time_s, self.values))


def load_series(path: Path, columns: dict[str, float]) -> Series:
    """Read ``time_s`` and one of ``columns`` (name -> factor to SI) of a CSV file.

    Lines that start with ``#`` are comments.

    Raises:
        ConfigurationError: with file, line and what was expected.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), None, "", f"cannot be read: {error}") from error
    rows = [
        (n, text) for n, text in enumerate(lines, 1) if text.strip() and not text.startswith("#")
    ]
    if not rows:
        raise ConfigurationError(str(path), None, "", "is empty, expected a header and values")
    header = [name.strip() for name in rows[0][1].split(",")]
    wanted = [name for name in columns if name in header]
    if "time_s" not in header or len(wanted) != 1:
        raise ConfigurationError(
            str(path),
            rows[0][0],
            "header",
            f"found {', '.join(header)}, expected time_s and one of {', '.join(columns)}",
        )
    places = header.index("time_s"), header.index(wanted[0])
    table: list[tuple[float, float]] = []
    for line, text in rows[1:]:
        cells = text.split(",")
        try:
            time_s, value = (float(cells[place]) for place in places)
        except (ValueError, IndexError) as error:
            raise ConfigurationError(
                str(path), line, "", f"found {text!r}, expected numbers"
            ) from error
        if not (np.isfinite(time_s) and np.isfinite(value)) or (table and time_s <= table[-1][0]):
            raise ConfigurationError(
                str(path), line, "", f"found {text!r}, expected finite values and rising time_s"
            )
        table.append((time_s, value))
    if len(table) < 2:
        raise ConfigurationError(str(path), None, "", "holds fewer than two rows of values")
    values = np.array(table)
    return Series(values[:, 0], values[:, 1] * columns[wanted[0]])


def load_schedule(path: Path) -> Series:
    """Speed over time [m/s]; raises ``ConfigurationError``."""
    return load_series(path, {"speed_km_h": KM_H_TO_M_S, "speed_mph": MPH_TO_M_S, "speed_m_s": 1.0})


def load_profile(path: Path) -> Series:
    """Pack current over time [A], charge positive; raises ``ConfigurationError``."""
    return load_series(path, {"current_a": 1.0})
