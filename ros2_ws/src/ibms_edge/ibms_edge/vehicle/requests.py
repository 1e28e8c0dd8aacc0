# SPDX-License-Identifier: Apache-2.0
"""Requests of a vehicle on CAN: each new one gets one answer, in time, whatever hangs."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.task import Future

from ibms_battery.clock import NS_PER_S, Clock
from ibms_msgs.msg import PackState
from ibms_msgs.srv import ClearFaults, RequestPackState

STEP_PERIOD_S = 0.02
_ANSWER_NS = NS_PER_S  # a service that took longer counts as not active
# The supervisor has to hear that faults are cleared before it is asked for a state.
_AFTER_CLEARING_NS = NS_PER_S // 10
# Standby is asked for within three of its periods and 100 ms: some of that is for the step and the
# way to the supervisor.
_VEHICLE_SILENT_NS = 350_000_000
_PAUSE_NS = 200_000_000  # between two steps: this process stood still
_CODES = RequestPackState.Response


@dataclass
class _Request:
    sequence: int
    state: int
    clears_faults: bool
    since_ns: int
    clearing: Future | None = None
    cleared_ns: int | None = None
    asking: Future | None = None


class VehicleRequests:
    """Carries out requests without ever waiting.

    Args:
        state_client: client of ``request_pack_state``.
        clear_client: client of ``clear_faults``.
        clock: for the age of a request.
        answer: sends the answer to a sequence: 0 or a code of RequestPackState.
    """

    def __init__(
        self,
        state_client: Any,
        clear_client: Any,
        clock: Clock,
        answer: Callable[[int, int], None],
    ) -> None:
        self._state_client = state_client
        self._clear_client = clear_client
        self._clock = clock
        self._answer = answer
        self._known_sequence: int | None = None
        self._heard_ns = 0
        self._stepped_ns = 0
        self._awake_since_ns = 0
        self._vehicle_holds = False
        self._new: deque[_Request] = deque()
        self._pending: list[_Request] = []

    def take(self, values: Mapping[str, float], boot_ns: int) -> None:
        """A frame came; called by the bus thread. What is repeated is no new request."""
        self._heard_ns = boot_ns
        sequence, known = int(values["Sequence"]), self._known_sequence
        self._known_sequence = sequence
        # What a vehicle repeats since before our start is not new either.
        if known is not None and sequence != known:
            state, clears_faults = int(values["RequestedState"]), bool(values["ClearFaults"])
            self._new.append(_Request(sequence, state, clears_faults, boot_ns))

    def step(self) -> None:
        """Go on with all requests; call it each ``STEP_PERIOD_S``."""
        now_ns = self._clock.boot_ns()
        if now_ns - self._stepped_ns > _PAUSE_NS:
            self._awake_since_ns = now_ns  # what came meanwhile may not have been read yet
        self._stepped_ns = now_ns
        while self._new:
            request = self._new.popleft()
            self._give_up_unasked()
            self._pending.append(request)
            if request.clears_faults and self._clear_client.service_is_ready():
                request.clearing = self._clear_client.call_async(ClearFaults.Request())
        for request in list(self._pending):
            self._go_on(request, now_ns)
        heard_ns = max(self._heard_ns, self._awake_since_ns)
        if self._vehicle_holds and now_ns - heard_ns > _VEHICLE_SILENT_NS:
            self._stop_for_silence()

    def _go_on(self, request: _Request, now_ns: int) -> None:
        if now_ns - request.since_ns > _ANSWER_NS:
            self._finish(request, _CODES.CODE_NOT_ACTIVE)
        elif request.asking is None and self._is_cleared(request, now_ns):
            self._ask(request)

    def _is_cleared(self, request: _Request, now_ns: int) -> bool:
        if request.clearing is None:
            return True
        if request.cleared_ns is None and request.clearing.done():
            request.cleared_ns = now_ns
        return request.cleared_ns is not None and now_ns - request.cleared_ns >= _AFTER_CLEARING_NS

    def _ask(self, request: _Request) -> None:
        if not self._state_client.service_is_ready():
            self._finish(request, _CODES.CODE_NOT_ACTIVE)
            return
        self._vehicle_holds = request.state in (PackState.STATE_DRIVE, PackState.STATE_CHARGE)
        request.asking = self._state_client.call_async(
            RequestPackState.Request(state=request.state, requester="vehicle (CAN)")
        )
        # The answer goes out when it comes, not with the next step.
        request.asking.add_done_callback(lambda done: self._on_done(request, done))

    def _on_done(self, request: _Request, done: Future) -> None:
        if request in self._pending:
            self._finish(request, _code_of(done))

    def _finish(self, request: _Request, code: int) -> None:
        self._pending.remove(request)
        if request.asking is not None and not request.asking.done():
            self._state_client.remove_pending_request(request.asking)
        if request.clearing is not None and not request.clearing.done():
            self._clear_client.remove_pending_request(request.clearing)
        self._answer(request.sequence, int(code))

    def _give_up_unasked(self) -> None:
        """The vehicle wants something else by now: never carry out the older wish after it."""
        for request in [request for request in self._pending if request.asking is None]:
            self._finish(request, _CODES.CODE_NOT_REACHABLE)

    def _stop_for_silence(self) -> None:
        if self._state_client.service_is_ready():
            self._vehicle_holds = False
            self._state_client.call_async(
                RequestPackState.Request(
                    state=PackState.STATE_STANDBY, requester="silence of the vehicle (CAN)"
                )
            )


def _code_of(done: Future) -> int:
    response = None if done.exception() is not None else done.result()
    return int(_CODES.CODE_NOT_ACTIVE if response is None else response.code)
