# SPDX-License-Identifier: Apache-2.0
"""A whole pack with its graph for the tests of this folder, on loopback and an own DDS domain."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ibms_tools.bench.pack_under_test import PackUnderTest
from ibms_tools.bench.thread_freezer import hung

FIRST_CHANNEL = 43700


def domain_and_channel(offset: int) -> tuple[int, str]:
    """Domain given by the test command, and a CAN channel that goes with it."""
    domain = (int(os.environ.get("ROS_DOMAIN_ID", "70")) + offset) % 102
    return domain, str(FIRST_CHANNEL + domain)


@pytest.fixture(scope="module")
def pack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PackUnderTest]:
    """The 96-cell pack, up and ready; one for all tests of a module.

    A module that sets ``COMPOSED = True`` has the chain in one process.
    """
    domain, channel = domain_and_channel(0)
    folder: Path = tmp_path_factory.mktemp("pack")
    composed = getattr(request.module, "COMPOSED", False)
    with PackUnderTest("ev_96s", domain, channel, folder, composed=composed) as running:
        running.wait_for_standby()
        yield running


@pytest.fixture
def driving(pack: PackUnderTest) -> PackUnderTest:
    """The pack in drive; every test begins with a new arming."""
    pack.drive()
    pack.can.clear()
    return pack


@pytest.fixture
def hang() -> Callable[[int, str], AbstractContextManager[float]]:
    """``hang(pid, thread)`` stops a thread; the test is skipped where the kernel forbids it."""

    @contextmanager
    def hang(pid: int, thread: str) -> Iterator[float]:
        try:
            with hung(pid, thread) as at:
                yield at
        except PermissionError as error:
            pytest.skip(str(error))

    return hang
