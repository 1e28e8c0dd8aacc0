# SPDX-License-Identifier: Apache-2.0
"""What the timing of a time-critical loop means, as diagnostics. All thresholds stand here."""

from ibms_ros_common.diagnostics import ERROR, WARN, Status
from ibms_ros_common.step_timer import OVERRUN_PERIODS, StepTimer

WARN_GAP_PERIODS = OVERRUN_PERIODS  # a step began so much later than the one before
WARN_EXECUTION_PERIODS = 1.0  # a step took longer than there is time until the next one
ERROR_MS = 100.0  # gap or execution; the tightest limit of the chain on age


def report(timer: StepTimer, status: Status) -> None:
    """Add the times since the last report, and judge them."""
    times = timer.take()
    period_ms = timer.period_s * 1e3
    gap_ms, execution_ms = times.longest_gap_ns / 1e6, times.longest_execution_ns / 1e6
    status.add(
        **{
            "period [ms]": period_ms,
            "steps": times.steps,
            "longest gap [ms]": gap_ms,
            "longest execution [ms]": execution_ms,
            "mean execution [ms]": times.total_execution_ns / 1e6 / max(1, times.steps),
            "overruns": timer.overruns,
        }
    )
    for what, value_ms, warn_periods in (
        ("a gap", gap_ms, WARN_GAP_PERIODS),
        ("an execution", execution_ms, WARN_EXECUTION_PERIODS),
    ):
        warn_ms = warn_periods * period_ms
        if value_ms > max(ERROR_MS, warn_ms):
            status.report(
                ERROR, f"{what} of {value_ms:.0f} ms is above {max(ERROR_MS, warn_ms):g} ms"
            )
        elif value_ms > warn_ms:
            status.report(
                WARN, f"{what} of {value_ms:.0f} ms is above {warn_periods:g} x {period_ms:g} ms"
            )
