# SPDX-License-Identifier: Apache-2.0
"""Decoding of the frames that carry parts of a scan into the arrays of a ``Scan``. No ROS."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cantools.database.can import Message

from ibms_battery.pack import Pack
from ibms_end.afe.samples import AFE_FLAGS, Scan
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_end.mapping import LoadedMap, ScanFrame, Values, module_message, signal_names

_BIT = np.arange(256)


@dataclass
class _Target:
    """Signals of one frame that feed consecutive entries of an array."""

    names: list[str]
    first: int
    scale: float
    offset: float
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]


class ScanFrameDecoder:
    """Checks one message and writes its values into a scan."""

    def __init__(
        self, loaded: LoadedMap, pack: Pack, frame: ScanFrame, module: int, history: bool
    ) -> None:
        name = module_message(frame, module)
        if history and frame.history_message is not None:
            name = frame.history_message.format(module=module)
        message = find_message(loaded.database, name)
        self.frame = FrameDecoder(message, frame.protection == "end_to_end")
        self.identifier = message.frame_id
        self.module = module
        self.freshness_s = frame.freshness_s
        scan = loaded.map.scan
        self._counter = scan.counter
        self._device_time = scan.device_time_ms
        self._cells = _targets(message, frame.cells, module, pack.series)
        self._temperatures = _targets(
            message, frame.temperatures, module, pack.temperature_sensors
        )
        self._cell_slice = _slice(self._cells)
        self._bleed_bits = frame.bleed_bits
        self._open_wire_bits = frame.open_wire_bits
        self._module_voltage = frame.module_voltage
        self._afe_temperature = frame.afe_temperature
        self._flags = [(signal, AFE_FLAGS[flag]) for signal, flag in frame.flags.items()]

    def decode(self, data: bytes | bytearray) -> dict[str, float] | None:
        """Values of a frame that passed all checks, else ``None``."""
        return self.frame.decode(data)

    def counter_of(self, values: dict[str, float]) -> int:
        """Scan counter that the frame carries."""
        return int(values[self._counter]) if self._counter else 0

    def device_time_of(self, values: dict[str, float]) -> int:
        """Device time [ms] that the frame carries; 0 without one."""
        return int(values[self._device_time]) if self._device_time else 0

    def fill(self, scan: Scan, values: dict[str, float]) -> None:
        """Write the frame's values into ``scan``; values outside the signal's range stay unmeasured."""
        for target in self._cells:
            _write(target, values, scan.voltage_v, scan.voltage_valid)
        for target in self._temperatures:
            _write(target, values, scan.temperature_c, scan.temperature_valid)
        cells = self._cell_slice
        count = cells.stop - cells.start
        if self._bleed_bits is not None:
            scan.bleed_active[cells] = int(values[self._bleed_bits]) >> _BIT[:count] & 1
        if self._open_wire_bits is not None:
            bits = int(values[self._open_wire_bits]) >> _BIT[:count] & 1
            scan.open_wire[cells] = bits
            if bits.any():  # what hangs on an open wire is not a measurement
                scan.voltage_valid[cells] &= (1 - bits).astype(np.uint8)
                scan.voltage_v[cells][bits == 1] = np.nan
        if self._module_voltage is not None:
            scan.module_voltage_v[self.module] = values[self._module_voltage]
        if self._afe_temperature is not None:
            scan.afe_temperature_c[self.module] = values[self._afe_temperature]
        scan.afe_status[self.module] = sum(bit for signal, bit in self._flags if values[signal])


def build_decoders(loaded: LoadedMap, pack: Pack, history: bool = False) -> list[ScanFrameDecoder]:
    """Decoders of all frames of a scan of this pack (or of past scans)."""
    return [
        ScanFrameDecoder(loaded, pack, frame, module, history)
        for frame in loaded.map.scan.frames
        for module in range(min(frame.modules, pack.modules))
        if not history or frame.history_message is not None
    ]


def _targets(
    message: Message, entries: list[Values], module: int, total: int
) -> list[_Target]:
    targets = []
    for values in entries:
        first = values.first + module * values.count
        names = signal_names(values)[: max(0, total - first)]
        if not names:
            continue
        limits = []
        for name in names:
            signal = message.get_signal_by_name(name)
            low = -np.inf if signal.minimum is None else float(signal.minimum)
            high = np.inf if signal.maximum is None else float(signal.maximum)
            limits.append((low * values.scale + values.offset, high * values.scale + values.offset))
        bounds = np.array(limits, np.float32)
        targets.append(
            _Target(names, first, values.scale, values.offset, bounds[:, 0], bounds[:, 1])
        )
    return targets


def _slice(targets: list[_Target]) -> slice:
    if not targets:
        return slice(0, 0)
    return slice(targets[0].first, targets[-1].first + len(targets[-1].names))


def _write(
    target: _Target,
    values: dict[str, float],
    into: npt.NDArray[np.float32],
    valid: npt.NDArray[np.uint8],
) -> None:
    names = target.names
    if names[0] not in values:  # another group of a multiplexed message
        present = [(i, values[name]) for i, name in enumerate(names) if name in values]
        for i, value in present:
            _write_one(target, i, value, into, valid)
        return
    if len(names) > 1 and names[-1] not in values:
        for i, name in enumerate(names):
            if name in values:
                _write_one(target, i, values[name], into, valid)
        return
    read = np.array([values[name] for name in names], np.float32)
    if target.scale != 1.0 or target.offset != 0.0:
        read = read * np.float32(target.scale) + np.float32(target.offset)
    good = (read >= target.low) & (read <= target.high)
    place = slice(target.first, target.first + len(names))
    into[place] = np.where(good, read, np.float32(np.nan))
    valid[place] = good


def _write_one(
    target: _Target,
    index: int,
    value: float,
    into: npt.NDArray[np.float32],
    valid: npt.NDArray[np.uint8],
) -> None:
    physical = value * target.scale + target.offset
    good = bool(target.low[index] <= physical <= target.high[index])
    into[target.first + index] = physical if good else np.nan
    valid[target.first + index] = good
