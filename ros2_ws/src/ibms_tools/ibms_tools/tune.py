# SPDX-License-Identifier: Apache-2.0
"""``./ibms tune``: search the uncertainty of a cell file that makes the default estimator best.

It plays every second train run of each temperature, each with the circuit identified without it,
under starts and sensor errors, and searches at random around the best setting found so far. The
other runs, and all test runs, are left for ``./ibms eval soc``.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from ibms_battery.cell import Cell, load_cell
from ibms_battery.cell_model import Uncertainty
from ibms_battery.circuit import model_of
from ibms_battery.configuration import ConfigurationError
from ibms_battery.identification.cell_file import write_cell
from ibms_battery.identification.checks import IdentificationError
from ibms_battery.identification.identify import identify
from ibms_battery.identification.plan import load_plan
from ibms_battery.recordings import RecordingError
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_tools.eval.soc_runs import EvaluationRun, halves, runs_of_folder
from ibms_tools.eval.soc_scenarios import KNOWN, MIDDLE, SENSORS
from ibms_tools.eval.soc_simulation import judge, simulate
from ibms_tools.eval.soc_targets import TARGETS, Targets, truth_uncertainty

# A full start that is 20 % wrong ends like the right one, so it is not played.
_SCENARIOS = (KNOWN, *MIDDLE, *SENSORS)
_START_STD = 0.2
_USUAL_TARGETS = Targets(known=0.5, mid_20=1.0, sensors=1.0)
_WORST_RATIO = 8.0  # a run that is lost is lost: more says nothing
_COVERAGE, _COVERAGE_WEIGHT = 0.95, 4.0
_STD_RATIO, _STD_WEIGHT = 1.7, 0.3

# Searched within these bounds, in the logarithm; what is not here stays as it is.
BOUNDS: dict[str, tuple[float, float]] = {
    "voltage_v": (1e-3, 0.5),
    "drop_share": (3e-3, 3.0),
    "polarisation_v": (1e-5, 2e-2),
    "cold_growth_per_k": (1e-4, 0.1),
    "offset_v": (2.3e-3, 2e-2),  # at least a sensor of +-4 mV
    "model_v": (1e-4, 5e-2),
    "load_before_h": (0.05, 3.0),
    "bias_a": (0.02, 0.2),
    "bias_drift_a": (1e-4, 1.0),
    "resistance": (0.01, 0.6),
    "resistance_drift": (1e-4, 1.0),
    "temperature_k": (0.3, 8.0),
    "temperature_drift_k": (1e-3, 20.0),
    "gate": (2.0, 100.0),
}
_MOST_AT_ONCE = 4
_WIDE, _NARROW = 0.8, 0.3  # steps in the logarithm, in the first and second half of the time


@dataclass(frozen=True)
class Candidate:
    """A run with the cell identified without it."""

    run: EvaluationRun
    cell: Cell


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune; exit code 1 for files that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="ibms tune", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("plan", type=Path, help="as in config/identification")
    parser.add_argument("--data", type=Path, required=True, help="folder of the index.csv")
    parser.add_argument("--cell", type=Path, required=True, help="cell file; its model is changed")
    parser.add_argument("--seconds", type=float, default=600.0, help="to search (default 600)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    console = Console()
    try:
        cell = load_cell(options.cell)
        identified = identify(load_plan(options.plan), options.data, cell.model)
        every = runs_of_folder(options.data, cell, ["train"], [])
        # With a run in its own fit the voltage would be trusted too much.
        candidates = [Candidate(one, identified.without(one.path)) for one in halves(every)[0]]
        names = ", ".join(one.run.path for one in candidates)
        console.print(f"{len(candidates)} runs: {names}")
        start = model_of(cell).uncertainty
        found = search(candidates, start, options.seconds, options.seed, console)
        model = msgspec.structs.replace(model_of(cell), uncertainty=found)
        tuned = msgspec.structs.replace(cell, model=model)
        write_cell(tuned, options.cell, "Identified by ./ibms identify, tuned by ./ibms tune")
    except (ConfigurationError, RecordingError, IdentificationError, OSError) as error:
        print(f"ibms tune: {error}", file=sys.stderr)
        return 1
    return 0


def search(
    candidates: Sequence[Candidate],
    start: Uncertainty,
    seconds: float,
    seed: int,
    console: Console,
) -> Uncertainty:
    """Best setting found within ``seconds``, at least ``start``."""
    random = np.random.default_rng(seed)
    best, best_cost = start, cost(candidates, start)
    console.print(f"cost {best_cost:.3f} at the start")
    began = time.monotonic()
    tried = 0
    while (passed := time.monotonic() - began) < seconds:
        width = _WIDE if passed < 0.5 * seconds else _NARROW
        names = random.choice(list(BOUNDS), random.integers(1, _MOST_AT_ONCE + 1), replace=False)
        changed = {}
        for name in map(str, names):
            low, high = BOUNDS[name]
            value = max(getattr(best, name), low) * float(np.exp(width * random.normal()))
            changed[name] = float(f"{np.clip(value, low, high):.3g}")
        tries = msgspec.structs.replace(best, **changed)
        tried += 1
        found = cost(candidates, tries)
        if found < best_cost:
            best, best_cost = tries, found
            console.print(f"cost {best_cost:.3f} after {tried} tries: {changed}")
    return best


def cost(candidates: Sequence[Candidate], uncertainty: Uncertainty) -> float:
    """How far the errors are from their targets, with a price for a sigma that is not honest.

    Mean over temperatures and scenarios of ((mean + worst) / 2 / target)^1.5 of the RMSE.
    """
    rmse: dict[tuple[float, str], list[float]] = {}
    coverage, std, all_rmse = [], [], []
    for one in candidates:
        model = msgspec.structs.replace(model_of(one.cell), uncertainty=uncertainty)
        cell = msgspec.structs.replace(one.cell, model=model)
        worst: dict[str, float] = {}
        for trace in simulate(partial(AdaptiveFilter, cell), one.run.run, _SCENARIOS, _START_STD):
            figures = judge(trace, truth_uncertainty(cell.name))
            group = trace.scenario.group
            worst[group] = max(worst.get(group, 0.0), figures.rmse)
            coverage.append(figures.coverage)
            std.append(figures.mean_std)
            all_rmse.append(figures.rmse)
        for group, value in worst.items():
            rmse.setdefault((one.run.temperature_c, group), []).append(value)
    ratios = []
    for (temperature_c, group), values in rmse.items():
        name = candidates[0].cell.name
        target = TARGETS.get(name, {}).get(temperature_c, _USUAL_TARGETS).of(group)
        assert target is not None
        ratios.append(100.0 * 0.5 * (float(np.mean(values)) + max(values)) / target)
    price = _COVERAGE_WEIGHT * max(0.0, _COVERAGE - float(np.mean(coverage)))
    price += _STD_WEIGHT * max(0.0, float(np.mean(std) / np.mean(all_rmse)) - _STD_RATIO)
    return float(np.mean(np.minimum(ratios, _WORST_RATIO) ** 1.5)) + price


if __name__ == "__main__":
    sys.exit(main())
