# SPDX-License-Identifier: Apache-2.0
"""The chain composed in one process is as safe as in processes of its own: what is lost opens."""

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from ibms_tools.bench.pack_under_test import CHAIN, PackUnderTest

pytestmark = pytest.mark.graph

COMPOSED = True
Hang = Callable[[int, str], AbstractContextManager[float]]
OPENED_WITHIN_S = 3 * 0.300


def test_the_nodes_share_one_process_and_say_so(pack: PackUnderTest) -> None:
    assert len({pack.pid_of(name) for name in CHAIN}) == 1
    pack.wait_until("diagnostics", lambda: "afe_driver: process" in pack.diagnostics, 5.0)
    assert pack.diagnostics["afe_driver: process"]["nodes"] == ", ".join(CHAIN)


def test_killed_process_opens_and_nothing_closes_after_its_respawn(
    driving: PackUnderTest,
) -> None:
    before = driving.pid_of("protection")
    at = driving.stop_process("protection", signal.SIGKILL)
    assert driving.opened_after(at) < OPENED_WITHIN_S
    driving.wait_until("respawn", lambda: _is_another(driving, before), 10.0)
    assert driving.stays_open(4.0)


def test_frozen_process_opens_and_nothing_closes_after_it_thaws(driving: PackUnderTest) -> None:
    at = driving.stop_process("protection", signal.SIGSTOP)
    try:
        assert driving.opened_after(at) < OPENED_WITHIN_S
        time.sleep(1.0)
    finally:
        driving.stop_process("protection", signal.SIGCONT)
    assert driving.stays_open(2.0)


@pytest.mark.parametrize(
    "thread", ["main", "can_receiver#1", "can_receiver#2", "protection_loop", "switch_con_loop"]
)
def test_hung_thread_of_one_node_opens(driving: PackUnderTest, hang: Hang, thread: str) -> None:
    with hang(driving.pid_of("protection"), thread) as at:
        assert driving.opened_after(at) < OPENED_WITHIN_S
    assert driving.stays_open(1.0)


def _is_another(pack: PackUnderTest, before: int) -> bool:
    try:
        return pack.pid_of("protection") != before
    except LookupError:
        return False
