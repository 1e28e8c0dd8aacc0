# SPDX-License-Identifier: Apache-2.0
"""An estimator on a recorded run under several scenarios at once, and how far it is off."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibms_battery.recordings import FloatArray, Recording, RecordingError
from ibms_edge.estimation.estimator import Estimator
from ibms_tools.eval.soc_scenarios import Scenario
from ibms_tools.eval.soc_targets import TruthUncertainty

SETTLING_S = 600.0  # errors are counted from then on
CONVERGED = 0.05
_LONGEST_STEP_S = 60.0  # as in the node: what flowed in a longer gap is not known
_RESTED_A = 0.02
_FULL_SOC = 0.98

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Run:
    """A recording with its true state of charge (samples,), NaN where that is not known."""

    name: str
    recording: Recording
    truth: FloatArray


@dataclass(frozen=True)
class Trace:
    """What an estimator said under one scenario, from its start on (samples,)."""

    run: Run
    scenario: Scenario
    first: int  # sample of the run at which it started
    soc: FloatArray
    std: FloatArray


@dataclass(frozen=True)
class SocFigures:
    """Errors of one trace, in state of charge (1 is full), after the settling time.

    ``convergence_s`` is the time after which the error stays within 5 %, counted from the start;
    None if it never does. ``coverage`` is the share of samples within twice the root of sigma^2 and
    the truth's uncertainty^2.
    """

    mae: float
    rmse: float
    largest: float
    convergence_s: float | None
    coverage: float
    mean_std: float
    samples: int


def simulate(
    build: Callable[[int], Estimator],
    run: Run,
    scenarios: Sequence[Scenario],
    start_std: float,
    seed: int = 0,
) -> list[Trace]:
    """Run an estimator under each scenario that the run allows.

    Args:
        build: makes an estimator for a number of cells: one for each scenario.
        run: what is played.
        scenarios: all that the run does not reach are left out.
        start_std: sigma of the start that the estimator is told, the same for right and wrong ones.
        seed: of the voltage noise.
    """
    begins: dict[int, list[Scenario]] = {}
    for scenario in scenarios:
        first = _first_sample(run.truth, scenario)
        if first is not None:
            begins.setdefault(first, []).append(scenario)
    found: list[Trace] = []
    for first, together in begins.items():
        found += _play(build(len(together)), run, first, together, start_std, seed)
    return sorted(found, key=lambda trace: scenarios.index(trace.scenario))


def _first_sample(truth: FloatArray, scenario: Scenario) -> int | None:
    if scenario.start_soc is None:
        known = np.flatnonzero(np.isfinite(truth))
        return int(known[0]) if len(known) else None
    below = np.flatnonzero(truth <= scenario.start_soc)
    return int(below[0]) if len(below) and below[0] > 0 else None


def _play(
    estimator: Estimator,
    run: Run,
    first: int,
    scenarios: Sequence[Scenario],
    start_std: float,
    seed: int,
) -> list[Trace]:
    recording = run.recording
    random = np.random.default_rng(seed)

    def each(name: str) -> FloatArray:
        return np.array([getattr(scenario, name) for scenario in scenarios])

    gain, bias_a = each("current_gain"), each("current_bias_a")
    offset_v, offset_k = each("voltage_offset_v"), each("temperature_offset_k")
    noise_v = each("voltage_noise_v")
    step_s = np.diff(recording.time_s, prepend=recording.time_s[0])
    samples = len(step_s) - first
    soc, std = np.empty((samples, len(scenarios))), np.empty((samples, len(scenarios)))
    # A run that begins full has been charged and left alone; else only a current of none tells.
    rested = first == 0 and (run.truth[0] > _FULL_SOC or abs(recording.current_a[0]) < _RESTED_A)
    estimator.start(
        run.truth[first] + each("start_error"), np.full(len(scenarios), start_std), rested=rested
    )
    for sample in range(first, len(step_s)):
        step = 0.0 if sample == first else float(step_s[sample])
        current_a = gain * recording.current_a[sample] + bias_a
        voltage_v = recording.voltage_v[sample] + offset_v
        if noise_v.any():
            voltage_v = voltage_v + noise_v * random.standard_normal(len(scenarios))
        estimator.update(
            voltage_v,
            recording.temperature_c[sample] + offset_k,
            current_a if step <= _LONGEST_STEP_S else np.full(len(scenarios), np.nan),
            step,
        )
        estimate = estimator.estimate
        soc[sample - first], std[sample - first] = estimate.soc, estimate.soc_std
    return [
        Trace(run, scenario, first, soc[:, column], std[:, column])
        for column, scenario in enumerate(scenarios)
    ]


def judge(trace: Trace, uncertainty: TruthUncertainty) -> SocFigures:
    """Figures of a trace.

    Args:
        trace: what was said.
        uncertainty: of the true state of charge.

    Raises:
        RecordingError: if it is not longer than the settling time, or an estimate is missing: that
            must not make the error look smaller.
    """
    run = trace.run
    time_s = run.recording.time_s[trace.first :] - run.recording.time_s[trace.first]
    truth = run.truth[trace.first :]
    missing = np.flatnonzero(~np.isfinite(trace.soc) | ~np.isfinite(trace.std))
    if len(missing):
        raise RecordingError(
            f"{run.name}, {trace.scenario.group}: no estimate {time_s[missing[0]]:.0f} s after the "
            f"start and at {len(missing)} samples in all"
        )
    error = trace.soc - truth
    known = np.isfinite(truth)
    counted = known & (time_s >= SETTLING_S)
    if not counted.any():
        raise RecordingError(
            f"{run.name}, {trace.scenario.group}: lasts {time_s[-1]:.0f} s; the first "
            f"{SETTLING_S:.0f} s do not count"
        )
    late = np.flatnonzero(known & (np.abs(error) > CONVERGED))
    convergence_s: float | None = 0.0
    if len(late):
        after = int(late[-1]) + 1
        convergence_s = float(time_s[after]) if after < len(error) else None
    inside = np.abs(error) <= 2.0 * np.hypot(trace.std, uncertainty.at(truth))
    return SocFigures(
        mae=float(np.mean(np.abs(error[counted]))),
        rmse=float(np.sqrt(np.mean(error[counted] ** 2))),
        largest=float(np.max(np.abs(error[counted]))),
        convergence_s=convergence_s,
        coverage=float(np.mean(inside[counted])),
        mean_std=float(np.mean(trace.std[counted])),
        samples=int(counted.sum()),
    )
