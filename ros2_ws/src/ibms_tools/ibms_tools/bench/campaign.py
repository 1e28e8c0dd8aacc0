# SPDX-License-Identifier: Apache-2.0
"""``./ibms bench campaign``: provokes every diagnosis in every pack state and checks what follows.

Cases run closed loop against the simulated pack on a virtual clock, through encoded CAN frames and
the nodes of the chain. The exit code is 1 if a case fails or a diagnosis is not covered.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from rich.console import Console
from rich.table import Table

from ibms_battery.results import Result, measured, write
from ibms_tools.campaign.case import Case
from ibms_tools.campaign.cases import Drawing
from ibms_tools.campaign.graph_sample import Comparison, run_in_new_graph, suitable
from ibms_tools.campaign.report import (
    campaign_results,
    detection_times,
    graph_results,
    quantile,
)
from ibms_tools.campaign.subject import Subject
from ibms_tools.campaign.trial import Outcome
from ibms_tools.campaign.workers import run_cases

_PACKS = ("robot_12s", "ev_96s", "robot_12s_modular")  # most cases on the first: it is small
_CHANNEL = "43781"
_SECOND_PACK_EACH = 10  # one case in the graph of so many on the second pack
_TRIES = 3  # of a case in the graph


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 0 if every case went as it has to."""
    parser = argparse.ArgumentParser(prog="ibms bench campaign", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--cases", type=int, default=2000, help="number of cases")
    parser.add_argument("--seed", type=int, default=1, help="draws the cases")
    parser.add_argument("--case", type=int, metavar="ID", help="only this case of the same draw")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--graph",
        type=int,
        default=0,
        metavar="N",
        help="run N of the cases through the running graph in real time as well, and compare",
    )
    options = parser.parse_args(arguments)
    console = Console()
    config = Path(get_package_share_directory("ibms_bringup")) / "config"
    subjects = [Subject.load(config, name) for name in _PACKS]
    count = max(options.cases, options.case or 0)
    cases = Drawing(subjects, options.seed).cases(count)
    if options.case is not None:
        cases = [case for case in cases if case.number == options.case]
    if not cases:
        parser.error("no case is left: --cases and --case count from 1")
    uncovered = sorted({name for subject in subjects for name in subject.uncovered()})
    start_s = time.monotonic()
    again = f"--seed {options.seed} --cases {count}"
    outcomes = run_with_progress(config, cases, options.jobs, again, console)
    seconds = time.monotonic() - start_s
    failed = [outcome for outcome in outcomes if outcome.failures]
    if options.case is not None:
        for outcome in outcomes:
            console.print(outcome, soft_wrap=True)
    show(outcomes, subjects[0], uncovered, seconds, console)
    results: list[Result] = campaign_results(outcomes, subjects[0], uncovered, seconds)
    comparisons: list[Comparison] = []
    if options.graph:
        comparisons, repeated = compare_with_graph(config, outcomes, options.graph, console)
        results += graph_results(comparisons, repeated)
        if len(comparisons) < options.graph:
            console.print(f"[red]only {len(comparisons)} cases are suitable for the graph[/red]")
    if options.json:
        command = " ".join(["./ibms bench campaign", *(arguments or sys.argv[1:])])
        write(measured(command, results), options.json)
    differ = any(comparison.differences for comparison in comparisons)
    too_few = len(comparisons) < options.graph
    return 1 if failed or uncovered or differ or too_few else 0


def run_with_progress(
    config: Path, cases: Sequence[Case], jobs: int, again: str, console: Console
) -> list[Outcome]:
    """Outcomes by the cases' numbers; each failure is told with how to see it again."""
    outcomes: list[Outcome] = []
    next_s = time.monotonic() + 10.0
    for outcome in run_cases(config, cases, min(jobs, len(cases))):
        outcomes.append(outcome)
        if outcome.failures:
            case = outcome.case
            where = f"[red]case {case.number}[/red] {case.name} ({again} --case {case.number})"
            console.print("\n    ".join([where, *outcome.failures]), soft_wrap=True)
        if time.monotonic() >= next_s:
            next_s += 10.0
            bad = sum(bool(one.failures) for one in outcomes)
            console.print(f"{len(outcomes)} of {len(cases)} cases, {bad} failed")
    return sorted(outcomes, key=lambda one: one.case.number)


def compare_with_graph(
    config: Path, outcomes: Sequence[Outcome], count: int, console: Console
) -> tuple[list[Comparison], list[int]]:
    """Run cases of two packs through the graph and tell what differs.

    Returns:
        A comparison of each case, and the number of the case for each try that was not counted, as
        it differs and the computer had held protection's loop up.
    """
    virtual = {outcome.case.number: outcome for outcome in outcomes}
    domain = int(os.environ.get("ROS_DOMAIN_ID", "80"))
    of_second = count // _SECOND_PACK_EACH
    cases = [
        case
        for pack, share in ((_PACKS[0], count - of_second), (_PACKS[1], of_second))
        for case in suitable([outcome.case for outcome in outcomes], pack, share)
    ]
    comparisons: list[Comparison] = []
    repeated: list[int] = []
    for case in cases:
        for _ in range(_TRIES):
            with tempfile.TemporaryDirectory(prefix="ibms_campaign_") as folder:
                real = run_in_new_graph(config, case, domain, _CHANNEL, Path(folder))
            comparison = Comparison(virtual[case.number], real)
            # What happens while the computer stands still has no like on the virtual clock.
            if not (comparison.differences and real.held_up):
                break
            repeated.append(case.number)
            console.print(f"{case.name}: the computer held protection's loop up", soft_wrap=True)
        comparisons.append(comparison)
        verdict = "; ".join(comparison.differences) or "same"
        console.print(
            f"graph {len(comparisons)} of {count}: {case.name}: {verdict}", soft_wrap=True
        )
    return comparisons, repeated


def show(
    outcomes: Sequence[Outcome],
    subject: Subject,
    uncovered: Sequence[str],
    seconds: float,
    console: Console,
) -> None:
    """Table of diagnoses, what is not covered, and the sum."""
    table = Table("diagnosis", "cases", "p50 [s]", "p99 [s]", "max [s]", title="detection")
    for name, times in detection_times(outcomes, subject).items():
        table.add_row(
            name,
            str(len(times)),
            *(f"{quantile(times, share):.3f}" for share in (0.5, 0.99, 1.0)),
        )
    console.print(table)
    for name in uncovered:
        console.print(f"[red]not covered:[/red] {name}")
    kinds = Counter(outcome.case.kind for outcome in outcomes)
    of_kind = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    console.print(f"{len(outcomes)} cases ({of_kind}) in {seconds:.0f} s, {failed} failed")


if __name__ == "__main__":
    sys.exit(main())
