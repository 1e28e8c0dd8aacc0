# SPDX-License-Identifier: Apache-2.0
"""What a network is shown is what the cells do, at any sampling rate."""

import numpy as np
import numpy.typing as npt
import pytest

from ibms_edge.estimation.network_file import Curves
from ibms_edge.estimation.network_input import FEATURES, Features, NetworkInput

FloatArray = npt.NDArray[np.float64]

CAPACITY_AH = 2.0
CURVES = Curves(
    temperatures_c=[0.0, 20.0],
    soc_points=[0.0, 0.5, 1.0],
    ocv_v=[[3.0, 3.5, 4.0], [3.1, 3.6, 4.1]],
    instant_ohm=[0.06, 0.03],
    fast_ohm=[0.02, 0.01],
    slow_ohm=[0.04, 0.02],
    fast_s=10.0,
    slow_s=100.0,
)


def play(
    shown: NetworkInput,
    voltage_v: FloatArray,
    temperature_c: FloatArray,
    current_a: FloatArray,
    step_s: float,
) -> list[Features]:
    """Samples (samples, cells) with ``step_s`` between them."""
    found = [
        shown.update(voltage_v[k], temperature_c[k], current_a[k], step_s if k else 0.0)
        for k in range(len(voltage_v))
    ]
    return [one for one in found if one is not None]


def of(features: Features, name: str) -> FloatArray:
    return features.values[:, FEATURES.index(name)]


def steady(
    shown: NetworkInput,
    step_s: float,
    length_s: float,
    voltage_v: float,
    temperature_c: float,
    current_a: float,
) -> list[Features]:
    samples = np.ones((round(length_s / step_s) + 1, 1))
    return play(shown, voltage_v * samples, temperature_c * samples, current_a * samples, step_s)


def test_a_rested_cell_shows_its_charge() -> None:
    shown = NetworkInput(CURVES, CAPACITY_AH, 10.0, 3)
    shown.start(rested=True)
    voltage_v = np.tile([3.05, 3.3, 4.2], (11, 1))
    (one,) = play(shown, voltage_v, np.full((11, 3), 10.0), np.zeros((11, 3)), 1.0)
    assert one.usable.all()
    # Half-way between the curves of 0 and 20 degC; beyond the end straight on.
    np.testing.assert_allclose(of(one, "rough_soc"), [0.0, 0.25, 1.15], atol=1e-9)
    np.testing.assert_allclose(of(one, "soc_per_v")[1], 1.0)
    assert (of(one, "slow_unknown") == 0.0).all()


@pytest.mark.parametrize("step_s", [0.1, 0.5, 1.0, 2.0])
def test_a_load_drops_voltage_and_polarises(step_s: float) -> None:
    shown = NetworkInput(CURVES, CAPACITY_AH, 10.0, 1)
    shown.start(rested=True)
    current_a = -1.0
    found = steady(shown, step_s, 600.0, 3.5, 20.0, current_a)
    assert len(found) == 60
    last = found[-1]
    rate = current_a / CAPACITY_AH
    np.testing.assert_allclose(of(last, "fast_current"), rate, rtol=1e-6)
    np.testing.assert_allclose(of(last, "slow_current"), rate, rtol=0.005)
    mean_s = np.arange(590.0, 600.0, 0.01) + 0.01
    expected = rate * np.mean(1.0 - np.exp(-mean_s / 1200.0))
    np.testing.assert_allclose(of(last, "slower_current"), expected, rtol=0.01)
    np.testing.assert_allclose(of(last, "drop"), 0.06 * current_a, rtol=0.005)
    np.testing.assert_allclose(of(last, "rough_soc"), 3.5 + 0.06 - 3.1, rtol=1e-3)


@pytest.mark.parametrize("step_s", [0.1, 1.0])
def test_the_resistance_is_read_from_how_voltage_follows_current(step_s: float) -> None:
    random = np.random.default_rng(1)
    shown = NetworkInput(CURVES, CAPACITY_AH, 10.0, 2)
    shown.start(rested=True)
    per_second = round(1.0 / step_s)
    current_a = np.repeat(random.normal(-1.0, 3.0, 1000), per_second)[:, np.newaxis]
    current_a = np.vstack([current_a[:1], current_a]) * np.ones(2)
    ohm = np.array([0.03, 0.045])
    last = play(shown, 3.6 + ohm * current_a, np.full_like(current_a, 20.0), current_a, step_s)[-1]
    np.testing.assert_allclose(np.exp(of(last, "resistance_factor")), [1.0, 1.5], rtol=0.02)


def test_what_was_not_measured_is_left_out() -> None:
    shown = NetworkInput(CURVES, CAPACITY_AH, 10.0, 4)
    shown.start(rested=False)
    voltage_v, temperature_c, current_a = (np.full((11, 4), value) for value in (3.5, 20.0, -1.0))
    voltage_v[5:8, 0] = np.nan  # a part of the period
    voltage_v[:, 1] = np.nan
    temperature_c[4:, 2] = np.nan  # the last one holds
    current_a[:, 3] = np.nan
    (one,) = play(shown, voltage_v, temperature_c, current_a, 1.0)
    np.testing.assert_array_equal(one.usable, [True, False, True, False])
    assert np.isfinite(one.values).all()
    np.testing.assert_allclose(of(one, "voltage")[[0, 2]], 3.5)
    np.testing.assert_allclose(of(one, "temperature")[[0, 2]], 0.8)
    unknown = of(one, "slower_unknown")
    assert 0.98 < unknown[0] < 1.0


def test_an_unknown_current_is_forgotten_as_polarisation_is() -> None:
    shown = NetworkInput(CURVES, CAPACITY_AH, 10.0, 1)
    shown.start(rested=False)
    (before, *_, after) = steady(shown, 1.0, 600.0, 3.5, 20.0, 0.0)
    assert of(before, "slow_unknown")[0] == pytest.approx(np.exp(-0.1))
    assert of(after, "slow_unknown")[0] == pytest.approx(np.exp(-6.0))
    shown.start(rested=False)
    shown.rest(1e6)
    (rested,) = steady(shown, 1.0, 10.0, 3.5, 20.0, 0.0)
    assert of(rested, "slower_unknown")[0] == pytest.approx(0.0, abs=1e-9)
