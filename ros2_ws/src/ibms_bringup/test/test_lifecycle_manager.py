# SPDX-License-Identifier: Apache-2.0
"""The manager's decisions, with nodes that answer here instead of over DDS."""

import atexit
from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.parameter import Parameter
from rclpy.task import Future

from ibms_battery.clock import VirtualClock
from ibms_bringup.lifecycle_manager import LifecycleManager

NAMES = ["afe_driver", "protection", "switch_control"]
UNCONFIGURED = State.PRIMARY_STATE_UNCONFIGURED
INACTIVE = State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE
LEADS_TO = {Transition.TRANSITION_CONFIGURE: INACTIVE, Transition.TRANSITION_ACTIVATE: ACTIVE}


class Graph:
    """States of the managed nodes, and what was asked of them."""

    def __init__(self) -> None:
        self.answers: list[tuple[Future, Any]] = []  # under way
        self.states = dict.fromkeys(NAMES, UNCONFIGURED)
        self.running = set(NAMES)
        self.refusing: set[str] = set()
        self.hung: set[str] = set()
        self.transitions: list[tuple[str, int]] = []

    def create_client(self, _kind: Any, service: str) -> Any:
        name, _, kind = service.partition("/")
        graph = self

        class Client:
            def service_is_ready(self) -> bool:
                return name in graph.running

            def call_async(self, request: Any) -> Future:
                future = Future()
                if name not in graph.hung:
                    graph.answers.append((future, graph.answer(name, kind, request)))
                return future

        return Client()

    def answer(self, name: str, kind: str, request: Any) -> Any:
        if kind == "get_state":
            return GetState.Response(current_state=State(id=self.states[name]))
        self.transitions.append((name, request.transition.id))
        if name in self.refusing:
            return ChangeState.Response(success=False)
        self.states[name] = LEADS_TO[request.transition.id]
        return ChangeState.Response(success=True)


class Scene:
    """The manager on a virtual clock, ticked by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.graph = Graph()
        self.clock = VirtualClock(10**9)
        monkeypatch.setattr(
            LifecycleManager,
            "create_client",
            lambda _, kind, name: self.graph.create_client(kind, name),
        )
        self.manager = LifecycleManager(
            self.clock, parameter_overrides=[Parameter("nodes", value=NAMES)]
        )

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.manager._tick()
            while self.graph.answers:
                future, answer = self.graph.answers.pop(0)
                future.set_result(answer)
            self.clock.set(self.clock.boot_ns() + 50_000_000)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    if not rclpy.ok():
        rclpy.init()
        atexit.register(rclpy.try_shutdown)
    scene = Scene(monkeypatch)
    yield scene
    scene.manager.destroy_node()


def activated(scene: Scene) -> list[str]:
    wanted = Transition.TRANSITION_ACTIVATE
    return [name for name, transition in scene.graph.transitions if transition == wanted]


def test_all_come_up_each_activated_after_those_before_it(scene: Scene) -> None:
    scene.run(0.2)
    assert set(scene.graph.states.values()) == {ACTIVE}
    assert activated(scene) == NAMES


def test_a_missing_node_holds_back_those_after_it_only(scene: Scene) -> None:
    scene.graph.running.remove("protection")
    scene.run(2.0)
    states = scene.graph.states
    assert states == {"afe_driver": ACTIVE, "protection": UNCONFIGURED, "switch_control": INACTIVE}
    scene.graph.running.add("protection")
    scene.run(0.3)
    assert set(states.values()) == {ACTIVE}


def test_a_restarted_node_is_brought_up_again(scene: Scene) -> None:
    scene.run(0.2)
    scene.graph.states["protection"] = UNCONFIGURED
    scene.run(4.0)
    assert scene.graph.states["protection"] == ACTIVE


def test_a_refusal_is_tried_again_without_hurry(scene: Scene) -> None:
    scene.graph.refusing.add("afe_driver")
    scene.run(5.0)
    tries = [name for name, _ in scene.graph.transitions if name == "afe_driver"]
    assert 2 <= len(tries) <= 4
    scene.graph.refusing.clear()
    scene.run(3.0)
    assert set(scene.graph.states.values()) == {ACTIVE}


def test_a_node_that_hangs_is_told_and_taken_up_when_it_answers(scene: Scene) -> None:
    scene.graph.hung.add("protection")
    scene.run(4.0)
    assert next(node for node in scene.manager._nodes if node.name == "protection").silent
    assert scene.graph.states["switch_control"] == INACTIVE
    scene.graph.hung.clear()
    scene.run(4.0)
    assert set(scene.graph.states.values()) == {ACTIVE}
