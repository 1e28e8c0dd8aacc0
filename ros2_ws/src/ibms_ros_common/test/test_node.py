# SPDX-License-Identifier: Apache-2.0
"""The base of the nodes in this process: without DDS on a virtual clock, and with it for itself."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from lifecycle_msgs.msg import State
from msgspec import Meta, Struct
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message

from ibms_battery.clock import SystemClock, VirtualClock
from ibms_msgs.msg import Event, PackState
from ibms_ros_common.node import BmsNode

MS = 1_000_000


class SampleParameters(Struct, frozen=True, kw_only=True):
    pack: str = "p"
    rate: Annotated[float, Meta(gt=0, le=10)] = 1.0


class Sample(BmsNode[SampleParameters]):
    """Takes the place of ``pack_supervisor`` in the manifest."""

    def __init__(self, **options: Any) -> None:
        super().__init__("pack_supervisor", SampleParameters, **options)
        self.log: list[str] = []
        self.heard: list[int] = []
        self.raise_in = ""

    def _note(self, what: str) -> None:
        self.log.append(what)
        if self.raise_in == what:
            raise ValueError(f"no {what} today")

    def configure(self, parameters: SampleParameters) -> None:
        self._note("configure")
        self.advertise("pack/state")
        self.listen("cells/state", lambda message: self.heard.append(message.boot_ns), 0.1)
        self.every(0.1, lambda: self.publish("pack/state", PackState(boot_ns=self.clock.boot_ns())))
        self.loop(lambda now_ns: None, 0.02)

    def activate(self) -> None:
        self._note("activate")

    def deactivate(self) -> None:
        self._note("deactivate")
        self.publish("pack/state", PackState(text="last words"))

    def cleanup(self) -> None:
        self._note("cleanup")


@pytest.fixture
def sent() -> list[tuple[str, Any]]:
    return []


@pytest.fixture
def node(ros: None, sent: list[tuple[str, Any]]) -> Iterator[Sample]:
    node = Sample(
        clock=VirtualClock(10_000 * MS), sink=lambda topic, message: sent.append((topic, message))
    )
    yield node
    node.raise_in = ""
    node.stop()
    node.destroy_node()


def state_of(node: Sample) -> int:
    return int(node._state_machine.current_state[0])


def start(node: Sample) -> None:
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert state_of(node) == State.PRIMARY_STATE_ACTIVE


class Message:
    def __init__(self, boot_ns: int) -> None:
        self.boot_ns = boot_ns


def test_the_way_through_the_states(node: Sample, sent: list[tuple[str, Any]]) -> None:
    start(node)
    node.trigger_deactivate()
    assert [message.text for _, message in sent] == ["last words"]  # while it may still speak
    node.trigger_cleanup()
    assert node.log == ["configure", "activate", "deactivate", "cleanup"]
    assert (node.inputs, node.loops, node.periodic) == ({}, [], [])
    start(node)


def test_what_a_topic_keeps_for_latecomers_is_handed_over_with_the_activation(node: Sample) -> None:
    now_ns = node.clock.boot_ns()
    node.trigger_configure()
    for age_ns in (50 * MS, 20 * MS):  # as if from DDS, before the node is active
        node.receive(node.inputs["cells/state"], Message(now_ns - age_ns))
    assert node.heard == []
    node.trigger_activate()
    assert node.heard == [now_ns - 50 * MS, now_ns - 20 * MS]
    node.trigger_deactivate()
    node.receive(node.inputs["cells/state"], Message(now_ns - 200 * MS))
    node.trigger_activate()
    assert len(node.heard) == 2  # too old by now
    assert node.inputs["cells/state"].stale == 1


def test_who_looks_on_gets_messages_serialized(node: Sample) -> None:
    start(node)
    seen: list[tuple[str, int, bytes]] = []
    node.look_on(["pack/state"], lambda *message: seen.append(message))
    node.receive(node.inputs["pack/state"], PackState(text="as it came"))
    ((topic, received_ns, data),) = seen
    assert (topic, received_ns) == ("pack/state", node.clock.boot_ns())
    assert deserialize_message(data, PackState).text == "as it came"


def test_an_event_carries_who_and_when(node: Sample, sent: list[tuple[str, Any]]) -> None:
    start(node)
    node.advertise("events")
    node.tell(Event.KIND_DEVICE, "lost", Event.SEVERITY_WARNING, element=3)
    topic, event = sent[-1]
    assert topic == "events"
    assert (event.source, event.boot_ns) == ("pack_supervisor", node.clock.boot_ns())
    assert (event.kind, event.severity) == (Event.KIND_DEVICE, Event.SEVERITY_WARNING)
    assert (event.text, event.element, event.diagnosis) == ("lost", 3, 0)
    assert event.value != event.value


def test_a_refusal_to_configure_leaves_it_unconfigured_and_cleaned_up(node: Sample) -> None:
    node.raise_in = "configure"
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert state_of(node) == State.PRIMARY_STATE_UNCONFIGURED
    assert node.log == ["configure", "cleanup"]
    node.raise_in = ""
    start(node)


def test_a_refusal_to_activate_leaves_nothing_acting(
    node: Sample, sent: list[tuple[str, Any]]
) -> None:
    node.raise_in = "activate"
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.FAILURE
    assert state_of(node) == State.PRIMARY_STATE_INACTIVE
    assert not node.is_active
    assert node.log == ["configure", "activate", "deactivate"]
    sent.clear()
    node.advance(node.clock.boot_ns() + 1_000 * MS)
    assert sent == []


def test_a_transition_that_raises_closes_the_node_down(node: Sample) -> None:
    start(node)
    node.raise_in = "deactivate"
    node.trigger_deactivate()
    assert not node.is_active
    assert state_of(node) == State.PRIMARY_STATE_UNCONFIGURED
    assert node.log[-1] == "cleanup"
    node.raise_in = ""
    start(node)


def test_an_error_ends_what_acts(node: Sample) -> None:
    start(node)
    result = node.on_error(LifecycleState("active", 3))
    assert result == TransitionCallbackReturn.SUCCESS
    assert not node.is_active
    assert node.log[-2:] == ["deactivate", "cleanup"]


def test_parameters_change_only_while_it_is_unconfigured(node: Sample) -> None:
    def change(value: float) -> Any:
        return node.set_parameters([Parameter("rate", value=value)])[0]

    assert change(2.0).successful
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert "is configured; deactivate and clean it up first" in change(3.0).reason
    node.trigger_activate()
    assert not change(3.0).successful
    node.trigger_deactivate()
    assert not change(3.0).successful
    node.trigger_cleanup()
    assert change(3.0).successful
    assert not change(11.0).successful


def test_stale_and_future_messages_are_counted_and_dropped(node: Sample) -> None:
    start(node)
    source = node.inputs["cells/state"]
    now_ns = node.clock.boot_ns()
    ages_ms = [0, 100, 101, 5_000, -1, -50]
    for age_ms in ages_ms:
        node.receive(source, Message(now_ns - age_ms * MS))
    assert node.heard == [now_ns, now_ns - 100 * MS, now_ns + MS]
    assert (source.received, source.stale) == (6, 3)
    assert source.oldest_ns == 100 * MS


def test_a_stamp_of_the_future_is_dropped_where_age_does_not_count_either(node: Sample) -> None:
    start(node)
    heard: list[int] = []
    source = node.listen("switch/state", lambda message: heard.append(message.boot_ns))
    now_ns = node.clock.boot_ns()
    for age_ms in [0, 5_000, -1, -50]:
        node.receive(source, Message(now_ns - age_ms * MS))
    assert heard == [now_ns, now_ns - 5_000 * MS, now_ns + MS]
    assert source.stale == 1


def test_nothing_is_heard_or_said_while_inactive(node: Sample, sent: list[tuple[str, Any]]) -> None:
    node.trigger_configure()
    source = node.inputs["cells/state"]
    node.receive(source, Message(node.clock.boot_ns()))
    node.publish("pack/state", PackState())
    assert (node.heard, sent) == ([], [])


def test_periods_run_on_the_virtual_clock(node: Sample, sent: list[tuple[str, Any]]) -> None:
    start(node)
    node.advance(10_350 * MS)
    assert [message.boot_ns // MS for _, message in sent] == [10_100, 10_200, 10_300]
    assert node.published["pack/state"] == 3


def test_only_what_the_manifest_allows_is_published(node: Sample) -> None:
    with pytest.raises(RuntimeError, match="does not let 'pack_supervisor' publish 'pack/limits'"):
        node.advertise("pack/limits")
    with pytest.raises(KeyError):
        node.listen("no/such/topic", lambda message: None)


def test_second_publishers_are_named(node: Sample) -> None:
    start(node)
    assert node.foreign_publishers() == []
    node.inputs["cells/state"].publishers_alive = 2
    assert node.foreign_publishers() == ["cells/state"]


def test_a_header_carries_the_wall_time_of_its_sample(node: Sample) -> None:
    clock = VirtualClock(5_000 * MS, wall_ns=1_700_000_000_000 * MS)
    node.clock = clock
    node.pack_name = "robot"
    stamp = node.header(4_500 * MS).stamp
    assert (stamp.sec, stamp.nanosec) == (1_699_999_999, 500 * MS)
    assert node.header().frame_id == "robot"


def test_the_failure_of_a_loop_is_the_nodes(node: Sample) -> None:
    start(node)
    assert node.failure is None
    node.loops[0].failure = ArithmeticError("broken")
    assert isinstance(node.failure, ArithmeticError)


def test_simulated_time_is_refused_on_the_machines_clock(ros: None) -> None:
    node = Sample(
        clock=SystemClock(),
        sink=lambda topic, message: None,
        parameter_overrides=[Parameter("use_sim_time", value=True)],
    )
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert node.log == ["cleanup"]
    with pytest.raises(RuntimeError, match="lives on the machine's clock"):
        node.advance(1)
    node.destroy_node()


def test_with_dds_it_makes_and_removes_its_interfaces(ros: None) -> None:
    node = Sample()
    start(node)
    assert {"/pack/state", "/diagnostics"} <= dict(node.get_topic_names_and_types()).keys()
    assert node.count_publishers("pack/state") == 1
    assert node.count_subscribers("cells/state") == 1
    node.stop()
    assert node._outputs == {}
    assert node.count_subscribers("cells/state") == 0
    node.destroy_node()


def test_what_is_time_critical_is_a_subject_of_the_diagnostics(node: Sample) -> None:
    beats: list[int] = []
    node.trigger_configure()
    node.every(0.03, lambda: beats.append(node.clock.boot_ns()), timed_as="executor")
    node.report_process = lambda status: status.add(priority=40)
    rests: list[int] = []
    node.rest = lambda: rests.append(len(beats))
    node.trigger_activate()
    node.advance(node.clock.boot_ns() + 1_000 * MS)
    published: list[Any] = []
    node._outputs["/diagnostics"] = SimpleNamespace(publish=published.append)
    node._publish_diagnostics()
    shown = {status.name: status for status in published[0].status}
    assert list(shown) == [
        f"pack_supervisor: {subject}" for subject in ("node", "process", "loop", "executor")
    ]
    loop = {pair.key: pair.value for pair in shown["pack_supervisor: loop"].values}
    assert (loop["steps"], loop["longest gap [ms]"], loop["overruns"]) == ("50", "20", "0")
    executor = {pair.key: pair.value for pair in shown["pack_supervisor: executor"].values}
    assert (executor["steps"], executor["period [ms]"]) == (str(len(beats)), "30")
    assert rests == list(range(1, len(beats) + 1))
