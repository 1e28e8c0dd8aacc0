# SPDX-License-Identifier: Apache-2.0
"""Ends with code 0 on SIGINT, after saying so."""

import os
import signal
import sys


def on_signal(number: int, _frame: object) -> None:
    # The signal may come while print is at work, and print must not be entered twice.
    os.write(1, f"got {signal.Signals(number).name}\n".encode())
    sys.exit(0)


signal.signal(signal.SIGINT, on_signal)
print("ready", flush=True)
while True:
    signal.pause()
