# SPDX-License-Identifier: Apache-2.0
"""Plain lines of status and events, where there is no terminal to draw on."""

import math
from typing import Any

from ibms_tools.view import words
from ibms_tools.view.picture import Picture


def event_line(event: Any) -> str:
    """An ``Event`` in one line."""
    return f"{words.clock_time(event)} {event.source}: {event.text}"


def status_line(picture: Picture) -> str:
    """What matters most, in one line."""
    state, sample = picture.state, picture.sample
    name = "unknown" if state is None else words.STATES.get(state.state, str(state.state))
    voltage_v, current_a = (sample.voltage_v, sample.current_a) if sample else (math.nan, math.nan)
    faults = len(picture.protection.active_diagnosis) if picture.protection is not None else 0
    parts = [
        f"{words.elapsed(picture.elapsed_s)} {picture.phase}",
        f"state {name}",
        f"contactors {words.contactors(picture)}",
        f"{words.number(voltage_v, 'V')} {words.number(current_a, 'A')}",
        f"SOC {words.soc(picture)}",
        f"scans {words.rate(picture.scans.rate_hz)}",
        f"lost {picture.scans.lost}",
        f"faults {faults}",
    ]
    return " | ".join(parts)
