# SPDX-License-Identifier: Apache-2.0
"""The queue between the runner and a slow terminal."""

import threading
import time

from ibms_bringup.launcher.output import OutputWriter


def test_slow_receiver_blocks_nobody_and_losses_are_counted() -> None:
    go = threading.Event()
    received: list[str] = []

    def receive(line: str) -> None:
        received.append(line)
        assert go.wait(10.0)

    writer = OutputWriter(receive, capacity=10)
    writer.put("0")
    while not received:
        time.sleep(0.001)
    begin_s = time.monotonic()
    for number in range(1, 31):
        writer.put(str(number))
    assert time.monotonic() - begin_s < 1.0
    go.set()
    while len(received) < 11:
        time.sleep(0.001)
    writer.put("last")
    failure = writer.close(timeout_s=5.0)
    assert received == [
        *map(str, range(11)),
        "[WARNING] [launch]: 20 lines dropped: output is too slow",
        "last",
    ]
    assert failure == "20 lines of output lost: they were not taken in time"


def test_closing_does_not_wait_for_a_stuck_receiver() -> None:
    stuck = threading.Event()
    writer = OutputWriter(lambda _line: assert_set(stuck))
    for _ in range(5):
        writer.put("x")
    begin_s = time.monotonic()
    failure = writer.close(timeout_s=0.2)
    assert time.monotonic() - begin_s < 2.0
    assert failure is not None
    assert failure.endswith("lines of output lost: they were not taken in time")
    stuck.set()


def assert_set(event: threading.Event) -> None:
    assert event.wait(10.0)
