# SPDX-License-Identifier: Apache-2.0
import numpy as np
import numpy.typing as npt
import pytest

from ibms_sim.cells.parameters import CellParameters
from ibms_sim.cells.reduced import ReducedCells

FloatArray = npt.NDArray[np.float64]
STEP_S = 0.1


def cells(parameters: CellParameters, soc: FloatArray, step_s: float = STEP_S) -> ReducedCells:
    return ReducedCells(parameters, soc, np.ones(len(soc)), np.ones(len(soc)), step_s)


def run(bank: ReducedCells, current_a: FloatArray, temperature_c: float = 25.0) -> FloatArray:
    count = len(bank.soc)
    degrees = np.full(count, temperature_c)
    volts = np.zeros((len(current_a), count))
    for k, value in enumerate(current_a):
        bank.step(np.full(count, value), degrees)
        volts[k] = bank.voltage_v
    return volts


def test_charge_is_conserved(parameters: CellParameters) -> None:
    bank = cells(parameters, np.array([0.2, 0.5, 0.9]))
    current = np.random.default_rng(1).uniform(-5, 5, 1000)
    run(bank, current)
    moved = current.sum() * STEP_S / 3600 / parameters.capacity_ah
    np.testing.assert_allclose(bank.soc, np.array([0.2, 0.5, 0.9]) + moved, atol=1e-9)


def test_energy_is_lost_and_never_won(parameters: CellParameters) -> None:
    """Over a closed cycle in charge, more goes in than comes out, by the heat set free."""
    step_s = 0.5
    bank = cells(parameters, np.array([0.6]), step_s)
    current = np.tile(np.repeat([-5.0, 5.0], 600), 4)
    before = bank.soc.copy()
    put_in = heat = 0.0
    degrees = np.array([25.0])
    for value in current:
        bank.step(np.array([value]), degrees)
        put_in += value * bank.voltage_v[0] * step_s
        heat += value * (bank.voltage_v[0] - bank.open_circuit_v[0]) * step_s
    np.testing.assert_allclose(bank.soc, before, atol=1e-9)
    assert heat > 0
    assert put_in == pytest.approx(heat, rel=0.02)


def test_voltage_returns_to_the_open_circuit_voltage(parameters: CellParameters) -> None:
    bank = cells(parameters, np.array([0.7]), 1.0)
    run(bank, np.full(60, -5.0))
    assert bank.open_circuit_v[0] - bank.voltage_v[0] > 0.08
    run(bank, np.zeros(6000))
    assert bank.voltage_v[0] == pytest.approx(bank.open_circuit_v[0], abs=1e-3)


@pytest.mark.parametrize("current_a", [0.0, 1e-3, -1.0, 5.0, -50.0])
def test_quick_resistance_is_what_a_current_meets_at_once(
    parameters: CellParameters, current_a: float
) -> None:
    bank = cells(parameters, np.array([0.6]), 1e-4)  # too short for diffusion
    rest_v = run(bank, np.zeros(1))[0, 0]
    met_v = run(bank, np.array([current_a]))[0, 0] - rest_v
    assert bank.quick_ohm[0] * current_a == pytest.approx(met_v, rel=0.02, abs=1e-9)


def test_charge_transfer_resists_the_less_the_more_flows(parameters: CellParameters) -> None:
    bank = cells(parameters, np.array([0.6]), 1e-4)
    resistance = []
    for current_a in (0.0, 1.0, 10.0, 100.0):
        run(bank, np.array([current_a]))
        resistance.append(bank.quick_ohm[0])
    assert resistance == sorted(resistance, reverse=True)
    assert resistance[0] == pytest.approx(0.028, rel=0.2)  # of the cell's data
    assert resistance[-1] > bank.ohmic_ohm[0]


def test_cold_cells_have_more_resistance(parameters: CellParameters) -> None:
    drops = []
    for temperature_c in (40.0, 25.0, 0.0, -10.0):
        bank = cells(parameters, np.array([0.6]))
        rest = run(bank, np.zeros(2), temperature_c)[-1, 0]
        drops.append(rest - run(bank, np.full(100, -3.0), temperature_c)[-1, 0])
    assert drops == sorted(drops)
    assert drops[3] > 2 * drops[1]


def test_resistance_spread_acts(parameters: CellParameters) -> None:
    factors = np.array([0.8, 1.0, 1.3])
    bank = ReducedCells(parameters, np.full(3, 0.6), np.ones(3), factors, STEP_S)
    rest = run(bank, np.zeros(2))[-1]
    drop = rest - run(bank, np.full(20, -5.0))[-1]
    assert drop[0] < drop[1] < drop[2]


def test_does_not_depend_on_the_step(parameters: CellParameters) -> None:
    current = np.repeat([-5.0, 0.0, 3.0, -8.0], 50)
    coarse = run(cells(parameters, np.array([0.6]), 0.1), current)
    fine = run(cells(parameters, np.array([0.6]), 0.01), np.repeat(current, 10))
    np.testing.assert_allclose(coarse, fine[9::10], atol=2e-3)


def test_stays_finite_far_beyond_the_limits(parameters: CellParameters) -> None:
    for current_a in (-15.0, 15.0):
        bank = cells(parameters, np.array([0.5]), 1.0)
        assert np.isfinite(run(bank, np.full(2000, current_a))).all()


# Stated tolerance of the reduced model: 5 mV rms, 15 mV at most at 25 degC; 8 and 25 mV at 10 degC.
@pytest.mark.parametrize(
    ("temperature_c", "soc", "rms_v", "worst_v"),
    [(25.0, 0.7, 5e-3, 15e-3), (25.0, 0.4, 5e-3, 15e-3), (10.0, 0.5, 8e-3, 25e-3)],
)
def test_agrees_with_the_spme_of_pybamm(
    parameters: CellParameters, temperature_c: float, soc: float, rms_v: float, worst_v: float
) -> None:
    pybamm = pytest.importorskip("pybamm")
    time_s = np.arange(0.0, 320.0, STEP_S)
    current = np.zeros_like(time_s)
    for start, end, value in ((10, 40, -5.0), (100, 110, 4.0), (150, 210, -8.0)):
        current[(time_s >= start) & (time_s < end)] = value
    values = pybamm.ParameterValues("OKane2022")
    values["Current function [A]"] = pybamm.Interpolant(time_s, -current, pybamm.t)
    for name in ("Ambient temperature [K]", "Initial temperature [K]"):
        values[name] = temperature_c + 273.15
    simulation = pybamm.Simulation(pybamm.lithium_ion.SPMe(), parameter_values=values)
    solution = simulation.solve(time_s[:-10], t_interp=time_s[:-10], initial_soc=soc)
    reference = solution["Terminal voltage [V]"](time_s[1:-10])
    ours = run(cells(parameters, np.array([soc])), current[1:-10], temperature_c)[:, 0]
    # Not at the edges, where both sample the ramp of the current differently.
    steady = np.abs(np.diff(current[:-10])) < 1e-9
    steady[1:] &= steady[:-1]
    steady[:-1] &= steady[1:]
    error = (ours - reference)[steady]
    assert np.sqrt(np.mean(error**2)) < rms_v
    assert np.max(np.abs(error)) < worst_v
    # The profile is one that tells models apart: the voltage moves by far more than the error.
    assert np.ptp(reference) > 0.2
