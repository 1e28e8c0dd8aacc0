# SPDX-License-Identifier: Apache-2.0
"""The table of diagnoses as configuration. No ROS."""

import zlib
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ibms_battery import configuration
from ibms_battery.configuration import Document
from ibms_battery.pack import Pack
from ibms_edge.protection.signals import SIGNALS, Signal


class Reaction(IntEnum):
    """What a fault demands, in rising strength; equal to ProtectionStatus.REACTION_*."""

    NONE = 0
    INFORM = 1
    DERATE = 2
    ISOLATE = 3
    OPEN_AFTER_ZERO_CURRENT = 4
    OPEN_NOW = 5


class Level(IntEnum):
    """Which limit was passed; equal to ProtectionStatus.LEVEL_*."""

    OPERATING = 1
    RECOMMENDED = 2
    SAFETY = 3


class Severity(IntEnum):
    """How bad it is, for people; equal to Event.SEVERITY_*."""

    INFO = 0
    WARNING = 1
    ERROR = 2


StateName = Literal["off", "standby", "precharge", "drive", "charge", "rest", "error", "shutdown"]
Direction = Literal["charge", "discharge"]


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Up to three limits: passing the operating limit informs, the recommended one derates."""

    safety: float
    recommended: float | None = None
    operating: float | None = None

    def levels(self) -> list[tuple[Level, float]]:
        """Levels that are given, weakest first."""
        given = (
            (Level.OPERATING, self.operating),
            (Level.RECOMMENDED, self.recommended),
            (Level.SAFETY, self.safety),
        )
        return [(level, limit) for level, limit in given if limit is not None]


class Diagnosis(Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table."""

    id: Annotated[int, Meta(ge=1, le=65535)]
    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
    signal: Signal
    reaction: Literal["inform", "derate", "isolate", "open_after_zero_current", "open_now"]
    text: Annotated[str, Meta(min_length=3, description="what it means, for people")]
    above: Annotated[
        float | Limits | None, Meta(description="bad above this limit, in the signal's unit")
    ] = None
    below: Annotated[
        float | Limits | None, Meta(description="bad below this limit, in the signal's unit")
    ] = None
    samples: Annotated[int, Meta(ge=1, le=1000, description="fresh bad samples to trip")] = 1
    time_s: Annotated[float, Meta(ge=0, le=3600, description="time from first bad sample")] = 0.0
    debounce: Annotated[
        Literal["consecutive", "counter"],
        Meta(
            description="consecutive: bad samples in a row; counter: one up per bad sample, one "
            "down per good one, trips at `samples`, recovers at 0"
        ),
    ] = "consecutive"
    curve: Annotated[
        list[tuple[float, float]],
        Meta(
            description="inverse time: pairs of value and seconds to trip, from the limit outwards;"
            " in between interpolated in logarithms"
        ),
    ] = []
    states: Annotated[
        list[StateName], Meta(description="pack states in which it applies; empty: all")
    ] = []
    direction: Annotated[
        Direction | None, Meta(description="applies only while current flows this way")
    ] = None
    severity: Annotated[
        Literal["info", "warning", "error"] | None, Meta(description="default: by the reaction")
    ] = None
    hysteresis: Annotated[float, Meta(ge=0, description="distance from the limit to recover")] = 0.0
    recovery_s: Annotated[
        float, Meta(ge=0, le=3600, description="time without fault to recover")
    ] = 1.0
    latched: Annotated[bool, Meta(description="stays until acknowledged")] = True
    lockout: Annotated[
        bool,
        Meta(description="latched over restarts; cleared only by naming it when acknowledging"),
    ] = False
    zero_current_s: Annotated[
        float,
        Meta(ge=0, le=10, description="open_after_zero_current opens at the latest after this"),
    ] = 2.0
    isolate_s: Annotated[
        float, Meta(ge=0, le=2, description="isolate opens where this passed without being shown")
    ] = 0.25

    @property
    def demand(self) -> Reaction:
        """The reaction at the safety level."""
        return Reaction[self.reaction.upper()]

    @property
    def is_above(self) -> bool:
        """Whether values above the limit are bad."""
        return self.above is not None

    @property
    def limits(self) -> Limits:
        """Its limits; a single number is the safety limit."""
        limits = self.above if self.above is not None else self.below
        return limits if isinstance(limits, Limits) else Limits(safety=limits or 0.0)

    def demand_at(self, level: Level) -> Reaction:
        """The reaction at a level; a lower level never demands more than a higher one."""
        weakest = {Level.OPERATING: Reaction.INFORM, Level.RECOMMENDED: Reaction.DERATE}
        return min(weakest.get(level, self.demand), self.demand)

    def severity_at(self, level: Level) -> Severity:
        """How bad it is at a level."""
        if self.severity is not None and level is Level.SAFETY:
            return Severity[self.severity.upper()]
        demand = self.demand_at(level)
        if demand <= Reaction.INFORM:
            return Severity.INFO
        return Severity.WARNING if demand is Reaction.DERATE else Severity.ERROR


class SignalParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What derived signals need to know of the cells."""

    maximum_working_temperature_c: Annotated[
        float, Meta(ge=20, le=120, description="above it a fast rise is taken for a runaway [degC]")
    ] = 60.0
    runaway_voltage_drop: Annotated[
        float,
        Meta(gt=0, lt=1, description="share of its voltage that a cell in runaway loses at least"),
    ] = 0.25
    rest_current_a: Annotated[
        float, Meta(gt=0, description="below it the pack rests, for comparing cells [A]")
    ] = 5.0
    flowing_current_a: Annotated[
        float, Meta(gt=0, description="above it current flows in a direction [A]")
    ] = 2.0


class DiagnosisTable(Struct, frozen=True, forbid_unknown_fields=True):
    """All diagnoses of a pack."""

    description: str
    diagnoses: Annotated[list[Diagnosis], Meta(min_length=1)]
    signals: SignalParameters = SignalParameters()

    def checksum(self) -> int:
        """CRC-32 of everything that is judged by; equal tables have equal ones."""
        return zlib.crc32(msgspec.json.encode((self.diagnoses, self.signals)))

    def named(self, name: str) -> Diagnosis | None:
        """The row of this name."""
        return next((row for row in self.diagnoses if row.name == name), None)

    @property
    def lockouts(self) -> frozenset[int]:
        """Identifiers that are kept over restarts."""
        return frozenset(row.id for row in self.diagnoses if row.lockout)


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

# One or two disturbed samples must never move a contactor.
FEWEST_SAMPLES = {"value": 3, "flag": 2}


class _TableFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of ``config/diagnoses``: a whole table, or what differs from another."""

    description: str
    diagnoses: list[Diagnosis] = []
    signals: SignalParameters = SignalParameters()
    base: Annotated[
        str | None, Meta(description="file beside this one whose rows hold here as well")
    ] = None
    changes: Annotated[
        dict[str, dict[str, Any]], Meta(description="name of a row of the base -> other fields")
    ] = {}
    without: Annotated[list[str], Meta(description="names of rows of the base left out")] = []


_Place = tuple[Document, list[str | int]]


def load_table(path: Path | str) -> DiagnosisTable:
    """Load and check a table of diagnoses.

    Raises:
        ConfigurationError: where a row is wrong, repeated, without a sensible limit or debounce, or
            a required one is missing.
    """
    document, file, rows = _read_rows(Path(path), ())
    identifiers: dict[int, str] = {}
    names: set[str] = set()
    for row, (where, here) in rows:
        if row.id in identifiers:
            raise where.error([*here, "id"], f"{row.id} is already {identifiers[row.id]!r}")
        if row.name in names:
            raise where.error([*here, "name"], f"{row.name!r} stands twice")
        _check_row(where, here, row)
        identifiers[row.id] = row.name
        names.add(row.name)
    table = DiagnosisTable(file.description, [row for row, _ in rows], file.signals)
    opening = {
        (row.signal, "above" if row.is_above else "below")
        for row in table.diagnoses
        if row.demand >= Reaction.ISOLATE and not row.states and row.direction is None
    }
    for signal, side in REQUIRED:
        if (signal, side) not in opening:
            raise document.error(
                ["diagnoses"],
                f"no diagnosis opens the pack in every state when signal {signal!r} is {side} a "
                "limit; add one",
            )
    return table


def table_of(pack_file: Path | str, pack: Pack, override: str = "") -> DiagnosisTable:
    """The table that a pack is judged by.

    Args:
        pack_file: the pack's description in config/packs.
        pack: what it holds.
        override: file of another table; empty: the one that the pack names.

    Raises:
        ConfigurationError: as ``load_table``.
    """
    return load_table(override or Path(pack_file).parent.parent / "diagnoses" / pack.diagnoses)


def _read_rows(
    path: Path, above: tuple[Path, ...]
) -> tuple[Document, _TableFile, list[tuple[Diagnosis, _Place]]]:
    """Rows of a file and of what it is based on, each with the place that it stands at."""
    document = configuration.read(path)
    file = configuration.convert(document, _TableFile)
    rows: list[tuple[Diagnosis, _Place]] = []
    if file.base is not None:
        base = path.parent / file.base
        if base.resolve() in (path.resolve(), *above):
            raise document.error(["base"], f"{file.base!r} is based on this table itself")
        rows = _read_rows(base, (*above, path.resolve()))[2]
        rows = _without_and_changed(document, file, rows)
    elif file.changes or file.without:
        raise document.error(
            ["changes" if file.changes else "without"], "needs a 'base' whose rows it names"
        )
    rows += [(row, (document, ["diagnoses", index])) for index, row in enumerate(file.diagnoses)]
    return document, file, rows


def _without_and_changed(
    document: Document, file: _TableFile, rows: list[tuple[Diagnosis, _Place]]
) -> list[tuple[Diagnosis, _Place]]:
    known = {row.name for row, _ in rows}
    named: list[_Place] = [(document, ["changes", name]) for name in file.changes]
    named += [(document, ["without", index]) for index in range(len(file.without))]
    for (where, here), name in zip(named, [*file.changes, *file.without], strict=True):
        if name not in known:
            raise where.error(here, f"{file.base!r} has no diagnosis {name!r}")
    changed: list[tuple[Diagnosis, _Place]] = []
    for row, place in rows:
        changes = file.changes.get(row.name)
        if changes is not None:
            own: _Place = (document, ["changes", row.name])
            changed.append((_changed(row, changes, own), own))
        elif row.name not in file.without:
            changed.append((row, place))
    return changed


def _changed(row: Diagnosis, changes: dict[str, Any], place: _Place) -> Diagnosis:
    document, here = place
    for key in ("id", "name", "signal"):
        if key in changes:
            raise document.error([*here, key], "stays as in the base; leave it out")
    fields = msgspec.to_builtins(row)
    try:
        return msgspec.convert({**fields, **changes}, Diagnosis)
    except msgspec.ValidationError as error:
        raise document.error(here, str(error)) from error


def _check_row(document: Document, here: list[str | int], row: Diagnosis) -> None:
    info = SIGNALS[row.signal]
    if (row.above is None) == (row.below is None):
        raise document.error(here, "needs exactly one of 'above' and 'below'")
    safety = row.limits.safety
    if info.kind == "flag" and (not row.is_above or not 0.0 <= safety < 1.0):
        raise document.error(here, f"{row.signal!r} is 0 or 1, expected 'above: 0.5'")
    if info.kind == "age" and (not row.is_above or safety <= 0.0):
        raise document.error(here, f"{row.signal!r} grows from 0 s, expected 'above' with a time")
    outwards = 1.0 if row.is_above else -1.0
    for (weaker, low), (stronger, high) in pairwise(row.limits.levels()):
        if (high - low) * outwards <= 0.0:
            raise document.error(
                [*here, "above" if row.is_above else "below"],
                f"{stronger.name.lower()} limit {high:g} must lie beyond {weaker.name.lower()} "
                f"limit {low:g}",
            )
    if row.lockout and not row.latched:
        raise document.error([*here, "lockout"], "a lock-out is latched; leave 'latched' out")
    if row.lockout and len(row.limits.levels()) > 1:
        raise document.error(
            [*here, "lockout"], "a lock-out has one limit; give further levels a row of their own"
        )
    if row.reaction == "isolate" and info.element != "cell":
        raise document.error(
            [*here, "reaction"], f"only cells can be isolated, {row.signal!r} has none"
        )
    # Ages and the loop's own figures are no samples of a sensor.
    fewest = FEWEST_SAMPLES[info.kind] if info.source != "clock" and info.kind != "age" else 1
    if row.demand >= Reaction.ISOLATE and row.samples < fewest and not row.curve:
        raise document.error(
            [*here, "samples"],
            f"found {row.samples}, but a diagnosis that opens needs at least {fewest} fresh "
            f"samples of {row.signal!r}: one or two disturbed ones must not trip",
        )
    _check_curve(document, [*here, "curve"], row)


def _check_curve(document: Document, here: list[str | int], row: Diagnosis) -> None:
    if not row.curve:
        return
    if SIGNALS[row.signal].element != "pack" or len(row.curve) < 2:
        raise document.error(here, "needs two or more points, on a signal of the pack as a whole")
    if row.curve[0][0] != row.limits.safety:
        raise document.error(
            here, f"must begin at the limit {row.limits.safety:g}, found {row.curve[0][0]:g}"
        )
    for (value, time_s), (further, sooner_s) in pairwise(row.curve):
        if abs(further) <= abs(value) or not 0.0 < sooner_s < time_s:
            raise document.error(
                here,
                f"must lead outwards with shorter times, found {value:g}: {time_s:g} s before "
                f"{further:g}: {sooner_s:g} s",
            )
