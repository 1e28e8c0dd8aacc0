# SPDX-License-Identifier: Apache-2.0
"""Insulation monitoring device."""

import math

import can
import numpy as np
from cantools.database.can import Database

from ibms_end.can.codec import FrameEncoder, find_message
from ibms_sim.faults import FaultSet

PERIOD_S = 0.1
_START_S = 2.0  # measuring pulses before the first value
_RESPONSE_S = 0.5
_NOISE = 0.01
_MAXIMUM_OHM = 1e8


class InsulationMonitor:
    """Follows the true resistance with the delay of such devices."""

    def __init__(
        self,
        database: Database,
        resistance_ohm: float,
        faults: FaultSet,
        generator: np.random.Generator,
    ) -> None:
        self._encoder = FrameEncoder(find_message(database, "InsulationMonitor"))
        self._true_ohm = resistance_ohm
        self._faults = faults
        self._generator = generator
        self._conductance_s = 1 / resistance_ohm
        self._age_s = 0.0

    def sample(self) -> can.Message | None:
        """Frame of this period; ``None`` if the device is silent."""
        injected = self._faults.value("insulation_resistance")
        true_ohm = max(self._true_ohm if injected is None else injected, 1.0)
        # The device averages a leakage current, so it follows in conductance.
        self._conductance_s += (1 / true_ohm - self._conductance_s) * -math.expm1(
            -PERIOD_S / _RESPONSE_S
        )
        self._age_s += PERIOD_S
        if self._faults.has("insulation_silent"):
            return None
        read = (1 + self._generator.normal(0.0, _NOISE)) / self._conductance_s
        return self._encoder.encode(
            {
                "SelfTestFailed": self._faults.has("insulation_self_test"),
                "Starting": self._age_s < _START_S,
                "Resistance": min(max(round(read), 0), _MAXIMUM_OHM),
            }
        )
