# SPDX-License-Identifier: Apache-2.0
"""AFE modules: scans of cell voltages and temperatures, balancing resistors, and their errors."""

import can
import numpy as np
import numpy.typing as npt

from ibms_battery.clock import NS_PER_S
from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import Pack
from ibms_sim.configuration import Error, Sensors
from ibms_sim.devices import packing
from ibms_sim.devices.packing import AFE_LAYOUT, CELLS_PER_MODULE, SENSORS_PER_MODULE
from ibms_sim.faults import FaultSet

FloatArray = npt.NDArray[np.float64]

BLEED_DEAD_MAN_NS = 2 * NS_PER_S
_OVERTEMPERATURE_C = 125.0
_HEATING_K_W = 6.0  # of the module's board per watt in its balancing resistors
_OPEN_WIRE_V = 0.02  # what a cell without its upper sense wire reads


def check_fits(pack: Pack, file: str) -> None:
    """Refuse a pack that its AFE modules cannot measure; raises ``ConfigurationError``."""
    for key, needed, per_module in (
        ("series", pack.series, CELLS_PER_MODULE),
        ("temperature_sensors", pack.temperature_sensors, SENSORS_PER_MODULE),
    ):
        if needed > pack.modules * per_module:
            raise ConfigurationError(
                file,
                None,
                key,
                f"found {needed}, but {pack.modules} simulated AFE modules measure at most "
                f"{pack.modules * per_module}; raise 'modules'",
            )


class Channels:
    """Offset and gain of several converter channels, drawn once, and noise per sample."""

    def __init__(self, error: Error, count: int, generator: np.random.Generator) -> None:
        self._offset = generator.normal(0.0, error.offset, count)
        self._gain = 1 + generator.normal(0.0, error.gain, count)
        self._noise = error.noise
        self._generator = generator

    def measure(self, true: FloatArray) -> FloatArray:
        """What the channels read."""
        read = true * self._gain + self._offset
        if self._noise > 0:
            read += self._generator.normal(0.0, self._noise, len(true))
        return np.asarray(read)


class AfeModules:
    """All AFE modules of a pack; they sample at once."""

    def __init__(
        self, pack: Pack, sensors: Sensors, faults: FaultSet, generator: np.random.Generator
    ) -> None:
        self.scan_counter = 0
        self.bleed: npt.NDArray[np.bool_] = np.zeros(pack.series, dtype=np.bool_)
        self._pack = pack
        self._faults = faults
        self._bleed_ohm = sensors.bleed_ohm
        self._bleed_commanded_ns: int | None = None
        self._voltage = Channels(sensors.cell_voltage, pack.series, generator)
        self._temperature = Channels(sensors.temperature, pack.temperature_sensors, generator)
        self._module_voltage = Channels(sensors.module_voltage, pack.modules, generator)
        self._generator = generator
        self._frames = np.zeros(pack.modules, dtype=AFE_LAYOUT)
        self._cells = np.zeros(pack.modules * CELLS_PER_MODULE)
        self._sensors = np.zeros(pack.modules * SENSORS_PER_MODULE)
        self._bits = np.zeros(pack.modules * CELLS_PER_MODULE, dtype=np.bool_)
        self._raw_v = np.zeros(pack.series)
        self._raw_c = np.zeros(pack.temperature_sensors)
        self._protections = [
            packing.Protection(packing.AFE_MEASUREMENT_ID + k) for k in range(pack.modules)
        ]
        of_cell = np.array(pack.temperature_sensor_of_cell())
        weights = (of_cell == np.arange(pack.temperature_sensors)[:, None]).astype(np.float64)
        # A sensor that stands for no cell reads the mean of all.
        weights[weights.sum(axis=1) == 0] = 1.0
        self._sensor_weights = weights / weights.sum(axis=1, keepdims=True)
        self._stuck_v: dict[int, float] = {}
        self._stuck_c: dict[int, float] = {}

    @property
    def bleed_s(self) -> FloatArray:
        """Conductance of the balancing resistors across the groups, 0 where off [S] (groups,)."""
        return np.asarray(self.bleed / self._bleed_ohm)

    def command_bleed(self, masks: list[int], now_ns: int) -> None:
        """Switch balancing resistors: bit mask of each module."""
        self._bleed_commanded_ns = now_ns
        for cell in range(self._pack.series):
            module, bit = divmod(cell, CELLS_PER_MODULE)
            self.bleed[cell] = bool(masks[module] >> bit & 1)

    def check_dead_man(self, now_ns: int) -> None:
        """Switch all resistors off when commands stopped."""
        last = self._bleed_commanded_ns
        if last is not None and now_ns - last >= BLEED_DEAD_MAN_NS:
            self._bleed_commanded_ns = None
            self.bleed[:] = False

    def scan(
        self,
        voltage_v: FloatArray,
        temperature_c: FloatArray,
        ambient_c: float,
        device_time_ms: int,
    ) -> npt.NDArray[np.void]:
        """Sample all modules; the returned array (modules,) of ``AFE_LAYOUT`` is reused."""
        self.scan_counter = (self.scan_counter + 1) & 0xFFFFFFFF
        frames = self._frames
        read_v, open_wires = self._read_voltages(voltage_v)
        self._cells[: len(read_v)] = read_v
        self._sensors[: self._pack.temperature_sensors] = self._read_temperatures(temperature_c)
        modules = self._pack.modules
        cells = packing.quantise(self._cells, packing.VOLTAGE_STEP_V, 0, 65535)
        frames["cells"] = cells.reshape(modules, CELLS_PER_MODULE)
        sensors = packing.quantise(self._sensors, packing.TEMPERATURE_STEP_C, -32768, 32767)
        frames["temperatures"] = sensors.reshape(modules, SENSORS_PER_MODULE)
        frames["bleed"] = self._pack_bits(self.bleed)
        frames["open_wire"] = self._pack_bits(open_wires)
        true = np.zeros(len(self._cells))
        true[: len(voltage_v)] = voltage_v
        stack = self._module_voltage.measure(true.reshape(modules, CELLS_PER_MODULE).sum(axis=1))
        for module, offset_v in self._faults.of("module_voltage_offset").items():
            stack[module] += offset_v
        frames["module_voltage"] = packing.quantise(stack, packing.MODULE_VOLTAGE_STEP_V, 0, 65535)
        true[: len(voltage_v)] *= true[: len(voltage_v)] * self.bleed / self._bleed_ohm
        heat_w = true.reshape(modules, CELLS_PER_MODULE).sum(axis=1)
        afe_c = ambient_c + 5.0 + heat_w * _HEATING_K_W
        frames["afe_temperature"] = packing.quantise(
            afe_c, packing.TEMPERATURE_STEP_C, -32768, 32767
        )
        frames["flags"] = np.where(afe_c > _OVERTEMPERATURE_C, packing.FLAG_OVERTEMPERATURE, 0)
        for module in self._faults.of("afe_self_test"):
            frames["flags"][module] |= packing.FLAG_SELF_TEST
        frames["scan_counter"] = self.scan_counter
        frames["device_time_ms"] = device_time_ms & 0xFFFFFFFF
        return frames

    def messages(self, frames: npt.NDArray[np.void]) -> list[can.Message]:
        """Frames of a scan as they go onto the bus, with the faults of sending."""
        data = frames.tobytes()
        size = AFE_LAYOUT.itemsize
        messages = []
        for module in range(self._pack.modules):
            if self._faults.has("afe_silent", module):
                continue
            frame = bytearray(data[module * size : (module + 1) * size])
            frozen = self._faults.has("afe_counter_frozen", module)
            self._protections[module].protect(frame, frozen)
            flips = self._faults.of("afe_corruption").get(module)
            if flips is not None:
                self._flip_bits(frame, round(flips))
            messages.append(packing.fd_frame(packing.AFE_MEASUREMENT_ID + module, frame))
        return messages

    def _read_voltages(self, true: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        read = self._voltage.measure(true)
        faults = self._faults
        open_wires = np.zeros(len(read), dtype=np.bool_)
        for cell in faults.of("open_wire"):
            open_wires[cell] = True
            # The wire is shared with the next cell of the module, which then reads both.
            if cell + 1 < len(read) and (cell + 1) % CELLS_PER_MODULE:
                read[cell + 1] += read[cell] - _OPEN_WIRE_V
            read[cell] = _OPEN_WIRE_V
        for cell, offset in faults.of("cell_voltage_offset").items():
            read[cell] += offset
        for cell, value in faults.of("cell_voltage").items():
            read[cell] = value
        _hold(read, self._raw_v, self._stuck_v, faults.of("cell_voltage_stuck"))
        self._raw_v = read
        return read, open_wires

    def _read_temperatures(self, true: FloatArray) -> FloatArray:
        read = self._temperature.measure(self._sensor_weights @ true)
        for sensor, value in self._faults.of("cell_temperature").items():
            read[sensor] = value
        _hold(read, self._raw_c, self._stuck_c, self._faults.of("cell_temperature_stuck"))
        self._raw_c = read
        return read

    def _pack_bits(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint16]:
        self._bits[: len(mask)] = mask
        return np.packbits(self._bits, bitorder="little").view("<u2")

    def _flip_bits(self, frame: bytearray, count: int) -> None:
        for bit in self._generator.choice(len(frame) * 8, size=count, replace=False):
            frame[bit // 8] ^= 1 << (bit % 8)


def _hold(
    read: FloatArray, previous: FloatArray, held: dict[int, float], stuck: dict[int, float]
) -> None:
    """Replace stuck channels of ``read`` by what they read when they got stuck."""
    for channel in stuck:
        read[channel] = held.setdefault(channel, float(previous[channel]))
    for channel in held.keys() - stuck.keys():
        del held[channel]
