# SPDX-License-Identifier: Apache-2.0
"""The frame about the last opening: sent with each answer of the event memory, never waited for."""

import math
from pathlib import Path
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from rclpy.task import Future

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_battery.pack import Pack
from ibms_edge.vehicle.last_opening import LastOpening, Values, values_of
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.mapping import load_map
from ibms_msgs.srv import ExplainOpening

Answer = ExplainOpening.Response


class Client:
    """A service that answers when it is told to."""

    def __init__(self) -> None:
        self.ready = True
        self.open: list[Future] = []
        self.removed = 0

    def service_is_ready(self) -> bool:
        return self.ready

    def call_async(self, request: Any) -> Future:
        assert request.index == 0
        self.open.append(Future())
        return self.open[-1]

    def remove_pending_request(self, future: Future) -> None:
        self.open.remove(future)
        self.removed += 1

    def answer(self, answer: Any) -> None:
        self.open.pop(0).set_result(answer)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(100 * NS_PER_S)


@pytest.fixture
def sent() -> list[Values]:
    return []


@pytest.fixture
def asking(client: Client, clock: VirtualClock, sent: list[Values]) -> LastOpening:
    return LastOpening(client, clock, sent.append)


OPENING = Answer(
    success=True,
    openings=4,
    stamp=Time(sec=1_700_000_000, nanosec=123_456_789),
    reason=1,
    cause=101,
    cause_element=37,
    cause_value=4.6,
)


def test_each_answer_is_one_frame(asking: LastOpening, client: Client, sent: list[Values]) -> None:
    for _ in range(2):
        asking.ask()
        client.answer(OPENING)
    assert len(sent) == 2
    assert (sent[0]["Cause"], sent[0]["CauseElement"], sent[0]["Openings"]) == (101, 37, 4)
    assert sent[0]["WallTime"] == 1_700_000_000_123


def test_without_the_recorder_nothing_is_sent(
    asking: LastOpening, client: Client, sent: list[Values]
) -> None:
    client.ready = False
    asking.ask()
    assert client.open == []
    client.ready = True
    asking.ask()
    client.answer(Answer(code=Answer.CODE_NOT_ACTIVE))
    assert sent == []


def test_questions_do_not_pile_up_and_a_lost_one_is_given_up(
    asking: LastOpening, client: Client, clock: VirtualClock, sent: list[Values]
) -> None:
    for _ in range(5):
        asking.ask()
        clock.advance(0.9)
    assert len(client.open) == 1
    clock.advance(1.0)
    asking.ask()
    assert (len(client.open), client.removed) == (1, 1)
    client.answer(OPENING)
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("value", "shown"), [(4.6, 4.6), (math.nan, 0.0), (math.inf, 0.0), (1e9, 2_147_483.0)]
)
def test_the_frame_can_be_sent_whatever_the_answer_holds(
    config: Path, pack: Pack, value: float, shown: float
) -> None:
    message = find_message(load_map(config / "can" / "maps" / pack.can_map, pack).database,
                           "LastOpening")  # fmt: skip
    frame = FrameEncoder(message).encode(
        values_of(Answer(openings=2**32 - 1, cause_element=10**6, cause_value=value))
    )
    decoded = FrameDecoder(message, protected=True).decode(frame.data)
    assert decoded is not None
    assert decoded["CauseValue"] == pytest.approx(shown, abs=0.001)
    assert decoded["CauseElement"] == 32767


def test_no_opening_is_said_as_such(
    asking: LastOpening, client: Client, sent: list[Values]
) -> None:
    asking.ask()
    client.answer(Answer(code=Answer.CODE_NO_SUCH_OPENING, cause_element=-1, cause_value=math.nan))
    assert (sent[0]["Openings"], sent[0]["CauseElement"], sent[0]["WallTime"]) == (0, -1, 0)
