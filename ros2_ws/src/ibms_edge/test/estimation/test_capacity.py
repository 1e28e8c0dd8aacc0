# SPDX-License-Identifier: Apache-2.0
"""Capacity from windows of made-up cells whose ageing is known."""

from dataclasses import replace

import numpy as np
import pytest

from ibms_edge.estimation.capacity import (
    CapacityError,
    ReferenceDischarge,
    Window,
    build_reference,
    estimate_capacity,
    learn_ageing,
)

CURRENT_A = -2.0


def discharge(age: float, fade: float = 0.3, samples: int = 300, noise_v: float = 0.0) -> Window:
    """A whole discharge; at age 1 the capacity has lost ``fade`` and the voltage 0.1 to 0.2 V."""
    soc = np.linspace(1.0, 0.0, samples)
    voltage_v = 3.3 + 0.25 * soc + 0.4 * soc**3 + 0.06 * np.tanh((soc - 0.7) / 0.1)
    voltage_v -= 0.5 * np.exp(-soc / 0.05)
    voltage_v -= age * (0.1 + 0.1 * (1.0 - soc) ** 2)
    voltage_v += np.random.default_rng(1).normal(0.0, noise_v, samples)
    return Window(
        charge_ah=2.0 * np.exp(np.log(1.0 - fade) * age) * (1.0 - soc),
        voltage_v=voltage_v,
        current_a=np.full(samples, CURRENT_A),
        temperature_c=np.full(samples, 25.0),
    )


def part(whole: Window, begin: float, end: float) -> Window:
    samples = len(whole.charge_ah)
    inside = slice(round((1.0 - begin) * samples), round((1.0 - end) * samples))
    return Window(
        charge_ah=whole.charge_ah[inside],
        voltage_v=whole.voltage_v[inside],
        current_a=whole.current_a[inside],
        temperature_c=whole.temperature_c[inside],
    )


def taught() -> ReferenceDischarge:
    new = build_reference([discharge(0.0)])
    # The teacher fades a little differently.
    pattern = learn_ageing(new, [discharge(age, fade=0.28) for age in np.linspace(0.05, 1.0, 20)])
    return build_reference([discharge(0.0)], pattern)


@pytest.mark.parametrize(("begin", "end"), [(0.8, 0.4), (0.6, 0.2), (0.9, 0.55)])
@pytest.mark.parametrize("age", [0.0, 0.4, 0.9])
def test_finds_capacity_place_and_resistance(age: float, begin: float, end: float) -> None:
    whole = discharge(age, noise_v=0.001)
    found = estimate_capacity(part(whole, begin, end), taught())
    capacity_ah = whole.charge_ah[-1]
    assert found.capacity_ah == pytest.approx(capacity_ah, rel=0.02)
    assert abs(found.capacity_ah - capacity_ah) < 2.0 * found.std_ah
    assert 0.0 < found.std_ah < 0.1 * capacity_ah
    assert found.soc_begin == pytest.approx(begin, abs=0.02)
    assert found.soc_end == pytest.approx(end, abs=0.02)
    soc = np.linspace(begin, end, 50)
    drop_v = age * np.mean(0.1 + 0.1 * (1.0 - soc) ** 2)
    assert found.resistance_change_ohm == pytest.approx(drop_v / -CURRENT_A, abs=0.006)


def test_an_unaged_window_needs_no_teacher_but_is_less_certain() -> None:
    window = part(discharge(0.0), 0.8, 0.2)
    untaught = estimate_capacity(window, build_reference([discharge(0.0)]))
    assert untaught.capacity_ah == pytest.approx(2.0, rel=0.01)
    assert untaught.std_ah > 2.0 * estimate_capacity(window, taught()).std_ah


def test_a_charge_counter_that_does_not_begin_at_zero_changes_nothing() -> None:
    window = part(discharge(0.5), 0.8, 0.4)
    moved = replace(window, charge_ah=window.charge_ah + 37.0)
    first, second = (estimate_capacity(one, taught()) for one in (window, moved))
    assert second.capacity_ah == pytest.approx(first.capacity_ah, rel=1e-6)


def test_unmeasured_temperature_is_no_obstacle() -> None:
    window = part(discharge(0.5), 0.8, 0.4)
    blind = replace(window, temperature_c=np.full(len(window.charge_ah), np.nan))
    assert estimate_capacity(blind, taught()) == estimate_capacity(window, taught())


def changed(window: Window, what: str) -> Window:
    cases = {
        "few": part(discharge(0.5, samples=20), 0.7, 0.4),
        "short": part(discharge(0.5, samples=3000), 0.5, 0.45),
        "rising": replace(window, voltage_v=window.voltage_v[::-1]),
        "unmeasured": replace(window, voltage_v=np.where(window.voltage_v < 3.4, np.nan, 3.5)),
        "charging": replace(window, current_a=-window.current_a),
        "varying": replace(
            window, current_a=window.current_a * np.linspace(1.0, 1.5, len(window.current_a))
        ),
        "other current": replace(window, current_a=2.0 * window.current_a),
        "cold": replace(window, temperature_c=window.temperature_c - 20.0),
        "other cell": replace(window, voltage_v=window.voltage_v - 0.6),
    }
    return cases[what]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("few", "6 samples"),
        ("short", "too short to tell"),
        ("rising", "voltage rises"),
        ("unmeasured", "voltage_v that is not measured"),
        ("charging", "current must be negative"),
        ("varying", "current varies"),
        ("other current", "reference at -2 A"),
        ("cold", "window at 5.0 degC"),
        ("other cell", "resembles no part"),
    ],
)
def test_refuses_what_cannot_be_told(what: str, text: str) -> None:
    window = changed(part(discharge(0.5), 0.7, 0.25), what)
    with pytest.raises(CapacityError, match=text):
        estimate_capacity(window, taught())


def test_refuses_a_model_or_a_teacher_without_discharges() -> None:
    with pytest.raises(CapacityError, match="no discharge of the new cell"):
        build_reference([])
    new = build_reference([discharge(0.0)])
    with pytest.raises(CapacityError, match="3 discharges teach no ageing"):
        learn_ageing(new, [discharge(age) for age in (0.1, 0.2, 0.3)])
