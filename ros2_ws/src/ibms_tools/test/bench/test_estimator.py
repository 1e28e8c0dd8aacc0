# SPDX-License-Identifier: Apache-2.0
"""What the estimators are timed against is the same filter, and every figure is measured."""

from pathlib import Path

import numpy as np
import pytest

from ibms_battery.cell import load_cell
from ibms_edge.estimation import cell_step
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_edge.estimation.cell_step import STATES, WIDTH, pair
from ibms_tools.bench.estimator import _STD_SHARE, begin, draw_samples, measure, plain_costs
from ibms_tools.bench.filterpy_cell import FilterpyCell

CELL = Path(__file__).resolve().parents[5] / "config" / "cells" / "lg_18650hg2.yaml"


def test_the_reference_is_the_same_filter() -> None:
    cell = load_cell(CELL)
    samples = draw_samples(cell, 5)
    batch = AdaptiveFilter(cell, 5)
    begin(batch, samples)
    references = [FilterpyCell(cell, batch.snapshot(), index) for index in range(5)]
    for k in range(100):
        at = k % len(samples.voltage_v)
        voltage_v, temperature_c = samples.voltage_v[at], samples.temperature_c[at]
        current_a = samples.current_a[at]
        batch.update(voltage_v, temperature_c, current_a, 1.0)
        for index, one in enumerate(references):
            current = float(current_a[index])
            one.update(
                float(voltage_v[index]),
                float(temperature_c[index]),
                current,
                _STD_SHARE * abs(current),
                1.0,
            )
    kept = batch.snapshot()
    variances = [pair(state, state) for state in range(WIDTH)]
    std = np.sqrt(kept["covariance"][variances])
    for index, one in enumerate(references):
        apart = (kept["states"][:STATES, index] - one.filter.x[:STATES]) / std[:STATES, index]
        np.testing.assert_allclose(apart, 0.0, atol=1e-7)
        np.testing.assert_allclose(np.sqrt(np.diag(one.filter.P)) / std[:, index], 1.0, atol=1e-7)


def test_the_samples_are_those_of_the_cell() -> None:
    cell = load_cell(CELL)
    batch = AdaptiveFilter(cell, 50)
    begin(batch, draw_samples(cell, 50))
    estimate = batch.estimate
    assert ((estimate.soc > 0.2) & (estimate.soc < 0.9)).all()
    assert (np.nanmedian(estimate.innovation_ratio)) < 9.0


@pytest.mark.skipif(cell_step.compiled_step_cells is None, reason="no numba here")
def test_every_figure_is_measured() -> None:
    results = {one.name: one for one in measure(CELL, sizes=(40, 4000), plain=(20,), batches=2)}
    for name, one in results.items():
        assert one.value is not None, name
        assert one.value > 0.0, name
    assert "compiled; all 7 states" in results["estimator.adaptive.96.cell_step"].context
    ours, reference, ratio = (
        results[f"estimator.{name}"].value
        for name in ("adaptive.96.cell_step", "filterpy.cell_step", "adaptive.96.times_filterpy")
    )
    assert ours is not None
    assert reference is not None
    assert ratio == pytest.approx(reference / ours, rel=0.01)
    kept = results["estimator.adaptive.4000.memory.kept"].value
    step = results["estimator.adaptive.4000.memory.step"].value
    assert kept is not None
    assert step is not None
    assert 8 * (cell_step.ROWS + cell_step.PAIRS) < kept < step
    assert {"estimator.ekf.96.cell_step", "estimator.adaptive.numpy.20.cell_step"} < set(results)


def test_a_process_that_fails_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"could not be timed:\n(.|\n)*no_such_cell"):
        plain_costs(Path("no_such_cell.yaml"), (1,), 1)
