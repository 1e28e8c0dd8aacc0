# SPDX-License-Identifier: Apache-2.0
"""Structure of a CAN map: which signal feeds which measured value. No ROS.

A signal name may hold ``{index}`` (counted from ``name_start``), a message name ``{module}``.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

Protection = Literal["end_to_end", "none"]
Freshness = Annotated[
    float, Meta(gt=0, le=60, description="oldest age at which a value is used [s]")
]
AfeFlag = Literal["self_test_failed", "overtemperature", "supply_fault", "reference_fault"]


Checks = list[tuple[str, bool]]  # signals and the state that each must have


def holds(checks: Checks, values: Mapping[str, float]) -> bool:
    """Whether every signal is there and has the state that it must have."""
    return all(bool(values.get(name, not state)) == state for name, state in checks)


class Values(Struct, frozen=True, forbid_unknown_fields=True):
    """Signals that feed consecutive cells or sensors."""

    signal: str
    count: Annotated[int, Meta(ge=1, le=256)] = 1
    first: Annotated[int, Meta(ge=0, le=255, description="first cell or sensor fed")] = 0
    name_start: Annotated[int, Meta(ge=0, description="{index} of the first signal")] = 0
    scale: float = 1.0
    offset: float = 0.0
    valid: Annotated[str | None, Meta(description="signal that is 1 where the value holds")] = None
    invalid: Annotated[
        str | None, Meta(description="signal that is 1 where the value does not hold")
    ] = None

    def names(self) -> list[str]:
        """Names of the signals, in order of the index they feed."""
        return [self.signal.format(index=self.name_start + i) for i in range(self.count)]

    def checks(self) -> list[Checks]:
        """For each value, what must hold for it."""
        wanted = [(self.valid, True), (self.invalid, False)]
        return [
            [
                (name.format(index=self.name_start + i), state)
                for name, state in wanted
                if name is not None
            ]
            for i in range(self.count)
        ]

    def indices(self, module: int) -> range:
        """Cells or sensors that they feed for ``module``."""
        first = self.first + module * self.count
        return range(first, first + self.count)


class ScanFrame(Struct, frozen=True, forbid_unknown_fields=True):
    """A message (or one per module) that carries part of a scan."""

    message: str
    modules: Annotated[int, Meta(ge=1, le=16, description="repetitions of the message")] = 1
    protection: Protection = "end_to_end"
    freshness_s: Freshness = 0.1
    cells: list[Values] = []
    temperatures: list[Values] = []
    bleed_bits: Annotated[
        str | None, Meta(description="bit i: the i-th cell of this message is bled")
    ] = None
    open_wire_bits: Annotated[
        str | None, Meta(description="bit i: the wire of its i-th cell is open")
    ] = None
    module_voltage: str | None = None
    afe_temperature: str | None = None
    flags: dict[str, AfeFlag] = {}
    history_message: Annotated[
        str | None, Meta(description="message with the same layout that carries past scans")
    ] = None

    def message_name(self, module: int, history: bool = False) -> str:
        """Name of the message of ``module`` (or of the one with its past scans)."""
        name = self.history_message if history and self.history_message else self.message
        return name.format(module=module)


class ScanMap(Struct, frozen=True, forbid_unknown_fields=True):
    """How cells and temperatures are measured."""

    frames: Annotated[list[ScanFrame], Meta(min_length=1)]
    counter: Annotated[
        str | None, Meta(description="signal that numbers scans; without it values are gathered")
    ] = None
    device_time_ms: str | None = None
    balancing_message: Annotated[
        str | None, Meta(description="message with BleedMask_00.. that commands balancing")
    ] = None
    history_request_message: Annotated[
        str | None,
        Meta(description="message with FirstScan and ScanCount that asks for past scans"),
    ] = None


class PackSensor(Struct, frozen=True, forbid_unknown_fields=True):
    """Current and voltage sensor; absent signals are unmeasured. Charging must be positive."""

    message: str
    current: Values
    protection: Protection = "end_to_end"
    freshness_s: Freshness = 0.05
    voltage: Values | None = None
    link_voltage: Values | None = None
    charge: Values | None = None
    shunt_temperature: Values | None = None
    sample_counter: str | None = None
    flags: dict[str, Literal["overrange", "self_test_failed"]] = {}


class RedundantPackSensor(Struct, frozen=True, forbid_unknown_fields=True):
    """Second, independent current sensor. Charging must be positive."""

    message: str
    current: Values
    protection: Protection = "end_to_end"
    freshness_s: Freshness = 0.05
    faults: Annotated[
        list[str], Meta(description="signals that are 1 where the current does not hold")
    ] = []


class Identity(Struct, frozen=True, forbid_unknown_fields=True):
    """What the pack hardware says it is built of; absent signals are not said."""

    message: str
    series: str | None = None
    modules: str | None = None
    temperature_sensors: str | None = None
    protection: Protection = "end_to_end"
    freshness_s: Freshness = 3.0


class Insulation(Struct, frozen=True, forbid_unknown_fields=True):
    """Insulation monitor."""

    message: str
    resistance: Values
    protection: Protection = "end_to_end"
    freshness_s: Freshness = 0.5
    flags: dict[str, Literal["self_test_failed", "starting"]] = {}


EnvironmentQuantity = Literal[
    "ambient_temperature_c",
    "humidity_ratio",
    "pressure_pa",
    "gas_ppm",
    "vibration_rms_m_s2",
    "vibration_peak_m_s2",
    "shock_count",
]


class Environment(Struct, frozen=True, forbid_unknown_fields=True):
    """Environment sensors: quantity -> signal."""

    message: str
    values: dict[EnvironmentQuantity, Values]
    protection: Protection = "end_to_end"
    freshness_s: Freshness = 0.5


class CanMap(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole map of one pack's CAN databases."""

    databases: Annotated[list[str], Meta(min_length=1, description="DBC files, from config/can")]
    scan: ScanMap
    pack_sensor: PackSensor
    redundant_pack_sensor: RedundantPackSensor | None = None
    identity: Identity | None = None
    insulation: Insulation | None = None
    environment: Environment | None = None
