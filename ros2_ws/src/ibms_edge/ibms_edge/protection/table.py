# SPDX-License-Identifier: Apache-2.0
"""The table of diagnoses as configuration. No ROS."""

import zlib
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ibms_battery import configuration

Signal = Literal[
    "cell_voltage",
    "cell_voltage_missing",
    "cell_voltage_spread",
    "cell_temperature",
    "cell_temperature_missing",
    "cell_temperature_spread",
    "open_wire",
    "afe_status",
    "sum_of_cells_difference",
    "cells_age",
    "pack_current",
    "pack_current_missing",
    "pack_age",
    "insulation_resistance",
    "insulation_missing",
    "insulation_age",
    "gas",
    "gas_missing",
    "environment_age",
    "interlock_open",
    "emergency_stop",
    "switch_mismatch",
    "switch_state_age",
    "foreign_publisher",
]

Source = Literal["cells", "pack", "insulation", "environment", "switch", "clock"]

# Which input brings a fresh sample of a signal; "clock" is evaluated in every iteration.
SOURCE_OF: dict[Signal, Source] = {
    "cell_voltage": "cells",
    "cell_voltage_missing": "cells",
    "cell_voltage_spread": "cells",
    "cell_temperature": "cells",
    "cell_temperature_missing": "cells",
    "cell_temperature_spread": "cells",
    "open_wire": "cells",
    "afe_status": "cells",
    "sum_of_cells_difference": "cells",
    "cells_age": "clock",
    "pack_current": "pack",
    "pack_current_missing": "pack",
    "pack_age": "clock",
    "insulation_resistance": "insulation",
    "insulation_missing": "insulation",
    "insulation_age": "clock",
    "gas": "environment",
    "gas_missing": "environment",
    "environment_age": "clock",
    "interlock_open": "switch",
    "emergency_stop": "switch",
    "switch_mismatch": "switch",
    "switch_state_age": "clock",
    "foreign_publisher": "clock",
}


class Reaction(IntEnum):
    """What a fault demands, in rising strength; equal to ProtectionStatus.REACTION_*."""

    NONE = 0
    INFORM = 1
    DERATE = 2
    ISOLATE = 3
    OPEN_AFTER_ZERO_CURRENT = 4
    OPEN_NOW = 5


class Diagnosis(Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table."""

    id: Annotated[int, Meta(ge=1, le=65535)]
    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
    signal: Signal
    reaction: Literal["inform", "derate", "open_after_zero_current", "open_now"]
    text: Annotated[str, Meta(min_length=3, description="what it means, for people")]
    above: Annotated[
        float | None, Meta(description="bad above this limit, in the signal's unit")
    ] = None
    below: Annotated[
        float | None, Meta(description="bad below this limit, in the signal's unit")
    ] = None
    samples: Annotated[int, Meta(ge=1, le=1000, description="fresh bad samples to trip")] = 1
    time_s: Annotated[float, Meta(ge=0, le=3600, description="time from first bad sample")] = 0.0
    hysteresis: Annotated[float, Meta(ge=0, description="distance from the limit to recover")] = 0.0
    recovery_s: Annotated[
        float, Meta(ge=0, le=3600, description="time without fault to recover")
    ] = 1.0
    latched: Annotated[bool, Meta(description="stays until acknowledged")] = True
    zero_current_s: Annotated[
        float,
        Meta(ge=0, le=10, description="open_after_zero_current opens at the latest after this"),
    ] = 2.0

    @property
    def demand(self) -> Reaction:
        """The reaction as a number."""
        return Reaction[self.reaction.upper()]


class DiagnosisTable(Struct, frozen=True, forbid_unknown_fields=True):
    """All diagnoses of a pack."""

    description: str
    diagnoses: Annotated[list[Diagnosis], Meta(min_length=1)]

    def checksum(self) -> int:
        """CRC-32 of everything that is judged by; equal tables have equal ones."""
        return zlib.crc32(msgspec.json.encode(self.diagnoses))


# 0 is good and 1 is bad; such a signal has one sensible limit.
FLAGS: frozenset[Signal] = frozenset(
    {
        "cell_voltage_missing",
        "cell_temperature_missing",
        "open_wire",
        "afe_status",
        "pack_current_missing",
        "insulation_missing",
        "gas_missing",
        "interlock_open",
        "emergency_stop",
        "switch_mismatch",
        "foreign_publisher",
    }
)
AGES: frozenset[Signal] = frozenset(signal for signal in SOURCE_OF if signal.endswith("_age"))

# Nothing may close without these: they guard the cells, and make silence and missing values faults.
REQUIRED: tuple[tuple[Signal, Literal["above", "below"]], ...] = (
    ("cell_voltage", "above"),
    ("cell_voltage", "below"),
    ("cell_voltage_missing", "above"),
    ("cell_temperature", "above"),
    ("cell_temperature_missing", "above"),
    ("pack_current", "above"),
    ("pack_current", "below"),
    ("pack_current_missing", "above"),
    ("cells_age", "above"),
    ("pack_age", "above"),
    ("foreign_publisher", "above"),
)


def load_table(path: Path | str) -> DiagnosisTable:
    """Load and check a table of diagnoses.

    Raises:
        ConfigurationError: where a row is wrong, repeated, without a sensible limit, or a required
            one is missing.
    """
    document = configuration.read(path)
    table = configuration.convert(document, DiagnosisTable)
    identifiers: dict[int, str] = {}
    names: set[str] = set()
    for index, row in enumerate(table.diagnoses):
        here: list[str | int] = ["diagnoses", index]
        if row.id in identifiers:
            raise document.error([*here, "id"], f"{row.id} is already {identifiers[row.id]!r}")
        if row.name in names:
            raise document.error([*here, "name"], f"{row.name!r} stands twice")
        if (row.above is None) == (row.below is None):
            raise document.error(here, "needs exactly one of 'above' and 'below'")
        if row.signal in FLAGS and not (row.above is not None and 0.0 <= row.above < 1.0):
            raise document.error(here, f"{row.signal!r} is 0 or 1, expected 'above: 0.5'")
        if row.signal in AGES and not (row.above is not None and row.above > 0.0):
            raise document.error(
                here, f"{row.signal!r} grows from 0 s, expected 'above' with a time"
            )
        identifiers[row.id] = row.name
        names.add(row.name)
    opening = {
        (row.signal, "above" if row.above is not None else "below")
        for row in table.diagnoses
        if row.demand >= Reaction.OPEN_AFTER_ZERO_CURRENT
    }
    for signal, side in REQUIRED:
        if (signal, side) not in opening:
            raise document.error(
                ["diagnoses"],
                f"no diagnosis opens the pack when signal {signal!r} is {side} a limit; add one",
            )
    return table
