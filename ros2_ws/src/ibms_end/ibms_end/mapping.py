# SPDX-License-Identifier: Apache-2.0
"""Which CAN signal feeds which measured value, as configuration. No ROS.

A signal name may hold ``{index}`` (counted from ``name_start``), a message name ``{module}``.
"""

from pathlib import Path
from typing import Annotated, Literal

from cantools.database.can import Database, Message
from msgspec import Meta, Struct

from ibms_battery import configuration
from ibms_battery.configuration import ConfigurationError, Document
from ibms_battery.pack import Pack
from ibms_end.can.codec import DatabaseError, data_id_of, find_message, load_databases

Protection = Literal["end_to_end", "none"]
Freshness = Annotated[float, Meta(gt=0, le=60, description="oldest age at which a value is used [s]")]
AfeFlag = Literal["self_test_failed", "overtemperature", "supply_fault", "reference_fault"]


class Values(Struct, frozen=True, forbid_unknown_fields=True):
    """Signals that feed consecutive cells or sensors."""

    signal: str
    count: Annotated[int, Meta(ge=1, le=256)] = 1
    first: Annotated[int, Meta(ge=0, le=255, description="first cell or sensor fed")] = 0
    name_start: Annotated[int, Meta(ge=0, description="{index} of the first signal")] = 0
    scale: float = 1.0
    offset: float = 0.0


class ScanFrame(Struct, frozen=True, forbid_unknown_fields=True):
    """A message (or one per module) that carries part of a scan."""

    message: str
    modules: Annotated[int, Meta(ge=1, le=16, description="repetitions of the message")] = 1
    protection: Protection = "end_to_end"
    freshness_s: Freshness = 0.1
    cells: list[Values] = []
    temperatures: list[Values] = []
    bleed_bits: str | None = None
    open_wire_bits: str | None = None
    module_voltage: str | None = None
    afe_temperature: str | None = None
    flags: dict[str, AfeFlag] = {}
    history_message: Annotated[
        str | None, Meta(description="message with the same layout that carries past scans")
    ] = None


class Scan(Struct, frozen=True, forbid_unknown_fields=True):
    """How cells and temperatures are measured."""

    frames: Annotated[list[ScanFrame], Meta(min_length=1)]
    counter: Annotated[
        str | None, Meta(description="signal that numbers scans; without it values are gathered")
    ] = None
    device_time_ms: str | None = None
    balancing_message: Annotated[
        str | None, Meta(description="message with BleedMask_00.. that commands balancing")
    ] = None
    history_request_message: str | None = None


class PackSensor(Struct, frozen=True, forbid_unknown_fields=True):
    """Current and voltage sensor; absent signals are unmeasured."""

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
    """Environment sensors: quantity -> signal, and the signal that says whether it is valid."""

    message: str
    values: dict[EnvironmentQuantity, Values]
    valid: dict[EnvironmentQuantity, str] = {}
    protection: Protection = "end_to_end"
    freshness_s: Freshness = 0.5


class CanMap(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole map of one pack's CAN databases."""

    databases: Annotated[list[str], Meta(min_length=1, description="DBC files, from config/can")]
    scan: Scan
    pack_sensor: PackSensor
    insulation: Insulation | None = None
    environment: Environment | None = None


class LoadedMap(Struct, frozen=True):
    """A map with its databases, checked against them and against a pack."""

    map: CanMap
    database: Database


def load_map(path: Path | str, pack: Pack) -> LoadedMap:
    """Load a map and check every message and signal against its databases.

    Raises:
        ConfigurationError: with file, line and what the database holds instead.
    """
    document = configuration.read(path)
    can_map = configuration.convert(document, CanMap)
    folder = Path(path).resolve().parent.parent
    try:
        database = load_databases(folder / name for name in can_map.databases)
    except DatabaseError as error:
        raise document.error(["databases"], str(error)) from error
    _check_scan(document, database, can_map.scan, pack)
    sensor = can_map.pack_sensor
    message = _message(document, database, ["pack_sensor"], sensor.message, sensor.protection)
    for key in ("current", "voltage", "link_voltage", "charge", "shunt_temperature"):
        values = getattr(sensor, key)
        if values is not None:
            _signals(document, message, ["pack_sensor", key], [values.signal])
    _signals(document, message, ["pack_sensor", "sample_counter"], [sensor.sample_counter])
    _signals(document, message, ["pack_sensor", "flags"], list(sensor.flags))
    if (imd := can_map.insulation) is not None:
        message = _message(document, database, ["insulation"], imd.message, imd.protection)
        _signals(document, message, ["insulation"], [imd.resistance.signal, *imd.flags])
    if (air := can_map.environment) is not None:
        message = _message(document, database, ["environment"], air.message, air.protection)
        for quantity, values in air.values.items():
            _signals(document, message, ["environment", "values", quantity], [values.signal])
        for quantity, signal in air.valid.items():
            _signals(document, message, ["environment", "valid", quantity], [signal])
    return LoadedMap(can_map, database)


def module_message(frame: ScanFrame, module: int) -> str:
    """Name of the message of ``module``."""
    return frame.message.format(module=module)


def _check_scan(document: Document, database: Database, scan: Scan, pack: Pack) -> None:
    fed_cells: set[int] = set()
    fed_sensors: set[int] = set()
    for number, frame in enumerate(scan.frames):
        path: list[str | int] = ["scan", "frames", number]
        for module in range(min(frame.modules, pack.modules)):
            name = module_message(frame, module)
            message = _message(document, database, path, name, frame.protection)
            for key, fed, total in (
                ("cells", fed_cells, pack.series),
                ("temperatures", fed_sensors, pack.temperature_sensors),
            ):
                for position, values in enumerate(getattr(frame, key)):
                    signals = signal_names(values)
                    indices = [values.first + module * values.count + i for i in range(values.count)]
                    wanted = [s for s, i in zip(signals, indices, strict=True) if i < total]
                    _signals(document, message, [*path, key, position], wanted)
                    repeated = fed.intersection(indices)
                    if repeated:
                        raise document.error(
                            [*path, key, position], f"index {min(repeated)} is fed twice"
                        )
                    fed.update(i for i in indices if i < total)
            optional = [frame.bleed_bits, frame.open_wire_bits, frame.module_voltage]
            optional += [frame.afe_temperature, *frame.flags, scan.counter, scan.device_time_ms]
            _signals(document, message, path, optional)
    if frame_of_none := sorted(set(range(pack.series)) - fed_cells):
        raise document.error(
            ["scan", "frames"],
            f"no signal feeds cell {frame_of_none[0]} of pack {pack.name!r} with {pack.series} cells",
        )
    if missing := sorted(set(range(pack.temperature_sensors)) - fed_sensors):
        raise document.error(
            ["scan", "frames"],
            f"no signal feeds temperature sensor {missing[0]} of pack {pack.name!r} "
            f"with {pack.temperature_sensors} sensors",
        )


def signal_names(values: Values) -> list[str]:
    """Names of the signals of ``values``, in order of the index they feed."""
    return [values.signal.format(index=values.name_start + i) for i in range(values.count)]


def _message(
    document: Document,
    database: Database,
    path: list[str | int],
    name: str,
    protection: Protection,
) -> Message:
    try:
        message = find_message(database, name)
    except DatabaseError as error:
        raise document.error([*path, "message"], str(error)) from error
    if protection == "end_to_end" and data_id_of(message) is None:
        raise document.error(
            [*path, "message"],
            f"message {name!r} has no end-to-end protection (signals Crc and AliveCounter, attribute "
            f"E2EDataId); say 'protection: none' and give 'freshness_s' if that is intended",
        )
    return message


def _signals(
    document: Document, message: Message, path: list[str | int], names: list[str | None]
) -> None:
    known = {signal.name for signal in message.signals}
    for name in names:
        if name is not None and name not in known:
            raise document.error(
                path,
                f"message {message.name!r} has no signal {name!r}, it has e.g. "
                f"{', '.join(sorted(known)[:8])}",
            )


__all__ = ["CanMap", "ConfigurationError", "LoadedMap", "load_map", "module_message", "signal_names"]
