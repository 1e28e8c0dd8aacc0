# SPDX-License-Identifier: Apache-2.0
"""Starts a child in its process group and one in a session of its own, and prints all ids."""

import os
import signal
import subprocess

near = subprocess.Popen(["sleep", "300"])
far = subprocess.Popen(["sleep", "300"], start_new_session=True)
print(f"ids {os.getpid()} {near.pid} {far.pid}", flush=True)
while True:
    signal.pause()
