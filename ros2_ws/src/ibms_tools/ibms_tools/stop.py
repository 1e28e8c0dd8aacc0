# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and its like as a flag, from the first moment of a command on. Standard library only."""

import signal
from collections.abc import Callable
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Set by SIGINT, SIGTERM and SIGHUP; each further signal calls ``again``.

    SIGHUP stays ignored where it was, as after nohup.
    """

    def __init__(self) -> None:
        self.requested = False
        self.again: Callable[[], None] | None = None
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested and self.again is not None:
            self.again()
        self.requested = True
