# SPDX-License-Identifier: Apache-2.0
"""A CAN bus at the physical boundary, for what no real bus can be made to do on demand."""

import os
from collections import deque
from collections.abc import Callable, Iterator

import can
import pytest


class FakeBus(can.BusABC):
    """Delivers what the test puts in; fails when the test says so."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        self._queue: deque[can.Message | Exception] = deque()
        self.sent: list[can.Message] = []
        self.send_error: Exception | None = None
        self.is_closed = False
        super().__init__(channel="fake")

    def put(self, item: can.Message | Exception) -> None:
        """Let the next read return a frame or fail."""
        self._queue.append(item)
        os.write(self._write_end, b"x")

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        os.read(self._read_end, 1)
        item = self._queue.popleft()
        if isinstance(item, Exception):
            raise item
        return item, True

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Keep the frame or fail."""
        if self.send_error is not None:
            raise self.send_error
        self.sent.append(msg)

    def fileno(self) -> int:
        """Readable while something waits."""
        return self._read_end

    def shutdown(self) -> None:
        """Close once."""
        if not self.is_closed:
            self.is_closed = True
            super().shutdown()
            os.close(self._read_end)
            os.close(self._write_end)


@pytest.fixture
def fake_buses(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[FakeBus]]]:
    """Makes the receiver open the given buses one after another, or fail where it is an error."""
    created: list[FakeBus] = []

    def prepare(*plan: Exception | None) -> list[FakeBus]:
        outcomes = deque(plan)

        def open_fake(*_: object) -> FakeBus:
            outcome = outcomes.popleft() if outcomes else None
            if outcome is not None:
                raise outcome
            created.append(FakeBus())
            return created[-1]

        monkeypatch.setattr("ibms_end.can.receiver.open_bus", open_fake)
        return created

    yield prepare
    for bus in created:
        bus.shutdown()
