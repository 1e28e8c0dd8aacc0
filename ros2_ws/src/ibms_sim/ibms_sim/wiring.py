# SPDX-License-Identifier: Apache-2.0
"""How the cell groups are connected: modules that can be bypassed, strings in parallel."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ibms_battery.pack import Pack, Switching

FloatArray = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_CONTACT_OHM = 0.0005  # of a bypass, and of a string's connection


@dataclass(frozen=True)
class Source:
    """A voltage behind a resistance, as the pack looks from its terminals."""

    voltage_v: float
    resistance_ohm: float

    def terminal_v(self, current_a: float) -> float:
        """Voltage at the terminals at this current, charge positive."""
        return self.voltage_v + current_a * self.resistance_ohm


@dataclass(eq=False)
class _Module:
    """Cells that a bypass can take out of the circuit."""

    cells: Indices
    series_mask: int
    bypass_mask: int
    series_switches: list[int]
    bypass_switches: list[int]


@dataclass(eq=False)
class _String:
    plain: Indices  # cells that are always in its circuit
    modules: list[_Module]
    switches: list[int]  # that connect it; none: it is always connected
    mask: int
    source: Source | None = None
    shorted: list[tuple[_Module, float, float]] = field(default_factory=list)
    bypassed: list[_Module] = field(default_factory=list)
    included: list[_Module] = field(default_factory=list)


class Wiring:
    """Equivalent source of all cells, and what flows through each group and each switch.

    A module with its series switches closed is in the circuit; with its bypass switches closed
    instead, the circuit leads past it; with neither, the string is interrupted; with both, the
    module is shorted through the switches. A string without connecting switches is always part of
    the pack; the others are connected by the switches that their transition closes.
    """

    def __init__(self, pack: Pack) -> None:
        switching = pack.switching
        self.group_a: FloatArray = np.zeros(pack.series)
        self.switch_a: FloatArray = np.zeros(len(switching.switches))
        self.owned_mask = 0  # switches that belong to the wiring, not to the main path
        self._strings: list[_String] = []
        strings = [(s.name, s.first_cell, s.cells) for s in pack.strings]
        for name, first, count in strings or [("", 0, pack.series)]:
            cells = range(first, first + count)
            modules = _modules(switching, cells)
            inside = {int(cell) for module in modules for cell in module.cells}
            connecting = _connecting(switching, name)
            mask = switching.mask_of(connecting)
            self._strings.append(
                _String(
                    plain=np.array([cell for cell in cells if cell not in inside], np.intp),
                    modules=modules,
                    switches=[switching.index(switch) for switch in connecting],
                    mask=mask,
                )
            )
            self.owned_mask |= mask
            for module in modules:
                self.owned_mask |= module.series_mask | module.bypass_mask
        self._connected: list[_String] = []
        self._source: Source | None = None

    def connect(
        self, conducting: int, voltage_v: FloatArray, ohmic_ohm: FloatArray
    ) -> Source | None:
        """The pack as a source with these contacts; ``None`` if no string is connected.

        Args:
            conducting: bit mask of the contacts that conduct.
            voltage_v: of each group at its present current (groups,).
            ohmic_ohm: resistance of each group that acts at once (groups,).
        """
        emf_v = voltage_v - self.group_a * ohmic_ohm
        self._connected = []
        for string in self._strings:
            string.source = _string_source(string, conducting, emf_v, ohmic_ohm)
            if string.source is not None and conducting & string.mask == string.mask:
                self._connected.append(string)
        sources = [string.source for string in self._connected if string.source is not None]
        if len(sources) <= 1:
            self._source = sources[0] if sources else None
        else:
            conductance_s = [1 / (s.resistance_ohm + _CONTACT_OHM) for s in sources]
            total_s = sum(conductance_s)
            voltage = sum(s.voltage_v * g for s, g in zip(sources, conductance_s, strict=True))
            self._source = Source(voltage / total_s, 1 / total_s)
        return self._source

    def flow(self, current_a: float) -> None:
        """Distribute the pack current (charge positive) over groups and switches."""
        self.group_a[:] = 0.0
        self.switch_a[:] = 0.0
        for string in self._strings:
            self._flow_in(string, self._string_current(string, current_a))

    def _string_current(self, string: _String, current_a: float) -> float:
        if string not in self._connected:
            return 0.0
        if len(self._connected) == 1:
            return current_a
        assert self._source is not None
        assert string.source is not None
        terminal_v = self._source.terminal_v(current_a)
        resistance = string.source.resistance_ohm + _CONTACT_OHM
        return (terminal_v - string.source.voltage_v) / resistance

    def _flow_in(self, string: _String, string_a: float) -> None:
        self.group_a[string.plain] = string_a
        self.switch_a[string.switches] = string_a
        for module in string.included:
            self.group_a[module.cells] = string_a
            self.switch_a[module.series_switches] = string_a
        for module in string.bypassed:
            self.switch_a[module.bypass_switches] = string_a
        for module, emf_v, ohm in string.shorted:
            # Through the module and through its bypass at once.
            module_a = (string_a * _CONTACT_OHM - emf_v) / (ohm + _CONTACT_OHM)
            self.group_a[module.cells] = module_a
            self.switch_a[module.series_switches] = module_a
            self.switch_a[module.bypass_switches] = string_a - module_a


def _modules(switching: Switching, cells: range) -> list[_Module]:
    return [
        _Module(
            cells=np.array(bypass.cells, np.intp),
            series_mask=switching.mask_of(bypass.opens),
            bypass_mask=switching.mask_of(bypass.closes),
            series_switches=[switching.index(name) for name in bypass.opens],
            bypass_switches=[switching.index(name) for name in bypass.closes],
        )
        for bypass in switching.bypasses
        if bypass.cells[0] in cells
    ]


def _connecting(switching: Switching, string: str) -> list[str]:
    """Switches that the transition closes which waits for this string's voltage."""
    for way in switching.transitions:
        if way.requires_string is not None and way.requires_string.name == string:
            before = switching.configurations[way.source]
            return [name for name in switching.configurations[way.target] if name not in before]
    return []


def _string_source(
    string: _String, conducting: int, emf_v: FloatArray, ohmic_ohm: FloatArray
) -> Source | None:
    """Sort the modules by what their switches do, and add up; ``None`` if it is interrupted."""
    string.shorted, string.bypassed, string.included = [], [], []
    voltage = float(emf_v[string.plain].sum())
    resistance = float(ohmic_ohm[string.plain].sum())
    interrupted = False
    for module in string.modules:
        in_series = conducting & module.series_mask == module.series_mask
        past = conducting & module.bypass_mask == module.bypass_mask
        if past and not in_series:
            string.bypassed.append(module)
            resistance += _CONTACT_OHM
            continue
        if not in_series:
            interrupted = True
            continue
        module_v = float(emf_v[module.cells].sum())
        module_ohm = float(ohmic_ohm[module.cells].sum())
        if past:
            string.shorted.append((module, module_v, module_ohm))
            share = _CONTACT_OHM / (module_ohm + _CONTACT_OHM)
            voltage += module_v * share
            resistance += module_ohm * share
        else:
            string.included.append(module)
            voltage += module_v
            resistance += module_ohm
    return None if interrupted else Source(voltage, resistance)
