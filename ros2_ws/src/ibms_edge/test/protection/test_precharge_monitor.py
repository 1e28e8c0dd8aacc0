# SPDX-License-Identifier: Apache-2.0
"""Verdicts on precharges that go as a circuit makes them go."""

import math

import numpy as np
import pytest

from ibms_battery.pack import Pack
from ibms_edge.protection.precharge_monitor import PrechargeMonitor
from ibms_edge.protection.samples import PackSample
from ibms_edge.protection.signals import FloatArray, Signal

NAMES: tuple[Signal, ...] = (
    "precharge_slow",
    "precharge_fast",
    "precharge_short",
    "precharge_open",
)
PACK_V = 44.4


def run(
    pack: Pack,
    resistor: float = 1.0,
    capacitance: float = 1.0,
    short_ohm: float = math.inf,
    start_v: float = 0.0,
    open_circuit: bool = False,
    feedback_late_s: float = 0.02,
    open_v: float = PACK_V,
    weld_test: bool = False,
) -> set[Signal]:
    """Verdicts of a whole precharge, with resistor and capacitance as shares of the rated ones.

    ``open_v`` is the pack voltage while all is open: modules that hang loose leave none.
    """
    values: dict[Signal, FloatArray] = {name: np.zeros(1) for name in NAMES}
    monitor = PrechargeMonitor(pack, values)
    resistor_ohm = pack.precharge.resistor_ohm * resistor
    capacitance_f = pack.precharge.link_capacitance_f * capacitance
    link_v, seen, step_s = start_v, set(), 0.001
    if weld_test:
        monitor.update(PackSample(-200_000_000, 0.0, open_v, start_v), "open")
        monitor.update(PackSample(-1, 0.0, PACK_V, start_v), "precharge_only")
    else:
        monitor.update(PackSample(-1, 0.0, open_v, start_v), "open")
    for step in range(round(pack.precharge.timeout_s / step_s)):
        if open_circuit:
            link_v, current_a = 0.0, 0.0
        else:
            conductance_s = 1 / resistor_ohm + 1 / short_ohm
            final_v = PACK_V / resistor_ohm / conductance_s
            fade = math.exp(-step_s * conductance_s / capacitance_f)
            link_v = final_v + (link_v - final_v) * fade
            current_a = (PACK_V - link_v) / resistor_ohm
        if step % 10 == 0:
            configuration = "precharge" if step * step_s >= feedback_late_s else "transition"
            sample = PackSample(step * 1_000_000, -current_a, PACK_V, link_v)
            monitor.update(sample, configuration)
            seen |= {name for name in NAMES if values[name][0]}
        if pack.precharge_is_complete(PACK_V, link_v) and step > 100:
            break
    return seen


def test_a_good_precharge(pack: Pack) -> None:
    assert run(pack) == set()


def test_a_link_that_is_still_charged_is_no_fault(pack: Pack) -> None:
    assert run(pack, start_v=0.9 * PACK_V) == set()
    assert run(pack, start_v=PACK_V) == set()


@pytest.mark.parametrize("share", [0.7, 1.3])
def test_tolerances_of_resistor_and_capacitance_are_no_fault(pack: Pack, share: float) -> None:
    assert run(pack, resistor=share) == set()
    assert run(pack, capacitance=share) == set()


def test_too_slow(pack: Pack) -> None:
    assert run(pack, resistor=3.0) == {"precharge_slow"}


def test_too_fast(pack: Pack) -> None:
    assert run(pack, capacitance=0.01) == {"precharge_fast"}


@pytest.mark.parametrize("open_v", [0.0, -0.1, 0.01, 0.2])
def test_modules_that_hung_loose_before_change_nothing(pack: Pack, open_v: float) -> None:
    assert run(pack, open_v=open_v, start_v=0.2) == set()
    assert run(pack, open_v=open_v, start_v=0.2, capacitance=0.01) == {"precharge_fast"}
    assert run(pack, open_v=open_v, start_v=0.2, resistor=3.0) == {"precharge_slow"}


def test_the_time_of_a_weld_test_before_is_none_of_the_precharge(pack: Pack) -> None:
    assert run(pack, weld_test=True) == set()
    assert run(pack, weld_test=True, capacitance=0.01) == {"precharge_fast"}


def test_short(pack: Pack) -> None:
    assert "precharge_short" in run(pack, short_ohm=0.1)


def test_open(pack: Pack) -> None:
    assert "precharge_open" in run(pack, open_circuit=True)


def test_outside_of_a_precharge_nothing_stands(pack: Pack) -> None:
    values: dict[Signal, FloatArray] = {name: np.ones(1) for name in NAMES}
    PrechargeMonitor(pack, values).update(PackSample(0, 0.0, PACK_V, 0.0), "closed")
    assert all(values[name][0] == 0.0 for name in NAMES)
