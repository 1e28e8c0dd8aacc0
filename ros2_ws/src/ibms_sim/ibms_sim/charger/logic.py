# SPDX-License-Identifier: Apache-2.0
"""An Elcon/TC charger as a current source with a voltage limit; time is passed in.

Rules:

- It gives no more than the last request and its rating allow, and nothing 5 s after that request.
- Its output stays off while it sees no battery.
- Its output follows at a bounded rate; near the voltage asked for the current fades.
"""

from dataclasses import dataclass

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Charger

SILENCE_NS = 5 * NS_PER_S
_RAMP_A_S = 20.0
_FADE = 0.003  # share of the voltage over which the current fades


@dataclass(slots=True)
class Ailments:
    """What may be wrong with it."""

    hardware_failure: bool = False
    overtemperature: bool = False
    input_voltage: bool = False
    delivery_factor: float = 1.0  # it gives this much more than it should

    @property
    def forbid_output(self) -> bool:
        """Whether it notices and switches off."""
        return self.hardware_failure or self.overtemperature or self.input_voltage


class SimulatedCharger:
    """State of the charger; call ``step`` at a fixed rate.

    Args:
        rating: the charger of the pack's description.
    """

    def __init__(self, rating: Charger) -> None:
        self.ailments = Ailments()
        self.sees_battery = False
        self.voltage_v = 0.0
        self._rating = rating
        self._asked_v = self._asked_a = 0.0
        self._regulated_a = 0.0
        self._asked_ns: int | None = None

    @property
    def output_a(self) -> float:
        """Current that flows out of it."""
        return self._regulated_a * self.ailments.delivery_factor

    def hears(self, now_ns: int) -> bool:
        """Whether requests come."""
        return self._asked_ns is not None and now_ns - self._asked_ns < SILENCE_NS

    def request(self, voltage_v: float, current_a: float, stop: bool, now_ns: int) -> None:
        """A request of the BMS."""
        self._asked_ns = now_ns
        self._asked_v = min(voltage_v, self._rating.maximum_voltage_v)
        self._asked_a = 0.0 if stop else min(current_a, self._rating.maximum_current_a)

    def unplug(self) -> None:
        """Plug pulled: all is off, and it begins anew."""
        self.sees_battery = False
        self.voltage_v = self._regulated_a = 0.0
        self._asked_ns = None

    def step(self, battery_v: float | None, step_s: float, now_ns: int) -> None:
        """Advance; ``battery_v`` is the voltage at its output, ``None`` without a battery."""
        self.sees_battery = battery_v is not None
        if battery_v is None:
            # Nowhere to go for the current.
            self.voltage_v = self._regulated_a = 0.0
            return
        self.voltage_v = battery_v
        target_a = 0.0
        if self.hears(now_ns) and not self.ailments.forbid_output and self._asked_v > 0.0:
            room = (self._asked_v - battery_v) / (_FADE * self._asked_v)
            target_a = self._asked_a * min(max(room, 0.0), 1.0)
        most_a = _RAMP_A_S * step_s
        change_a = target_a - self._regulated_a
        self._regulated_a += min(max(change_a, -most_a), most_a)
