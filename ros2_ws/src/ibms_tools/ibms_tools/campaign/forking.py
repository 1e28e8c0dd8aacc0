# SPDX-License-Identifier: Apache-2.0
"""Runs a function in a copy of this process, so that what it changes stays there."""

import os
import pickle
import select
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from ibms_battery.threads import die_with_parent

T = TypeVar("T")


class ForkError(RuntimeError):
    """The copy did not come to its end; the text says how it ended."""


def in_a_copy(function: Callable[[], T], limit_s: float) -> T:
    """Result of ``function``, called in a forked copy of this process.

    Raises:
        ForkError: if the copy ends without a result or takes longer than ``limit_s``.
    """
    read_end, write_end = os.pipe()
    parent = os.getpid()
    process = os.fork()
    if process == 0:
        die_with_parent(parent)
        os.close(read_end)
        code = 1
        try:
            data = pickle.dumps(function())
            with os.fdopen(write_end, "wb") as pipe:
                pipe.write(data)
            code = 0
        except BaseException:  # noqa: BLE001 - it ends here, and somebody has to see why
            traceback.print_exc()
        finally:
            # No destructors: threads of the original do not exist in this copy.
            os._exit(code)
    os.close(write_end)
    data, is_late = _read(read_end, limit_s)
    os.close(read_end)
    if is_late:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if is_late:
        raise ForkError(f"the copy was not done after {limit_s:g} s")
    if status != 0 or not data:
        raise ForkError(f"the copy ended with code {os.waitstatus_to_exitcode(status)}")
    result: Any = pickle.loads(data)
    return result  # type: ignore[no-any-return]


def _read(descriptor: int, limit_s: float) -> tuple[bytes, bool]:
    """All that comes until the other end closes, and whether that took longer than allowed."""
    parts: list[bytes] = []
    end = time.monotonic() + limit_s
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([descriptor], [], [], left)
        if not ready:
            break
        part = os.read(descriptor, 65536)
        if not part:
            return b"".join(parts), False
        parts.append(part)
    return b"".join(parts), True
