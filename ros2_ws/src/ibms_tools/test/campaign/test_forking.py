# SPDX-License-Identifier: Apache-2.0
"""Copies of the process: results come back, changes do not."""

import os
import time

import pytest

from ibms_tools.campaign.forking import ForkError, in_a_copy


def test_a_copy_gives_its_result_and_changes_nothing_here() -> None:
    state = [1]

    def work() -> tuple[list[int], bytes]:
        state.append(2)
        return state, b"x" * 300_000  # more than a pipe holds

    result, long_one = in_a_copy(work, 10.0)
    assert (result, len(long_one), state) == ([1, 2], 300_000, [1])


def test_copies_of_copies() -> None:
    assert (
        in_a_copy(lambda: [in_a_copy(os.getpid, 5.0) for _ in range(2)], 10.0) != [os.getpid()] * 2
    )


def test_a_copy_that_fails_or_hangs_is_an_error() -> None:
    with pytest.raises(ForkError, match="code 1"):
        in_a_copy(lambda: 1 // 0, 5.0)
    with pytest.raises(ForkError, match="not done after"):
        in_a_copy(lambda: time.sleep(60), 0.2)
