# SPDX-License-Identifier: Apache-2.0
"""Measured cell data as the cells of a pack: voltage, current and temperature of a real cell."""

import numpy as np
import numpy.typing as npt

from ibms_battery.pack import Pack
from ibms_battery.recordings import Recording
from ibms_sim.cells.thermal import Actuation
from ibms_sim.configuration import Simulation

FloatArray = npt.NDArray[np.float64]


class Player:
    """Plays a recording from ``start_s`` on, linear between its samples.

    Playback time is the time for which the load is connected: it stands while the contacts are
    open, and so do the values, without current. After the end the last values stay likewise.
    """

    def __init__(self, recording: Recording, start_s: float) -> None:
        self._recording = recording
        self._start_s = start_s

    def voltage_v(self, time_s: float) -> float:
        """Voltage of the recorded cell after ``time_s`` of playback."""
        return self._at(self._recording.voltage_v, time_s)

    def temperature_c(self, time_s: float) -> float:
        """Temperature of the recorded cell; NaN where it was not measured."""
        return self._at(self._recording.temperature_c, time_s)

    def current_a(self, time_s: float) -> float:
        """Current of the recorded cell, charge positive."""
        if self._start_s + time_s > self._recording.duration_s:
            return 0.0
        return self._at(self._recording.current_a, time_s)

    def _at(self, values: FloatArray, time_s: float) -> float:
        return float(np.interp(self._start_s + time_s, self._recording.time_s, values))


class RecordedStack:
    """Cell groups that all show the recorded cell, each with its own small offset.

    Balancing resistors, internal shorts and thermal actuators have no effect on recorded cells.
    """

    def __init__(
        self,
        player: Player,
        pack: Pack,
        simulation: Simulation,
        generator: np.random.Generator,
    ) -> None:
        width = simulation.spread
        self.ohmic_ohm: FloatArray = np.zeros(pack.series)
        self.quick_ohm = self.ohmic_ohm
        self._player = player
        self._offset_v = generator.normal(0.0, width.recorded_voltage_v, pack.series)
        self._offset_k = generator.normal(0.0, width.recorded_temperature_k, pack.series)
        self._without_temperature_c = simulation.start.temperature_c
        self._show(0.0)

    def step(
        self,
        current_a: FloatArray,
        bleed_s: FloatArray,
        short_s: FloatArray,
        actuation: Actuation,
        load_time_s: float,
    ) -> None:
        """Move on to ``load_time_s``; as in ``Stack``."""
        self._show(load_time_s)

    def _show(self, time_s: float) -> None:
        temperature_c = self._player.temperature_c(time_s)
        if np.isnan(temperature_c):
            temperature_c = self._without_temperature_c
        self.voltage_v: FloatArray = self._player.voltage_v(time_s) + self._offset_v
        self.temperature_c: FloatArray = temperature_c + self._offset_k


class RecordedDemand:
    """The pack current that belongs to the recording."""

    follows_limits = False  # what was measured has flowed

    def __init__(self, player: Player, parallel: int) -> None:
        self._player = player
        self._parallel = parallel

    def current_a(self, time_s: float, link_v: float) -> float:
        """Current of all cells in parallel [A], charge positive."""
        return self._player.current_a(time_s) * self._parallel
