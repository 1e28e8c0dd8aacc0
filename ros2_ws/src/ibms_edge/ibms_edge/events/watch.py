# SPDX-License-Identifier: Apache-2.0
"""Sees when the pack opens, and what stood at that moment. No ROS, no database.

It looks on: the verified feedback says that the pack opened, the command says why, and protection's
first cause says what stood behind it.
"""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ibms_battery.clock import NS_PER_S, Clock
from ibms_edge.events.frame import BEFORE_NS, FreezeFrames
from ibms_edge.events.records import EventRecord, Moment, Opening, Recorded
from ibms_edge.events.store import FAULT_SET

CELLS, PACK, STATUS = "cells/measurement", "pack/measurement", "protection/status"
SWITCHES, COMMAND, PACK_STATE = "switch/state", "switch/command", "pack/state"

# The board may open before protection has debounced what made it do so.
_CAUSE_NS = NS_PER_S // 2
_REASON_REQUEST, _STATE_ERROR = 0, 6  # of SwitchCommand and PackState; a test holds them

_OPEN = "open"  # configuration of a command that opens the pack
_NEVER = 256  # above every severity

Decode = Callable[[Recorded], Any]


class Memory(Protocol):
    """Where openings go."""

    def put(self, opening: Opening) -> None:
        """Store an opening, or what became known of it since."""

    def put_closed(self, wall_ns: int) -> None:
        """The switches are closed since then."""


class OpeningWatch:
    """Takes the messages of one pack in the order of their receipt.

    Args:
        clock: time of receipt.
        frames: ring of the newest messages; openings and faults trigger a freeze frame.
        decode: gives the message of serialized data.
        memory: takes openings.
        demanding: diagnoses whose reaction isolates or opens, with the severity of such events.
    """

    def __init__(
        self,
        clock: Clock,
        frames: FreezeFrames,
        decode: Decode,
        memory: Memory,
        demanding: Mapping[int, int],
    ) -> None:
        self._clock = clock
        self._frames = frames
        self._decode = decode
        self._memory = memory
        self._demanding = dict(demanding)
        self._closed: bool | None = None  # as verified; None: no feedback yet
        self._closed_ns = 0  # newest feedback that showed something closed
        self._closed_until_wall_ns: int | None = None
        self._opening: Opening | None = None  # the newest, while more may become known of it
        self._settle_ns = 0
        self._is_error: bool | None = None
        self.openings = 0

    def resume(self, closed_until_wall_ns: int | None) -> None:
        """The record before this start ended at this wall time with closed switches; None: open."""
        self._closed_until_wall_ns = closed_until_wall_ns

    def event(self, event: EventRecord) -> None:
        """An event came, maybe an old one that was kept for latecomers."""
        now_ns = self._clock.boot_ns()
        if (
            event.kind == FAULT_SET
            and event.severity >= self._demanding.get(event.diagnosis, _NEVER)
            and now_ns - event.boot_ns < BEFORE_NS
        ):
            self._frames.trigger(now_ns, self._clock.wall_ns(), by_fault=True)

    def pack_state(self, message: Any) -> None:
        """The supervisor's state came."""
        is_error = message.state == _STATE_ERROR
        if is_error and self._is_error is False:
            self._frames.trigger(self._clock.boot_ns(), self._clock.wall_ns(), by_fault=True)
        self._is_error = is_error

    def command(self, message: Any) -> None:
        """A command to the switch board came."""
        # In an ordered opening the first command leaves a partner closed for some milliseconds.
        if message.configuration != _OPEN:
            self._opening = None  # closing again; what is known of the last opening is all
        elif self._closed and self._opening is None:
            self._begin(message.boot_ns, message.reason, commanded_ns=message.boot_ns)
        elif (
            self._opening is not None
            and self._opening.commanded_ns is None
            and message.boot_ns <= self._opening.boot_ns
        ):
            # The feedback that it led to has overtaken it.
            self._update(commanded_ns=message.boot_ns, reason=message.reason)

    def switches(self, message: Any) -> None:
        """The verified state of the switches came."""
        if not message.board_valid:
            return
        was_closed, self._closed = self._closed, any(message.closed)
        if self._closed:
            self._closed_ns = message.boot_ns
            self._closed_until_wall_ns = None
            if self._opening is not None and self._opening.opened_ns is not None:
                self._opening = None  # closed again; the next opening is another one
            if not was_closed:
                self._memory.put_closed(self._clock.wall_ns())
        elif was_closed:
            if self._opening is None:
                self._begin(message.boot_ns, message.open_reason, opened_ns=message.boot_ns)
            else:
                self._update(opened_ns=message.boot_ns)
            self._settle_ns = self._clock.boot_ns() + _CAUSE_NS
        elif self._closed_until_wall_ns is not None:
            self._begin(
                message.boot_ns,
                message.open_reason,
                closed_until_wall_ns=self._closed_until_wall_ns,
            )
            self._closed_until_wall_ns = None

    def advance(self) -> None:
        """Time passes: the cause is looked at again when protection has had its time."""
        opening = self._opening
        if opening is None or not 0 < self._settle_ns <= self._clock.boot_ns():
            return
        self._settle_ns = 0
        if opening.cause == 0 and opening.reason != _REASON_REQUEST:
            self._update(**self._cause())
        if opening.commanded_ns is None or opening.opened_ns is not None:
            self._opening = None  # else its feedback may still come

    def _begin(
        self,
        boot_ns: int,
        reason: int,
        commanded_ns: int | None = None,
        opened_ns: int | None = None,
        closed_until_wall_ns: int | None = None,
    ) -> None:
        now_ns, wall_ns = self._clock.boot_ns(), self._clock.wall_ns()
        self.openings += 1
        self._settle_ns = now_ns + _CAUSE_NS
        # Before a board that opened by itself did so, the switches were last seen closed.
        moment_ns = boot_ns if commanded_ns is not None else self._closed_ns
        self._opening = Opening(
            boot_ns=boot_ns,
            wall_ns=wall_ns - (now_ns - boot_ns),
            reason=reason,
            commanded_ns=commanded_ns,
            opened_ns=opened_ns,
            closed_until_wall_ns=closed_until_wall_ns,
            moment=self._moment(moment_ns) if closed_until_wall_ns is None else Moment(),
            **self._cause(),
        )
        self._memory.put(self._opening)
        by_fault = reason != _REASON_REQUEST or self._opening.cause != 0
        self._frames.trigger(now_ns, wall_ns, by_fault)

    def _update(self, **known: Any) -> None:
        assert self._opening is not None
        changed = replace(self._opening, **known)
        if changed != self._opening:
            self._opening = changed
            self._memory.put(changed)

    def _cause(self) -> dict[str, Any]:
        newest = self._frames.newest(STATUS, self._clock.boot_ns())
        if newest is None:
            return {}
        status = self._decode(newest)
        if status.first_cause == 0:
            return {}
        return {
            "cause": status.first_cause,
            "cause_element": status.first_cause_element,
            "cause_value": status.first_cause_value,
        }

    def _moment(self, moment_ns: int) -> Moment:
        moment = Moment()
        if (newest := self._frames.newest(PACK, moment_ns)) is not None:
            sample = self._decode(newest)
            moment = replace(moment, current_a=sample.current_a, voltage_v=sample.voltage_v)
        if (newest := self._frames.newest(CELLS, moment_ns)) is not None:
            scan = self._decode(newest)
            moment = replace(
                moment,
                **_extremes(scan.voltage_v, "voltage_v", "voltage_cell"),
                **_extremes(scan.temperature_c, "temperature_c", "temperature_sensor"),
            )
        return moment


def _extremes(values: "array[float]", value: str, place: str) -> dict[str, Any]:
    known = np.frombuffer(values, np.float32)
    if not np.isfinite(known).any():
        return {}
    low, high = int(np.nanargmin(known)), int(np.nanargmax(known))
    return {
        f"lowest_{value}": float(known[low]),
        f"lowest_{place}": low,
        f"highest_{value}": float(known[high]),
        f"highest_{place}": high,
    }
