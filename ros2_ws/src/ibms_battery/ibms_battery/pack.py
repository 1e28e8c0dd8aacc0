# SPDX-License-Identifier: Apache-2.0
"""Description of a pack as configuration: cells, arrangement, switches and timing."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from ibms_battery import configuration


def unit(name: str) -> dict[str, str]:
    """Schema entry that names the unit of a value."""
    return {"unit": name}


PositiveFloat = Annotated[float, Meta(gt=0)]
Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]


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
        return sum(1 << self.index(name) for name in self.configurations[configuration_name])


class Precharge(Struct, forbid_unknown_fields=True, frozen=True):
    """Precharge of the load's link capacitance."""

    resistor_ohm: PositiveFloat = 40.0
    link_capacitance_f: PositiveFloat = 0.0008
    complete_ratio: Annotated[
        float, Meta(gt=0.5, lt=1, description="link over pack voltage at which it is complete")
    ] = 0.97
    timeout_s: Annotated[float, Meta(gt=0, le=10)] = 2.0


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
    for name, closed in pack.switching.configurations.items():
        for index, switch in enumerate(closed):
            if switch not in names:
                raise document.error(
                    ["switching", "configurations", name, index],
                    f"no switch is called {switch!r}, expected one of {', '.join(names)}",
                )
    if pack.switching.configurations.get("open") != []:
        raise document.error(
            ["switching", "configurations"], "must hold 'open: []', the state with nothing closed"
        )
    for index, way in enumerate(pack.switching.transitions):
        for end in (way.source, way.target):
            if end not in pack.switching.configurations:
                raise document.error(
                    ["switching", "transitions", index], f"no configuration is called {end!r}"
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
    if cell.minimum_voltage_v >= cell.maximum_voltage_v:
        raise document.error(["minimum_voltage_v"], "must be below maximum_voltage_v")
    for key, points in (("soc_points", cell.soc_points), ("ocv_points_v", cell.ocv_points_v)):
        if any(b <= a for a, b in zip(points, points[1:], strict=False)):
            raise document.error([key], "must rise strictly")
    if len(cell.soc_points) != len(cell.ocv_points_v):
        raise document.error(["ocv_points_v"], "needs as many points as soc_points")
    return cell
