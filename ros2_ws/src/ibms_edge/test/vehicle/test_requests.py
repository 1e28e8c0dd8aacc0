# SPDX-License-Identifier: Apache-2.0
"""Requests over CAN: each new one gets one answer, in order, whatever the services do."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.task import Future

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_edge.vehicle.requests import VehicleRequests
from ibms_msgs.msg import PackState
from ibms_msgs.srv import RequestPackState

Code = RequestPackState.Response
DRIVE, STANDBY = PackState.STATE_DRIVE, PackState.STATE_STANDBY


class Client:
    """A service that answers when it is told to."""

    def __init__(self) -> None:
        self.ready = True
        self.requests: list[Any] = []
        self.open: list[Future] = []

    def service_is_ready(self) -> bool:
        return self.ready

    def call_async(self, request: Any) -> Future:
        self.requests.append(request)
        self.open.append(Future())
        return self.open[-1]

    def remove_pending_request(self, future: Future) -> None:
        self.open.remove(future)

    def answer(self, code: int = 0) -> None:
        self.open.pop(0).set_result(RequestPackState.Response(code=code))


class Vehicle:
    """A vehicle that speaks, and what it is answered."""

    def __init__(self) -> None:
        self.clock = VirtualClock(100 * NS_PER_S)
        self.state, self.clear = Client(), Client()
        self.answers: list[tuple[int, int]] = []
        self.requests = VehicleRequests(
            self.state,
            self.clear,
            self.clock,
            lambda sequence, code: self.answers.append((sequence, code)),
        )
        self.send(0, STANDBY)  # its first frame may be old

    def send(self, sequence: int, state: int, clears_faults: bool = False) -> None:
        self.frame = {
            "Sequence": sequence,
            "RequestedState": state,
            "ClearFaults": int(clears_faults),
        }
        self.requests.take(self.frame, self.clock.boot_ns())

    def step(self, times: int = 1, speaks: bool = True) -> None:
        """Time passes; the vehicle repeats its frame, as the DBC asks for."""
        for _ in range(times):
            self.clock.set(self.clock.boot_ns() + NS_PER_S // 10)
            if speaks:
                self.requests.take(self.frame, self.clock.boot_ns())
            self.requests.step()

    @property
    def asked(self) -> list[int]:
        return [request.state for request in self.state.requests]


@pytest.fixture
def vehicle() -> Vehicle:
    return Vehicle()


def test_only_a_new_sequence_is_a_request(vehicle: Vehicle) -> None:
    vehicle.send(0, DRIVE)
    vehicle.step()
    assert vehicle.asked == []
    vehicle.send(1, DRIVE)
    vehicle.send(1, DRIVE)
    vehicle.step()
    assert vehicle.asked == [DRIVE]
    vehicle.state.answer()
    assert vehicle.answers == [(1, 0)]


def test_a_refusal_is_answered_with_its_code(vehicle: Vehicle) -> None:
    vehicle.send(1, DRIVE)
    vehicle.step()
    vehicle.state.answer(Code.CODE_FAULT_STANDS)
    assert vehicle.answers == [(1, Code.CODE_FAULT_STANDS)]


def test_a_service_that_never_answers_is_answered_for_once(vehicle: Vehicle) -> None:
    vehicle.send(1, DRIVE)
    vehicle.step(9)
    assert vehicle.answers == []
    vehicle.step(3)
    assert vehicle.answers == [(1, Code.CODE_NOT_ACTIVE)]
    assert vehicle.state.open == []  # nothing piles up
    vehicle.step(20)
    assert len(vehicle.answers) == 1


def test_a_service_that_is_not_there_is_answered_for(vehicle: Vehicle) -> None:
    vehicle.state.ready = False
    vehicle.send(1, STANDBY)
    vehicle.step()
    assert vehicle.answers == [(1, Code.CODE_NOT_ACTIVE)]


def test_a_service_that_fails_is_answered_for(vehicle: Vehicle) -> None:
    vehicle.send(1, DRIVE)
    vehicle.step()
    vehicle.state.open.pop().set_exception(RuntimeError("gone"))
    assert vehicle.answers == [(1, Code.CODE_NOT_ACTIVE)]


def test_the_state_is_asked_for_after_the_faults_are_cleared(vehicle: Vehicle) -> None:
    vehicle.send(1, STANDBY, clears_faults=True)
    vehicle.step(2)
    assert len(vehicle.clear.requests) == 1
    assert vehicle.asked == []
    vehicle.clear.answer()
    vehicle.step()
    assert vehicle.asked == []  # the supervisor has not heard of it yet
    vehicle.step()
    assert vehicle.asked == [STANDBY]


def test_clearing_that_never_ends_is_answered_too(vehicle: Vehicle) -> None:
    vehicle.send(1, STANDBY, clears_faults=True)
    vehicle.step(12)
    assert vehicle.answers == [(1, Code.CODE_NOT_ACTIVE)]
    assert vehicle.clear.open == []


def test_an_older_wish_is_not_carried_out_after_a_newer_one(vehicle: Vehicle) -> None:
    vehicle.send(1, DRIVE, clears_faults=True)
    vehicle.step()
    vehicle.send(2, STANDBY)
    vehicle.step()
    assert vehicle.answers == [(1, Code.CODE_NOT_REACHABLE)]
    vehicle.state.answer()
    vehicle.step(5)
    assert vehicle.asked == [STANDBY]
    assert vehicle.answers[1:] == [(2, 0)]


def test_a_hung_request_does_not_hold_up_the_next(vehicle: Vehicle) -> None:
    vehicle.send(1, DRIVE)
    vehicle.step()
    vehicle.send(2, STANDBY)
    vehicle.step()
    assert vehicle.asked == [DRIVE, STANDBY]


def test_silence_while_driving_asks_for_standby_once(vehicle: Vehicle) -> None:
    vehicle.send(1, DRIVE)
    vehicle.step()
    vehicle.state.answer()
    vehicle.step(3, speaks=False)
    assert vehicle.asked == [DRIVE]
    vehicle.state.ready = False
    vehicle.step(5, speaks=False)
    vehicle.state.ready = True
    vehicle.step(30, speaks=False)
    assert vehicle.asked == [DRIVE, STANDBY]
    assert vehicle.answers == [(1, 0)]  # nobody has asked for that


def test_standby_is_asked_for_within_three_periods_of_the_vehicle_and_100_ms(
    vehicle: Vehicle,
) -> None:
    vehicle.send(1, DRIVE)
    for _ in range(10):  # two frames may be missing
        vehicle.step(2, speaks=False)
        vehicle.step()
    assert vehicle.asked == [DRIVE]
    vehicle.step(4, speaks=False)
    assert vehicle.asked == [DRIVE, STANDBY]


def test_a_pause_of_this_process_is_no_silence_of_the_vehicle(vehicle: Vehicle) -> None:
    vehicle.send(1, DRIVE)
    vehicle.step(2)
    vehicle.clock.set(vehicle.clock.boot_ns() + NS_PER_S)
    vehicle.requests.step()  # before the bus thread has read what came
    vehicle.step(30)
    assert vehicle.asked == [DRIVE]
    vehicle.clock.set(vehicle.clock.boot_ns() + NS_PER_S)
    vehicle.step(4, speaks=False)
    assert vehicle.asked == [DRIVE]
    vehicle.step(speaks=False)
    assert vehicle.asked == [DRIVE, STANDBY]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(0, 255), st.booleans()),
            st.tuples(st.sampled_from(["state", "clear", "step"]), st.just(0), st.booleans()),
        ),
        max_size=40,
    )
)
def test_every_new_request_gets_one_answer(actions: list[tuple[str, int, bool]]) -> None:
    vehicle = Vehicle()
    expected, known = [], 0
    for what, sequence, flag in actions:
        if what == "send":
            if sequence != known:
                expected.append(sequence)
            known = sequence
            vehicle.send(sequence, DRIVE if flag else STANDBY, clears_faults=flag)
        elif what == "step":
            vehicle.step(3)
        else:
            client = vehicle.state if what == "state" else vehicle.clear
            client.ready = flag
            if client.open:
                client.answer()
    vehicle.step(12)
    assert sorted(sequence for sequence, _ in vehicle.answers) == sorted(expected)
