# SPDX-License-Identifier: Apache-2.0
"""Figures of a campaign."""

from collections import Counter
from collections.abc import Sequence

from ibms_battery.results import Result
from ibms_tools.campaign.graph_sample import Comparison
from ibms_tools.campaign.subject import Subject
from ibms_tools.campaign.trial import Outcome


def quantile(values: Sequence[float], share: float) -> float:
    """Smallest value that at least ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered), -(-int(share * 1000) * len(ordered) // 1000)) - 1)]


def detection_times(outcomes: Sequence[Outcome], subject: Subject) -> dict[str, list[float]]:
    """Time from the injection to the verdict, of single faults, per diagnosis, in table order."""
    times: dict[str, list[float]] = {row.name: [] for row in subject.table.diagnoses}
    for outcome in outcomes:
        if outcome.case.kind != "single":
            continue
        for expected in outcome.case.expected:
            at_s = outcome.detected_s.get(expected.diagnosis)
            if at_s is not None:
                times[expected.name].append(at_s)
    return {name: values for name, values in times.items() if values}


def campaign_results(
    outcomes: Sequence[Outcome], subject: Subject, uncovered: Sequence[str], seconds: float
) -> list[Result]:
    """All figures of a campaign."""
    kinds = Counter(outcome.case.kind for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.failures]
    covered = {
        expected.diagnosis
        for outcome in outcomes
        if outcome.case.kind == "single"
        for expected in outcome.case.expected
    }
    numbers = ", ".join(str(outcome.case.number) for outcome in failed[:20])
    results = [
        Result("campaign.cases", len(outcomes), "1", ">= 2000", "closed loop, virtual clock"),
        *(Result(f"campaign.cases.{kind}", n, "1", None, "") for kind, n in kinds.items()),
        Result("campaign.failed", len(failed), "1", "== 0", f"cases {numbers}" if failed else ""),
        Result(
            "campaign.diagnoses.covered",
            len(covered),
            "1",
            f">= {len(subject.table.diagnoses)}",
            "expected by a single fault that was run",
        ),
        Result(
            "campaign.diagnoses.not_covered",
            len(uncovered),
            "1",
            "== 0",
            "; ".join(uncovered),
        ),
        Result("campaign.duration", round(seconds, 1), "s", None, "wall time"),
    ]
    for name, times in detection_times(outcomes, subject).items():
        context = f"{len(times)} single faults, from injection to verdict, all levels"
        results += [
            Result(f"campaign.detection.{name}.{what}", round(value, 3), "s", None, context)
            for what, value in (
                ("p50", quantile(times, 0.5)),
                ("p99", quantile(times, 0.99)),
                ("max", max(times)),
            )
        ]
    return results


def graph_results(comparisons: Sequence[Comparison], repeated: Sequence[int]) -> list[Result]:
    """Figures of the cases that also ran through the graph, some of them ``repeated``."""
    differing = [comparison for comparison in comparisons if comparison.differences]
    texts = [f"{one.virtual.case.number}: {'; '.join(one.differences)}" for one in differing]
    equal = sum(one.real.first_cause == one.virtual.first_cause for one in comparisons)
    return [
        Result(
            "campaign.graph.cases",
            len(comparisons),
            "1",
            ">= 100",
            "through the running graph over CAN in real time",
        ),
        Result("campaign.graph.different", len(differing), "1", "== 0", ", ".join(texts)),
        Result(
            "campaign.graph.same_first_cause",
            equal,
            "1",
            None,
            "the others have another of several right first causes",
        ),
        Result(
            "campaign.graph.repeated",
            len(repeated),
            "1",
            None,
            f"the computer had held protection's loop up: cases {sorted(repeated)}",
        ),
    ]
