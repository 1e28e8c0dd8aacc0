# SPDX-License-Identifier: Apache-2.0
"""Node ``event_recorder``: keeps every event on disk."""

import sqlite3
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.events.store import EventRecord, EventStore
from ibms_msgs.msg import Event
from ibms_ros_common.diagnostics import ERROR, Status
from ibms_ros_common.node import BmsNode


class EventRecorderParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``event_recorder``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    state_directory: Annotated[str, Meta(description="folder of the event database")]


class EventRecorder(BmsNode[EventRecorderParameters]):
    """Writes events into the store, apart from the time-critical chain."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("event_recorder", EventRecorderParameters, clock, **options)
        self._store: EventStore | None = None

    def configure(self, parameters: EventRecorderParameters) -> None:
        """Open the store."""
        self.pack_name = load_pack(parameters.pack).name
        if not parameters.state_directory:
            raise ValueError(
                "parameter 'state_directory' is empty; name a folder for the event database"
            )
        self._store = EventStore(
            Path(parameters.state_directory) / f"{self.pack_name}.events.sqlite"
        )
        self._recorded = self._lost = 0
        self._problem = ""
        self.listen("events", self._on_event)
        self.diagnose("events", self._report)

    def cleanup(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _on_event(self, message: Event) -> None:
        stamp = message.header.stamp
        self._add(
            EventRecord(
                wall_ns=stamp.sec * NS_PER_S + stamp.nanosec,
                boot_ns=message.boot_ns,
                source=message.source,
                kind=message.kind,
                severity=message.severity,
                diagnosis=message.diagnosis,
                element=message.element,
                value=message.value,
                text=message.text,
            )
        )

    def _add(self, event: EventRecord) -> None:
        assert self._store is not None
        try:
            self._store.add(event)
        except sqlite3.Error as error:
            # A full disk must not end the process, which carries other nodes as well.
            self._lost += 1
            self._problem = str(error)
        else:
            self._recorded += 1

    def _report(self, status: Status) -> None:
        status.add(recorded=self._recorded, lost=self._lost)
        if self._lost:
            status.report(ERROR, f"{self._lost} events could not be stored: {self._problem}")
