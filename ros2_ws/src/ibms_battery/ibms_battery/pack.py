# SPDX-License-Identifier: Apache-2.0
"""Description of a pack as configuration: cells, arrangement, switches and timing."""

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ibms_battery import configuration
from ibms_battery.pack_checks import check_pack


def unit(name: str) -> dict[str, str]:
    """Schema entry that names the unit of a value."""
    return {"unit": name}


PositiveFloat = Annotated[float, Meta(gt=0)]
Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]

# No chemistry can be used below this; a pack voltage that means less is a wrong reading.
_LOWEST_GROUP_VOLTAGE_V = 1.0


class LifePoint(Struct, forbid_unknown_fields=True, frozen=True):
    """A point of a contactor's life curve."""

    current_a: Annotated[PositiveFloat, Meta(extra_json_schema=unit("A"))]
    operations: Annotated[float, Meta(ge=1, description="openings at that current it lasts for")]


class Switch(Struct, forbid_unknown_fields=True, frozen=True):
    """A contactor or reconfiguration switch."""

    name: Name
    closing_time_s: Annotated[float, Meta(gt=0, le=1)] = 0.02
    opening_time_s: Annotated[float, Meta(gt=0, le=0.1)] = 0.015
    maximum_break_current_a: Annotated[
        PositiveFloat | None,
        Meta(
            description="above it the contactor is held closed for the fuse; without a value: what "
            "flows through it is limited otherwise, or it opens whatever flows",
            extra_json_schema=unit("A"),
        ),
    ] = None
    opens_first_at: Annotated[
        Literal["charge", "discharge", "either"],
        Meta(description="direction of current at which it is the better one to break it"),
    ] = "either"
    life_curve: Annotated[
        list[LifePoint],
        Meta(
            description="current rising, operations falling; up to the first current the contacts "
            "last as long as the mechanics; empty: not known"
        ),
    ] = []


class MeltingPoint(Struct, forbid_unknown_fields=True, frozen=True):
    """A point of a fuse's melting curve."""

    current_a: Annotated[PositiveFloat, Meta(extra_json_schema=unit("A"))]
    time_s: Annotated[PositiveFloat, Meta(extra_json_schema=unit("s"))]


class Fuse(Struct, forbid_unknown_fields=True, frozen=True):
    """The main fuse. The simulated plant melts it by the same curve."""

    rated_current_a: Annotated[PositiveFloat, Meta(extra_json_schema=unit("A"))]
    melting_curve: Annotated[
        list[MeltingPoint],
        Meta(min_length=2, description="current rising, time to clear falling"),
    ]
    clearing_time_s: Annotated[
        float,
        Meta(gt=0, le=5, description="contactors are held closed for the fuse at most this long"),
    ]

    def melting_time_s(self, current_a: float) -> float:
        """Time to clear at a steady current of either sign [s]; infinite up to the rated current.

        Straight lines in the double-logarithmic diagram, as melting curves are drawn. Between rated
        current and first point the first point's time holds, beyond the last point I^2 t is
        constant, as without loss of heat (IEC 60269-1, pre-arcing I^2 t).
        """
        magnitude_a = abs(current_a)
        if not magnitude_a > self.rated_current_a:
            return math.inf
        first, last = self.melting_curve[0], self.melting_curve[-1]
        if magnitude_a <= first.current_a:
            return first.time_s
        if magnitude_a >= last.current_a:
            return last.time_s * (last.current_a / magnitude_a) ** 2
        points = [(point.current_a, point.time_s) for point in self.melting_curve]
        return interpolate_logarithmic(points, magnitude_a)


class StringVoltage(Struct, forbid_unknown_fields=True, frozen=True):
    """How near the voltage of a parallel string must be to the link to connect it."""

    name: Annotated[Name, Meta(description="name of a string")]
    tolerance_v: Annotated[PositiveFloat, Meta(extra_json_schema=unit("V"))]


class Transition(Struct, forbid_unknown_fields=True, frozen=True):
    """A way from one switch configuration to another that the topology allows."""

    source: Name
    target: Name
    requires_precharged: Annotated[
        bool, Meta(description="only while the link voltage has reached the precharge ratio")
    ] = False
    requires_link_discharged: Annotated[
        bool,
        Meta(description="only while the link voltage is below precharge.discharged_ratio"),
    ] = False
    after_s: Annotated[
        float,
        Meta(
            ge=0,
            le=5,
            description="only after the source has been verified for this long",
            extra_json_schema=unit("s"),
        ),
    ] = 0.0
    requires_string: Annotated[
        StringVoltage | None,
        Meta(description="only while the voltage of this string fits the link voltage"),
    ] = None


class Bypass(Struct, forbid_unknown_fields=True, frozen=True):
    """A way around some cells, laid over every configuration that holds them in the circuit."""

    cells: Annotated[list[int], Meta(min_length=1, description="cells that it takes out")]
    opens: Annotated[list[Name], Meta(min_length=1, description="switches to open, first")]
    closes: Annotated[list[Name], Meta(min_length=1, description="switches to close thereafter")]


class Switching(Struct, forbid_unknown_fields=True, frozen=True):
    """The switches of a pack and the configurations they may take."""

    switches: Annotated[list[Switch], Meta(min_length=1, max_length=24)]
    configurations: Annotated[
        dict[Name, list[Name]], Meta(description="name -> switches that are closed in it")
    ]
    transitions: Annotated[
        list[Transition], Meta(description="allowed ways; opening everything is always allowed")
    ]
    bypasses: Annotated[list[Bypass], Meta(description="ways around cells; empty: none")] = []

    def index(self, name: str) -> int:
        """Position of switch ``name`` in the board's bit masks."""
        return next(i for i, switch in enumerate(self.switches) if switch.name == name)

    def mask(self, configuration_name: str) -> int:
        """Bit mask of the switches closed in a configuration."""
        return self.mask_of(self.configurations[configuration_name])

    def mask_of(self, names: Sequence[str]) -> int:
        """Bit mask of the named switches."""
        return sum(1 << self.index(name) for name in names)

    def transition(self, source: str, target: str) -> Transition:
        """The transition that leads from ``source`` to ``target`` in one step."""
        return next(way for way in self.transitions if (way.source, way.target) == (source, target))

    def route(self, source: str, target: str) -> list[str] | None:
        """Shortest allowed way between two configurations.

        Returns:
            The configurations after ``source`` up to ``target``; None if there is no way. All may
            be opened from everywhere.
        """
        if target == source:
            return []
        if not self.configurations[target]:
            return [target]
        ways: deque[list[str]] = deque([[source]])
        seen = {source}
        while ways:
            way = ways.popleft()
            for transition in self.transitions:
                if transition.source == way[-1] and transition.target not in seen:
                    if transition.target == target:
                        return [*way[1:], target]
                    seen.add(transition.target)
                    ways.append([*way, transition.target])
        return None

    def is_whole(self, closed: int) -> bool:
        """True if the switches ``closed`` hold each bypassable cell in the circuit or lead past it.

        Where they do neither, e.g. while all is open, the string of cells is interrupted and has no
        voltage that the cells would add up to.
        """
        return all(
            closed & mask == mask
            for bypass in self.bypasses
            for mask in [
                self.mask_of(bypass.opens)
                if closed & self.mask_of(bypass.opens)
                else self.mask_of(bypass.closes)
            ]
        )


class Precharge(Struct, forbid_unknown_fields=True, frozen=True):
    """Precharge of the load's link capacitance."""

    resistor_ohm: PositiveFloat = 40.0
    link_capacitance_f: PositiveFloat = 0.0008
    complete_ratio: Annotated[
        float, Meta(gt=0.5, lt=1, description="link over pack voltage at which it is complete")
    ] = 0.97
    discharged_ratio: Annotated[
        float, Meta(gt=0, lt=1, description="link over pack voltage below which it is discharged")
    ] = 0.5
    timeout_s: Annotated[float, Meta(gt=0, le=10)] = 2.0
    attempts: Annotated[
        int, Meta(ge=1, le=10, description="attempts until a request has failed")
    ] = 3
    pause_s: Annotated[
        float,
        Meta(ge=0, le=60, description="pause after a failed attempt, in which the resistor cools"),
    ] = 3.0


class StringOfCells(Struct, forbid_unknown_fields=True, frozen=True):
    """One of several strings in parallel: consecutive measured cell groups in series."""

    name: Name
    first_cell: Annotated[int, Meta(ge=0)]
    cells: Annotated[int, Meta(ge=1)]


class Charger(Struct, forbid_unknown_fields=True, frozen=True):
    """The charger that a pack is charged with."""

    protocol: Annotated[
        Literal["elcon"], Meta(description="elcon: Elcon and TC chargers, config/can/elcon.dbc")
    ]
    maximum_voltage_v: Annotated[float, Meta(gt=0, le=1500, description="its rating [V]")]
    maximum_current_a: Annotated[float, Meta(gt=0, le=500, description="its rating [A]")]
    bus_channel: Annotated[
        str, Meta(description="its own classic CAN bus, e.g. can1; empty: the bus of the pack")
    ] = ""


class Pack(Struct, forbid_unknown_fields=True, frozen=True):
    """A pack: how many of which cells, how they are measured and switched."""

    name: Name
    description: str
    cell: Annotated[Name, Meta(description="file name in config/cells without .yaml")]
    series: Annotated[
        int,
        Meta(
            ge=1, le=256, description="measured cell groups, all in series unless there are strings"
        ),
    ]
    parallel: Annotated[int, Meta(ge=1, le=200, description="cells in parallel per group")]
    temperature_sensors: Annotated[int, Meta(ge=1, le=256)]
    modules: Annotated[int, Meta(ge=1, le=16, description="AFE modules")]
    scan_period_s: Annotated[float, Meta(ge=0.005, le=1)]
    pack_sample_period_s: Annotated[float, Meta(ge=0.002, le=1)]
    can_map: Annotated[
        str, Meta(description="file in config/can/maps that says which signal is what")
    ]
    diagnoses: Annotated[str, Meta(description="file in config/diagnoses")]
    switching: Switching
    precharge: Precharge = Precharge()
    strings: Annotated[
        list[StringOfCells], Meta(description="strings in parallel; empty: one of all cells")
    ] = []
    sensor_of_cell: Annotated[
        list[int], Meta(description="temperature sensor of each cell; empty: spread evenly")
    ] = []
    fuse: Annotated[
        Fuse | None, Meta(description="main fuse; without one contactors are not held for it")
    ] = None
    charger: Annotated[
        Charger | None, Meta(description="without one nothing is asked of a charger")
    ] = None

    @property
    def parallel_strings(self) -> int:
        """Strings of cell groups in parallel; all have the same number of groups."""
        return len(self.strings) or 1

    @property
    def groups_in_series(self) -> int:
        """Cell groups whose voltages add up to the voltage of the pack."""
        return self.strings[0].cells if self.strings else self.series

    def link_is_discharged(self, pack_voltage_v: float, link_voltage_v: float) -> bool:
        """True if the link is known to be so low that a way to the cells would show as a rise."""
        return (
            pack_voltage_v >= self.groups_in_series * _LOWEST_GROUP_VOLTAGE_V
            and link_voltage_v <= self.precharge.discharged_ratio * pack_voltage_v
        )

    def precharge_is_complete(self, pack_voltage_v: float, link_voltage_v: float) -> bool:
        """True if both sides of the contactors are known to be near enough to connect them.

        A link far above the pack is refused as well: current would rush into the cells.
        """
        allowed_v = (1.0 - self.precharge.complete_ratio) * pack_voltage_v
        # Comparisons with NaN are false: unmeasured never counts as precharged.
        return (
            pack_voltage_v >= self.groups_in_series * _LOWEST_GROUP_VOLTAGE_V
            and abs(link_voltage_v - pack_voltage_v) <= allowed_v
        )

    def temperature_sensor_of_cell(self) -> list[int]:
        """Index of the temperature sensor that stands for each cell."""
        if self.sensor_of_cell:
            return list(self.sensor_of_cell)
        return [index * self.temperature_sensors // self.series for index in range(self.series)]


def interpolate_logarithmic(points: Sequence[tuple[float, float]], x: float) -> float:
    """Value at ``x`` on straight lines between ``points`` in a double-logarithmic diagram.

    Args:
        points: at least two (x, y), all positive, x rising.
        x: between the first and the last x.
    """
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            share = math.log(x / x0) / math.log(x1 / x0)
            return math.exp(math.log(y0) + share * math.log(y1 / y0))
    raise ValueError(f"{x} lies beyond the last point {points[-1][0]}")


def load_pack(path: Path | str) -> Pack:
    """Load and check a pack description.

    Raises:
        ConfigurationError: where a value or a reference inside the file is wrong.
    """
    document = configuration.read(path)
    pack = configuration.convert(document, Pack)
    check_pack(document, pack)
    return pack
