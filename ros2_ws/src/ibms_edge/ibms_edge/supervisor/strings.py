# SPDX-License-Identifier: Apache-2.0
"""Parallel strings: which configurations carry the consumer, and when a string may join later.

Which string fits at the moment of closing is decided by switch control, transition by transition.
"""

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack, StringVoltage, Switching
from ibms_edge.supervisor.inputs import Inputs
from ibms_edge.supervisor.states import Limits
from ibms_edge.supervisor.topology import CLOSED, PRECHARGING, transitions_of, way_between


class Strings:
    """The connected part of a pack's topology; a pack of one string has one such configuration.

    Raises:
        ValueError: if the pack's switches know no way from precharge to closed.
    """

    def __init__(self, pack: Pack, limits: Limits) -> None:
        switching = pack.switching
        self._limits = limits
        self._index = {string.name: index for index, string in enumerate(pack.strings)}
        self.all_connected = _with_all_strings(switching)
        way = way_between(switching, PRECHARGING, self.all_connected)
        joining = [step.requires_string for step in transitions_of(switching, way)]
        self._missing: dict[str, list[StringVoltage]] = {self.all_connected: []}
        # Where switch control waits for a further string, those before it carry.
        for index, string in enumerate(joining):
            if index > 0 and string is not None:
                self._missing[way[index]] = [later for later in joining[index:] if later]
        self._quiet_since_ns: int | None = None

    def carry(self, configuration: str) -> bool:
        """Whether a consumer may draw in this configuration."""
        return configuration in self._missing

    def missing(self, configuration: str) -> list[str]:
        """Names of the strings that are not connected in a configuration that carries."""
        return [string.name for string in self._missing[configuration]]

    def may_join(self, inputs: Inputs, now_ns: int) -> bool:
        """Whether the next missing string may be connected now; ask in each step.

        Only at rest: no current for ``joining_rest_s``, so that the strings' voltages are those
        without load, nothing stands against closing, and the voltage fits.
        """
        is_quiet = inputs.close_allowed and inputs.current_within(
            self._limits.zero_current_a, now_ns
        )
        if not is_quiet:
            self._quiet_since_ns = None
            return False
        if self._quiet_since_ns is None:
            self._quiet_since_ns = now_ns
        missing = self._missing.get(inputs.configuration, [])
        return (
            now_ns - self._quiet_since_ns >= self._limits.joining_rest_s * NS_PER_S
            and bool(missing)
            and self._fits(missing[0], inputs)
        )

    def wait_anew(self) -> None:
        """Switch control did not take the string: not again at once."""
        self._quiet_since_ns = None

    def _fits(self, string: StringVoltage, inputs: Inputs) -> bool:
        index = self._index[string.name]
        # What is not measured is NaN and fits nothing.
        return (
            index < len(inputs.string_voltage_v)
            and abs(inputs.string_voltage_v[index] - inputs.link_voltage_v) <= string.tolerance_v
        )


def _with_all_strings(switching: Switching) -> str:
    """From closed on as long as a further string may join; closed itself for a single string."""
    name, seen = CLOSED, {CLOSED}
    while True:
        further = next(
            (
                way.target
                for way in switching.transitions
                if way.source == name and way.requires_string and way.target not in seen
            ),
            None,
        )
        if further is None:
            return name
        seen.add(further)
        name = further
