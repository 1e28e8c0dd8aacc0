# SPDX-License-Identifier: Apache-2.0
"""Environment sensors of the pack; vibration is formed from a sampled acceleration signal."""

import can
import numpy as np
import numpy.typing as npt
from cantools.database.can import Database

from ibms_end.can.codec import FrameEncoder, find_message
from ibms_sim.configuration import Surroundings
from ibms_sim.faults import FaultSet

PERIOD_S = 0.1
SAMPLE_RATE_HZ = 2000
_SAMPLES = round(PERIOD_S * SAMPLE_RATE_HZ)
_SHOCK_S = 0.01  # half sine
_SHOCK_EVERY = round(1.0 / PERIOD_S)
_SHOCK_PAUSE = round(0.05 * SAMPLE_RATE_HZ)  # samples below the threshold that end a shock
_REST_RMS_M_S2 = 0.02  # sensor noise
_ROAD_HZ = 14.0

FloatArray = npt.NDArray[np.float64]


class Vibration:
    """Acceleration at ``SAMPLE_RATE_HZ``, and what the sensor forms of each period of it."""

    def __init__(
        self, rms_m_s2: float, threshold_m_s2: float, generator: np.random.Generator
    ) -> None:
        self.shock_count = 0
        self._rms = rms_m_s2
        self._threshold = threshold_m_s2
        self._generator = generator
        self._time = np.arange(_SAMPLES) / SAMPLE_RATE_HZ
        self._periods = 0
        self._quiet = _SHOCK_PAUSE

    def signal(self, driving: bool, shock_m_s2: float | None) -> FloatArray:
        """Acceleration of the next period [m/s^2] (samples,): road, body resonance, shocks."""
        rms = self._rms if driving else 0.0
        start_s = self._periods * PERIOD_S
        signal = self._generator.normal(0.0, np.hypot(_REST_RMS_M_S2, rms * 0.8), _SAMPLES)
        signal += rms * 0.6 * np.sqrt(2) * np.sin(2 * np.pi * _ROAD_HZ * (start_s + self._time))
        if shock_m_s2 is not None and self._periods % _SHOCK_EVERY == 0:
            length = round(_SHOCK_S * SAMPLE_RATE_HZ)
            signal[:length] += shock_m_s2 * np.sin(np.pi * (np.arange(length) + 0.5) / length)
        self._periods += 1
        return np.asarray(signal)

    def evaluate(self, signal: FloatArray) -> tuple[float, float]:
        """RMS and peak of a period [m/s^2]; counts its shocks."""
        above = np.flatnonzero(np.abs(signal) > self._threshold)
        last = -self._quiet - 1
        for index in above:
            if index - last > _SHOCK_PAUSE:
                self.shock_count += 1
            last = int(index)
        self._quiet = len(signal) - 1 - last
        return float(np.sqrt(np.mean(signal**2))), float(np.max(np.abs(signal)))


class EnvironmentSensors:
    """All sensors that share the Environment frame."""

    def __init__(
        self,
        database: Database,
        surroundings: Surroundings,
        faults: FaultSet,
        generator: np.random.Generator,
    ) -> None:
        self._encoder = FrameEncoder(find_message(database, "Environment"))
        self._surroundings = surroundings
        self._faults = faults
        self._generator = generator
        self._vibration = Vibration(
            surroundings.vibration_rms_m_s2, surroundings.shock_threshold_m_s2, generator
        )

    def sample(self, ambient_c: float, driving: bool) -> can.Message | None:
        """Frame of this period; ``None`` if the sensors are silent."""
        signal = self._vibration.signal(driving, self._faults.value("shock"))
        rms, peak = self._vibration.evaluate(signal)
        if self._faults.has("environment_silent"):
            return None
        gas_ppm = self._true("gas", self._surroundings.gas_ppm)
        humidity_percent = self._true("humidity", self._surroundings.humidity_percent)
        pressure_pa = self._true("pressure", self._surroundings.pressure_pa)
        noise = self._generator.normal(0.0, 1.0, 4)
        return self._encoder.encode(
            {
                "AmbientValid": 1,
                "HumidityValid": 1,
                "PressureValid": 1,
                "GasValid": not self._faults.has("gas_sensor"),
                "VibrationValid": 1,
                "AmbientTemperature": ambient_c + 0.05 * noise[0],
                "Humidity": min(max(humidity_percent + 0.2 * noise[1], 0.0), 100.0),
                "Pressure": min(max(pressure_pa + 5.0 * noise[2], 0.0), 5e5),
                "Gas": min(max(gas_ppm + 0.5 * noise[3], 0.0), 65535.0),
                "VibrationRms": min(rms, 655.35),
                "VibrationPeak": min(peak, 655.35),
                "ShockCount": self._vibration.shock_count,
            }
        )

    def _true(self, fault: str, otherwise: float) -> float:
        value = self._faults.value(fault)
        return otherwise if value is None else value
