# SPDX-License-Identifier: Apache-2.0
"""What the event memory takes from the table of diagnoses. No ROS."""

from collections.abc import Sequence

from ibms_edge.events.records import DiagnosisText
from ibms_edge.protection.signals import SIGNALS
from ibms_edge.protection.table import Diagnosis, Level, Reaction


def demanding(rows: Sequence[Diagnosis]) -> dict[int, int]:
    """Diagnoses whose reaction isolates or opens, with the severity of the events that say so."""
    return {
        row.id: int(row.severity_at(Level.SAFETY)) for row in rows if row.demand >= Reaction.ISOLATE
    }


def in_words(rows: Sequence[Diagnosis]) -> list[DiagnosisText]:
    """The table in words."""
    return [_in_words(row) for row in rows]


def _in_words(row: Diagnosis) -> DiagnosisText:
    signal = SIGNALS[row.signal]
    side = "above" if row.is_above else "below"
    unit = "" if signal.unit == "1" else signal.unit
    limit = "" if signal.kind == "flag" else f"{side} {row.limits.safety:g} {unit}".rstrip()
    return DiagnosisText(
        id=row.id,
        name=row.name,
        text=row.text,
        reaction=row.reaction,
        limit=limit,
        unit="" if signal.kind == "flag" else unit,
        element="element" if signal.element == "pack" else signal.element,
    )
