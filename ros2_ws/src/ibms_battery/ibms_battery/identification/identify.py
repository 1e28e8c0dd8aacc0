# SPDX-License-Identifier: Apache-2.0
"""Identification of a cell's model from the recordings that a plan names. No ROS."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from ibms_battery.cell import Cell
from ibms_battery.cell_model import (
    Activation,
    CellModel,
    Hysteresis,
    ResistorCapacitor,
    Thermal,
    Uncertainty,
)
from ibms_battery.circuit import rated_model
from ibms_battery.identification.checks import (
    check_coverage,
    check_information,
    typical_resistance_ohm,
)
from ibms_battery.identification.circuit_fit import (
    Equations,
    Parameters,
    Prior,
    RunEquations,
    Structure,
    design,
    equations_of,
    solve,
    total,
)
from ibms_battery.identification.entropy import entropic_coefficient
from ibms_battery.identification.open_circuit import REFERENCE_C, OpenCircuit, open_circuits
from ibms_battery.identification.plan import Plan
from ibms_battery.identification.runs import Run, find_recordings, make_runs
from ibms_battery.identification.thermal_fit import fit_thermal
from ibms_battery.recordings import FloatArray

_ACTIVATION_HOURS = 3.0  # the current of the activation term empties the cell in this time
_RESISTANCE_SOC = 0.5


@dataclass(frozen=True)
class RunResidual:
    """How well the circuit explains a run."""

    path: str
    test: str
    temperature_c: float
    rms_v: float
    bias_v: float


@dataclass(frozen=True)
class Identification:
    """An identified cell with what it was identified from."""

    cell: Cell
    reference: OpenCircuit
    circuits: list[OpenCircuit]
    runs: list[Run]
    structure: Structure
    parameters: FloatArray
    candidates: dict[str, float]  # weighted residual [V] of each structure that was tried
    _equations: list[RunEquations]
    _total: Equations
    _typical_ohm: float
    _prior: Prior

    def without(self, path: str) -> Cell:
        """The cell as identified without the run ``path``, for cross-validation.

        Raises:
            KeyError: if no run has that path.
        """
        total_equations = self._total
        found = False
        for run, equations in zip(self.runs, self._equations, strict=True):
            if run.path == path:
                total_equations = total_equations.without(equations)
                found = True
        if not found:
            raise KeyError(f"{path} is none of the {len(self.runs)} runs")
        vector = solve(total_equations, self.structure, self._typical_ohm, self._prior)
        assert self.cell.model is not None
        model = _with_parameters(self.cell.model, self.structure, vector)
        return msgspec.structs.replace(self.cell, model=model)

    def predicted_v(self, run: Run) -> FloatArray:
        """Voltage of the circuit over a run (samples,), the charge being known."""
        columns, matrix = design(run, self.structure)
        ocv_v = np.interp(run.soc, self.reference.soc, self.reference.ocv_v)
        predicted: FloatArray = ocv_v + matrix @ self.parameters[columns]
        return predicted

    def residuals(self) -> list[RunResidual]:
        """Of all runs, in their order; only samples that counted in the fit."""
        found = []
        for run in self.runs:
            error_v = (run.voltage_v - self.predicted_v(run))[run.weight > 0.0]
            found.append(
                RunResidual(
                    path=run.path,
                    test=run.test,
                    temperature_c=run.mean_temperature_c,
                    rms_v=float(np.sqrt(np.mean(error_v**2))),
                    bias_v=float(np.mean(error_v)),
                )
            )
        return found


@dataclass(frozen=True)
class _Fit:
    """A structure that was tried."""

    structure: Structure
    equations: list[RunEquations]
    summed: Equations
    vector: FloatArray

    def residual_v(self) -> float:
        """Weighted root of the mean square over all runs [V]."""
        square = sum(one.residual_v(self.vector) ** 2 * one.weight for one in self.equations)
        return float(np.sqrt(square / sum(one.weight for one in self.equations)))

    def name(self) -> str:
        """What distinguishes it."""
        times = " and ".join(f"{seconds:g}" for seconds in self.structure.time_constants_s)
        rate = self.structure.hysteresis_rate
        return f"{times} s" + (f", hysteresis {rate:g}" if rate else "")


def identify(plan: Plan, data: Path, previous: CellModel | None = None) -> Identification:
    """Identify the cell of a plan from recordings in the folder ``data``.

    Args:
        plan: what to identify from what.
        data: folder of the index or of the files.
        previous: model of an earlier identification: its uncertainty is kept, its version rises.

    Raises:
        RecordingError: if a recording cannot be used.
        IdentificationError: if the recordings do not tell what is sought.
    """
    reference, circuits = open_circuits(find_recordings(plan.open_circuit, data))
    capacity_ah = reference.discharge.charge_ah
    runs = make_runs(find_recordings(plan.circuit.sources, data), capacity_ah)
    typical_ohm = typical_resistance_ohm(runs, capacity_ah)
    ocv_v = [np.interp(run.soc, reference.soc, reference.ocv_v) for run in runs]
    prior = Prior(correction_warmth_v=plan.circuit.ocv_step_v)
    fits: list[_Fit] = []
    for structure in _structures(plan, capacity_ah, runs):
        if not fits:
            check_coverage(runs, structure)
        equations = [
            equations_of(run, ocv, structure) for run, ocv in zip(runs, ocv_v, strict=True)
        ]
        summed = total(equations, structure.size)
        if not fits:
            check_information(summed, structure, typical_ohm, prior)
        vector = solve(summed, structure, typical_ohm, prior)
        fits.append(_Fit(structure, equations, summed, vector))
    best = min(fits, key=_Fit.residual_v)
    cell = _cell(plan, reference, circuits, best.structure, best.vector)
    assert cell.model is not None
    model = _with_thermal(cell.model, plan, cell, runs, ocv_v)
    result = Identification(
        cell=msgspec.structs.replace(cell, model=model),
        reference=reference,
        circuits=circuits,
        runs=runs,
        structure=best.structure,
        parameters=best.vector,
        candidates={fit.name(): fit.residual_v() for fit in fits},
        _equations=best.equations,
        _total=best.summed,
        _typical_ohm=typical_ohm,
        _prior=prior,
    )
    uncertainty = (
        previous.uncertainty if previous else _first_uncertainty(model.uncertainty, result)
    )
    model = msgspec.structs.replace(
        model, version=previous.version + 1 if previous else 1, uncertainty=uncertainty
    )
    return replace(result, cell=msgspec.structs.replace(cell, model=model))


def _structures(plan: Plan, capacity_ah: float, runs: Sequence[Run]) -> list[Structure]:
    circuit = plan.circuit
    offsets = {run.voltage_offset for run in runs if run.voltage_offset is not None}
    rates: list[float | None] = [*circuit.hysteresis_rates] or [None]
    return [
        Structure(
            temperatures_c=np.array(circuit.temperatures_c),
            soc=np.array(circuit.soc_points),
            time_constants_s=times,
            activation_current_a=_figures(capacity_ah / _ACTIVATION_HOURS),
            capacity_ah=capacity_ah,
            hysteresis_rate=rate,
            voltage_offsets=len(offsets),
        )
        for times in circuit.time_constants_s
        for rate in rates
    ]


def _cell(
    plan: Plan,
    reference: OpenCircuit,
    circuits: Sequence[OpenCircuit],
    structure: Structure,
    vector: FloatArray,
) -> Cell:
    rated = plan.cell
    entropic, entropic_source = entropic_coefficient(circuits, structure.soc, rated.chemistry)
    found = Parameters.from_vector(structure, vector)
    cell = Cell(
        name=rated.name,
        chemistry=rated.chemistry,
        capacity_ah=_figures(reference.discharge.charge_ah),
        minimum_voltage_v=rated.minimum_voltage_v,
        maximum_voltage_v=rated.maximum_voltage_v,
        nominal_voltage_v=rated.nominal_voltage_v,
        resistance_ohm=_figures(_resistance_ohm(structure, found), 3),
        soc_points=[float(point) for point in reference.soc],
        ocv_points_v=_rising([_figures(value, 5) for value in reference.ocv_v]),
        maximum_charge_current_a=rated.maximum_charge_current_a,
        maximum_discharge_current_a=rated.maximum_discharge_current_a,
        source=rated.source,
    )
    draft = rated_model(cell)
    times = structure.time_constants_s
    model = CellModel(
        version=1,
        simulated=rated.simulated,
        temperatures_c=plan.circuit.temperatures_c,
        soc_points=plan.circuit.soc_points,
        ocv_correction_v=[],
        ohmic_resistance_ohm=[],
        activation=Activation(current_a=structure.activation_current_a, resistance_ohm=[]),
        fast=ResistorCapacitor(time_constant_s=times[0], resistance_ohm=[]),
        slow=ResistorCapacitor(time_constant_s=times[1], resistance_ohm=[]),
        hysteresis=Hysteresis(voltage_v=[], rate=structure.hysteresis_rate or 50.0),
        entropic_coefficient_v_per_k=[_decimals(value, 7) for value in entropic],
        thermal=draft.thermal,
        uncertainty=draft.uncertainty,
        source=entropic_source,
    )
    model = _with_parameters(model, structure, vector)
    return msgspec.structs.replace(cell, model=model)


def _with_parameters(model: CellModel, structure: Structure, vector: FloatArray) -> CellModel:
    found = Parameters.from_vector(structure, vector)

    def table(values: FloatArray) -> list[list[float]]:
        return [[_figures(value) for value in row] for row in values]

    return msgspec.structs.replace(
        model,
        ocv_correction_v=[[_decimals(value, 5) for value in row] for row in found.correction_v],
        ohmic_resistance_ohm=table(found.ohmic_ohm),
        activation=msgspec.structs.replace(
            model.activation, resistance_ohm=table(found.activation_ohm)
        ),
        fast=msgspec.structs.replace(model.fast, resistance_ohm=table(found.fast_ohm)),
        slow=msgspec.structs.replace(model.slow, resistance_ohm=table(found.slow_ohm)),
        hysteresis=msgspec.structs.replace(
            model.hysteresis, voltage_v=[_decimals(value, 5) for value in found.hysteresis_v]
        ),
    )


def _with_thermal(
    model: CellModel, plan: Plan, cell: Cell, runs: Sequence[Run], ocv_v: Sequence[FloatArray]
) -> CellModel:
    entropic = [
        np.interp(run.soc, model.soc_points, model.entropic_coefficient_v_per_k) for run in runs
    ]
    fitted = fit_thermal(runs, ocv_v, entropic, cell.capacity_ah)
    if fitted is not None:
        thermal = Thermal(
            heat_capacity_j_per_k=_figures(fitted[0], 3),
            thermal_resistance_k_per_w=_figures(fitted[1], 3),
        )
        source = "thermal part: fitted to the cell's temperature in these runs"
    elif plan.thermal is not None:
        thermal = Thermal(
            heat_capacity_j_per_k=plan.thermal.heat_capacity_j_per_k,
            thermal_resistance_k_per_w=plan.thermal.thermal_resistance_k_per_w,
        )
        source = f"thermal part: {plan.thermal.source}"
    else:
        thermal = Thermal(
            heat_capacity_j_per_k=_figures(model.thermal.heat_capacity_j_per_k, 2),
            thermal_resistance_k_per_w=_figures(model.thermal.thermal_resistance_k_per_w, 2),
        )
        source = "thermal part: usual for a cell of this capacity"
    tests = sorted({run.test for run in runs})
    temperatures = sorted({round(run.mean_temperature_c) for run in runs})
    return msgspec.structs.replace(
        model,
        thermal=thermal,
        source=f"{len(runs)} runs ({', '.join(tests)}) at {temperatures[0]} to "
        f"{temperatures[-1]} degC; {model.source}; {source}",
    )


def _resistance_ohm(structure: Structure, found: Parameters) -> float:
    """Series resistance at 25 degC and half charge for small currents."""
    at_soc = [
        np.interp(_RESISTANCE_SOC, structure.soc, row)
        for row in found.ohmic_ohm + found.activation_ohm
    ]
    return float(np.interp(REFERENCE_C, structure.temperatures_c, at_soc))


def _first_uncertainty(usual: Uncertainty, result: Identification) -> Uncertainty:
    """What a first identification knows of its own errors.

    ``voltage_v`` is the residual at 20 degC and above, ``cold_growth_per_k`` the slope of its
    logarithm below; all else is usual for an unknown cell and to be tuned on drive cycles.
    """
    residuals = result.residuals()
    warm = [one.rms_v for one in residuals if one.temperature_c >= 20.0]
    voltage_v = float(np.median(warm or [one.rms_v for one in residuals]))
    cold = [one for one in residuals if one.temperature_c < 20.0]
    growth = usual.cold_growth_per_k
    if cold:
        below_k = np.array([REFERENCE_C - one.temperature_c for one in cold])
        logarithms = np.log(np.array([max(one.rms_v, 1e-4) for one in cold]) / voltage_v)
        growth = float(np.clip(below_k @ logarithms / (below_k @ below_k), 0.0, 0.1))
    return msgspec.structs.replace(
        usual, voltage_v=_figures(voltage_v, 2), cold_growth_per_k=_figures(growth, 2)
    )


def _rising(values: list[float]) -> list[float]:
    """Values that rise by at least a tenth of a millivolt, as an open-circuit voltage does."""
    rising = [values[0]]
    for value in values[1:]:
        rising.append(max(value, round(rising[-1] + 1e-4, 4)))
    return rising


def _figures(value: float, count: int = 4) -> float:
    return float(f"{float(value):.{count}g}")


def _decimals(value: float, count: int) -> float:
    return round(float(value), count) + 0.0
