# SPDX-License-Identifier: Apache-2.0
"""Why the pack last opened, as the frame ``LastOpening``: asked of the event memory each second.

The frame is sent when an answer comes. So the vehicle hears nothing old: no recorder, no frame.
"""

import math
from collections.abc import Callable
from typing import Any

from rclpy.task import Future

from ibms_battery.clock import NS_PER_S, Clock
from ibms_msgs.srv import ExplainOpening

_ANSWER_NS = 5 * NS_PER_S  # an answer that took longer will not come any more

Values = dict[str, float]


class LastOpening:
    """Asks for the last opening without ever waiting.

    Args:
        client: client of ``explain_opening``.
        clock: for the age of a question.
        send: sends the frame with these values.
    """

    def __init__(self, client: Any, clock: Clock, send: Callable[[Values], None]) -> None:
        self._client = client
        self._clock = clock
        self._send = send
        self._asked: Future | None = None
        self._asked_ns = 0

    def ask(self) -> None:
        """Ask anew, unless the last question is still open."""
        now_ns = self._clock.boot_ns()
        if self._asked is not None:
            if now_ns - self._asked_ns < _ANSWER_NS:
                return
            self._client.remove_pending_request(self._asked)
            self._asked = None
        if self._client.service_is_ready():
            self._asked_ns = now_ns
            self._asked = self._client.call_async(ExplainOpening.Request(index=0))
            self._asked.add_done_callback(self._on_answer)

    def _on_answer(self, future: Future) -> None:
        self._asked = None
        answer = future.result()
        if answer is not None and answer.code != ExplainOpening.Response.CODE_NOT_ACTIVE:
            self._send(values_of(answer))


def values_of(answer: ExplainOpening.Response) -> Values:
    """Values of the frame; all zero and element -1 while no opening is remembered."""
    value = answer.cause_value
    wall_ms = answer.stamp.sec * 1000 + answer.stamp.nanosec // 1_000_000
    return {
        "Reason": answer.reason,
        "Cause": answer.cause,
        "CauseElement": min(answer.cause_element, 32767),
        "CauseValue": max(-2_147_483.0, min(2_147_483.0, value)) if math.isfinite(value) else 0.0,
        "Openings": answer.openings,
        "WallTime": wall_ms,
    }
