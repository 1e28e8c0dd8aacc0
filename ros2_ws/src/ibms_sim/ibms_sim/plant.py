# SPDX-License-Identifier: Apache-2.0
"""The physics of the simulated pack, put together: cells, circuit, load."""

import numpy as np
import numpy.typing as npt

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_sim.cells.heating import InnerHeating
from ibms_sim.cells.stack import Stack
from ibms_sim.cells.thermal import Actuation
from ibms_sim.circuit import Circuit
from ibms_sim.faults import FaultSet
from ibms_sim.load.demand import Demand
from ibms_sim.load.inverter import Inverter

# A board without supply drops its contacts, so its silence is taken for open contacts.
CONTACTS_STALE_NS = round(0.1 * NS_PER_S)


class Plant:
    """Truth of the pack; measured by the devices."""

    def __init__(
        self,
        pack: Pack,
        stack: Stack,
        circuit: Circuit,
        demand: Demand,
        inverter: Inverter,
        faults: FaultSet,
    ) -> None:
        self.stack = stack
        self.circuit = circuit
        self.inverter = inverter
        self.load_time_s = 0.0
        self.driving = False
        self._demand = demand
        self._faults = faults
        self._heating = InnerHeating(pack, faults)
        self._step_s = pack.pack_sample_period_s
        self._conducting = 0
        self._conducting_ns: int | None = None
        self._short_s: npt.NDArray[np.float64] = np.zeros(pack.series)
        self._faults_version = 0

    def set_contacts(self, conducting: int, now_ns: int) -> None:
        """Contacts that truly conduct, as the switch board says."""
        self._conducting = conducting
        self._conducting_ns = now_ns

    @property
    def voltage_v(self) -> npt.NDArray[np.float64]:
        """Of each group (groups,)."""
        return self.stack.voltage_v * self._heating.voltage_ratio

    @property
    def temperature_c(self) -> npt.NDArray[np.float64]:
        """Of each group (groups,)."""
        return self.stack.temperature_c + self._heating.rise_k

    @property
    def pack_v(self) -> float:
        """Voltage of the pack on the cells' side of the contacts."""
        return float(self.voltage_v.sum())

    def step(self, bleed_s: npt.NDArray[np.float64], actuation: Actuation, now_ns: int) -> None:
        """Advance by one sample of the pack sensor; ``bleed_s`` as in ``Stack.step``."""
        self._apply_faults()
        self._heating.step(self._step_s)
        conducting = self._conducting
        if self._conducting_ns is None or now_ns - self._conducting_ns > CONTACTS_STALE_NS:
            conducting = 0
        circuit = self.circuit
        load_a = 0.0
        if circuit.main_closed(conducting) and not self.inverter.zero_requested:
            load_a = self._demand.current_a(self.load_time_s, circuit.link_v)
            if self._demand.follows_limits:
                load_a = self.inverter.bound(load_a, circuit.link_v, now_ns)
            self.load_time_s += self._step_s
        circuit.step(
            conducting,
            self.pack_v,
            self.stack.source_ohm,
            load_a,
            self._step_s,
            self._faults,
        )
        self.stack.step(circuit.current_a, bleed_s, self._short_s, actuation, self.load_time_s)
        self.driving = load_a != 0.0

    def _apply_faults(self) -> None:
        if self._faults.version == self._faults_version:
            return
        self._faults_version = self._faults.version
        self._short_s[:] = 0.0
        for cell, ohm in self._faults.of("internal_short").items():
            self._short_s[cell] = 1 / ohm
