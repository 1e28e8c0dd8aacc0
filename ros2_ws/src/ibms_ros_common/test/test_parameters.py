# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct, field
from rclpy.node import Node
from rclpy.parameter import Parameter

from ibms_battery.configuration import ConfigurationError
from ibms_ros_common import parameters
from ibms_ros_common.parameters import ParameterError

DATA = Path(__file__).parent / "data"


class Bus(Struct, frozen=True):
    channel: str = "can0"
    rate: Annotated[int, Meta(ge=10, le=1000, description="bit rate [kbit/s]")] = 500


class Pump(Struct, frozen=True, kw_only=True):
    speed: Annotated[float, Meta(gt=0, le=10, description="turns per second")]
    mode: Literal["fast", "slow"] = "fast"
    gains: Annotated[list[float], Meta(description="of the control")] = field(
        default_factory=lambda: [1.0, 2.0]
    )
    bus: Bus = Bus(rate=125)


class Lamp(Struct, frozen=True, kw_only=True):
    is_on: bool


KINDS: dict[str, tuple[type[Struct], ...]] = {"pump": (Pump,), "lamp": (Lamp,)}
MakeNode = Callable[..., Node]


@pytest.fixture
def make(ros: None) -> Iterator[MakeNode]:
    nodes: list[Node] = []

    def make(**given: Any) -> Node:
        overrides = [Parameter(name.replace("__", "."), value=given[name]) for name in given]
        nodes.append(Node(f"pump_{len(nodes)}", parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def test_defaults_may_be_given_by_whoever_declares(make: MakeNode) -> None:
    node = make(gains=[0.5])
    parameters.declare(node, Pump, Pump(speed=7.0, bus=Bus(rate=20)))
    assert parameters.read(node, Pump) == Pump(speed=7.0, gains=[0.5], bus=Bus(rate=20))


def test_defaults_and_given_values_come_back_in_the_structure(make: MakeNode) -> None:
    node = make(speed=2.0, bus__channel="can7", gains=[0.5])
    parameters.declare(node, Pump)
    assert parameters.read(node, Pump) == Pump(
        speed=2.0, gains=[0.5], bus=Bus(channel="can7", rate=125)
    )


def test_ranges_and_descriptions_become_descriptors(make: MakeNode) -> None:
    node = make(speed=2.0)
    parameters.declare(node, Pump)
    speed = node.describe_parameter("speed")
    assert speed.floating_point_range[0].to_value == 10.0
    assert speed.floating_point_range[0].from_value == 0.0
    assert "turns per second" in speed.description
    rate = node.describe_parameter("bus.rate")
    assert (rate.integer_range[0].from_value, rate.integer_range[0].to_value) == (10, 1000)
    assert "one of 'fast', 'slow'" in node.describe_parameter("mode").description
    assert not node.set_parameters([Parameter("bus.rate", value=9)])[0].successful


def test_a_required_parameter_that_is_missing_is_named(make: MakeNode) -> None:
    node = make()
    parameters.declare(node, Pump)
    with pytest.raises(ParameterError, match=r"'speed' is not set .* float > 0.* \(turns per"):
        parameters.read(node, Pump)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"speed": "fast"}, "'speed'.*expected float > 0"),
        ({"speed": 2}, "'speed'.*expected float > 0"),
        ({"speed": 11.0}, "'speed'.*out of range"),
        ({"speed": 1.0, "bus__rate": 5}, "'bus.rate'.*out of range"),
        ({"speed": 1.0, "bus__rate": "x"}, "'bus.rate'.*expected int >= 10"),
        ({"speed": 1.0, "gains": [True]}, "'gains'"),
    ],
)
def test_a_wrong_value_is_refused_when_declared(
    make: MakeNode, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ParameterError, match=words):
        parameters.declare(make(**given), Pump)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"speed": 0.0}, "'speed'.*found 0.0; expected float > 0"),  # the range of ROS 2 has no >
        ({"speed": 1.0, "mode": "sideways"}, "'mode'.*found 'sideways'; expected one of 'fast'"),
    ],
)
def test_what_ros_cannot_refuse_is_refused_when_read(
    make: MakeNode, given: dict[str, Any], words: str
) -> None:
    node = make(**given)
    parameters.declare(node, Pump)
    with pytest.raises(ParameterError, match=words):
        parameters.read(node, Pump)


# Parameter files

REFUSED = {
    "bad_choice": (4, "mode", "found 'sideways', expected one of 'fast', 'slow'"),
    "bad_empty_parameters": (3, "ros__parameters", "expected names of parameters"),
    "bad_integer_for_float": (4, "speed", "found 2, expected float"),
    "bad_integer_in_list": (4, "gains", "wants a decimal point"),
    "bad_no_parameters": (3, "speed", "expected names of nodes with 'ros__parameters'"),
    "bad_out_of_range": (4, "speed", "found 11.0, expected float > 0"),
    "bad_repeated": (5, "speed", "stands twice"),
    "bad_unknown_nested": (5, "chanel", "no parameter is called 'bus.chanel'"),
    "bad_unknown_node": (2, "pumps", "no node is called 'pumps', known are lamp, pump"),
    "bad_unknown_parameter": (5, "spede", "no parameter is called 'spede', known are bus.channel"),
    "bad_wildcard_parameter": (4, "colour", "no parameter is called 'colour'"),
    "bad_wrong_type": (4, "speed", "found 'fast', expected float > 0"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_wrong_parameter_file_is_refused_with_file_and_line(name: str) -> None:
    line, key, words = REFUSED[name]
    path = DATA / f"{name}.yaml"
    with pytest.raises(ConfigurationError) as caught:
        parameters.check_file(path, KINDS)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert caught.value.key.endswith(key)
    assert words in str(caught.value)


def test_every_bad_file_is_asserted_upon() -> None:
    assert {path.stem for path in DATA.glob("bad_*.yaml")} == set(REFUSED)


def test_every_way_to_give_parameters_is_known() -> None:
    parameters.check_file(DATA / "good_parameters.yaml", KINDS)
