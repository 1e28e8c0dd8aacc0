# SPDX-License-Identifier: Apache-2.0
"""``./ibms bench estimator``: what a step of the estimators costs, against one filterpy filter.

One process, one thread, processor time of ``update`` as a whole; the default estimator moves and
corrects all its states, the slow ones too, in every step. All are timed in turn, batch by batch,
and the fastest batch of each counts, as the others were disturbed by something else; the median
stands beside it. Compiling or loading comes before.
"""

import argparse
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ament_index_python.packages import get_package_share_directory
from rich.console import Console

from ibms_battery.cell import Cell, load_cell
from ibms_battery.circuit import build_circuit
from ibms_battery.results import Result, measured, write
from ibms_edge.estimation import cell_step
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_edge.estimation.estimator import Estimator
from ibms_edge.estimation.registry import DEFAULT, ESTIMATORS, build_estimator
from ibms_tools.bench.figures import show
from ibms_tools.bench.filterpy_cell import FilterpyCell

FloatArray = npt.NDArray[np.float64]

_CELL = "lg_18650hg2"
_STEP_S = 1.0
_BATCHES = 100
_BATCH_S = 0.02  # at least so long, and one step
_SAMPLES = 16
_PACK = 96
_SIZES = (1_000, 10_000, 100_000)
_PLAIN = (_PACK, 10_000)
_STD_SHARE = 0.002  # what the default estimator says of a current beyond the bias


@dataclass(frozen=True)
class Samples:
    """Made-up measurements that come round again and again; (samples, cells) each."""

    voltage_v: FloatArray
    temperature_c: FloatArray
    current_a: FloatArray


@dataclass(frozen=True)
class Cost:
    """Processor time of a step per cell [ns]."""

    fastest: float
    median: float
    steps: int  # per batch


def draw_samples(cell: Cell, cells: int) -> Samples:
    """Cells between 30 and 80 % charge, all temperatures, a current without mean."""
    random = np.random.default_rng(1)
    circuit = build_circuit(cell)
    soc = random.uniform(0.3, 0.8, cells)
    ocv_v = np.interp(soc, cell.soc_points, cell.ocv_points_v)
    temperature_c = random.uniform(-10.0, 40.0, cells)
    swing = np.sin(2.0 * np.pi * np.arange(_SAMPLES) / _SAMPLES)
    current_a = np.outer(swing * circuit.capacity_ah, np.ones(cells))
    voltage_v = ocv_v + cell.resistance_ohm * current_a
    voltage_v += 0.002 * random.standard_normal(voltage_v.shape)
    return Samples(voltage_v, np.tile(temperature_c, (_SAMPLES, 1)), current_a)


def begin(estimator: Estimator, samples: Samples) -> None:
    """Let the estimator meet its cells, and go round once."""
    nothing = np.full(samples.voltage_v.shape[1], np.nan)
    estimator.start(nothing, nothing, rested=True)
    for k in range(_SAMPLES):
        estimator.update(
            samples.voltage_v[k], samples.temperature_c[k], samples.current_a[k], _STEP_S * (k > 0)
        )


def costs(steps: Mapping[str, tuple[Callable[[int], None], int]], batches: int) -> dict[str, Cost]:
    """Time steps in turn.

    Args:
        steps: by name; each is told the number of the sample and moves so many cells.
        batches: of each.
    """
    lengths, times = {}, {name: np.empty(batches) for name in steps}
    for name, (step, _) in steps.items():
        step(0)  # brings its memory back into the caches
        start_ns = time.process_time_ns()
        step(1)
        once_s = (time.process_time_ns() - start_ns) / 1e9
        lengths[name] = max(1, round(_BATCH_S / max(once_s, 1e-7)))
    for batch in range(batches):
        for name, (step, cells) in steps.items():
            start_ns = time.process_time_ns()
            for k in range(lengths[name]):
                step(k % _SAMPLES)
            spent_ns = time.process_time_ns() - start_ns
            times[name][batch] = spent_ns / lengths[name] / cells
    return {
        name: Cost(float(one.min()), float(np.median(one)), lengths[name])
        for name, one in times.items()
    }


def estimator_step(name: str, cell: Cell, cells: int) -> tuple[Callable[[int], None], int]:
    """``update`` of an estimator that has met its cells, for ``costs``."""
    samples = draw_samples(cell, cells)
    estimator = build_estimator(name, cell, cells)
    begin(estimator, samples)

    def step(k: int) -> None:
        estimator.update(
            samples.voltage_v[k], samples.temperature_c[k], samples.current_a[k], _STEP_S
        )

    return step, cells


def filterpy_step(cell: Cell) -> tuple[Callable[[int], None], int]:
    """The default estimator's filter on filterpy, for one cell."""
    samples = draw_samples(cell, 1)
    batch = AdaptiveFilter(cell, 1)
    begin(batch, samples)
    one = FilterpyCell(cell, batch.snapshot())
    columns = (samples.voltage_v, samples.temperature_c, samples.current_a)
    inputs = list(zip(*(values[:, 0].tolist() for values in columns), strict=True))

    def step(k: int) -> None:
        voltage_v, temperature_c, current_a = inputs[k]
        one.update(voltage_v, temperature_c, current_a, _STD_SHARE * abs(current_a), _STEP_S)

    return step, 1


def memory(cell: Cell, samples: Samples) -> dict[str, float]:
    """Bytes per cell of the default estimator: kept, most at the first voltage, most in a step."""
    cells = samples.voltage_v.shape[1]
    tracemalloc.start()
    try:
        estimator = build_estimator(DEFAULT, cell, cells)
        found = {"kept": tracemalloc.get_traced_memory()[0] / cells}
        for name in ("first_voltage", "step"):
            tracemalloc.reset_peak()
            estimator.update(
                samples.voltage_v[0], samples.temperature_c[0], samples.current_a[0], _STEP_S
            )
            found[name] = tracemalloc.get_traced_memory()[1] / cells
    finally:
        tracemalloc.stop()
    return found


def plain_costs(cell_file: Path, sizes: Sequence[int], batches: int) -> dict[int, Cost]:
    """Times of the default estimator in a process in which numba cannot be imported."""
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from ibms_tools.bench.estimator import print_costs\n"
        "print_costs(*sys.argv[1:])"
    )
    arguments = [str(cell_file), str(batches), *map(str, sizes)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"the NumPy path could not be timed:\n{done.stderr}")
    return {int(size): Cost(**told) for size, told in json.loads(done.stdout).items()}


def print_costs(cell_file: str, batches: str, *sizes: str) -> None:
    """What ``plain_costs`` runs in its process."""
    cell = load_cell(cell_file)
    found = costs({size: estimator_step(DEFAULT, cell, int(size)) for size in sizes}, int(batches))
    if cell_step.compiled_step_cells is not None:
        raise RuntimeError("numba was imported all the same")
    print(json.dumps({size: asdict(one) for size, one in found.items()}))


def measure(
    cell_file: Path,
    sizes: Sequence[int] = _SIZES,
    plain: Sequence[int] = _PLAIN,
    batches: int = _BATCHES,
) -> list[Result]:
    """All figures; the last of ``sizes`` is also that of the memory."""
    cell = load_cell(cell_file)
    start_s = time.perf_counter()
    pack = estimator_step(DEFAULT, cell, _PACK)
    begun_s = time.perf_counter() - start_s
    others = [name for name in ESTIMATORS if name != DEFAULT]
    found = costs(
        {
            "pack": pack,
            "filterpy": filterpy_step(cell),
            **{str(size): estimator_step(DEFAULT, cell, size) for size in sizes},
            **{name: estimator_step(name, cell, _PACK) for name in others},
        },
        batches,
    )
    compiled = "compiled" if cell_step.compiled_step_cells is not None else "NumPy, without numba"
    states = f"{compiled}; all {cell_step.STATES} states of each cell in every step"

    def figure(name: str, cost: Cost, context: str, target: str | None = None) -> Result:
        context += f"; fastest of {batches} batches of {cost.steps}, median {cost.median:.0f}"
        return Result(f"estimator.{name}.cell_step", round(cost.fastest, 1), "ns", target, context)

    results = [
        Result(
            f"estimator.{DEFAULT}.begin",
            round(begun_s, 2),
            "s",
            None,
            "wall time until the first steps are done, compiling or loading included; not counted "
            "below",
        ),
        figure(f"{DEFAULT}.{_PACK}", found["pack"], states, "<= 1000"),
        figure("filterpy", found["filterpy"], "the same model, states and noise, one cell"),
        Result(
            f"estimator.{DEFAULT}.{_PACK}.times_filterpy",
            round(found["filterpy"].fastest / found["pack"].fastest, 1),
            "1",
            ">= 25",
            f"a filterpy filter for each cell takes so many times as long as {_PACK} in one batch",
        ),
    ]
    results += [
        figure(f"{DEFAULT}.{size}", found[str(size)], states, "<= 150" if size == 10_000 else None)
        for size in sizes
    ]
    whole = [size * found[str(size)].fastest for size in sizes]
    largest = sizes[-1]
    results.append(
        Result(
            f"estimator.{DEFAULT}.exponent",
            round(float(np.polyfit(np.log(sizes), np.log(whole), 1)[0]), 3),
            "1",
            None,
            f"of the cost of a step over {sizes[0]} to {largest} cells: 1 is linear; above it by "
            "what memory costs more than caches",
        )
    )
    names = {
        "kept": "states, covariance and inputs",
        "first_voltage": "most while the first voltage is weighed over the whole table",
        "step": "most in any other step, what is kept included",
    }
    results += [
        Result(
            f"estimator.{DEFAULT}.{largest}.memory.{name}",
            round(value),
            "bytes per cell",
            None,
            f"{names[name]}; {largest * value / 1e6:.0f} MB for {largest} cells",
        )
        for name, value in memory(cell, draw_samples(cell, largest)).items()
    ]
    results += [
        figure(f"{DEFAULT}.numpy.{size}", one, "plain NumPy, numba blocked")
        for size, one in plain_costs(cell_file, plain, batches).items()
    ]
    results += [figure(f"{name}.{_PACK}", found[name], "for comparison") for name in others]
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; exit code 0 if every figure that has a target keeps it."""
    parser = argparse.ArgumentParser(prog="ibms bench estimator", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    config = Path(get_package_share_directory("ibms_bringup")) / "config"
    results = measure(config / "cells" / f"{_CELL}.yaml")
    if options.json:
        command = " ".join(["./ibms bench estimator", *(arguments or sys.argv[1:])])
        write(measured(command, results), options.json)
    show(results, Console())
    return 0 if all(result.met is not False for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
