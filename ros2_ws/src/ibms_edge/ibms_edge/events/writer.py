# SPDX-License-Identifier: Apache-2.0
"""The thread that alone writes the event memory, so that no slow disk holds up a node. No ROS.

Whatever the disk does ends nothing: what could not be stored is counted and told, and what must not
be forgotten is tried again.
"""

import queue
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ibms_battery.threads import start_thread
from ibms_edge.events.store import EventStore, UnusableError, is_damage, move_aside

Job = Callable[[EventStore], object]

_QUEUE = 2000  # jobs; a disk that stands still for longer than they last loses some
_STOP_S = 10.0
_AGAIN_S = 1.0  # after which kept jobs are tried again where no other job comes
_NOTHING: tuple[str, Job] = ("", lambda store: None)  # wakes the thread


class StoreWriter:
    """Opens the store and does jobs on it in order, one transaction each.

    Args:
        path: file of the database.
        open_store: opens it.
        on_open: is called with each store that was opened.
        on_loss: is called before that with a new store when the old one was unusable, and why.
        threaded: False does each job at once in the caller, for replay.
    """

    def __init__(
        self,
        path: Path,
        open_store: Callable[[], EventStore],
        on_open: Job,
        on_loss: Callable[[EventStore, str], None],
        threaded: bool = True,
    ) -> None:
        self._path = path
        self._open_store = open_store
        self._on_open = on_open
        self._on_loss = on_loss
        self._threaded = threaded
        self._store: EventStore | None = None
        self._jobs: queue.Queue[tuple[str, Job] | None] = queue.Queue(_QUEUE)
        self._kept: deque[tuple[str, Job]] = deque()
        self._thread: threading.Thread | None = None
        self.done: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.problem = ""  # of the last job; empty: it was done
        self.loss = ""  # what was unusable and where it is kept now

    def start(self) -> None:
        """Begin; the store is opened first."""
        if self._threaded:
            self._thread = start_thread("event_writer", self._run)
        self.submit("opening of the memory", lambda store: None)

    def stop(self) -> None:
        """Do what still waits and close the store."""
        if self._thread is not None:
            with suppress(queue.Full):  # the disk stands still
                self._jobs.put(None, timeout=_STOP_S)
            self._thread.join(_STOP_S)
            if self._thread.is_alive():
                return  # it has the store in its hands
            self._thread = None
        self._close()

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return self._jobs.qsize() + len(self._kept)

    def submit(self, what: str, job: Job, keep: bool = False) -> None:
        """Have a job done; ``what`` is counted.

        Args:
            what: kind of job.
            job: gets the store.
            keep: it is tried until it is done, before all jobs that are not kept.
        """
        item = (what, job)
        if keep and len(self._kept) < _QUEUE:
            self._kept.append(item)
            item = _NOTHING
        if not self._threaded:
            self._do_next(item)
            return
        try:
            self._jobs.put_nowait(item)
        except queue.Full:
            self.problem = "the disk is too slow"
            if item is not _NOTHING:
                self.lost[what] += 1

    def _run(self) -> None:
        while (item := self._next()) is not None:
            self._do_next(item)
        self._do_next(_NOTHING)

    def _next(self) -> tuple[str, Job] | None:
        try:
            return self._jobs.get(timeout=_AGAIN_S if self._kept else None)
        except queue.Empty:
            return _NOTHING

    def _do_next(self, item: tuple[str, Job]) -> None:
        while self._kept and self._do(*self._kept[0], keep=True):
            self._kept.popleft()
        if item is not _NOTHING:
            self._do(*item)

    def _do(self, what: str, job: Job, keep: bool = False) -> bool:
        """Whether nothing remains to be done."""
        try:
            try:
                job(self._opened())
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                job(self._begin_anew(str(error)))
        # Whatever it is, the next event may be storable: the thread goes on and tells.
        except Exception as error:  # noqa: BLE001
            self.problem = str(error) or repr(error)
            if keep and isinstance(error, (sqlite3.Error, OSError)):
                return False
            self.lost[what] += 1
        else:
            self.done[what] += 1
            if keep or not self._kept:
                self.problem = ""
        return True

    def _opened(self) -> EventStore:
        if self._store is None:
            try:
                self._take(self._open_store())
            except UnusableError as error:
                return self._begin_anew(str(error))
        assert self._store is not None
        return self._store

    def _begin_anew(self, why: str) -> EventStore:
        self._close()
        kept = move_aside(self._path)
        store = self._open_store()
        self.loss = f"the event memory was unusable ({why}); it is kept as {kept.name}"
        self._on_loss(store, self.loss)
        self._take(store)
        return store

    def _take(self, store: EventStore) -> None:
        self._store = store
        self._on_open(store)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
