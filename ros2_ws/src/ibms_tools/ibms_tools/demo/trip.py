# SPDX-License-Identifier: Apache-2.0
"""What became of one injected fault. No ROS."""

from dataclasses import dataclass
from typing import Any

from ibms_battery.clock import NS_PER_S
from ibms_battery.results import Result
from ibms_msgs.msg import Event, SwitchCommand
from ibms_tools.demo.arguments import Injection

_MS = NS_PER_S / 1000


@dataclass
class Trip:
    """An injection, and how protection and switches answered; times are CLOCK_BOOTTIME [ns].

    ``sent_ns`` lies before the fault, so times from it are upper bounds of the reaction.
    """

    injection: Injection
    sent_ns: int | None = None
    problem: str = ""
    diagnosis: int = 0
    text: str = ""
    diagnosed_ns: int | None = None
    commanded_ns: int | None = None
    opened_ns: int | None = None
    state: str = ""

    def on_event(self, event: Any) -> None:
        """Take an ``Event``: the first fault that protection finds."""
        if self._follows(event.boot_ns) and self.diagnosed_ns is None:
            if event.kind != Event.KIND_FAULT_SET or event.source != "protection":
                return
            self.diagnosed_ns, self.diagnosis = event.boot_ns, event.diagnosis
            self.text = event.text

    def on_command(self, command: Any) -> None:
        """Take a ``SwitchCommand``: the first that opens for another reason than a request."""
        opens = not any(command.closed) and command.reason != SwitchCommand.REASON_REQUEST
        if self._follows(command.boot_ns) and opens and self.commanded_ns is None:
            self.commanded_ns = command.boot_ns

    def on_switch(self, switch: Any) -> None:
        """Take a ``SwitchState``: the first one with all switches open."""
        opened = switch.board_valid and not any(switch.closed)
        if self._follows(switch.boot_ns) and opened and self.opened_ns is None:
            self.opened_ns = switch.boot_ns

    def _follows(self, boot_ns: int) -> bool:
        return self.sent_ns is not None and boot_ns >= self.sent_ns

    def note(self) -> str:
        """One sentence for the screen."""
        text = f"{self.injection} injected"
        if self.problem:
            return f"{self.injection} not injected: {self.problem}"
        if self.sent_ns is None:
            return f"{self.injection} will be injected {self.injection.at_s:g} s after drive"
        if self.diagnosed_ns is not None:
            text += f"; after {self._ms(self.diagnosed_ns):.0f} ms: {self.text}"
        if self.opened_ns is not None:
            text += f"; open after {self._ms(self.opened_ns):.0f} ms"
        return text

    def results(self, number: int) -> list[Result]:
        """Figures of this injection, which is the ``number``-th of the run."""
        prefix = f"demo.inject.{number}.{self.injection.fault.name}"
        context = f"{self.note()}; pack state afterwards: {self.state or 'unknown'}"
        found = self.diagnosis if self.diagnosed_ns is not None else None
        return [
            Result(f"{prefix}.diagnosis", found, "id", context=context),
            *(
                Result(f"{prefix}.{name}_ms", self._rounded(at_ns), "ms", context=context)
                for name, at_ns in (
                    ("diagnosed", self.diagnosed_ns),
                    ("commanded", self.commanded_ns),
                    ("opened", self.opened_ns),
                )
            ),
        ]

    def _ms(self, at_ns: int) -> float:
        return (at_ns - (self.sent_ns or 0)) / _MS

    def _rounded(self, at_ns: int | None) -> float | None:
        return None if at_ns is None else round(self._ms(at_ns), 3)
