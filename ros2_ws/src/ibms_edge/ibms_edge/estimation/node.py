# SPDX-License-Identifier: Apache-2.0
"""Node ``state_estimator``: charge, energy and age of every cell and of the pack."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from ibms_battery.cell import Cell, load_cell
from ibms_battery.circuit import build_circuit
from ibms_battery.clock import NS_PER_S, Clock, VirtualClock
from ibms_battery.pack import load_pack
from ibms_edge.circuit import in_circuit
from ibms_edge.estimation.cell_updates import CellUpdates, RefusedError, Verdict
from ibms_edge.estimation.compile_ahead import compile_ahead
from ibms_edge.estimation.current_sign import CurrentSign
from ibms_edge.estimation.estimate_keeper import EstimateKeeper
from ibms_edge.estimation.estimator import Estimate
from ibms_edge.estimation.estimator_memory import Moment, Owner
from ibms_edge.estimation.filter_health import FilterHealth
from ibms_edge.estimation.kept_file import KeptFile
from ibms_edge.estimation.messages import CellFigures, pack_estimate, pack_power
from ibms_edge.estimation.pack_estimate import UNKNOWN, contents, strings_of
from ibms_edge.estimation.power_prediction import PowerPrediction
from ibms_edge.estimation.registry import DEFAULT, build_estimator
from ibms_edge.estimation.scan_input import ScanInput, Step
from ibms_edge.limits.curves import load_curves
from ibms_msgs.msg import CellMeasurement, CellStates, Event, PackEstimate, SwitchState
from ibms_msgs.srv import RollBackCellModel, UpdateCellModel
from ibms_ros_common.diagnostics import WARN, Status
from ibms_ros_common.node import BmsNode
from ibms_ros_common.process import run

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_REPLAY = "replay"  # stands for the boot of recorded times
_FLOWS_C_RATE = 0.05


class StateEstimatorParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``state_estimator``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    estimator: Annotated[str, Meta(description="which one runs, e.g. adaptive, ekf, counting")] = (
        DEFAULT
    )
    period_s: Annotated[
        float, Meta(ge=0.02, le=10, description="shortest time between two publications [s]")
    ] = 0.1
    state_directory: Annotated[
        str, Meta(description="folder of what outlives a restart; empty: nothing does")
    ] = ""


class StateEstimator(BmsNode[StateEstimatorParameters]):
    """Runs the estimator on every scan and publishes at a lower rate."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("state_estimator", StateEstimatorParameters, clock, **options)

    def configure(self, parameters: StateEstimatorParameters) -> None:
        """Load pack and cell, create the estimator."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        config = Path(parameters.pack).parent.parent
        cell = load_cell(config / "cells" / f"{pack.cell}.yaml")
        self._pack = pack
        self._name = parameters.estimator
        self._strings = strings_of(pack)
        derating = config / "limits" / f"{pack.cell}.yaml"
        self._curves = load_curves(derating, cell) if derating.exists() else None
        self._updates = CellUpdates(cell)
        self._models = self._kept_models(parameters.state_directory)
        cell = self._updates.active
        self._estimator = build_estimator(self._name, cell, pack.series)
        self._figures = CellFigures(build_circuit(cell), pack.parallel)
        self._power = self._prediction(cell)
        self._certain = np.zeros(pack.series)
        self._health = FilterHealth(cell, pack.series)
        self._sign = CurrentSign(cell.capacity_ah)
        self._flows_a = _FLOWS_C_RATE * cell.capacity_ah
        self._input = ScanInput(pack, cell)
        self._keeper = self._kept_estimate(parameters.state_directory)
        self._period_s = parameters.period_s
        self._period_ns = round(parameters.period_s * NS_PER_S)
        self._next_publish_ns = 0
        self._switches: SwitchState | None = None
        self._newest: Moment | None = None
        self._contents = UNKNOWN
        self.advertise("cells/state", "pack/estimate", "pack/power", "events")
        self.listen("cells/measurement", self._on_cells)
        self.listen("switch/state", self._on_switches)
        self.serve("update_cell_model", self._on_update)
        self.serve("roll_back_cell_model", self._on_roll_back)
        self.diagnose("estimate", self._report)
        self.diagnose("model", self._report_model)

    def _prediction(self, cell: Cell) -> PowerPrediction | None:
        """None where nobody has said how the cell is derated."""
        return None if self._curves is None else PowerPrediction(cell, self._curves)

    def _kept_models(self, folder: str) -> KeptFile | None:
        self._model_problem = ""
        if not folder:
            return None
        file = KeptFile(Path(folder, f"{self.pack_name}.cell_models"))
        data = file.read()
        self._model_problem = file.problem  # told on, though the next write succeeds
        if data is not None:
            try:
                self._updates.resume(data)
            except RefusedError as error:
                self._model_problem = f"{file.path}: {error}; the configured cell is in use"
        return file

    def _kept_estimate(self, folder: str) -> EstimateKeeper | None:
        self._boot_id = (
            _REPLAY if isinstance(self.clock, VirtualClock) else _BOOT_ID.read_text().strip()
        )
        if not folder:
            return None
        pack, cell = self._pack, self._updates.active
        owner = Owner(
            pack.name, cell.name, cell.chemistry, self._name, pack.series, cell.capacity_ah
        )
        capacity_c = 3600.0 * cell.capacity_ah * pack.parallel * pack.parallel_strings
        return EstimateKeeper(Path(folder, f"{pack.name}.estimate"), owner, capacity_c)

    def activate(self) -> None:
        """Read what was kept, begin to keep."""
        if self._models is not None:
            self._models.start()
        if self._keeper is not None:
            self._keeper.start()

    def deactivate(self) -> None:
        """Keep the newest state."""
        if self._keeper is not None:
            if self._newest is not None:
                self._keeper.keep(self._estimator, self._newest)
            self._keeper.stop()
        if self._models is not None:
            self._models.stop()

    # Scans

    def _on_switches(self, message: SwitchState) -> None:
        self._switches = message

    def _on_cells(self, message: CellMeasurement) -> None:
        if not self._input.accepts(message):
            return
        self._follow(message)
        inserted = in_circuit(self._pack, self._switches, message.boot_ns)
        configuration = "" if self._switches is None else self._switches.configuration
        step = self._input.step(message, inserted, configuration)
        connected = self._input.carrying(inserted, configuration)
        self._estimator.update(step.voltage_v, step.temperature_c, step.current_a, step.step_s)
        estimate = self._estimator.estimate
        self._watch(step, estimate, connected)
        if message.boot_ns >= self._next_publish_ns:
            # Kept in step, so that jitter of the scans does not stretch the period.
            missed = (message.boot_ns - self._next_publish_ns) // self._period_ns
            self._next_publish_ns += (missed + 1) * self._period_ns
            self._publish(message, step, connected)

    def _follow(self, message: CellMeasurement) -> None:
        """Go on from the state that was kept, then keep it now and then."""
        if self._keeper is None:
            return
        is_first = self._newest is None
        wall_ns = self.clock.wall_ns() + message.boot_ns - self.clock.boot_ns()
        now = Moment(self._boot_id, message.boot_ns, wall_ns, message.charge_c)
        if is_first:
            kept = self._keeper.resume(self._estimator, now)
            if kept is not None:
                self._input.last_ns, self._input.last_charge_c = kept.boot_ns, kept.charge_c
        elif self._newest is not None:
            self._keeper.keep_sometimes(self._estimator, self._newest)
        self._newest = now

    def _watch(self, step: Step, estimate: Estimate, connected: BoolArray) -> None:
        """Hold the voltages against what was expected, and a new model against the one before."""
        carrying = np.flatnonzero(connected)
        current_a = float(step.current_a[carrying].mean()) if carrying.size else 0.0
        voltage_v = step.voltage_v[carrying]
        voltage_v = voltage_v[voltage_v == voltage_v]
        mean_v = float(voltage_v.mean()) if voltage_v.size else float("nan")
        self._health.update(estimate.innovation_ratio, step.step_s)
        self._health.look_at_voltages(voltage_v, current_a, step.step_s)
        self._sign.update(mean_v, current_a, step.step_s)
        if not self._updates.is_on_trial:
            return
        unbiased_a = step.current_a - np.nan_to_num(estimate.current_bias_a)
        flowed = unbiased_a * step.step_s / (3600.0 * self._updates.active.capacity_ah)
        verdict = self._updates.judge(
            self._median_ratio(),
            abs(current_a) > self._flows_a,
            step.step_s,
            estimate.soc,
            flowed,
        )
        if verdict is Verdict.WORSE:
            self._roll_back("voltages or charge contradict it more than the one before")
        elif verdict is Verdict.PROVED:
            self._keep_models()
            text = f"cell model version {self._updates.version} has proved itself"
            self.tell(Event.KIND_STATE_CHANGED, text)

    def _publish(self, message: CellMeasurement, step: Step, connected: BoolArray) -> None:
        header = self.header(message.boot_ns)
        estimate = self._estimator.estimate
        cells = self._figures.contents(estimate, step.temperature_c)
        told = CellStates(
            header=header,
            boot_ns=message.boot_ns,
            scan_counter=message.scan_counter,
            current_a=message.current_a,
            bleed_active=message.bleed_active,
        )
        self._figures.fill(told, estimate, cells, step, self._health.ratio)
        self._health.look_at_bias(
            estimate.current_bias_a[connected], step.temperature_c[connected], self._period_s
        )
        self.publish("cells/state", told)
        self._contents = contents(self._strings, self._figures.energy, cells, connected)
        pack = pack_estimate(self._contents, estimate, connected)
        pack.header = header
        pack.boot_ns, pack.scan_counter = message.boot_ns, message.scan_counter
        pack.estimator, pack.model_version = self._name, self._updates.version
        if self._updates.is_on_trial:
            pack.model_trial = PackEstimate.TRIAL_RUNNING
        self.publish("pack/estimate", pack)
        if self._power is not None:
            # The estimate has just been held against the voltages: what is uncertain of the charge
            # moves them no further within seconds, and would end each charge before it is full.
            state = replace(self._estimator.circuit_state(), soc_std=self._certain)
            power = pack_power(
                self._power.pack(state, self._strings, self._pack.parallel, connected)
            )
            power.header, power.boot_ns = header, message.boot_ns
            self.publish("pack/power", power)

    # Models of the cell

    def _on_update(
        self, request: UpdateCellModel.Request, response: UpdateCellModel.Response
    ) -> UpdateCellModel.Response:
        response.active_version = self._updates.version
        if not self.is_active:
            response.code = UpdateCellModel.Response.CODE_NOT_ACTIVE
            response.message = "the state estimator is not active"
            return response
        try:
            estimate = self._estimator.estimate
            self._updates.update(
                request.cell_yaml, self._median_ratio(), estimate.soc, estimate.soc_std
            )
        except RefusedError as error:
            response.code = UpdateCellModel.Response.CODE_REFUSED
            response.message = f"the cell model is refused: {error}"
            return response
        self._adopt()
        response.success = True
        response.active_version = self._updates.version
        response.message = f"cell model version {self._updates.version} is in use, on trial"
        self.tell(Event.KIND_STATE_CHANGED, response.message)
        return response

    def _on_roll_back(
        self, _request: RollBackCellModel.Request, response: RollBackCellModel.Response
    ) -> RollBackCellModel.Response:
        response.active_version = self._updates.version
        if not self.is_active:
            response.code = RollBackCellModel.Response.CODE_NOT_ACTIVE
            response.message = "the state estimator is not active"
            return response
        try:
            response.message = self._roll_back("somebody asked for it")
        except RefusedError as error:
            response.code = RollBackCellModel.Response.CODE_NOTHING_BEFORE
            response.message = str(error)
            return response
        response.success = True
        response.active_version = self._updates.version
        return response

    def _roll_back(self, why: str) -> str:
        version = self._updates.version
        self._updates.roll_back()
        self._adopt()
        text = f"cell model version {version} was rolled back to {self._updates.version}: {why}"
        self.tell(Event.KIND_STATE_CHANGED, text, Event.SEVERITY_WARNING)
        return text

    def _adopt(self) -> None:
        cell = self._updates.active
        self._estimator.adopt(cell)
        self._figures = CellFigures(build_circuit(cell), self._pack.parallel)
        self._power = self._prediction(cell)
        self._health.begin_anew(cell)
        self._model_problem = ""
        self._keep_models()
        if self._keeper is not None:
            # Factors of the capacity refer to the model: they are kept with it.
            self._keeper.owner = replace(self._keeper.owner, capacity_ah=cell.capacity_ah)
            if self._newest is not None:
                self._keeper.keep(self._estimator, self._newest)

    def _keep_models(self) -> None:
        if self._models is not None:
            data = self._updates.encode()
            self._models.keep(lambda: data)

    def _median_ratio(self) -> float:
        return float(np.median(self._health.ratio))

    # Diagnostics

    def _report(self, status: Status) -> None:
        estimate, holds = self._estimator.estimate, self._contents
        finite = np.isfinite(estimate.soc + estimate.soc_std)
        known = int(finite.sum())
        status.add(estimator=self._name, cells_estimated=known, gaps=self._input.gaps)
        status.add_counts(self._input.rejected)
        if holds is not UNKNOWN:
            status.add(
                soc=holds.soc,
                soc_std=holds.soc_std,
                empties_first=holds.empties_first,
                fills_first=holds.fills_first,
            )
        if self._keeper is not None:
            status.add(restart=self._keeper.told or "nothing was kept")
            if self._keeper.problem:
                status.report(WARN, self._keeper.problem)
        if self.is_active and known < self._pack.series:
            first = int(np.argmin(finite))
            status.report(
                WARN, f"{self._pack.series - known} cells without an estimate, first cell {first}"
            )

    def _report_model(self, status: Status) -> None:
        cell = self._updates.active
        status.add(
            cell=cell.name,
            model_version=self._updates.version,
            on_trial=self._updates.is_on_trial,
            median_innovation_ratio=self._median_ratio(),
            highest_innovation_ratio=float(self._health.ratio.max()),
            current_voltage_correlation=self._sign.correlation,
        )
        if self._sign.is_reversed:
            status.report(
                WARN,
                "current in the wrong sign: voltages fall while it says that charge comes in; "
                "check the current sensor's direction",
            )
        if problem := self._health.problem:
            status.report(WARN, problem)
        if self._model_problem:
            status.report(WARN, self._model_problem)
        if self._models is not None and self._models.problem:
            status.report(WARN, self._models.problem)


def main() -> int:
    """Process with the node ``state_estimator``."""
    compile_ahead()
    return run(StateEstimator)
