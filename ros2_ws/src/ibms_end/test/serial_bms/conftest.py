# SPDX-License-Identifier: Apache-2.0
"""A JBD BMS behind a pseudo terminal, with the timing of its 9600 baud line."""

import os
import pty
import select
import threading
import time
import tty
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_BYTE_S = 10 / 9600
_THINKS_S = 0.01


class JbdDevice:
    """Answers after the protocol description; ``mangle`` may spoil, delay or swallow an answer.

    ``mangle(command, answer)`` returns the bytes to send; it runs in the device's thread.
    """

    def __init__(self, port: Path) -> None:
        self.port = port
        self.cells_mv = [3430, 3425, 3432, 3417]
        self.current_ca = -287  # 10 mA each, discharge negative
        self.protection_bits = 0
        self.switches = 0b11
        self.status = 0
        self.requests: Counter[int] = Counter()
        self.mangle: Callable[[int, bytes], bytes] = lambda _command, answer: answer
        self._stop = threading.Event()
        self.plug_in()

    def plug_in(self) -> None:
        """Appear as a terminal under the name of the port."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port.symlink_to(os.ttyname(self._slave))
        self._stop.clear()
        self._thread = threading.Thread(target=self._serve, args=(self._master,), daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Vanish."""
        self.port.unlink()
        self._stop.set()
        self._thread.join()
        os.close(self._slave)
        os.close(self._master)

    def _serve(self, line: int) -> None:
        received = b""
        while not self._stop.is_set():
            if not select.select([line], [], [], 0.01)[0]:
                continue
            received += os.read(line, 100)
            while len(received) >= 7:
                request, received = received[:7], received[7:]
                self._answer(line, request)

    def _answer(self, line: int, request: bytes) -> None:
        command = request[2]
        check = (0x10000 - command) & 0xFFFF
        if request != bytes([0xDD, 0xA5, command, 0]) + check.to_bytes(2) + b"\x77":
            return
        self.requests[command] += 1
        data = self._basic_info() if command == 3 else self._cell_voltages()
        body = bytes([self.status, len(data)]) + data
        frame = bytes([0xDD, command]) + body + (-sum(body) & 0xFFFF).to_bytes(2) + b"\x77"
        time.sleep(_THINKS_S)
        frame = self.mangle(command, frame)
        for start in range(0, len(frame), 8):
            if self._stop.is_set():
                return
            piece = frame[start : start + 8]
            time.sleep(len(piece) * _BYTE_S)
            os.write(line, piece)

    def _basic_info(self) -> bytes:
        numbers = [sum(self.cells_mv) // 10, self.current_ca & 0xFFFF, 498, 500, 42, 0x2C7C]
        numbers += [0b0101, 0, self.protection_bits]
        data = b"".join(number.to_bytes(2) for number in numbers)
        data += bytes([0x80, 100, self.switches, len(self.cells_mv), 3])
        return data + b"".join(number.to_bytes(2) for number in (2955, 2954, 2948))

    def _cell_voltages(self) -> bytes:
        return b"".join(number.to_bytes(2) for number in self.cells_mv)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[JbdDevice]:
    """A BMS with 4 cells and 3 probes at ``device.port``."""
    bms = JbdDevice(tmp_path / "ttyBMS")
    yield bms
    if bms.port.is_symlink():
        bms.unplug()
