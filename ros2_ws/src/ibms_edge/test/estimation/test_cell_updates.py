# SPDX-License-Identifier: Apache-2.0
"""Which models are adopted while running, and which are rolled back."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ibms_battery.cell import Cell
from ibms_battery.circuit import build_circuit, model_of
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_edge.estimation.cell_updates import CellUpdates, RefusedError, Verdict, read_cell
from ibms_edge.estimation.circuit_place import CircuitPlace

Change = Callable[[dict[str, Any]], None]

RATED = Cell(
    name="small",
    chemistry="NMC",
    capacity_ah=2.5,
    minimum_voltage_v=2.5,
    maximum_voltage_v=4.2,
    nominal_voltage_v=3.6,
    resistance_ohm=0.03,
    soc_points=[0.0, 0.5, 1.0],
    ocv_points_v=[3.0, 3.6, 4.15],
    maximum_charge_current_a=5.0,
    maximum_discharge_current_a=10.0,
    source="test",
)
CONFIGURED = msgspec.structs.replace(RATED, model=model_of(RATED))


def text_of(version: int, change: Change | None = None, cell: Cell = CONFIGURED) -> str:
    data: dict[str, Any] = msgspec.to_builtins(cell)
    data["model"]["version"] = version
    if change is not None:
        change(data)
    return yaml.safe_dump(data)


def scale(data: dict[str, Any], factor: float) -> None:
    table = data["model"]["ohmic_resistance_ohm"]
    data["model"]["ohmic_resistance_ohm"] = [[factor * value for value in row] for row in table]


def put(*path: str, value: Any) -> Change:
    def change(data: dict[str, Any]) -> None:
        for name in path[:-1]:
            data = data[name]
        data[path[-1]] = value

    return change


def test_a_newer_model_is_adopted_on_trial_and_proves_itself() -> None:
    updates = CellUpdates(CONFIGURED)
    cell = updates.update(text_of(2, lambda data: scale(data, 1.5)), 1.0)
    assert cell is updates.active
    assert (updates.version, updates.is_on_trial) == (2, True)
    resting = [updates.judge(1.2, False, 60.0) for _ in range(100)]
    assert set(resting) == {Verdict.OPEN}  # a rest proves nothing
    verdicts = [updates.judge(1.2, True, 60.0) for _ in range(11)]
    assert verdicts == [Verdict.OPEN] * 9 + [Verdict.PROVED, Verdict.OPEN]
    assert not updates.is_on_trial


@pytest.mark.parametrize(
    ("baseline", "ratio", "verdict"),
    [
        (1.0, 2.9, Verdict.OPEN),  # worse, but still a good model
        (1.0, 3.1, Verdict.WORSE),
        (5.0, 9.0, Verdict.OPEN),  # bad, but not clearly worse than before
        (5.0, 10.5, Verdict.WORSE),
        (float("nan"), 3.1, Verdict.WORSE),
    ],
)
def test_clearly_worse_is_more_than_three_and_twice_as_much_as_before(
    baseline: float, ratio: float, verdict: Verdict
) -> None:
    updates = CellUpdates(CONFIGURED)
    assert updates.judge(1e6, True, 1.0) is Verdict.OPEN  # nothing is on trial
    updates.update(text_of(2), baseline)
    assert updates.judge(ratio, False, 1.0) is verdict


def test_after_a_roll_back_the_number_is_used_up() -> None:
    updates = CellUpdates(CONFIGURED)
    updates.update(text_of(3), 1.0)
    assert updates.roll_back() == CONFIGURED
    assert (updates.version, updates.is_on_trial) == (1, False)
    with pytest.raises(RefusedError, match="version 3 was rolled back"):
        updates.update(text_of(3), 1.0)
    with pytest.raises(RefusedError, match="none was updated"):
        updates.roll_back()
    assert updates.update(text_of(4), 1.0).model is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("name", value="other"), "name: must stay 'small'"),
        (put("chemistry", value="LFP"), "chemistry: must stay 'NMC'"),
        (put("maximum_voltage_v", value=4.3), "maximum_voltage_v: must stay 4.2"),
        (put("minimum_voltage_v", value=2.0), "minimum_voltage_v: must stay 2.5"),
        (put("maximum_charge_current_a", value=50.0), "maximum_charge_current_a: must stay"),
        (put("maximum_discharge_current_a", value=50.0), "maximum_discharge_current_a"),
        (put("capacity_ah", value=1.7), "capacity_ah: must lie within 30%"),
        (put("capacity_ah", value=3.3), "capacity_ah: must lie within 30%"),
        (put("ocv_points_v", value=[3.0, 3.75, 4.15]), "is more than 34 mV off the configured"),
        (lambda data: scale(data, 6.0), "series resistance is beyond 0.4 to 3 times"),
        (lambda data: scale(data, 0.1), "series resistance is beyond 0.4 to 3 times"),
        (put("model", "fast", "time_constant_s", value=0.5), "model.fast.time_constant_s"),
        (put("model", "slow", "time_constant_s", value=800.0), "model.slow.time_constant_s"),
        (put("model", "hysteresis", "voltage_v", value=[0.2, 0.2]), "hysteresis"),
        (put("model", "uncertainty", "voltage_v", value=0.5), "model.uncertainty.voltage_v"),
        (put("model", "temperatures_c", value=[60.0, 61.0, 62.0, 63.0]), "no temperature in"),
        (put("model", value=None), "model: is missing"),
        (put("model", "version", value=1), "must be above 1"),
        (put("extra", value=1), "extra"),
        (put("ocv_points_v", value=[3.0, 2.9, 4.15]), "ocv_points_v[1]: must rise"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(change: Change, said: str) -> None:
    updates = CellUpdates(CONFIGURED)
    with pytest.raises(RefusedError) as error:
        updates.update(text_of(2, change), 1.0)
    assert said in str(error.value)
    assert updates.active == CONFIGURED
    assert not updates.is_on_trial


@pytest.mark.parametrize("text", ["", "[1, 2", "no: cell", "\x00", "a: &b 1\nc: *b", "a: \udcff"])
def test_what_is_no_cell_file_is_refused_with_the_place(text: str) -> None:
    with pytest.raises(RefusedError) as error:
        read_cell(text)
    assert "line 1" in str(error.value) or "line 2" in str(error.value)


def test_a_huge_text_is_not_read() -> None:
    with pytest.raises(RefusedError, match="characters long"):
        read_cell(" " * 70_000)


def test_during_a_trial_no_other_comes() -> None:
    updates = CellUpdates(CONFIGURED)
    updates.update(text_of(2), 1.0)
    updates.judge(1.0, True, 100.0)
    with pytest.raises(RefusedError, match="version 2 is on trial for another 500 s"):
        updates.update(text_of(3), 1.0)
    assert updates.version == 2
    updates.roll_back()
    assert updates.update(text_of(3), 1.0) is updates.active


def test_small_steps_lead_no_further_than_one() -> None:
    updates = CellUpdates(CONFIGURED)
    updates.update(text_of(2, lambda data: scale(data, 2.5)), 1.0)
    for _ in range(10):
        updates.judge(1.0, True, 60.0)
    with pytest.raises(RefusedError, match=r"beyond 0\.4 to 3 times"):
        updates.update(text_of(3, lambda data: scale(data, 5.0)), 1.0)
    assert resumed(updates).version == 2


@pytest.mark.parametrize(
    ("moved", "std", "verdict"),
    [
        (0.015, 0.005, Verdict.OPEN),
        (0.025, 0.005, Verdict.WORSE),
        (-0.025, 0.005, Verdict.WORSE),
        (0.025, 0.01, Verdict.OPEN),  # within three sigma
        (0.3, 0.04, Verdict.OPEN),  # the charge was not known before
        (float("nan"), 0.005, Verdict.OPEN),
    ],
)
def test_a_model_that_moves_the_charge_is_worse(moved: float, std: float, verdict: Verdict) -> None:
    updates = CellUpdates(CONFIGURED)
    soc = np.array([0.5, 0.6, np.nan])
    updates.update(text_of(2), 1.0, soc, np.array([std, std, np.nan]))
    flowed = np.full(3, -0.01)
    assert updates.judge(1.0, True, 36.0, soc + flowed, flowed) is Verdict.OPEN
    assert updates.judge(1.0, True, 36.0, soc + 2.0 * flowed + moved, flowed) is verdict


def test_long_after_the_adoption_the_sensor_may_have_drifted() -> None:
    updates = CellUpdates(CONFIGURED)
    soc = np.array([0.5])
    updates.update(text_of(2), 1.0, soc, np.array([0.005]))
    assert updates.judge(1.0, False, 3601.0, soc + 0.2, np.zeros(1)) is Verdict.OPEN


def driven(model: Cell) -> tuple[float, list[Verdict]]:
    """A converged filter is given ``model`` while the cells stay those of CONFIGURED."""
    circuit = build_circuit(CONFIGURED)
    place = CircuitPlace(circuit, np.full(3, 25.0))
    updates, estimator = CellUpdates(CONFIGURED), AdaptiveFilter(CONFIGURED, 3)
    soc, fast_v, slow_v = np.full(3, 0.8), np.zeros(3), np.zeros(3)
    verdicts = []
    for k in range(1800):
        current_a = np.full(3, (-2.0, 0.0, 1.0, -4.0)[k // 20 % 4])
        step_s = float(k > 0)
        left = np.exp(-step_s / np.array([circuit.fast_s, circuit.slow_s]))
        flowed = current_a * step_s / 3600.0 / circuit.capacity_ah
        soc = soc + flowed
        fast_v = left[0] * fast_v + (1.0 - left[0]) * place.table(circuit.fast_ohm, soc) * current_a
        slow_v = left[1] * slow_v + (1.0 - left[1]) * place.table(circuit.slow_ohm, soc) * current_a
        rest_v = place.table(circuit.ocv_v, soc)
        voltage_v = rest_v + place.drop_v(soc, current_a) + fast_v + slow_v
        estimator.update(voltage_v, np.full(3, 25.0), current_a, step_s)
        estimate = estimator.estimate
        if k == 900:
            text = text_of(2, cell=model)
            updates.update(text, 0.1, estimate.soc, estimate.soc_std)
            estimator.adopt(updates.active)
        elif k > 900:
            # The ratio says nothing here, as when a filter has given way within its minute.
            verdicts.append(updates.judge(0.1, True, step_s, estimate.soc, flowed))
            if verdicts[-1] is not Verdict.OPEN:
                break
    return float(np.abs(estimate.soc - soc).max()), verdicts


def test_a_filter_that_gives_way_to_a_wrong_model_is_found_out() -> None:
    shifted = [point - 0.033 for point in RATED.ocv_points_v]
    wrong = msgspec.structs.replace(CONFIGURED, ocv_points_v=shifted)
    off, verdicts = driven(wrong)
    assert verdicts[-1] is Verdict.WORSE
    assert off > 0.015  # the filter did follow it


def test_a_slightly_better_model_proves_itself() -> None:
    def change(data: dict[str, Any]) -> None:
        scale(data, 1.1)

    model = msgspec.convert(yaml.safe_load(text_of(2, change)), Cell)
    off, verdicts = driven(model)
    assert verdicts[-1] is Verdict.PROVED
    assert off < 0.01


def test_a_pack_without_an_identified_model_takes_its_first() -> None:
    updates = CellUpdates(RATED)
    assert updates.update(text_of(1), 1.0).model is not None


def resumed(updates: CellUpdates, configured: Cell = CONFIGURED) -> CellUpdates:
    again = CellUpdates(configured)
    again.resume(updates.encode())
    return again


def test_everything_outlives_a_restart() -> None:
    updates = CellUpdates(CONFIGURED)
    updates.update(text_of(2), 1.0)
    for _ in range(10):
        updates.judge(1.0, True, 60.0)
    updates.update(text_of(3), 2.0)
    updates.judge(1.0, True, 500.0)
    again = resumed(updates)
    assert (again.version, again.is_on_trial) == (3, True)
    assert again.judge(3.9, True, 10.0) is Verdict.OPEN
    assert again.judge(4.1, True, 10.0) is Verdict.WORSE
    assert model_of(again.roll_back()).version == 2
    with pytest.raises(RefusedError, match="version 3 was rolled back"):
        resumed(again).update(text_of(3), 1.0)


def test_what_was_kept_gives_way_to_a_newer_or_another_file() -> None:
    updates = CellUpdates(CONFIGURED)
    updates.update(text_of(2), 1.0)
    newer = read_cell(text_of(5))
    other = msgspec.structs.replace(CONFIGURED, chemistry="LFP")
    for configured in (newer, other):
        again = CellUpdates(configured)
        with pytest.raises(RefusedError):
            again.resume(updates.encode())
        assert again.active is configured
        assert not again.is_on_trial


@pytest.mark.parametrize("data", [b"", b"noise", msgspec.msgpack.encode({"schema": 1})])
def test_what_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(RefusedError, match="kept cell models"):
        CellUpdates(CONFIGURED).resume(data)


class Updating(RuleBasedStateMachine):
    """Updates, trials, roll-backs and restarts in any order, beside what must come of them."""

    @initialize()
    def begin(self) -> None:
        self.updates = CellUpdates(CONFIGURED)
        self.active, self.previous, self.refused = 1, 0, 0

    @rule(version=st.integers(1, 9), factor=st.sampled_from([0.1, 0.8, 1.0, 1.3, 8.0]))
    def update(self, version: int, factor: float) -> None:
        text = text_of(version, lambda data: scale(data, factor))
        fits = (
            factor in (0.8, 1.0, 1.3)
            and version > max(self.active, self.refused)
            and not self.updates.is_on_trial
        )
        try:
            self.updates.update(text, 1.0)
        except RefusedError:
            assert not fits
        else:
            assert fits
            self.active, self.previous = version, self.active

    @rule(ratio=st.sampled_from([0.5, 1.5, 50.0]), flows=st.booleans())
    def judge(self, ratio: float, flows: bool) -> None:
        on_trial = self.updates.is_on_trial
        verdict = self.updates.judge(ratio, flows, 400.0)
        assert (verdict is Verdict.WORSE) == (on_trial and ratio > 3.0)
        if verdict is Verdict.WORSE:
            self.roll_back()

    @rule()
    def roll_back(self) -> None:
        try:
            self.updates.roll_back()
        except RefusedError:
            assert self.previous == 0
        else:
            self.refused = max(self.refused, self.active)
            self.active, self.previous = self.previous, 0

    @rule()
    def restart(self) -> None:
        on_trial = self.updates.is_on_trial
        self.updates = resumed(self.updates)
        assert self.updates.is_on_trial == on_trial

    @invariant()
    def is_as_expected(self) -> None:
        assert self.updates.version == self.active
        assert self.updates.active.maximum_voltage_v == CONFIGURED.maximum_voltage_v
        assert self.previous != 0 or not self.updates.is_on_trial


Updating.TestCase.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
TestUpdating = Updating.TestCase
