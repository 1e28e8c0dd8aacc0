# SPDX-License-Identifier: Apache-2.0
"""Description of a pack as configuration: cells, arrangement, switches and timing."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from ibms_battery import configuration


def unit(name: str) -> dict[str, str]:
    """Schema entry that names the unit of a value."""
    return {"unit": name}


PositiveFloat = Annotated[float, Meta(gt=0)]
Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]

# No chemistry can be used below this; a pack voltage that means less is a wrong reading.
_LOWEST_GROUP_VOLTAGE_V = 1.0


class Cell(Struct, forbid_unknown_fields=True, frozen=True):
    """Rated data of a cell type."""

    name: Name
    chemistry: Annotated[str, Meta(description="e.g. NMC, NCA, LFP")]
    capacity_ah: Annotated[PositiveFloat, Meta(extra_json_schema=unit("A h"))]
    minimum_voltage_v: Annotated[float, Meta(ge=0, le=6, extra_json_schema=unit("V"))]
    maximum_voltage_v: Annotated[float, Meta(gt=0, le=6, extra_json_schema=unit("V"))]
    nominal_voltage_v: Annotated[float, Meta(gt=0, le=6, extra_json_schema=unit("V"))]
    resistance_ohm: Annotated[float, Meta(gt=0, le=1, description="at 25 degC and half charge")]
    soc_points: Annotated[list[float], Meta(min_length=2, description="states of charge, rising")]
    ocv_points_v: Annotated[list[float], Meta(min_length=2, description="open-circuit voltages")]
    maximum_charge_current_a: PositiveFloat
    maximum_discharge_current_a: PositiveFloat
    source: Annotated[str, Meta(description="where the figures come from")]


class Switch(Struct, forbid_unknown_fields=True, frozen=True):
    """A contactor or reconfiguration switch."""

    name: Name
    closing_time_s: Annotated[float, Meta(gt=0, le=1)] = 0.02
    opening_time_s: Annotated[float, Meta(gt=0, le=0.1)] = 0.015


class Transition(Struct, forbid_unknown_fields=True, frozen=True):
    """A way from one switch configuration to another that the topology allows."""

    source: Name
    target: Name
    requires_precharged: Annotated[
        bool, Meta(description="only while the link voltage has reached the precharge ratio")
    ] = False


class Switching(Struct, forbid_unknown_fields=True, frozen=True):
    """The switches of a pack and the configurations they may take."""

    switches: Annotated[list[Switch], Meta(min_length=1, max_length=24)]
    configurations: Annotated[
        dict[Name, list[Name]], Meta(description="name -> switches that are closed in it")
    ]
    transitions: Annotated[
        list[Transition], Meta(description="allowed ways; opening everything is always allowed")
    ]

    def index(self, name: str) -> int:
        """Position of switch ``name`` in the board's bit masks."""
        return next(i for i, switch in enumerate(self.switches) if switch.name == name)

    def mask(self, configuration_name: str) -> int:
        """Bit mask of the switches closed in a configuration."""
        closed = self.configurations[configuration_name]
        return sum(1 << self.index(name) for name in closed)


class Precharge(Struct, forbid_unknown_fields=True, frozen=True):
    """Precharge of the load's link capacitance."""

    resistor_ohm: PositiveFloat = 40.0
    link_capacitance_f: PositiveFloat = 0.0008
    complete_ratio: Annotated[
        float, Meta(gt=0.5, lt=1, description="link over pack voltage at which it is complete")
    ] = 0.97
    timeout_s: Annotated[float, Meta(gt=0, le=10)] = 2.0
    attempts: Annotated[
        int, Meta(ge=1, le=10, description="attempts until a request has failed")
    ] = 3
    pause_s: Annotated[
        float,
        Meta(ge=0, le=60, description="pause after a failed attempt, in which the resistor cools"),
    ] = 3.0


class Pack(Struct, forbid_unknown_fields=True, frozen=True):
    """A pack: how many of which cells, how they are measured and switched."""

    name: Name
    description: str
    cell: Annotated[Name, Meta(description="file name in config/cells without .yaml")]
    series: Annotated[int, Meta(ge=1, le=256, description="measured cell groups in series")]
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
    sensor_of_cell: Annotated[
        list[int], Meta(description="temperature sensor of each cell; empty: spread evenly")
    ] = []

    def precharge_is_complete(self, pack_voltage_v: float, link_voltage_v: float) -> bool:
        """True if both sides of the contactors are known to be near enough to connect them.

        A link far above the pack is refused as well: current would rush into the cells.
        """
        allowed_v = (1.0 - self.precharge.complete_ratio) * pack_voltage_v
        # Comparisons with NaN are false: unmeasured never counts as precharged.
        return (
            pack_voltage_v >= self.series * _LOWEST_GROUP_VOLTAGE_V
            and abs(link_voltage_v - pack_voltage_v) <= allowed_v
        )

    def temperature_sensor_of_cell(self) -> list[int]:
        """Index of the temperature sensor that stands for each cell."""
        if self.sensor_of_cell:
            return list(self.sensor_of_cell)
        return [index * self.temperature_sensors // self.series for index in range(self.series)]


def load_pack(path: Path | str) -> Pack:
    """Load and check a pack description.

    Raises:
        ConfigurationError: where a value or a reference inside the file is wrong.
    """
    document = configuration.read(path)
    pack = configuration.convert(document, Pack)
    names = [switch.name for switch in pack.switching.switches]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise document.error(
                ["switching", "switches", index], f"a second switch is called {name!r}"
            )
    name_of_set: dict[frozenset[str], str] = {}
    for name, closed in pack.switching.configurations.items():
        within = ["switching", "configurations", name]
        for index, switch in enumerate(closed):
            if switch not in names:
                raise document.error(
                    [*within, index],
                    f"no switch is called {switch!r}, expected one of {', '.join(names)}",
                )
            if switch in closed[:index]:
                raise document.error([*within, index], f"{switch!r} stands twice, remove one")
        twin = name_of_set.setdefault(frozenset(closed), name)
        if twin != name:
            raise document.error(
                within, f"closes the same switches as {twin!r}; feedback could not tell them apart"
            )
    if pack.switching.configurations.get("open") != []:
        raise document.error(
            ["switching", "configurations"], "must hold 'open: []', the state with nothing closed"
        )
    ways: set[tuple[str, str]] = set()
    for index, way in enumerate(pack.switching.transitions):
        here: list[str | int] = ["switching", "transitions", index]
        for end in (way.source, way.target):
            if end not in pack.switching.configurations:
                raise document.error(here, f"no configuration is called {end!r}")
        if way.source == way.target:
            raise document.error(here, f"leads from {way.source!r} to itself, remove it")
        if (way.source, way.target) in ways:
            raise document.error(here, f"{way.source!r} to {way.target!r} stands twice, remove one")
        ways.add((way.source, way.target))
    needed_s = -math.log(1.0 - pack.precharge.complete_ratio) * (
        pack.precharge.resistor_ohm * pack.precharge.link_capacitance_f
    )
    if pack.precharge.timeout_s <= needed_s:
        raise document.error(
            ["precharge", "timeout_s"],
            f"found {pack.precharge.timeout_s:g} s, but resistor and capacitance take "
            f"{needed_s:.2g} s to reach complete_ratio; give more",
        )
    if pack.sensor_of_cell and len(pack.sensor_of_cell) != pack.series:
        raise document.error(
            ["sensor_of_cell"],
            f"has {len(pack.sensor_of_cell)} entries, expected one per cell group: {pack.series}",
        )
    for index, sensor in enumerate(pack.sensor_of_cell):
        if not 0 <= sensor < pack.temperature_sensors:
            raise document.error(
                ["sensor_of_cell", index],
                f"found sensor {sensor}, expected 0 to {pack.temperature_sensors - 1}",
            )
    return pack


def load_cell(path: Path | str) -> Cell:
    """Load and check the rated data of a cell type; raises ``ConfigurationError``."""
    document = configuration.read(path)
    cell = configuration.convert(document, Cell)
    if not cell.minimum_voltage_v < cell.nominal_voltage_v < cell.maximum_voltage_v:
        raise document.error(
            ["nominal_voltage_v"],
            f"minimum, nominal and maximum voltage must rise, found {cell.minimum_voltage_v:g}, "
            f"{cell.nominal_voltage_v:g}, {cell.maximum_voltage_v:g} V",
        )
    for key, points in (("soc_points", cell.soc_points), ("ocv_points_v", cell.ocv_points_v)):
        for index, (before, after) in enumerate(pairwise(points)):
            if after <= before:
                raise document.error(
                    [key, index + 1], f"must rise strictly, found {after:g} after {before:g}"
                )
    if cell.soc_points[0] != 0.0 or cell.soc_points[-1] != 1.0:
        raise document.error(
            ["soc_points"],
            f"must run from 0 to 1, found {cell.soc_points[0]:g} to {cell.soc_points[-1]:g}",
        )
    if len(cell.soc_points) != len(cell.ocv_points_v):
        raise document.error(["ocv_points_v"], "needs as many points as soc_points")
    return cell
