# SPDX-License-Identifier: Apache-2.0
"""Schema of the files in ``config/simulation``: what the simulated pack is and what it does."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from ibms_battery import configuration
from ibms_battery.pack import Name, PositiveFloat

NotNegative = Annotated[float, Meta(ge=0)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Temperature = Annotated[float, Meta(ge=-40, le=80, description="[degC]")]


class Spread(Struct, frozen=True, forbid_unknown_fields=True):
    """Standard deviations between cell groups; relative where no unit is given."""

    capacity: Annotated[float, Meta(ge=0, le=0.2)] = 0.01
    resistance: Annotated[float, Meta(ge=0, le=0.5)] = 0.03
    state_of_charge: Annotated[float, Meta(ge=0, le=0.1, description="absolute")] = 0.01
    self_discharge_a: Annotated[NotNegative, Meta(description="mean leakage per cell")] = 0.0002
    recorded_voltage_v: Annotated[
        NotNegative, Meta(le=0.1, description="offset of a group from measured cell data [V]")
    ] = 0.003
    recorded_temperature_k: Annotated[
        NotNegative, Meta(le=10, description="offset of a group from measured cell data [K]")
    ] = 0.3


class Start(Struct, frozen=True, forbid_unknown_fields=True):
    """State at the start."""

    state_of_charge: Ratio = 0.8
    temperature_c: Temperature = 22.0


class Thermal(Struct, frozen=True, forbid_unknown_fields=True):
    """Heat flows of the pack; conductances of a group grow with its parallel cells."""

    ambient_temperature_c: Temperature = 20.0
    neighbour_w_k: Annotated[NotNegative, Meta(description="to each neighbour, per cell [W/K]")] = (
        0.02
    )
    plate_w_k: Annotated[
        NotNegative, Meta(description="to the coolant at full pump, per cell [W/K]")
    ] = 0.15
    plate_without_pump: Annotated[Ratio, Meta(description="share that remains without pump")] = 0.15
    air_w_k: Annotated[NotNegative, Meta(description="to the air in the pack, per cell [W/K]")] = (
        0.005
    )
    coolant_j_k: Annotated[PositiveFloat, Meta(description="heat capacity of the loop [J/K]")] = (
        15000.0
    )
    radiator_w_k: Annotated[NotNegative, Meta(description="to the ambient at full fan [W/K]")] = (
        150.0
    )
    radiator_without_fan: Ratio = 0.1
    chiller_w: Annotated[NotNegative, Meta(description="heat taken at 100 % [W]")] = 3000.0
    heater_w: Annotated[NotNegative, Meta(description="heat given at 100 % [W]")] = 4000.0


class Error(Struct, frozen=True, forbid_unknown_fields=True):
    """Errors of a sensor, in its unit; offset and gain are drawn once per channel."""

    noise: Annotated[NotNegative, Meta(description="standard deviation per sample")] = 0.0
    offset: Annotated[NotNegative, Meta(description="standard deviation between channels")] = 0.0
    gain: Annotated[
        NotNegative, Meta(le=0.1, description="standard deviation between channels")
    ] = 0.0


class Sensors(Struct, frozen=True, forbid_unknown_fields=True):
    """Errors of the sensors, and the resistors of the AFE modules."""

    cell_voltage: Error = Error(noise=0.0004, offset=0.0005, gain=0.0001)
    module_voltage: Error = Error(noise=0.005, offset=0.01, gain=0.0005)
    temperature: Error = Error(noise=0.05, offset=0.3)
    current: Error = Error(noise=0.05, offset=0.03, gain=0.001)
    redundant_current: Error = Error(noise=0.1, offset=0.1, gain=0.002)
    voltage: Error = Error(noise=0.02, offset=0.05, gain=0.0005)
    bleed_ohm: Annotated[PositiveFloat, Meta(description="balancing resistor [Ohm]")] = 33.0


class Surroundings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the environment sensors and the insulation monitor see."""

    insulation_ohm: Annotated[PositiveFloat, Meta(le=1e8)] = 5e6
    humidity_percent: Annotated[float, Meta(ge=0, le=100)] = 45.0
    pressure_pa: Annotated[float, Meta(ge=30000, le=120000)] = 101325.0
    gas_ppm: NotNegative = 5.0
    vibration_rms_m_s2: Annotated[NotNegative, Meta(description="while current flows")] = 2.0
    shock_threshold_m_s2: PositiveFloat = 50.0


class Vehicle(Struct, frozen=True, forbid_unknown_fields=True, tag="vehicle", tag_field="kind"):
    """A car that follows a speed schedule in a loop, in a longitudinal model."""

    schedule: Annotated[
        str, Meta(description="CSV with time_s and speed_km_h, from this file's folder")
    ]
    mass_kg: PositiveFloat = 1600.0
    drag_area_m2: Annotated[PositiveFloat, Meta(description="drag coefficient x front area")] = 0.62
    rolling_resistance: Annotated[PositiveFloat, Meta(le=0.1)] = 0.009
    drive_efficiency: Annotated[float, Meta(gt=0, le=1, description="battery to wheel")] = 0.88
    regeneration: Annotated[Ratio, Meta(description="braking power that reaches the battery")] = 0.6
    auxiliary_w: NotNegative = 400.0


class Profile(Struct, frozen=True, forbid_unknown_fields=True, tag="profile", tag_field="kind"):
    """Pack current over time in a loop."""

    file: Annotated[str, Meta(description="CSV with time_s and current_a, from this file's folder")]
    follows_limits: Annotated[
        bool,
        Meta(description="bounded by the limits of the BMS; by zero current always"),
    ] = True


class Constant(Struct, frozen=True, forbid_unknown_fields=True, tag="constant", tag_field="kind"):
    """A constant current."""

    current_a: Annotated[float, Meta(ge=-3000, le=3000, description="charge positive [A]")] = 0.0


class Reduced(Struct, frozen=True, forbid_unknown_fields=True, tag="reduced", tag_field="kind"):
    """Reduced electrochemical model with the parameters of a cell, for packs of any size."""

    cell: Annotated[str, Meta(description="file of parameters, from this file's folder")]


class Pybamm(Struct, frozen=True, forbid_unknown_fields=True, tag="pybamm", tag_field="kind"):
    """PyBaMM's SPMe for each cell group, for small packs."""

    parameter_set: str = "OKane2022"
    step_s: Annotated[
        float, Meta(ge=0.05, le=2, description="time in which each group is solved once [s]")
    ] = 0.2
    heat_capacity_j_k: Annotated[PositiveFloat, Meta(description="of a cell [J/K]")] = 61.0


class Link(Struct, frozen=True, forbid_unknown_fields=True):
    """The load side of the contactors."""

    path_ohm: Annotated[PositiveFloat, Meta(description="contacts, cables and fuse [Ohm]")] = 0.002
    discharge_ohm: Annotated[PositiveFloat, Meta(description="passive discharge [Ohm]")] = 20000.0


class Simulation(Struct, frozen=True, forbid_unknown_fields=True):
    """A simulated pack."""

    name: Name
    description: str
    seed: Annotated[int, Meta(ge=0)]
    plant: Reduced | Pybamm
    load: Vehicle | Profile | Constant
    spread: Spread = Spread()
    start: Start = Start()
    thermal: Thermal = Thermal()
    sensors: Sensors = Sensors()
    surroundings: Surroundings = Surroundings()
    link: Link = Link()


def load_simulation(path: Path) -> Simulation:
    """Load and check a simulation file; raises ``ConfigurationError``."""
    return configuration.load(path, Simulation)
