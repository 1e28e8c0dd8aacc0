# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

pytest.importorskip("pybamm")

from ibms_sim.cells import virtual_tests


def test_a_pulse_at_full_charge(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[np.ndarray] = []
    real = virtual_tests._follow

    def first_pulses(current_a: np.ndarray, temperature_c: float) -> np.ndarray:
        followed.append(current_a)
        return real(current_a[1780:2000], temperature_c)

    monkeypatch.setattr(virtual_tests, "_follow", first_pulses)
    rows = virtual_tests.pulse_test(10.0)
    time_s, voltage_v, current_a, temperature_c, charge_ah = rows.T
    # From full, a tenth of 5 A h with each set of pulses.
    assert followed[0].sum() / 3600.0 == pytest.approx(-5.07, abs=0.1)
    assert np.array_equal(time_s, np.arange(220.0))
    assert voltage_v[0] == pytest.approx(4.2, abs=0.001)
    assert (current_a[20:30] == -5.0).all()
    assert voltage_v[29] < 4.1
    assert temperature_c[0] == pytest.approx(10.0)
    assert charge_ah[-1] == pytest.approx(current_a.sum() / 3600.0, abs=0.002)
