# SPDX-License-Identifier: Apache-2.0
import threading
from pathlib import Path

from ibms_battery.threads import start_thread


def test_the_kernel_knows_the_threads_name() -> None:
    seen: list[str] = []
    thread = start_thread(
        "a_name_longer_than_fifteen",
        lambda: seen.append(Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text()),
    )
    thread.join(5.0)
    assert seen == ["a_name_longer_t\n"]
    assert thread.daemon
