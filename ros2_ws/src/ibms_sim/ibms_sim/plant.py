# SPDX-License-Identifier: Apache-2.0
"""The physics of the simulated pack, put together: cells, their wiring, fuse, circuit, load."""

import math

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
from ibms_sim.main_fuse import MainFuse
from ibms_sim.wiring import Wiring

# A board without supply drops its contacts, so its silence is taken for open contacts.
CONTACTS_STALE_NS = round(0.1 * NS_PER_S)


class Plant:
    """Truth of the pack; measured by the devices.

    Attributes:
        pack_v: voltage on the cells' side of the contacts, behind the fuse.
        unbreakable: bit mask of the contacts whose current is above what they can break.
    """

    def __init__(
        self,
        pack: Pack,
        stack: Stack,
        wiring: Wiring,
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
        self.charger_a = 0.0  # what a charger gives into the link
        self._demand = demand
        self._faults = faults
        self._heating = InnerHeating(pack, faults)
        self._wiring = wiring
        self._has_strings = bool(pack.strings)
        self._fuse = MainFuse(pack, faults)
        limits = [switch.maximum_break_current_a for switch in pack.switching.switches]
        self._break_a = np.array([math.inf if a is None else a for a in limits])
        self.pack_v = 0.0
        self.unbreakable = 0
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

    def step(self, bleed_s: npt.NDArray[np.float64], actuation: Actuation, now_ns: int) -> None:
        """Advance by one sample of the pack sensor; ``bleed_s`` as in ``Stack.step``."""
        self._apply_faults()
        self._heating.step(self._step_s)
        conducting = self._conducting
        if self._conducting_ns is None or now_ns - self._conducting_ns > CONTACTS_STALE_NS:
            # What they cannot break goes on in an arc.
            conducting &= self.unbreakable
        circuit = self.circuit
        load_a = 0.0
        if circuit.main_closed(conducting) and not self.inverter.zero_requested:
            load_a = self._demand.current_a(self.load_time_s, circuit.link_v)
            if self._demand.follows_limits:
                load_a = self.inverter.bound(load_a, circuit.link_v, now_ns)
            load_a += self.charger_a
            self.load_time_s += self._step_s
        wiring, stack = self._wiring, self.stack
        source = wiring.connect(conducting, self.voltage_v, self._group_ohm)
        if self._fuse.is_open:
            source = None
        circuit.step(conducting, source, load_a, self._step_s, self._faults)
        current_a = circuit.current_a
        self._fuse.step(current_a, self._step_s, now_ns)
        wiring.flow(current_a)
        stack.step(wiring.group_a, bleed_s, self._short_s, actuation, self.load_time_s)
        self.driving = load_a != 0.0
        self._measure(conducting)

    @property
    def _group_ohm(self) -> npt.NDArray[np.float64]:
        # Between strings charge transfer is most of the resistance; left out, their currents would
        # swing from step to step. A short is met by the ohmic part alone at first, as in a cell.
        return self.stack.quick_ohm if self._has_strings else self.stack.ohmic_ohm

    def _measure(self, conducting: int) -> None:
        """What the sensors at the contacts see after a step."""
        circuit, wiring = self.circuit, self._wiring
        source = wiring.connect(conducting, self.voltage_v, self._group_ohm)
        path = circuit.path_mask(conducting)
        if source is not None and not self._fuse.is_open:
            self.pack_v = source.terminal_v(circuit.current_a)
        else:
            # The sensor sits behind the fuse: all that is left to see is the link.
            self.pack_v = circuit.link_v if path else 0.0
        through_a = np.abs(wiring.switch_a)
        for index in range(len(through_a)):
            if path >> index & 1:
                through_a[index] = abs(circuit.current_a)
        self.unbreakable = sum(1 << int(i) for i in np.flatnonzero(through_a > self._break_a))

    def _apply_faults(self) -> None:
        if self._faults.version == self._faults_version:
            return
        self._faults_version = self._faults.version
        self._short_s[:] = 0.0
        for cell, ohm in self._faults.of("internal_short").items():
            self._short_s[cell] = 1 / ohm
