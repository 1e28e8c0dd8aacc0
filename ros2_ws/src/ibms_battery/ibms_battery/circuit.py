# SPDX-License-Identifier: Apache-2.0
"""Equivalent circuit of a cell on even grids, where finding a place is arithmetic. No ROS."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_battery.cell_model import (
    Activation,
    CellModel,
    Hysteresis,
    ResistorCapacitor,
    Thermal,
    Uncertainty,
)

FloatArray = npt.NDArray[np.float64]

_SOC_STEPS = 200
_TEMPERATURE_STEP_K = 2.5
_SLOPE_SPAN = 0.0125  # the slope holds for a finite change of charge: kinks of the data are no use
_SMALLEST_OHM = 1e-7  # a resistance of zero has no logarithm


class Circuit(NamedTuple):
    """A cell's circuit over temperature (rows) and state of charge from 0 to 1 (columns).

    A named tuple, as compiled code can take it apart.
    """

    first_temperature_c: float
    temperature_step_k: float
    ocv_v: FloatArray
    slope_v: FloatArray  # derivative of ocv_v by the state of charge
    ohmic_ohm: FloatArray
    activation_ohm: FloatArray
    fast_ohm: FloatArray
    slow_ohm: FloatArray
    hysteresis_v: FloatArray  # (columns,)
    entropic_v_per_k: FloatArray  # (columns,)
    activation_current_a: float
    fast_s: float
    slow_s: float
    hysteresis_rate: float
    capacity_ah: float


def build_circuit(cell: Cell) -> Circuit:
    """Tables of a cell type: straight lines between the points of its model, constant beyond.

    Over temperature it is the logarithm of a resistance that lies on the line, near to Arrhenius'
    law.
    """
    model = model_of(cell)
    socs = np.linspace(0.0, 1.0, _SOC_STEPS + 1)
    known_c = np.asarray(model.temperatures_c, np.float64)
    rows = max(2, 1 + int(np.ceil((known_c[-1] - known_c[0]) / _TEMPERATURE_STEP_K)))
    temperatures_c = known_c[0] + _TEMPERATURE_STEP_K * np.arange(rows)

    def table(values: list[list[float]]) -> FloatArray:
        at_socs = np.array([np.interp(socs, model.soc_points, row) for row in values])
        return np.column_stack([np.interp(temperatures_c, known_c, column) for column in at_socs.T])

    def resistances(values: list[list[float]]) -> FloatArray:
        logarithms = np.log(np.maximum(np.array(values), _SMALLEST_OHM))
        raised: FloatArray = np.exp(table(logarithms.tolist()))
        return raised

    ocv_v = np.interp(socs, cell.soc_points, cell.ocv_points_v) + table(model.ocv_correction_v)
    return Circuit(
        first_temperature_c=float(known_c[0]),
        temperature_step_k=_TEMPERATURE_STEP_K,
        ocv_v=ocv_v,
        slope_v=_slope(socs, ocv_v),
        ohmic_ohm=resistances(model.ohmic_resistance_ohm),
        activation_ohm=resistances(model.activation.resistance_ohm),
        fast_ohm=resistances(model.fast.resistance_ohm),
        slow_ohm=resistances(model.slow.resistance_ohm),
        hysteresis_v=np.interp(socs, model.soc_points, model.hysteresis.voltage_v),
        entropic_v_per_k=np.interp(socs, model.soc_points, model.entropic_coefficient_v_per_k),
        activation_current_a=model.activation.current_a,
        fast_s=model.fast.time_constant_s,
        slow_s=model.slow.time_constant_s,
        hysteresis_rate=model.hysteresis.rate,
        capacity_ah=cell.capacity_ah,
    )


def model_of(cell: Cell) -> CellModel:
    """The identified model of a cell, or the coarse one where there is none."""
    return cell.model or rated_model(cell)


def _slope(socs: FloatArray, ocv_v: FloatArray) -> FloatArray:
    high, low = np.minimum(socs + _SLOPE_SPAN, 1.0), np.maximum(socs - _SLOPE_SPAN, 0.0)
    rises = [np.interp(high, socs, row) - np.interp(low, socs, row) for row in ocv_v]
    slope: FloatArray = np.array(rises) / (high - low)
    return slope


def rated_model(cell: Cell) -> CellModel:
    """Coarse model of a cell of which only rated data are known, with the doubt that it deserves.

    Shares of the resistance and its rise in the cold are typical of cells with graphite anodes, as
    identified for the shipped ones; the uncertainty covers what such cells differ by.
    """
    temperatures_c = [-20.0, 0.0, 25.0, 45.0]
    colder = [4.0, 2.0, 1.0, 0.8]
    soc_points = [0.0, 1.0]

    def table(share: float) -> list[list[float]]:
        return [[share * factor * cell.resistance_ohm] * 2 for factor in colder]

    return CellModel(
        version=1,
        temperatures_c=temperatures_c,
        soc_points=soc_points,
        ocv_correction_v=[[0.0, 0.0]] * len(temperatures_c),
        ohmic_resistance_ohm=table(0.6),
        activation=Activation(current_a=cell.capacity_ah / 3.0, resistance_ohm=table(0.0)),
        fast=ResistorCapacitor(time_constant_s=5.0, resistance_ohm=table(0.2)),
        slow=ResistorCapacitor(time_constant_s=80.0, resistance_ohm=table(0.3)),
        hysteresis=Hysteresis(voltage_v=[0.0, 0.0], rate=50.0),
        entropic_coefficient_v_per_k=[0.0, 0.0],
        thermal=Thermal(
            # 1 J/(g K) and 20 g per Ah: cylindrical and pouch cells alike, within a third.
            heat_capacity_j_per_k=20.0 * cell.capacity_ah,
            thermal_resistance_k_per_w=30.0 / cell.capacity_ah,
        ),
        uncertainty=Uncertainty(
            voltage_v=0.01,
            drop_share=1.0,
            polarisation_v=0.002,
            cold_growth_per_k=0.03,
            offset_v=0.005,
            model_v=0.02,
            load_before_h=0.5,
            bias_a=0.02 * cell.capacity_ah,
            bias_drift_a=0.02 * cell.capacity_ah,
            resistance=0.3,
            resistance_drift=0.05,
            temperature_k=3.0,
            temperature_drift_k=1.0,
            capacity=0.05,
            capacity_drift=1e-4,
            gate=16.0,
        ),
        source="rated data alone",
    )
