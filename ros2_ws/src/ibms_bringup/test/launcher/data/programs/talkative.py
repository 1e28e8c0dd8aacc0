# SPDX-License-Identifier: Apache-2.0
"""Writes numbered lines to both streams and ends; the last line has no line end."""

import sys

COUNT = int(sys.argv[1])
for number in range(COUNT):
    print(f"out {number}")
    print(f"err {number}", file=sys.stderr)
print("x" * 150_000)
print("end", end="")
