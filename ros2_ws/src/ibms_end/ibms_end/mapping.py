# SPDX-License-Identifier: Apache-2.0
"""Loading of a CAN map, checked against its databases and a pack. No ROS."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cantools.database.can import Database, Message
from msgspec import Struct

from ibms_battery import configuration
from ibms_battery.configuration import Document
from ibms_battery.pack import Pack
from ibms_end.can.codec import DatabaseError, data_id_of, find_message, load_databases
from ibms_end.can.identifier import message_identifier
from ibms_end.map_schema import CanMap, Protection, ScanFrame, Values

Keys = list[str | int]
T = TypeVar("T")


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
    _Check(document, database, can_map, pack).everything()
    return LoadedMap(can_map, database)


class _Check:
    """Holds a map against its databases and a pack; every method raises ``ConfigurationError``."""

    def __init__(self, document: Document, database: Database, can_map: CanMap, pack: Pack) -> None:
        self._document = document
        self._database = database
        self._map = can_map
        self._pack = pack
        self._fed: dict[str, set[int]] = {"cells": set(), "temperatures": set()}
        self._scan_identifiers: dict[int, str] = {}
        self._cells_of_module: Counter[int] = Counter()

    def everything(self) -> None:
        """Check all sections."""
        frames = self._map.scan.frames
        for number, frame in enumerate(frames):
            path: Keys = ["scan", "frames", number]
            for module in range(min(frame.modules, self._pack.modules)):
                self._scan_frame(path, frame, module, history=False)
                if frame.history_message is not None:
                    self._scan_frame(path, frame, module, history=True)
        self._completeness()
        self._commands()
        self._pack_sensor()
        self._identity()
        self._slow_sensors()

    def _scan_frame(self, path: Keys, frame: ScanFrame, module: int, history: bool) -> None:
        key = "history_message" if history else "message"
        name = self._formatted(
            [*path, key], lambda: frame.message_name(module, history), "{module}"
        )
        message = self._message(path, name, frame.protection, key)
        self._once([*path, key], message)
        cells = 0
        for kind, total in (
            ("cells", self._pack.series),
            ("temperatures", self._pack.temperature_sensors),
        ):
            for position, values in enumerate(getattr(frame, kind)):
                place: Keys = [*path, kind, position]
                wanted = [
                    (signal, index)
                    for signal, index in zip(
                        self._names(place, values), values.indices(module), strict=True
                    )
                    if index < total
                ]
                self._signals(place, message, [signal for signal, _ in wanted])
                self._checks(place, message, values, len(wanted))
                cells += len(wanted) if kind == "cells" else 0
                if not history:
                    self._feed(place, kind, [index for _, index in wanted])
        if not history:
            self._cells_of_module[module] += cells
        self._signals(path, message, [frame.module_voltage, frame.afe_temperature])
        integers = [frame.bleed_bits, frame.open_wire_bits, *frame.flags]
        integers += [self._map.scan.counter, self._map.scan.device_time_ms]
        self._integers(path, message, integers)
        for key in ("bleed_bits", "open_wire_bits"):
            bits = getattr(frame, key)
            if bits is not None and message.get_signal_by_name(bits).length < cells:
                raise self._document.error(
                    [*path, key], f"signal {bits!r} is too narrow for {cells} cells, one bit each"
                )

    def _feed(self, path: Keys, kind: str, indices: list[int]) -> None:
        fed = self._fed[kind]
        if repeated := fed.intersection(indices):
            raise self._document.error(path, f"index {min(repeated)} is fed twice")
        fed.update(indices)

    def _completeness(self) -> None:
        pack, path = self._pack, ["scan", "frames"]
        for kind, total, what in (
            ("cells", pack.series, "cell"),
            ("temperatures", pack.temperature_sensors, "temperature sensor"),
        ):
            if missing := sorted(set(range(total)) - self._fed[kind]):
                raise self._document.error(
                    path,
                    f"no signal feeds {what} {missing[0]} of pack {pack.name!r}, which has {total}",
                )
        modules = max(frame.modules for frame in self._map.scan.frames)
        if modules < pack.modules:
            raise self._document.error(
                path,
                f"no message feeds module {modules} of pack {pack.name!r}, which has "
                f"{pack.modules}; raise 'modules' of a message with {{module}} in its name, or say "
                f"'modules: 1' in the pack",
            )

    def _commands(self) -> None:
        scan = self._map.scan
        if scan.balancing_message is not None:
            path: Keys = ["scan", "balancing_message"]
            message = self._find(path, scan.balancing_message)
            for module in range(self._pack.modules):
                mask, cells = f"BleedMask_{module:02d}", self._cells_of_module[module]
                self._integers(path, message, [mask])
                if message.get_signal_by_name(mask).length < cells:
                    raise self._document.error(
                        path, f"signal {mask!r} is too narrow for {cells} cells, one bit each"
                    )
        has_history = any(frame.history_message for frame in scan.frames)
        if scan.history_request_message is None and not has_history:
            return
        path = ["scan", "history_request_message"]
        if scan.history_request_message is None or not all(f.history_message for f in scan.frames):
            raise self._document.error(
                path,
                "past scans need 'history_request_message' and 'history_message' of every frame",
            )
        if scan.counter is None or scan.device_time_ms is None:
            raise self._document.error(path, "past scans need 'counter' and 'device_time_ms'")
        message = self._find(path, scan.history_request_message)
        self._signals(path, message, ["FirstScan", "ScanCount"])

    def _pack_sensor(self) -> None:
        sensor = self._map.pack_sensor
        path: Keys = ["pack_sensor"]
        message = self._message(path, sensor.message, sensor.protection)
        for key in ("current", "voltage", "link_voltage", "charge", "shunt_temperature"):
            self._single([*path, key], message, getattr(sensor, key))
        self._integers([*path, "sample_counter"], message, [sensor.sample_counter])
        self._integers([*path, "flags"], message, list(sensor.flags))
        if (second := self._map.redundant_pack_sensor) is not None:
            path = ["redundant_pack_sensor"]
            message = self._message(path, second.message, second.protection)
            self._single([*path, "current"], message, second.current)
            self._integers([*path, "faults"], message, list(second.faults))

    def _identity(self) -> None:
        if (identity := self._map.identity) is not None:
            path: Keys = ["identity"]
            message = self._message(path, identity.message, identity.protection)
            for key in ("series", "modules", "temperature_sensors"):
                self._integers([*path, key], message, [getattr(identity, key)])

    def _slow_sensors(self) -> None:
        if (monitor := self._map.insulation) is not None:
            path: Keys = ["insulation"]
            message = self._message(path, monitor.message, monitor.protection)
            self._single([*path, "resistance"], message, monitor.resistance)
            self._integers([*path, "flags"], message, list(monitor.flags))
        if (air := self._map.environment) is not None:
            path = ["environment"]
            message = self._message(path, air.message, air.protection)
            for quantity, values in air.values.items():
                self._single([*path, "values", quantity], message, values)

    def _single(self, path: Keys, message: Message, values: Values | None) -> None:
        if values is None:
            return
        if values.count != 1:
            raise self._document.error([*path, "count"], "expected 1, this is a single quantity")
        self._signals(path, message, list(self._names(path, values)))
        self._checks(path, message, values, 1)

    def _checks(self, path: Keys, message: Message, values: Values, count: int) -> None:
        for key in ("valid", "invalid"):
            if getattr(values, key) is not None:
                self._formatted([*path, key], values.checks, "{index}")
        for checks in values.checks()[:count]:
            self._integers(path, message, [name for name, _ in checks])

    def _names(self, path: Keys, values: Values) -> list[str]:
        names: list[str] = self._formatted([*path, "signal"], values.names, "{index}")
        if len(set(names)) < len(names):
            raise self._document.error(
                [*path, "signal"], f"found {values.signal!r}, but 'count' needs {{index}} in it"
            )
        if values.scale == 0.0:
            raise self._document.error(
                [*path, "scale"], "found 0, which leaves nothing of the signal"
            )
        return names

    def _formatted(self, path: Keys, build: Callable[[], T], known: str) -> T:
        try:
            return build()
        except (KeyError, IndexError, ValueError) as error:
            raise self._document.error(
                path, f"found {self._document.value_of(path)!r}, expected only {known} in braces"
            ) from error

    def _find(self, path: Keys, name: str) -> Message:
        try:
            return find_message(self._database, name)
        except DatabaseError as error:
            raise self._document.error(path, str(error)) from error

    def _message(
        self, path: Keys, name: str, protection: Protection, key: str = "message"
    ) -> Message:
        message = self._find([*path, key], name)
        if protection == "end_to_end" and data_id_of(message) is None:
            raise self._document.error(
                [*path, key],
                f"message {name!r} has no end-to-end protection (signals Crc and AliveCounter, "
                f"attribute E2EDataId); say 'protection: none' and give 'freshness_s' if that is "
                f"intended",
            )
        if protection == "none" and self._document.value_of([*path, "freshness_s"]) is None:
            raise self._document.error(
                [*path, "protection"],
                "a message without protection needs a freshness limit of its own: 'freshness_s'",
            )
        return message

    def _once(self, path: Keys, message: Message) -> None:
        identifier = message_identifier(message)
        other = self._scan_identifiers.get(identifier)
        if other is not None:
            raise self._document.error(
                path,
                f"message {message.name!r} has the identifier of {other!r}, which is used already",
            )
        self._scan_identifiers[identifier] = message.name

    def _signals(self, path: Keys, message: Message, names: list[str | None]) -> None:
        known = {signal.name for signal in message.signals}
        for name in names:
            if name is not None and name not in known:
                raise self._document.error(
                    path,
                    f"message {message.name!r} has no signal {name!r}, it has e.g. "
                    f"{', '.join(sorted(known)[:8])}",
                )

    def _integers(self, path: Keys, message: Message, names: list[str | None]) -> None:
        self._signals(path, message, names)
        for name in names:
            if name is None:
                continue
            signal = message.get_signal_by_name(name)
            if signal.is_float or signal.scale != 1 or signal.offset != 0:
                raise self._document.error(
                    path, f"signal {name!r} of {message.name!r} must be a plain integer"
                )
