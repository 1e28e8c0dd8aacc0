# SPDX-License-Identifier: Apache-2.0
"""Bounded queues between the threads that receive and the loop. No ROS."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Inbox(Generic[_T]):
    """Inputs for the loop, in order; the oldest is lost, and counted, when too many wait.

    One thread puts, one takes.
    """

    def __init__(self, capacity: int) -> None:
        self.lost = 0
        self._capacity = capacity
        self._waiting: deque[_T] = deque()

    def put(self, item: _T) -> None:
        """Hand over an input."""
        self._waiting.append(item)
        if len(self._waiting) > self._capacity:
            try:
                self._waiting.popleft()
            except IndexError:  # the other thread has just taken them all
                return
            self.lost += 1

    def take_all(self) -> Iterator[_T]:
        """What waits, oldest first, and what comes meanwhile."""
        while self._waiting:
            yield self._waiting.popleft()
