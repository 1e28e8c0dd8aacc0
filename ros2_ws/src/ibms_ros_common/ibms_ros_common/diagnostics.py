# SPDX-License-Identifier: Apache-2.0
"""Building of REP-107 diagnostics: one status per subject, worst level wins."""

from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

OK, WARN, ERROR, STALE = 0, 1, 2, 3


class Status:
    """One status being filled in."""

    def __init__(self) -> None:
        self.level = OK
        self.message = "ok"
        self.values: dict[str, str] = {}

    def report(self, level: int, message: str) -> None:
        """Raise the level; the message of the worst report stands."""
        if level > self.level:
            self.level, self.message = level, message

    def add(self, **values: object) -> None:
        """Add key-value pairs."""
        for key, value in values.items():
            self.values[key] = f"{value:.4g}" if isinstance(value, float) else str(value)

    def add_counts(self, counts: Mapping[str, int]) -> None:
        """Add counters by name."""
        for key, count in sorted(counts.items()):
            self.values[key] = str(count)


Reporter = Callable[[Status], None]


def to_message(node: str, subject: str, hardware_id: str, reporter: Reporter) -> DiagnosticStatus:
    """Run a reporter and build its message."""
    status = Status()
    reporter(status)
    return DiagnosticStatus(
        level=bytes([status.level]),
        name=f"{node}: {subject}",
        message=status.message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
    )
