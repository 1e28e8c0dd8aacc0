# SPDX-License-Identifier: Apache-2.0
"""Power circuit outside the cells: contact paths, precharge resistor, link capacitance."""

import math

from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import Pack
from ibms_sim.configuration import Link
from ibms_sim.faults import FaultSet
from ibms_sim.wiring import Source

_OPEN_LINK_F = 1e-9  # of the cables alone


class Circuit:
    """Voltage of the load's link and current of the pack.

    Which contacts form a path is read from the switch configurations: all switches of ``closed``
    conducting form the main path, all of ``precharge`` the path through the precharge resistor,
    without those that belong to the wiring of the cells.

    Raises:
        ConfigurationError: if the pack has no configuration ``closed``.
    """

    def __init__(self, pack: Pack, link: Link, file: str, wiring_mask: int = 0) -> None:
        switching = pack.switching
        if "closed" not in switching.configurations:
            raise ConfigurationError(
                file,
                None,
                "switching.configurations",
                "has no 'closed', which the simulated pack needs to know its main path",
            )
        self.link_v = 0.0
        self.current_a = 0.0
        self._closed = switching.mask("closed") & ~wiring_mask
        self._precharge = (
            switching.mask("precharge") & ~wiring_mask
            if "precharge" in switching.configurations
            else None
        )
        self._precharge_ohm = pack.precharge.resistor_ohm
        self._capacitance_f = pack.precharge.link_capacitance_f
        self._link = link

    def main_closed(self, conducting: int) -> bool:
        """Whether the main path conducts with these contacts."""
        return conducting & self._closed == self._closed

    def precharge_closed(self, conducting: int) -> bool:
        """Whether the contacts of the path through the precharge resistor conduct."""
        return self._precharge is not None and conducting & self._precharge == self._precharge

    def path_mask(self, conducting: int) -> int:
        """Contacts that carry the pack current."""
        if self.main_closed(conducting):
            return self._closed
        return (self._precharge or 0) if self.precharge_closed(conducting) else 0

    def step(
        self,
        conducting: int,
        source: Source | None,
        load_a: float,
        step_s: float,
        faults: FaultSet,
    ) -> None:
        """Advance link voltage and pack current (mean over the step, charge positive).

        ``source`` is the pack, ``None`` if nothing of it is connected to the contacts. The load's
        current goes to or comes from the capacitor's node, whose equation
        ``C dv/dt = (E - v) / R + load - v / leak`` is solved exactly.
        """
        resistance: float | None = None
        if self.main_closed(conducting):
            resistance = self._link.path_ohm
        elif self.precharge_closed(conducting) and not faults.has("precharge_open"):
            resistance = self._precharge_ohm * (faults.value("precharge_slow") or 1.0)
        short_ohm = faults.value("link_short")
        capacitance_f = _OPEN_LINK_F if faults.has("link_open") else self._capacitance_f
        leak_s = 1 / self._link.discharge_ohm + (1 / short_ohm if short_ohm else 0.0)
        source_v, path_s = 0.0, 0.0
        if source is not None and resistance is not None:
            source_v, path_s = source.voltage_v, 1 / (resistance + source.resistance_ohm)
        total_s = path_s + leak_s
        final_v = (source_v * path_s + load_a) / total_s
        time_s = capacitance_f / total_s
        fade = -math.expm1(-step_s / time_s)
        mean_v = final_v + (self.link_v - final_v) * fade * time_s / step_s
        # A rectifying bridge keeps the link from going negative.
        self.link_v = max(self.link_v + (final_v - self.link_v) * fade, 0.0)
        self.current_a = (mean_v - source_v) * path_s
