# SPDX-License-Identifier: Apache-2.0
"""Ignores SIGINT, and with the argument `fully` SIGTERM too."""

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_IGN)
if "fully" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
