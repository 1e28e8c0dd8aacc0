# SPDX-License-Identifier: Apache-2.0
"""Decoding of the frames that carry parts of a scan into the arrays of a ``Scan``. No ROS."""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from cantools.database.can import Message

from ibms_battery.pack import Pack
from ibms_end.afe.samples import AFE_FLAGS, Scan
from ibms_end.can.codec import FrameDecoder, find_message, limits_of
from ibms_end.can.identifier import message_identifier
from ibms_end.map_schema import ScanFrame, Values, holds
from ibms_end.mapping import LoadedMap


class ScanFrameDecoder:
    """Checks one message and writes its values into a scan."""

    def __init__(
        self, loaded: LoadedMap, pack: Pack, frame: ScanFrame, module: int, history: bool
    ) -> None:
        message = find_message(loaded.database, frame.message_name(module, history))
        self.frame = FrameDecoder(message, frame.protection == "end_to_end")
        self.identifier = message_identifier(message)
        self.module = module
        self.freshness_s = frame.freshness_s
        scan = loaded.map.scan
        self._counter = scan.counter
        self._device_time = scan.device_time_ms
        self._cells = _Target(message, frame.cells, module, pack.series)
        self._temperatures = _Target(message, frame.temperatures, module, pack.temperature_sensors)
        self._bleed_bits = frame.bleed_bits
        self._open_wire_bits = frame.open_wire_bits
        self._module_voltage = _Scalar.of(message, frame.module_voltage)
        self._afe_temperature = _Scalar.of(message, frame.afe_temperature)
        self._flags = [(signal, AFE_FLAGS[flag]) for signal, flag in frame.flags.items()]

    @property
    def cells(self) -> npt.NDArray[np.intp]:
        """Indices of the cells that it feeds, in the order of its bit masks."""
        return self._cells.indices

    def counter_of(self, values: Mapping[str, float]) -> int:
        """Scan counter that the frame carries."""
        return int(values[self._counter]) if self._counter else 0

    def device_time_of(self, values: Mapping[str, float]) -> int:
        """Device time [ms] that the frame carries; 0 without one."""
        return int(values[self._device_time]) if self._device_time else 0

    def fill(self, scan: Scan, values: Mapping[str, float]) -> None:
        """Write ``values`` into ``scan``.

        Values outside their signal's range are marked as unmeasured; signals that are not there
        (another group of a multiplexed message) leave the scan as it is.
        """
        self._cells.write(values, scan.voltage_v, scan.voltage_valid)
        self._temperatures.write(values, scan.temperature_c, scan.temperature_valid)
        bleed = values.get(self._bleed_bits) if self._bleed_bits else None
        if bleed:
            scan.bleed_active[self.cells] = _bits(int(bleed), len(self.cells))
        open_wire = values.get(self._open_wire_bits) if self._open_wire_bits else None
        if open_wire:  # what hangs on an open wire is not a measurement
            bits = _bits(int(open_wire), len(self.cells))
            scan.open_wire[self.cells] = bits
            lost = self.cells[bits == 1]
            scan.voltage_valid[lost] = 0
            scan.voltage_v[lost] = np.nan
        if self._module_voltage is not None:
            scan.module_voltage_v[self.module] = self._module_voltage.read(values)
        if self._afe_temperature is not None:
            scan.afe_temperature_c[self.module] = self._afe_temperature.read(values)
        status = 0
        for signal, bit in self._flags:
            if values.get(signal):
                status |= bit
        scan.receive_status(self.module, status)


def build_decoders(loaded: LoadedMap, pack: Pack, history: bool = False) -> list[ScanFrameDecoder]:
    """Decoders of all frames of a scan of this pack (or of past scans)."""
    return [
        ScanFrameDecoder(loaded, pack, frame, module, history)
        for frame in loaded.map.scan.frames
        for module in range(min(frame.modules, pack.modules))
        if not history or frame.history_message is not None
    ]


class _Scalar:
    """One signal; NaN outside its range."""

    def __init__(self, message: Message, name: str) -> None:
        self._name = name
        self._low, self._high = limits_of(message.get_signal_by_name(name))

    @classmethod
    def of(cls, message: Message, name: str | None) -> "_Scalar | None":
        return None if name is None else cls(message, name)

    def read(self, values: Mapping[str, float]) -> float:
        value = values.get(self._name, np.nan)
        return value if self._low <= value <= self._high else np.nan


class _Target:
    """Signals of one message that feed entries of an array."""

    def __init__(self, message: Message, entries: list[Values], module: int, total: int) -> None:
        names, indices, rows, checks = [], [], [], []
        for values in entries:
            for name, index, check in zip(
                values.names(), values.indices(module), values.checks(), strict=True
            ):
                if index < total:
                    names.append(name)
                    indices.append(index)
                    checks.append(check)
                    limits = limits_of(message.get_signal_by_name(name))
                    rows.append((*limits, values.scale, values.offset))
        self.indices = np.array(indices, np.intp)
        self._names = names
        self._checks = checks if any(checks) else []
        self._columns = np.array(rows, np.float64).reshape(-1, 4).T
        self._is_plain = bool((self._columns[2] == 1.0).all() and (self._columns[3] == 0.0).all())
        self._get: Callable[[Mapping[str, float]], Any] = itemgetter(*names) if names else tuple
        consecutive = bool(names) and bool((np.diff(self.indices) == 1).all())
        self._place: slice | npt.NDArray[np.intp] = (
            slice(indices[0], indices[-1] + 1) if consecutive else self.indices
        )

    def write(
        self,
        values: Mapping[str, float],
        into: npt.NDArray[np.float32],
        valid: npt.NDArray[np.uint8],
    ) -> None:
        """Write what is there; what is out of range or does not hold is NaN and not valid."""
        if not self._names:
            return
        place, columns, checks = self._place, self._columns, self._checks
        try:
            read = np.array(self._get(values), np.float64)
        except KeyError:
            present = [i for i, name in enumerate(self._names) if name in values]
            if not present:
                return
            read = np.array([values[self._names[i]] for i in present], np.float64)
            place, columns = self.indices[present], columns[:, present]
            checks = [checks[i] for i in present] if checks else []
        low, high, scale, offset = columns
        good = (read >= low) & (read <= high)
        if checks:
            good &= [holds(check, values) for check in checks]
        if not self._is_plain:
            read = read * scale + offset
        if not good.all():
            read = np.where(good, read, np.nan)
        into[place] = read
        valid[place] = good


def _bits(mask: int, count: int) -> npt.NDArray[np.uint8]:
    size = (count + 7) // 8
    data = (mask & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:count]
