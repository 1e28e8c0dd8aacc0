# SPDX-License-Identifier: Apache-2.0
"""What estimates are judged by."""

import numpy as np
import pytest

from ibms_tools.eval.soc_targets import TARGETS, TruthUncertainty, truth_uncertainty


def test_the_truth_is_doubted_the_more_the_emptier() -> None:
    std = TruthUncertainty(counted=0.003, capacity=0.04).at(np.array([1.0, 0.5, 0.0]))
    assert std == pytest.approx([0.003, np.hypot(0.003, 0.02), np.hypot(0.003, 0.04)])


def test_an_unknown_cell_has_a_usual_doubt() -> None:
    assert truth_uncertainty("never_heard_of").at(np.array([1.0]))[0] > 0.0


def test_targets_are_of_the_groups() -> None:
    one = TARGETS["lg_18650hg2"][25.0]
    assert one.of("known") == one.of("full_minus_20") == one.known
    assert one.of("drawn_full") is None
