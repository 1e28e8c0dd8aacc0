# SPDX-License-Identifier: Apache-2.0
"""What launch files evaluate to, without launch_ros at hand."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from ibms_bringup.launcher.evaluate import evaluate, list_arguments
from ibms_bringup.launcher.model import Plan


def plan_of(body: str, tmp_path: Path, environment: Mapping[str, str], **arguments: str) -> Plan:
    file = tmp_path / "test.launch.xml"
    file.write_text(f"<launch>{body}</launch>")
    return evaluate(file, arguments, environment, tmp_path / "parameters")


def commands(plan: Plan) -> list[str]:
    return [" ".join(spec.command) for spec in plan.processes]


def test_node_command(tmp_path: Path, environment: Mapping[str, str]) -> None:
    body = """
      <arg name="rate" default="10"/>
      <push-ros-namespace namespace="pack"/>
      <node pkg="demo_pkg" exec="talker" name="afe" namespace="front" args="-v 'a b'"
            ros_args="--log-level debug" respawn="true" respawn_delay="2" on_exit="shutdown">
        <param from="$(find-pkg-share demo_pkg)/config/talker.yaml"/>
        <param name="rate_hz" value="$(var rate).0"/>
        <param name="limits"><param name="high" value="4.2"/></param>
        <remap from="cells" to="/cells"/>
        <env name="MODE" value="fast"/>
      </node>"""
    (spec,) = plan_of(body, tmp_path, environment, rate="20").processes
    prefix = tmp_path / "prefix"
    files = [f"{tmp_path}/parameters/parameters_1_{number}.yaml" for number in (1, 2)]
    assert spec.command == (
        f"{prefix}/lib/demo_pkg/talker",
        *("-v", "a b", "--ros-args", "--log-level", "debug", "--ros-args"),
        *("-r", "__node:=afe", "-r", "__ns:=/pack/front"),
        *("--params-file", f"{prefix}/share/demo_pkg/config/talker.yaml"),
        *("--params-file", files[0], "--params-file", files[1], "-r", "cells:=/cells"),
    )
    assert [str(file.path) for file in spec.files] == files
    assert [yaml.safe_load(file.text) for file in spec.files] == [
        {"/pack/front/afe": {"ros__parameters": {"rate_hz": 20.0}}},
        {"/pack/front/afe": {"ros__parameters": {"limits.high": 4.2}}},
    ]
    assert (spec.label, spec.node_name) == ("talker-1", "/pack/front/afe")
    assert (spec.respawn, spec.respawn_delay_s, spec.shutdown_on_exit) == (True, 2.0, True)
    assert spec.environment == {**environment, "MODE": "fast"}
    assert not (tmp_path / "parameters").exists()


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("rmw_fastrtps_cpp", "rmw_fastrtps_cpp", True),
        ("rmw_zenoh_cpp", "rmw_fastrtps_cpp", False),
        ("1", "True", True),
        ("0", "true", False),
        ("1.0", "1.00", True),
        ("1.0", "true", False),
        ("''", "x", False),
    ],
)
def test_equals(
    tmp_path: Path, environment: Mapping[str, str], left: str, right: str, equal: bool
) -> None:
    body = f"""<let name="left" value="{left}"/>
      <executable cmd="true" if="$(equals $(var left) {right})"/>"""
    assert bool(plan_of(body, tmp_path, environment).processes) == equal


def test_parameters_of_a_node_without_namespace_hold_for_any_name(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    body = '<node pkg="demo_pkg" exec="talker" name="afe"><param name="x" value="1"/></node>'
    (spec,) = plan_of(body, tmp_path, environment).processes
    assert yaml.safe_load(spec.files[0].text) == {"/**": {"ros__parameters": {"x": 1}}}
    assert spec.node_name == "/afe"


def test_group_ends_variables_namespace_and_environment(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    body = """
      <let name="v" value="outside"/>
      <group>
        <let name="v" value="inside"/><set_env name="E" value="inside"/><unset_env name="ROBOT"/>
        <push-ros-namespace namespace="inside"/>
        <executable cmd="echo $(var v) $(env E) $(env ROBOT none)"/>
        <node pkg="demo_pkg" exec="talker"/>
      </group>
      <group scoped="false"><let name="kept" value="kept"/></group>
      <executable cmd="echo $(var v) $(env E none) $(env ROBOT) $(var kept)"/>
      <node pkg="demo_pkg" exec="talker"/>"""
    plan = plan_of(body, tmp_path, environment)
    talker = str(tmp_path / "prefix/lib/demo_pkg/talker")
    assert commands(plan) == [
        "echo inside inside none",
        f"{talker} --ros-args -r __ns:=/inside",
        "echo outside none r2 kept",
        f"{talker} --ros-args",
    ]
    assert "ROBOT" not in plan.processes[0].environment
    assert "E" not in plan.processes[2].environment


@pytest.mark.parametrize("value", ["true", "1", " True "])
def test_conditions(value: str, tmp_path: Path, environment: Mapping[str, str]) -> None:
    body = """
      <arg name="on"/>
      <executable cmd="echo if" if="$(var on)"/><executable cmd="echo unless" unless="$(var on)"/>
      <group unless="$(var on)"><executable cmd="no-such-program $(var undefined)"/></group>"""
    assert commands(plan_of(body, tmp_path, environment, on=value)) == ["echo if"]


def test_include_hands_over_arguments_and_leaks_like_launch(
    data: Path, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    body = """
      <include file="$(find-pkg-share demo_pkg)/launch/leaf.launch.xml">
        <arg name="speed" value="3"/>
      </include>
      <executable cmd="echo $(var speed) $(var mode) $(var from_leaf) $(var ros_namespace)"/>"""
    plan = plan_of(body, tmp_path, environment)
    assert plan.processes[0].node_name == "/leaf/leaf_talker"
    assert plan.processes[1].command == ("echo", "3", "slow", "leaf of 3", "/leaf")


def test_messages_in_order(tmp_path: Path, environment: Mapping[str, str]) -> None:
    node = '<node pkg="demo_pkg" exec="talker" name="same"/>'
    body = f'<log message="one $(env ROBOT)"/>{node}{node}<log message="two"/>'
    assert plan_of(body, tmp_path, environment).messages == (
        "[INFO] [launch.user]: one r2",
        "[WARNING] [talker-2]: there is already a node /same",
        "[INFO] [launch.user]: two",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", [""]),
        ("a", ["a"]),
        (" a  b ", ["a", "b"]),
        ("'a b' c", ["a b", "c"]),
        ("$(env ROBOT)", ["r2"]),
        ("$(env ROBOT)$(env ROBOT) x", ["r2r2", "x"]),
        ("a$(env ROBOT)b c", ["ar2b", "c"]),
        ("a $(env ROBOT) c", ["a", "r2", "c"]),
        ("$(env TWO 'one word')", ["one word"]),
        ("a b$(env ROBOT) c d$(env ROBOT)", ["a", "br2", "c", "dr2"]),
        ("x=\\$(env)", ["x=$(env)"]),
    ],
)
def test_words_of_a_command_line(
    text: str, words: list[str], tmp_path: Path, environment: Mapping[str, str]
) -> None:
    body = f'<node exec="/bin/sh" args="{text}"/>'
    (spec,) = plan_of(body, tmp_path, environment).processes
    assert list(spec.command) == ["/bin/sh", *words, "--ros-args"]


def test_arguments_are_listed_with_those_of_includes(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    file = tmp_path / "test.launch.xml"
    file.write_text(
        """<launch>
          <arg name="pack" default="$(env ROBOT)_pack" description="which pack"/>
          <include file="$(find-pkg-share demo_pkg)/launch/leaf.launch.xml" if="$(var pack)"/>
          <include file="$(var pack).launch.xml"/>
          <group><arg name="last"/><arg name="pack" default="other"/></group>
        </launch>"""
    )
    listed = list_arguments(file, environment)
    assert [(e.argument.name, e.argument.default_source, e.conditional) for e in listed] == [
        ("pack", "$(env ROBOT)_pack", False),
        ("speed", None, True),
        ("mode", "slow", True),
        ("last", None, False),
    ]
