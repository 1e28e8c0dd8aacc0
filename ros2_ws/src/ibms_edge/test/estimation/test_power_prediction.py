# SPDX-License-Identifier: Apache-2.0
"""State of power: held against the circuit, simulated step by step."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ibms_battery.cell import load_cell
from ibms_battery.circuit import build_circuit
from ibms_edge.estimation.circuit_state import CircuitState
from ibms_edge.estimation.power_prediction import HORIZONS_S, Limit, PowerPrediction
from ibms_edge.limits.curves import Curve, load_curves

FloatArray = npt.NDArray[np.float64]

CONFIG = Path(__file__).parents[5] / "config"
CELL = load_cell(CONFIG / "cells" / "lg_18650hg2.yaml")
CURVES = load_curves(CONFIG / "limits" / "lg_18650hg2.yaml", CELL)
CIRCUIT = build_circuit(CELL)
PREDICTION = PowerPrediction(CELL, CURVES)
_ALWAYS = Curve(at=[-60.0, -59.0, 99.0, 100.0], share=[0.0, 1.0, 1.0, 0.0])
_ANY_CHARGE = Curve(at=[0.0, 1.0], share=[1.0, 1.0])
BY_VOLTAGE = PowerPrediction(
    structs.replace(CELL, maximum_charge_current_a=60.0, maximum_discharge_current_a=60.0),
    structs.replace(
        CURVES,
        charge=structs.replace(CURVES.charge, temperature_c=_ALWAYS, soc=_ANY_CHARGE),
        discharge=structs.replace(CURVES.discharge, temperature_c=_ALWAYS, soc=_ANY_CHARGE),
    ),
)
SHORT = HORIZONS_S[:3]


def state_of(
    soc: list[float],
    temperature_c: float = 25.0,
    fast_v: float = 0.0,
    slow_v: float = 0.0,
    factor: float = 1.0,
    soc_std: float = 0.0,
) -> CircuitState:
    one = np.ones(len(soc))
    return CircuitState(
        soc=np.array(soc),
        soc_std=soc_std * one,
        fast_v=fast_v * one,
        slow_v=slow_v * one,
        hysteresis=0.0 * one,
        resistance_factor=factor * one,
        resistance_std=0.0 * one,
        temperature_c=temperature_c * one,
        capacity_ah=CELL.capacity_ah * one,
    )


def voltages_under(state: CircuitState, cell: int, current_a: float, time_s: float) -> FloatArray:
    """Voltage of one cell over time, stepped by 10 ms: the sum of parts, without a closed form.

    The tables of resistances are held where the load begins, as a prediction over seconds may.
    """
    grid = np.linspace(0.0, 1.0, CIRCUIT.ocv_v.shape[1])
    rows_c = CIRCUIT.first_temperature_c + CIRCUIT.temperature_step_k * np.arange(
        len(CIRCUIT.ocv_v)
    )

    def at(table: FloatArray, soc: float) -> float:
        column = [np.interp(soc, grid, row) for row in table]
        return float(np.interp(state.temperature_c[cell], rows_c, column))

    soc0 = float(state.soc[cell])
    ohmic, activation = at(CIRCUIT.ohmic_ohm, soc0), at(CIRCUIT.activation_ohm, soc0)
    fast, slow = at(CIRCUIT.fast_ohm, soc0), at(CIRCUIT.slow_ohm, soc0)
    i0, step_s = CIRCUIT.activation_current_a, 0.01
    fast_v, slow_v = float(state.fast_v[cell]), float(state.slow_v[cell])
    drop_v = ohmic * current_a + activation * i0 * float(np.arcsinh(current_a / i0))
    found = []
    for k in range(round(time_s / step_s) + 1):
        soc = soc0 + current_a * k * step_s / 3600.0 / float(state.capacity_ah[cell])
        over_v = drop_v + fast_v + slow_v
        found.append(at(CIRCUIT.ocv_v, soc) + float(state.resistance_factor[cell]) * over_v)
        fast_v += step_s / CIRCUIT.fast_s * (fast * current_a - fast_v)
        slow_v += step_s / CIRCUIT.slow_s * (slow * current_a - slow_v)
    return np.array(found)


@pytest.mark.parametrize("temperature_c", [-10.0, 25.0])
@pytest.mark.parametrize("horizon", [0, 1])
@pytest.mark.parametrize("direction", [0, 1])
def test_the_circuit_ends_at_the_bound(temperature_c: float, horizon: int, direction: int) -> None:
    state = state_of([0.08, 0.3, 0.97], temperature_c, fast_v=-0.01, slow_v=0.01)
    power = BY_VOLTAGE.cells(state)
    bound_v = (CURVES.charge.hold_v, CURVES.discharge.hold_v)[direction]
    sign = (1.0, -1.0)[direction]
    for cell in range(3):
        current_a = power.current_a[direction, horizon, cell]
        voltage_v = voltages_under(state, cell, sign * current_a, SHORT[horizon])
        beyond_v = sign * (voltage_v - bound_v)
        if current_a > 0.0:
            assert beyond_v.max() < 0.002
        if power.limited_by[direction, horizon, cell] == Limit.CELL_VOLTAGE and current_a > 0.0:
            assert beyond_v.max() > -0.002  # no more is held back than needed
    # The voltage is what ends it somewhere, or the test says nothing.
    assert Limit.CELL_VOLTAGE in power.limited_by[direction, horizon]


@given(
    soc=st.floats(0.0, 1.0),
    temperature_c=st.floats(-30.0, 60.0),
    fast_v=st.floats(-0.1, 0.1),
    slow_v=st.floats(-0.1, 0.1),
    factor=st.floats(0.5, 3.0),
)
@settings(max_examples=100, deadline=None)
def test_properties(
    soc: float, temperature_c: float, fast_v: float, slow_v: float, factor: float
) -> None:
    power = PREDICTION.cells(state_of([soc], temperature_c, fast_v, slow_v, factor))
    rated = np.array([CELL.maximum_charge_current_a, CELL.maximum_discharge_current_a])
    assert np.isfinite(power.current_a).all()
    assert (power.current_a >= 0.0).all()
    assert (power.current_a <= rated[:, np.newaxis, np.newaxis]).all()
    # A current that cannot be held for a short time cannot be held for a long one.
    assert (np.diff(power.current_a, axis=1) <= 1e-12).all()
    doubtful = PREDICTION.cells(state_of([soc], temperature_c, fast_v, slow_v, factor, 0.05))
    assert (doubtful.current_a <= power.current_a + 0.02).all()
    if fast_v == slow_v == 0.0:
        older = PREDICTION.cells(state_of([soc], temperature_c, factor=1.2 * factor))
        assert (older.current_a <= power.current_a + 1e-3).all()


def test_each_bound_is_named() -> None:
    rating = PREDICTION.cells(state_of([0.6]))
    assert rating.limited_by[1, 0, 0] == Limit.RATING
    assert rating.current_a[1, 0, 0] == CELL.maximum_discharge_current_a
    cold = PREDICTION.cells(state_of([0.5], -20.0))
    assert cold.current_a[0, 0, 0] == 0.0  # no charge in the cold
    assert cold.limited_by[0, 0, 0] in (Limit.RATING, Limit.CELL_VOLTAGE)
    narrow = Curve(at=[-60.0, -59.0, 44.0, 44.5], share=[0.0, 1.0, 1.0, 0.0])
    discharge = structs.replace(CURVES.discharge, temperature_c=narrow)
    near = PowerPrediction(CELL, structs.replace(CURVES, discharge=discharge))
    hot = near.cells(state_of([0.95], 43.9))
    assert hot.limited_by[1, 3, 0] == Limit.TEMPERATURE
    assert 0.0 < hot.current_a[1, 3, 0] < hot.current_a[1, 0, 0]
    full = PREDICTION.cells(state_of([1.0]))
    assert (full.current_a[0, :, 0] == 0.0).all()
    some = PREDICTION.cells(state_of([0.5]))
    assert some.limited_by[1, 3, 0] != Limit.RATING  # half an hour empties it
    assert some.current_a[1, 3, 0] <= 0.5 * CELL.capacity_ah / 0.5 + 1e-9


@pytest.mark.parametrize("missing", [field.name for field in fields(CircuitState)])
def test_a_cell_without_estimate_gives_nothing(missing: str) -> None:
    state = state_of([0.5, 0.5])
    broken = replace(state, **{missing: np.array([np.nan, getattr(state, missing)[1]])})
    power = PREDICTION.cells(broken)
    if missing == "hysteresis":  # a cell without hysteresis does not look at it
        return
    assert (power.current_a[:, :, 0] == 0.0).all()
    assert (power.limited_by[:, :, 0] == Limit.UNKNOWN).all()
    assert (power.current_a[1, :2, 1] > 0.0).all()


def test_the_weakest_cell_of_the_pack_decides() -> None:
    state = state_of([0.6, 0.05, 0.6, 0.98])
    cells = PREDICTION.cells(state)
    one = PREDICTION.pack(state, [slice(0, 4)], 3, np.ones(4, np.bool_))
    assert one.cell[1, 1] == 1
    assert one.cell[0, 1] == 3
    assert one.current_a[1] == pytest.approx(3.0 * cells.current_a[1, :, 1])
    # Sum of the voltages at that current.
    voltage_v = [
        voltages_under(state, cell, -cells.current_a[1, 1, 1], 10.0)[-1] for cell in range(4)
    ]
    assert one.power_w[1, 1] == pytest.approx(one.current_a[1, 1] * sum(voltage_v), rel=1e-3)
    without = PREDICTION.pack(state, [slice(0, 4)], 3, np.array([True, False, True, True]))
    assert without.current_a[1, 1] > one.current_a[1, 1]
    assert without.cell[1, 1] != 1
    two = PREDICTION.pack(state, [slice(0, 2), slice(2, 4)], 1, np.ones(4, np.bool_))
    assert two.current_a[1, 1] == pytest.approx(2.0 * cells.current_a[1, 1, 1])


def test_a_pack_without_cells_in_the_circuit_gives_nothing() -> None:
    none = PREDICTION.pack(state_of([0.5, 0.5]), [slice(0, 2)], 1, np.zeros(2, np.bool_))
    assert (none.current_a == 0.0).all()
    assert (none.cell == -1).all()
    assert (none.limited_by == Limit.UNKNOWN).all()
