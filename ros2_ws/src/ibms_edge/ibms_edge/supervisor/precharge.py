# SPDX-License-Identifier: Apache-2.0
"""Precharge of the link: when it is complete, how often it is tried, when the resistor is cool."""

from dataclasses import dataclass

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.supervisor.inputs import Inputs
from ibms_edge.supervisor.states import Limits


@dataclass(slots=True)
class Precharge:
    """Attempts to precharge the link of one pack."""

    pack: Pack
    limits: Limits
    attempt: int = 0  # from 1; 0 while nobody wants to close
    cool_ns: int = 0  # from when on the resistor may be used again

    @property
    def is_last(self) -> bool:
        """Whether no attempt may follow the present one."""
        return self.attempt >= self.pack.precharge.attempts

    @property
    def count(self) -> str:
        """The present attempt, for people."""
        return f"attempt {self.attempt} of {self.pack.precharge.attempts}"

    def broken_off(self, now_ns: int) -> None:
        """The resistor carried current without success: it has to cool."""
        self.cool_ns = now_ns + round(self.limits.pause_s * NS_PER_S)

    def cools_for_s(self, now_ns: int) -> float:
        """Time [s] until the resistor may be used again; 0 if it may."""
        return max(0.0, (self.cool_ns - now_ns) / NS_PER_S)

    def what_is_missing(self, inputs: Inputs, now_ns: int) -> str:
        """Why the link is not precharged yet; "" when the main contactors may close.

        The current has to be no more than what the resistor lets flow at the remaining voltage
        difference: more means that something else than the resistor connects both sides, or that
        a consumer draws.
        """
        pack_v, link_v = inputs.pack_voltage_v, inputs.link_voltage_v
        if not self.pack.precharge_is_complete(pack_v, link_v):
            return f"the link has {link_v:.1f} V of {pack_v:.1f} V"
        limit_a = (
            abs(pack_v - link_v) / self.pack.precharge.resistor_ohm
            + self.limits.precharge_tolerance_a
        )
        if not inputs.current_within(limit_a, now_ns):
            return f"the current is {inputs.current_a:.1f} A, allowed {limit_a:.1f} A"
        return ""
