# SPDX-License-Identifier: Apache-2.0
"""Fusing is right for errors that are alike in part, and doubts both when they contradict."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ibms_battery.cell import Cell
from ibms_edge.estimation import network
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_edge.estimation.fused import CORRELATION, FusedEstimator, fuse
from ibms_edge.estimation.network_file import NAMES, Curves, LoadedNetwork, Network
from ibms_edge.estimation.network_input import FEATURES

FloatArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]
RandomCell = Callable[[int], Cell]


def test_errors_that_are_alike_in_part_are_weighed_best() -> None:
    random = np.random.default_rng(1)
    first_std, second_std = 0.01, 0.02
    covariance = CORRELATION * first_std * second_std
    errors = random.multivariate_normal(
        [0.0, 0.0], [[first_std**2, covariance], [covariance, second_std**2]], 200_000
    )
    first, second = errors.T
    count = len(first)
    soc, std = fuse(first, np.full(count, first_std), second, np.full(count, second_std))
    assert np.std(soc) < first_std
    # Now and then they lie far apart by chance, so it is never too sure.
    assert np.std(soc) <= np.sqrt(np.mean(std**2)) < 1.1 * np.std(soc)
    for weight in (-0.1, 0.1):  # no other weights do better
        shifted = soc + weight * (first - second)
        assert np.std(shifted) > np.std(soc)


def test_one_that_is_far_surer_counts_alone() -> None:
    soc, std = fuse(np.array([0.5]), np.array([0.2]), np.array([0.6]), np.array([0.001]))
    assert soc[0] == pytest.approx(0.6)
    assert std[0] == pytest.approx(0.001)


def test_who_contradict_each_other_are_both_doubted() -> None:
    std = np.array([0.005])
    near, near_std = fuse(np.array([0.5]), std, np.array([0.503]), std)
    far, far_std = fuse(np.array([0.5]), std, np.array([0.6]), std)
    assert near[0] == pytest.approx(0.5015)
    assert near_std[0] < 0.005
    assert far[0] == pytest.approx(0.55)
    assert far_std[0] > 0.04


def test_where_one_knows_nothing_the_other_is_told() -> None:
    nan = np.nan
    soc, std = fuse(
        np.array([nan, 0.4, nan]),
        np.array([nan, 0.1, nan]),
        np.array([0.6, nan, nan]),
        np.array([0.2, nan, nan]),
    )
    np.testing.assert_array_equal(soc, [0.6, 0.4, nan])
    np.testing.assert_array_equal(std, [0.2, 0.1, nan])


class SteadyReading:
    """Reads the same charge for ever."""

    def __init__(self, soc: float) -> None:
        self.soc = soc

    def run(
        self, output_names: Sequence[str] | None, inputs: dict[str, SingleArray]
    ) -> list[SingleArray]:
        features, hidden = (inputs[name] for name in NAMES)
        one = np.array([[self.soc, np.log(0.02), np.log(0.002)]], np.float32)
        return [np.repeat(one, len(features), axis=0), hidden]


@pytest.fixture
def make(
    random_cell: RandomCell, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], FusedEstimator]:
    cell = random_cell(1)
    wide = [1e3] * len(FEATURES)
    description = Network(
        cell=cell.name,
        capacity_ah=cell.capacity_ah,
        period_s=10.0,
        units=3,
        bias_a=0.06,
        bias_drift_a=0.01,
        soc_drift=0.001,
        lowest=[-bound for bound in wide],
        highest=wide,
        curves=Curves(
            temperatures_c=[0.0, 40.0],
            soc_points=[0.0, 1.0],
            ocv_v=[[3.0, 4.0], [3.0, 4.0]],
            instant_ohm=[0.01, 0.01],
            fast_ohm=[0.0, 0.0],
            slow_ohm=[0.0, 0.0],
            fast_s=10.0,
            slow_s=100.0,
        ),
        sha256="0" * 64,
        source="made up",
    )
    loaded = LoadedNetwork(description, SteadyReading(0.5))
    monkeypatch.setattr(network, "load_network", lambda *_: loaded)
    return lambda count: FusedEstimator(cell, count, Path("nowhere"))


def test_only_the_charge_is_corrected(
    make: Callable[[int], FusedEstimator], random_cell: RandomCell
) -> None:
    fused = make(2)
    alone = AdaptiveFilter(random_cell(1), 2)
    for one in (fused, alone):
        one.start(np.array([0.6, np.nan]), np.full(2, 0.1), rested=True)
        for k in range(60):
            one.update(np.full(2, 3.6), np.full(2, 20.0), np.full(2, -0.5), float(k > 0))
    told, filtered = fused.estimate, alone.estimate
    assert (told.soc != filtered.soc).all()
    between = (np.minimum(filtered.soc, 0.49) <= told.soc) & (
        told.soc <= np.maximum(filtered.soc, 0.51)
    )
    assert between.all()
    np.testing.assert_array_equal(told.resistance_factor, filtered.resistance_factor)
    np.testing.assert_array_equal(told.innovation_v, filtered.innovation_v)
    np.testing.assert_array_equal(fused.circuit_state().fast_v, alone.circuit_state().fast_v)


def test_goes_on_after_a_restart(make: Callable[[int], FusedEstimator]) -> None:
    before = make(2)
    before.start(np.array([0.6, 0.3]), np.full(2, 0.02), rested=True)
    for k in range(100):
        before.update(np.full(2, 3.6), np.full(2, 20.0), np.zeros(2), float(k > 0))
    kept = before.snapshot()
    after = make(2)
    after.restore(kept, 60.0)
    np.testing.assert_allclose(after.estimate.soc, before.estimate.soc, atol=0.01)
    for name in kept:
        told = after.estimate.soc
        with pytest.raises(ValueError, match="must be finite"):
            after.restore({key: kept[key] for key in kept if key != name}, 60.0)
        np.testing.assert_array_equal(after.estimate.soc, told)
