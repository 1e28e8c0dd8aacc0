# SPDX-License-Identifier: Apache-2.0
"""The filter behind the network is a Kalman filter; what is missing only widens; files are checked.

Most of it with a network whose readings are made up; the shipped ones where onnxruntime is.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from filterpy.kalman import KalmanFilter

from ibms_battery.cell import Cell, load_cell
from ibms_battery.circuit import build_circuit
from ibms_battery.configuration import ConfigurationError
from ibms_edge.estimation import network, network_file
from ibms_edge.estimation.circuit_place import CircuitPlace
from ibms_edge.estimation.network import NetworkEstimator
from ibms_edge.estimation.network_file import Curves, LoadedNetwork, Network, NetworkError
from ibms_edge.estimation.network_input import FEATURES

FloatArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]
RandomCell = Callable[[int], Cell]

CONFIG = Path(__file__).resolve().parents[5] / "config"
SHIPPED = sorted(path.stem for path in (CONFIG / "networks").glob("*.yaml"))
UNITS = 4


def described(cell: Cell) -> Network:
    """A description whose curves are a line of 1 V over the charge without resistance."""
    return Network(
        cell=cell.name,
        capacity_ah=cell.capacity_ah,
        period_s=10.0,
        units=UNITS,
        bias_a=0.06,
        bias_drift_a=0.01,
        soc_drift=0.001,
        lowest=[-100.0] * len(FEATURES),
        highest=[100.0] * len(FEATURES),
        curves=Curves(
            temperatures_c=[0.0, 40.0],
            soc_points=[0.0, 1.0],
            ocv_v=[[3.0, 4.0], [3.0, 4.0]],
            instant_ohm=[1e-3, 1e-3],
            fast_ohm=[0.0, 0.0],
            slow_ohm=[0.0, 0.0],
            fast_s=10.0,
            slow_s=100.0,
        ),
        sha256="0" * 64,
        source="made up",
    )


class Readings:
    """Reads the rough charge with a fixed sigma, and counts in its hidden state."""

    def __init__(self, std: float, common_std: float) -> None:
        self.logs = np.log([std, common_std])
        self.asked: list[int] = []

    def run(
        self, output_names: Sequence[str] | None, inputs: dict[str, SingleArray]
    ) -> list[SingleArray]:
        features, hidden = (inputs[name] for name in network_file.NAMES)
        self.asked.append(len(features))
        rough = features[:, [0]]
        logs = np.tile(self.logs, (len(features), 1))
        return [np.hstack([rough, logs]).astype(np.float32), hidden + np.float32(1.0)]


@pytest.fixture
def cell(random_cell: RandomCell) -> Cell:
    return random_cell(1)


@pytest.fixture
def make(
    cell: Cell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[NetworkEstimator, Readings]]:
    def made(
        count: int, std: float = 0.05, common_std: float = 1e-3, **changes: object
    ) -> tuple[NetworkEstimator, Readings]:
        readings = Readings(std, common_std)
        description = msgspec.structs.replace(described(cell), **changes)
        loaded = LoadedNetwork(description, readings)
        monkeypatch.setattr(network, "load_network", lambda *_: loaded)
        return NetworkEstimator(cell, count, tmp_path), readings

    return made


Make = Callable[..., tuple[NetworkEstimator, Readings]]


def full(count: int, value: float) -> FloatArray:
    return np.full(count, value)


def test_equals_a_kalman_filter_of_charge_and_bias(make: Make, cell: Cell) -> None:
    estimator, _ = make(1, std=0.05, common_std=0.004)
    estimator.start(full(1, 0.6), full(1, 0.2), rested=True)
    hours = 10.0 / 3600.0
    gain = hours / cell.capacity_ah
    reference = KalmanFilter(dim_x=2, dim_z=1)
    reference.x = np.array([0.6, 0.0])
    reference.P = np.diag([0.2**2, 0.06**2])
    reference.F = np.array([[1.0, -gain], [0.0, 1.0]])
    reference.B = np.array([gain, 0.0])
    reference.Q = np.diag([0.001**2, 0.01**2]) * hours
    reference.H = np.array([[1.0, 0.0]])
    reference.R = np.array([[0.05**2]])
    random = np.random.default_rng(2)
    for k in range(200):
        current_a, voltage_v = random.normal(0.0, 1.0), random.uniform(3.4, 3.6)
        estimator.update(full(1, voltage_v), full(1, 20.0), full(1, current_a), 10.0)
        reference.predict(u=current_a)
        rough = voltage_v - 3.0 - 1e-3 * current_a
        reference.update(np.array([rough]))
        assert estimator.estimate.soc[0] == pytest.approx(reference.x[0], abs=2e-4), k
    estimate = estimator.estimate
    assert estimate.soc_std[0] == pytest.approx(np.hypot(np.sqrt(reference.P[0, 0]), 0.004))
    assert estimate.current_bias_a[0] == pytest.approx(reference.x[1], abs=1e-3)
    assert estimate.current_bias_std_a[0] == pytest.approx(np.sqrt(reference.P[1, 1]))


def test_a_biased_sensor_is_found_by_steady_readings(make: Make, cell: Cell) -> None:
    estimator, _ = make(2, std=0.02)
    estimator.start(full(2, np.nan), full(2, np.nan), rested=False)
    bias_a = np.array([0.1, -0.1])
    for _ in range(6 * 3600):
        estimator.update(full(2, 3.5), full(2, 20.0), bias_a, 1.0)
    estimate = estimator.estimate
    np.testing.assert_allclose(estimate.current_bias_a, bias_a, atol=0.02)
    np.testing.assert_allclose(estimate.soc, 0.5, atol=0.01)


def test_nothing_is_told_before_the_first_period_is_over(make: Make) -> None:
    estimator, _ = make(2)
    estimator.start(np.array([np.nan, 0.3]), full(2, 0.05), rested=False)
    for k in range(10):
        estimator.update(full(2, 3.7), full(2, 20.0), full(2, 0.0), float(k > 0))
        np.testing.assert_array_equal(np.isfinite(estimator.estimate.soc), [False, True])
    estimator.update(full(2, 3.7), full(2, 20.0), full(2, 0.0), 1.0)
    estimate = estimator.estimate
    assert abs(estimate.soc[0] - 0.7) < 0.05
    assert 0.3 < estimate.soc[1] < 0.55


@pytest.mark.parametrize("missing", ["voltage", "current", "all"])
def test_what_is_missing_only_widens(make: Make, missing: str) -> None:
    estimator, _ = make(2)
    estimator.start(full(2, 0.6), full(2, 0.02), rested=True)
    for k in range(61):
        estimator.update(full(2, 3.6), full(2, 20.0), full(2, 0.0), float(k > 0))
    before = estimator.estimate
    gone = np.array([np.nan, 0.0])  # of the first cell only
    voltage_v = 3.6 + (gone if missing in ("voltage", "all") else 0.0)
    current_a = gone if missing in ("current", "all") else full(2, 0.0)
    for _ in range(600):
        estimator.update(voltage_v * np.ones(2), full(2, 20.0), current_a, 1.0)
    after = estimator.estimate
    assert after.soc[0] == pytest.approx(before.soc[0], abs=1e-3)
    assert after.soc_std[0] > before.soc_std[0]
    assert after.soc_std[1] < before.soc_std[1]
    if missing != "voltage":
        assert after.soc_std[0] > 600.0 / 3600.0


def test_outside_of_its_training_the_network_is_not_asked(make: Make) -> None:
    lowest = [-100.0] * len(FEATURES)
    lowest[FEATURES.index("temperature")] = 0.0
    estimator, readings = make(3, lowest=lowest)
    estimator.start(full(3, 0.6), full(3, 0.02), rested=True)
    temperature_c = np.array([-10.0, 20.0, 25.0])
    for k in range(11):
        estimator.update(full(3, 3.9), temperature_c, full(3, 0.0), float(k > 0))
    assert readings.asked == [2]
    assert estimator.estimate.soc[0] == pytest.approx(0.6)
    assert (estimator.estimate.soc[1:] > 0.61).all()
    np.testing.assert_array_equal(estimator._hidden, np.tile([[0.0], [1.0], [1.0]], UNITS))


def test_a_better_known_capacity_counts_from_then_on(make: Make, cell: Cell) -> None:
    estimator, _ = make(1)
    estimator.start(full(1, 0.6), full(1, 1e-6), rested=True)
    estimator.adopt(msgspec.structs.replace(cell, capacity_ah=2.0 * cell.capacity_ah))
    for _ in range(5):
        estimator.update(full(1, np.nan), full(1, 20.0), full(1, 1.0), 1.0)
    counted = 5.0 / 3600.0 / (2.0 * cell.capacity_ah)
    assert estimator.estimate.soc[0] == pytest.approx(0.6 + counted)


@pytest.mark.parametrize("away_s", [3600.0, np.nan])
def test_goes_on_after_a_restart(make: Make, away_s: float) -> None:
    before, _ = make(2)
    before.start(np.array([0.6, np.nan]), full(2, 0.02), rested=True)
    for k in range(100):
        before.update(np.array([3.6, np.nan]), full(2, 20.0), full(2, 0.0), float(k > 0))
    kept = before.snapshot()
    after, _ = make(2)
    after.restore(kept, away_s)
    assert after.estimate.soc[0] == before.estimate.soc[0]
    assert np.isnan(after.estimate.soc[1])
    assert after.estimate.soc_std[0] > before.estimate.soc_std[0]
    assert after.estimate.current_bias_a[0] == before.estimate.current_bias_a[0]
    if np.isnan(away_s):
        assert after.estimate.soc_std[0] > 0.29
    with pytest.raises(ValueError, match="'bias_a' must be finite"):
        after.restore({**kept, "bias_a": full(2, np.nan)}, 10.0)


def write(folder: Path, description: Network, content: bytes) -> None:
    text = yaml.safe_dump(msgspec.to_builtins(description))
    (folder / f"{description.cell}.yaml").write_text(text)
    (folder / f"{description.cell}.onnx").write_bytes(content)


def test_a_cell_without_a_network_is_refused_with_those_that_are(
    cell: Cell, tmp_path: Path
) -> None:
    with pytest.raises(NetworkError, match="there are: none"):
        NetworkEstimator(cell, 1, tmp_path)
    write(tmp_path, msgspec.structs.replace(described(cell), cell="other"), b"")
    with pytest.raises(NetworkError, match=r"no network for cell 'drawn' in .*, there are: other"):
        NetworkEstimator(cell, 1, tmp_path)


def test_a_network_of_another_training_is_refused(cell: Cell, tmp_path: Path) -> None:
    description = described(cell)
    write(tmp_path, description, b"another one")
    with pytest.raises(NetworkError, match=r"drawn.onnx: is not the file that drawn.yaml"):
        NetworkEstimator(cell, 1, tmp_path)
    (tmp_path / "drawn.onnx").unlink()
    with pytest.raises(NetworkError, match=r"drawn.onnx: cannot be read"):
        NetworkEstimator(cell, 1, tmp_path)
    write(tmp_path, description, b"")
    (tmp_path / "drawn.yaml").rename(tmp_path / "else.yaml")
    named = msgspec.structs.replace(cell, name="else")
    with pytest.raises(ConfigurationError, match="found 'drawn' in the file of 'else'"):
        NetworkEstimator(named, 1, tmp_path)


def test_without_onnxruntime_it_is_told_what_to_install(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"a network"
    description = described(cell)
    digest = hashlib.sha256(content).hexdigest()
    write(tmp_path, msgspec.structs.replace(description, sha256=digest), content)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NetworkError, match="need onnxruntime, which is not installed"):
        NetworkEstimator(cell, 1, tmp_path)


def test_the_folder_is_the_named_or_the_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(network_file.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    with pytest.raises(NetworkError, match="name their folder by IBMS_NETWORKS"):
        network_file.network_folder()
    installed = tmp_path / "share" / "ibms_bringup" / "config" / "networks"
    installed.mkdir(parents=True)
    assert network_file.network_folder() == installed
    monkeypatch.setenv(network_file.FOLDER_VARIABLE, "elsewhere")
    assert network_file.network_folder() == Path("elsewhere")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_reads_the_charge_of_its_cell(name: str) -> None:
    pytest.importorskip("onnxruntime")
    cell = load_cell(CONFIG / "cells" / f"{name}.yaml")
    circuit = build_circuit(cell)
    truth = np.array([0.35, 0.55, 0.75, 0.95])
    temperature_c = np.array([5.0, 25.0, 25.0, 5.0])
    place = CircuitPlace(circuit, temperature_c)
    estimator = NetworkEstimator(cell, 4, CONFIG / "networks")
    estimator.start(full(4, np.nan), full(4, np.nan), rested=False)
    random = np.random.default_rng(3)
    fast_v, slow_v = np.zeros((2, 4))
    for k in range(1800):
        # Like a drive: pulses with pauses, the mean discharges in five hours.
        current_a = full(4, cell.capacity_ah * random.choice([-1.5, -0.5, 0.0, 0.0, 0.5]))
        current_a -= 0.05 * cell.capacity_ah
        truth = truth + current_a / 3600.0 / cell.capacity_ah
        fast = np.exp(-1.0 / circuit.fast_s)
        slow = np.exp(-1.0 / circuit.slow_s)
        fast_v = fast * fast_v + (1.0 - fast) * place.table(circuit.fast_ohm, truth) * current_a
        slow_v = slow * slow_v + (1.0 - slow) * place.table(circuit.slow_ohm, truth) * current_a
        voltage_v = place.table(circuit.ocv_v, truth) + place.drop_v(truth, current_a)
        estimator.update(voltage_v + fast_v + slow_v, temperature_c, current_a + 0.05, float(k > 0))
    estimate = estimator.estimate
    np.testing.assert_allclose(estimate.soc, truth, atol=0.05)
    assert (np.abs(estimate.soc - truth) < 3.0 * estimate.soc_std).all()
    assert (estimate.soc_std < 0.05).all()
