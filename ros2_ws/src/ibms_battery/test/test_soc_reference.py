# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from ibms_battery.soc_reference import SocReference, compare


def test_counted_charge_becomes_state_of_charge() -> None:
    reference = SocReference(capacity_ah=2.0, initial_soc=1.0)
    assert reference.soc(np.array([0.0, -0.5, -2.0])).tolist() == [1.0, 0.75, 0.0]


def test_error_over_samples_and_cells() -> None:
    reference = np.array([1.0, 0.5])
    estimate = np.array([[1.0, 0.9], [0.5, 0.8]])
    error = compare(estimate, reference)
    assert error.rmse == pytest.approx(np.sqrt((0.1**2 + 0.3**2) / 4))
    assert error.largest == pytest.approx(0.3)
    assert error.final == pytest.approx(0.3)
    assert error.samples == 2


def test_results_carry_name_and_context() -> None:
    results = compare(np.array([[0.5]]), np.array([0.25])).results("soc.x", "US06")
    assert {r.name: r.value for r in results} == {
        "soc.x.rmse": 0.25,
        "soc.x.largest_error": 0.25,
        "soc.x.final_error": 0.25,
    }
    assert all(result.context == "US06" for result in results)


@pytest.mark.parametrize(
    ("estimate", "reference"),
    [
        (np.zeros((2, 3)), np.zeros(3)),
        (np.zeros(2), np.zeros(2)),
        (np.zeros((0, 3)), np.zeros(0)),
        (np.array([[0.5, np.nan]]), np.array([0.5])),
        (np.array([[0.5]]), np.array([np.nan])),
    ],
)
def test_what_cannot_be_compared_is_refused(estimate: np.ndarray, reference: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"cannot compare|has no value at sample 0"):
        compare(estimate, reference)
