# SPDX-License-Identifier: Apache-2.0
"""Ends with code 0 on SIGINT, after saying so."""

import signal
import sys


def on_signal(number: int, _frame: object) -> None:
    print(f"got {signal.Signals(number).name}", flush=True)
    sys.exit(0)


signal.signal(signal.SIGINT, on_signal)
print("ready", flush=True)
while True:
    signal.pause()
