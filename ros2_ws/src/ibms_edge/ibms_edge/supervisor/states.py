# SPDX-License-Identifier: Apache-2.0
"""States and substates of the pack as tables: how long each may take and where it leads.

``docs/pack_states.md`` shows the same to people; tests hold machine, tables and page together.
"""

import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple

from ibms_battery.pack import Pack
from ibms_edge.supervisor.topology import OPEN, PRECHARGING, transitions_of, way_between


class State(IntEnum):
    """Pack states; equal to PackState.STATE_*."""

    OFF = 0
    STANDBY = 1
    PRECHARGE = 2
    DRIVE = 3
    CHARGE = 4
    REST = 5
    ERROR = 6
    SHUTDOWN = 7


class Substate(StrEnum):
    """Steps within a state, as PackState.substate shows them."""

    WAITING = "waiting for inputs"
    OPENING = "opening"
    OPEN = "open"
    NOT_OPEN = "not confirmed open"
    ARMING = "arming"
    PRECHARGING = "precharging"
    CLOSING = "closing"
    PAUSE = "pause before retry"
    CONNECTED = "connected"
    REWIRING = "changing the wiring"
    ZERO_CURRENT = "waiting for zero current"


class Code(IntEnum):
    """Answers to requests; equal to RequestPackState.CODE_*."""

    OK = 0
    UNKNOWN_STATE = 100
    NOT_REACHABLE = 101
    FAULT_STANDS = 102


class Place(NamedTuple):
    """Where the machine is."""

    state: State
    substate: Substate


@dataclass(frozen=True)
class Limits:
    """Time limits [s] and the currents taken as none [A]."""

    input_stale_s: float = 0.5
    arming_s: float = 1.5
    precharging_s: float = 2.0
    closing_s: float = 0.5
    pause_s: float = 3.0
    recovery_s: float = 5.0  # beyond the pause, for a fault to recover before the next attempt
    wiring_s: float = 0.5
    joining_rest_s: float = 1.0  # without current before another string joins
    zero_current_s: float = 2.0
    zero_current_heard_s: float = 0.2  # consumers get this long to hear the request
    opening_s: float = 1.0
    holding_s: float = 0.0  # beyond opening, while the contactors are held closed for the fuse
    zero_current_a: float = 2.0
    precharge_tolerance_a: float = 0.5  # of the current sensor, beside what the resistor lets flow

    @classmethod
    def of(cls, pack: Pack) -> "Limits":
        """The limits of a pack: waits, precharge, strings and fuse come from its description.

        Raises:
            ValueError: if its switches know no way from open to precharge.
        """
        way = way_between(pack.switching, OPEN, PRECHARGING)
        waits_s = math.fsum(step.after_s for step in transitions_of(pack.switching, way))
        return cls(
            arming_s=cls.arming_s + waits_s,
            precharging_s=pack.precharge.timeout_s,
            closing_s=cls.closing_s * max(1, len(pack.strings)),
            pause_s=pack.precharge.pause_s,
            holding_s=pack.fuse.clearing_time_s if pack.fuse else 0.0,
        )

    def longest_s(self, names: tuple[str, ...], held: bool) -> float:
        """Sum of the named limits [s], holding only where it happens; infinite without names."""
        if not names:
            return math.inf
        return math.fsum(getattr(self, name) for name in names if held or name != "holding_s")


OFF = Place(State.OFF, Substate.WAITING)
FAILED = Place(State.ERROR, Substate.OPENING)
CONNECTED = (State.DRIVE, State.CHARGE)
DISCONNECTED = (State.STANDBY, State.REST, State.SHUTDOWN)
ATTEMPT = (Substate.ARMING, Substate.PRECHARGING, Substate.CLOSING)
LEAVING = (Substate.ZERO_CURRENT, Substate.OPENING)  # a connected state

# What a user may ask for, from which state.
REQUESTABLE: dict[State, frozenset[State]] = {
    State.OFF: frozenset(),
    State.STANDBY: frozenset(
        {State.STANDBY, State.DRIVE, State.CHARGE, State.REST, State.SHUTDOWN}
    ),
    State.PRECHARGE: frozenset({State.STANDBY, State.SHUTDOWN}),
    State.DRIVE: frozenset({State.DRIVE, State.STANDBY, State.REST, State.SHUTDOWN}),
    State.CHARGE: frozenset({State.CHARGE, State.STANDBY, State.REST, State.SHUTDOWN}),
    State.REST: frozenset({State.REST, State.STANDBY, State.DRIVE, State.CHARGE, State.SHUTDOWN}),
    State.ERROR: frozenset({State.STANDBY, State.SHUTDOWN}),
    State.SHUTDOWN: frozenset({State.STANDBY}),
}


@dataclass(frozen=True, slots=True)
class Stay:
    """How long a substate may last and where it leads by itself.

    Attributes:
        limits: fields of ``Limits`` that add up to the longest stay; none: the machine may rest.
        ways: places that it goes to by itself, those after the limit among them.
    """

    limits: tuple[str, ...]
    ways: frozenset[Place]


def _stay(*ways: Place, limits: tuple[str, ...] = ()) -> Stay:
    return Stay(limits, frozenset(ways))


_OPENING_LIMITS = ("opening_s", "holding_s")
_ERROR_OPEN = Place(State.ERROR, Substate.OPEN)
_ERROR_NOT_OPEN = Place(State.ERROR, Substate.NOT_OPEN)
_RETRY = Place(State.PRECHARGE, Substate.OPENING)
_ARMING, _PRECHARGING, _CLOSING = (Place(State.PRECHARGE, substate) for substate in ATTEMPT)
_PAUSE = Place(State.PRECHARGE, Substate.PAUSE)

STAYS: dict[Place, Stay] = {
    OFF: _stay(Place(State.STANDBY, Substate.OPENING)),
    # Disconnected: open, or on the way there. After the end of use the inputs may fall silent.
    **{
        Place(state, Substate.OPENING): _stay(
            Place(state, Substate.OPEN), FAILED, *silent, limits=_OPENING_LIMITS
        )
        for state, silent in ((State.STANDBY, [OFF]), (State.REST, [OFF]), (State.SHUTDOWN, []))
    },
    **{
        Place(state, Substate.OPEN): _stay(Place(state, Substate.OPENING), *silent)
        for state, silent in ((State.STANDBY, [OFF]), (State.REST, [OFF]), (State.SHUTDOWN, []))
    },
    # Precharge: one attempt, then another after a pause.
    _ARMING: _stay(_PRECHARGING, _RETRY, FAILED, limits=("arming_s",)),
    _PRECHARGING: _stay(_CLOSING, _RETRY, FAILED, limits=("precharging_s",)),
    _CLOSING: _stay(
        *(Place(state, Substate.CONNECTED) for state in CONNECTED),
        _RETRY,
        FAILED,
        limits=("closing_s",),
    ),
    _RETRY: _stay(_PAUSE, FAILED, limits=_OPENING_LIMITS),
    _PAUSE: _stay(_ARMING, FAILED, limits=("pause_s", "recovery_s")),
    # Connected, and the way back over zero current.
    **{
        Place(state, Substate.CONNECTED): _stay(
            Place(state, Substate.REWIRING), Place(state, Substate.ZERO_CURRENT), FAILED
        )
        for state in CONNECTED
    },
    **{
        Place(state, Substate.REWIRING): _stay(
            Place(state, Substate.CONNECTED),
            Place(state, Substate.ZERO_CURRENT),
            FAILED,
            limits=("wiring_s",),
        )
        for state in CONNECTED
    },
    **{
        Place(state, Substate.ZERO_CURRENT): _stay(
            Place(state, Substate.OPENING), FAILED, limits=("zero_current_s",)
        )
        for state in CONNECTED
    },
    **{
        Place(state, Substate.OPENING): _stay(
            *(Place(target, Substate.OPEN) for target in DISCONNECTED),
            FAILED,
            limits=_OPENING_LIMITS,
        )
        for state in CONNECTED
    },
    # Error: the pack is to be open; told where it is not.
    FAILED: _stay(_ERROR_OPEN, _ERROR_NOT_OPEN, limits=_OPENING_LIMITS),
    _ERROR_NOT_OPEN: _stay(_ERROR_OPEN),
    _ERROR_OPEN: _stay(FAILED),
}
