# SPDX-License-Identifier: Apache-2.0
"""Train the network of a cell type on the train runs that an index lists.

    python -m ibms_tools.train_network --data DIR --cell config/cells/CELL.yaml --to config/networks

Of each temperature one run is left out, by which the best state of the training and the scale of
its sigma are chosen; with --half every second run, so that ``./ibms eval soc --role train
--not-tuned-by`` judges by runs that it has not learned from (they choose state and scale all the
same).
"""

import argparse
import hashlib
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import yaml

from ibms_battery.cell import Cell, load_cell
from ibms_battery.configuration import ConfigurationError
from ibms_battery.recordings import RecordingError
from ibms_edge.estimation.network_file import Network
from ibms_tools.eval.soc_runs import EvaluationRun, halves, runs_of_folder
from ibms_tools.train_network.curves import curves_of
from ibms_tools.train_network.sequences import Sequences, draw_sequences

_PERIOD_S = 10.0
_UNITS = 32
_RATE = 0.01
_REPEATS, _HELD_REPEATS = 16, 6
_SEED = 20260601
_MARGIN = 0.1  # of the range of a feature, beyond what was seen
_NEEDED = ("torch", "onnx")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; exit code 1 for files that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m ibms_tools.train_network",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the index.csv")
    parser.add_argument("--cell", type=Path, required=True, help="as in config/cells")
    parser.add_argument("--to", type=Path, required=True, help="folder of the network's files")
    parser.add_argument("--half", action="store_true", help="learn from every second run only")
    parser.add_argument("--seconds", type=float, default=900.0, help="to train (default 900)")
    options = parser.parse_args(arguments)
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"ibms train_network: needs {' and '.join(missing)}: pip install -r "
            "requirements/training.in",
            file=sys.stderr,
        )
        return 1
    try:
        cell = load_cell(options.cell)
        runs = runs_of_folder(options.data, cell, ["train"], [])
    except (ConfigurationError, RecordingError) as error:
        print(f"ibms train_network: {error}", file=sys.stderr)
        return 1
    learned, held = halves(runs) if options.half else _all_but_one(runs)
    options.to.mkdir(parents=True, exist_ok=True)
    _train(options, cell, learned, held)
    return 0


def _all_but_one(
    runs: Sequence[EvaluationRun],
) -> tuple[list[EvaluationRun], list[EvaluationRun]]:
    """Runs to learn from, and the last one of each temperature."""
    last = {one.temperature_c: one.path for one in runs}
    held = [one for one in runs if one.path == last[one.temperature_c]]
    return [one for one in runs if one.path != last[one.temperature_c]], held


def _train(
    options: argparse.Namespace,
    cell: Cell,
    learned: Sequence[EvaluationRun],
    held: Sequence[EvaluationRun],
) -> None:
    # Needed for nothing else and no part of the product.
    from ibms_tools.train_network import training
    from ibms_tools.train_network.onnx_file import to_onnx

    curves = curves_of(cell)
    random = np.random.default_rng(_SEED)
    lowest, highest = [np.inf], [-np.inf]

    def draw(runs: Sequence[EvaluationRun], repeats: int) -> Sequences:
        return draw_sequences([one.run for one in runs], cell, curves, _PERIOD_S, repeats, random)

    def fresh() -> Sequences:
        nonlocal lowest, highest
        drawn = draw(learned, _REPEATS)
        seen = drawn.features[drawn.usable]
        lowest = np.minimum(lowest, seen.min(axis=0))
        highest = np.maximum(highest, seen.max(axis=0))
        return drawn

    begun_s = time.monotonic()

    def report(progress: training.Progress) -> None:
        print(
            f"{time.monotonic() - begun_s:.0f} s, iteration {progress.iteration}: loss "
            f"{progress.loss:.3f}, of runs left out {progress.validation:.3f}, RMSE "
            f"{100 * progress.rmse:.2f} %, error over sigma {progress.std_ratio:.2f}",
            flush=True,
        )

    trained = training.train(
        fresh,
        draw(held, _HELD_REPEATS),
        cell.capacity_ah,
        _PERIOD_S,
        _UNITS,
        options.seconds,
        _RATE,
        _SEED,
        report,
    )
    content = to_onnx(trained.network)
    margin = _MARGIN * (np.array(highest) - np.array(lowest))
    description = Network(
        cell=cell.name,
        capacity_ah=cell.capacity_ah,
        period_s=_PERIOD_S,
        units=_UNITS,
        bias_a=training.BIAS_A,
        bias_drift_a=training.BIAS_DRIFT_A,
        soc_drift=training.SOC_DRIFT,
        lowest=[float(f"{value:.4g}") for value in lowest - margin],
        highest=[float(f"{value:.4g}") for value in highest + margin],
        curves=curves,
        sha256=hashlib.sha256(content).hexdigest(),
        source=(
            f"python -m ibms_tools.train_network: {len(learned)} runs with role train, best "
            f"of {trained.validated.iteration} iterations by {len(held)} others; with sensors "
            f"off at random, these: RMSE {100 * trained.validated.rmse:.2f} %, by these its "
            f"sigma was raised by {trained.std_scale:g}. Left out: "
            + ", ".join(f"{one.test} at {one.temperature_c:g} degC" for one in held)
        ),
    )
    text = yaml.safe_dump(
        msgspec.to_builtins(description), sort_keys=False, default_flow_style=None, width=100
    )
    (options.to / f"{cell.name}.onnx").write_bytes(content)
    (options.to / f"{cell.name}.yaml").write_text(
        f"# Written by python -m ibms_tools.train_network\n{text}", encoding="utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
