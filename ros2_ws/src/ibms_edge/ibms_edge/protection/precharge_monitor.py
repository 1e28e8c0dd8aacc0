# SPDX-License-Identifier: Apache-2.0
"""Verdicts on a running precharge, from voltages and current of the pack sensor. No ROS."""

import math

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.protection.samples import PackSample
from ibms_edge.protection.signals import FloatArray, Signal

_PRECHARGING = "precharge"
_BEFORE = ("open", "precharge_only")  # nothing charges the link yet
_SIGNALS: tuple[Signal, ...] = (
    "precharge_slow",
    "precharge_fast",
    "precharge_short",
    "precharge_open",
)


class PrechargeMonitor:
    """Compares the link's charging with what resistor and capacitance demand.

    Expected: ``v = v0 + (V - v0) * (1 - exp(-t / RC))``.
    """

    def __init__(self, pack: Pack, values: dict[Signal, FloatArray]) -> None:
        self._pack = pack
        self._values = values
        precharge = pack.precharge
        self._time_constant_s = precharge.resistor_ohm * precharge.link_capacitance_f
        self._begun_ns: int | None = None
        self._open_ns = -NS_PER_S  # when the link was last seen to be apart
        self._start_link_v = 0.0  # while all was still open: the first feedback may be too late

    def update(self, sample: PackSample, configuration: str) -> None:
        """Judge one sample; ``configuration`` is the verified one of the switches."""
        pack_v, link_v, current_a = sample.voltage_v, sample.link_voltage_v, sample.current_a
        if configuration != _PRECHARGING:
            self._put_all(0.0)
            self._begun_ns = None
            if configuration in _BEFORE and math.isfinite(link_v):
                self._start_link_v, self._open_ns = link_v, sample.boot_ns
            return
        if not (pack_v > 0.0 and math.isfinite(link_v) and math.isfinite(current_a)):
            self._put_all(math.nan)
            return
        if self._begun_ns is None:
            self._begun_ns = sample.boot_ns
        elapsed_s = (sample.boot_ns - self._begun_ns) / NS_PER_S
        precharge, tau_s = self._pack.precharge, self._time_constant_s
        # By the voltage of now: modules that hung loose left none while all was open.
        start_ratio = self._start_link_v / pack_v
        missing = max(1.0 - start_ratio, 1e-6)
        needed_s = tau_s * math.log(max(missing / (1.0 - precharge.complete_ratio), 1.0))
        complete = self._pack.precharge_is_complete(pack_v, link_v)
        full_a = pack_v / precharge.resistor_ohm
        uncharged = link_v < 0.3 * pack_v
        self._put("precharge_slow", not complete and elapsed_s > 1.5 * needed_s + 0.1)
        # Counted from the last look at a link apart: a pause of the computer is no speed.
        since_open_s = (sample.boot_ns - self._open_ns) / NS_PER_S
        is_fast = complete and start_ratio < 0.5 and since_open_s < 0.4 * needed_s
        self._put("precharge_fast", is_fast)
        self._put(
            "precharge_short",
            uncharged and elapsed_s > 1.5 * tau_s and abs(current_a) > 0.5 * full_a,
        )
        self._put(
            "precharge_open", uncharged and elapsed_s > tau_s and abs(current_a) < 0.1 * full_a
        )

    def _put_all(self, value: float) -> None:
        for signal in _SIGNALS:
            self._put(signal, value)

    def _put(self, signal: Signal, value: float) -> None:
        out = self._values.get(signal)
        if out is not None:
            out[0] = value
