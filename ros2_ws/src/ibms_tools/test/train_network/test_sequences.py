# SPDX-License-Identifier: Apache-2.0
"""Training sequences hold what a cell did, and the network's file computes what was trained."""

from pathlib import Path

import numpy as np
import pytest

from ibms_battery.cell import Cell, load_cell
from ibms_battery.recordings import Recording
from ibms_edge.estimation.network_file import NAMES
from ibms_edge.estimation.network_input import FEATURES
from ibms_tools.eval.soc_simulation import Run
from ibms_tools.train_network.curves import curves_of
from ibms_tools.train_network.sequences import draw_sequences

CONFIG = Path(__file__).resolve().parents[5] / "config"
HOLE_S = (2000.0, 2100.0)


@pytest.fixture
def cell() -> Cell:
    return load_cell(CONFIG / "cells" / "lg_18650hg2.yaml")


def drive(cell: Cell) -> Run:
    """An hour at a fifth of the capacity, sampled unevenly, with a hole."""
    time_s = np.sort(np.random.default_rng(1).uniform(0.0, 3600.0, 4000))
    time_s = time_s[(time_s < HOLE_S[0]) | (time_s > HOLE_S[1])]
    time_s -= time_s[0]
    rate_a = -0.2 * cell.capacity_ah
    truth = 1.0 - 0.2 * time_s / 3600.0
    return Run(
        "made_up",
        Recording(
            time_s=time_s,
            voltage_v=np.interp(truth, cell.soc_points, cell.ocv_points_v),
            current_a=np.full(len(time_s), rate_a),
            temperature_c=np.full(len(time_s), 25.0),
            charge_ah=(truth - 1.0) * cell.capacity_ah,
            repeated=0,
        ),
        truth,
    )


def test_truth_and_counted_charge_belong_together(cell: Cell) -> None:
    drawn = draw_sequences([drive(cell)], cell, curves_of(cell), 10.0, 20, np.random.default_rng(2))
    assert drawn.features.shape == (20, drawn.truth.shape[1], len(FEATURES))
    assert np.isfinite(drawn.features).all()
    assert len(np.unique(drawn.start)) > 5  # from the start and from the middle
    bias_of = []
    for start, truth, charge, usable in zip(
        drawn.start, drawn.truth, drawn.charge, drawn.usable, strict=True
    ):
        ends = np.flatnonzero(truth > 0.0)
        fell = np.diff(np.concatenate([[start], truth[ends]]))
        np.testing.assert_allclose(fell, -0.2 * 10.0 / 3600.0, rtol=0.02)
        # What the sensor's bias and gain counted besides is the same in every period.
        wrong = (charge[ends] - fell)[usable[ends]]
        np.testing.assert_allclose(wrong, wrong[0], atol=2e-6)
        bias_of.append(wrong[0] * 360.0 * cell.capacity_ah)
        # Nobody knows what flowed in the hole: the sequence ends there.
        assert usable[ends].all()
        assert truth[ends].min() > 1.0 - 0.2 * HOLE_S[0] / 3600.0
    assert 0.05 < np.abs(bias_of).max() < 0.12


def test_the_file_computes_what_was_trained() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from ibms_tools.train_network.model import ReadingNetwork
    from ibms_tools.train_network.onnx_file import to_onnx

    torch.manual_seed(1)
    network = ReadingNetwork(torch.randn(len(FEATURES)), torch.rand(len(FEATURES)) + 0.5, 5)
    torch.nn.init.normal_(network.reading.weight)
    session = onnxruntime.InferenceSession(to_onnx(network))
    shown = torch.randn(7, 50, len(FEATURES))
    expected = torch.stack(network(shown), -1).detach().numpy()
    hidden = np.zeros((7, 5), np.float32)
    for k in range(50):
        inputs = dict(zip(NAMES, (shown[:, k].numpy(), hidden), strict=True))
        reading, hidden = session.run(None, inputs)
        np.testing.assert_allclose(reading, expected[:, k], atol=1e-4)
