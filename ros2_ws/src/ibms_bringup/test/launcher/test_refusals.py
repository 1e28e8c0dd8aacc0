# SPDX-License-Identifier: Apache-2.0
"""Every refusal of a launch file has a file here, and is refused at the right line."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from ibms_bringup.launcher.errors import LaunchError
from ibms_bringup.launcher.evaluate import evaluate

# Name of data/bad_<name>.launch.xml: the line, and what the message says.
REFUSED = {
    "malformed": (3, "malformed XML: mismatched tag"),
    "text": (2, "unexpected text 'words'"),
    "tag": (2, "unknown tag <machine>; supported: arg, let"),
    "nested_tag": (3, "unknown tag <rosparam> in <node>; supported: param, remap, env"),
    "leaf_with_children": (2, "unknown tag <env> in <let>; it takes no nested tags"),
    "attribute": (2, "unknown attribute 'launch-prefix' in <node>; supported: pkg, exec"),
    "parameter_condition": (2, "unknown attribute 'if' in <param>"),
    "missing_attribute": (2, "<let> needs the attribute 'value'"),
    "if_and_unless": (2, "'if' and 'unless' exclude each other"),
    "condition": (3, "condition is 'maybe'; expected true, false, 1 or 0"),
    "substitution": (2, "unknown substitution $(anon); supported: var, env, find-pkg-share"),
    "eval": (2, "unknown substitution $(eval)"),
    "substitution_not_reached": (2, "unknown substitution $(anon)"),
    "substitution_syntax": (2, "missing closing ')' of the substitution, at column 3"),
    "substitution_arguments": (2, "$(var) takes 1 or 2 argument(s), found 0"),
    "undefined_variable": (3, "variable 'b' is not defined; defined here: a"),
    "undefined_environment": (2, "environment variable 'NO_SUCH_VARIABLE' is not set"),
    "missing_argument": (3, "required argument 'pack' (which pack) is missing"),
    "missing_conditional_argument": (3, "required argument 'pack' is missing"),
    "choice": (2, "argument 'mode' is 'walk'; expected one of: run, stop"),
    "include_unknown_argument": (2, "unknown argument 'sped' for"),
    "include_missing_argument": (
        2,
        "required argument 'speed' (how fast) is missing (included from ",
    ),
    "include_no_file": (2, "no_such.launch.xml does not exist"),
    "include_itself": (2, "includes itself"),
    "include_python": (2, "is no XML file"),
    "include_broken": (2, "bad_include_broken.launch.xml:3)"),
    "package": (2, "package 'no_such_package' not found; searched: /nonexistent, "),
    "package_substitution": (2, "$(find-pkg-share): package 'no_such_package' not found"),
    "node_executable": (2, "executable 'listener' not found in "),
    "program": (2, "executable 'no-such-program' not found in PATH="),
    "program_path": (2, "executable '/no/such/program' does not exist or is not executable"),
    "program_empty": (2, "executable '' not found"),
    "parameter_file": (3, "parameter file /no/such.yaml does not exist"),
    "parameter_file_with_name": (2, "unknown attribute 'name' in <param>; supported: from"),
    "parameter_type": (2, "unknown parameter type 'double'; supported: str, bool, float, int"),
    "parameter_mapping": (2, "is read as dict"),
    "parameter_wrong_type": (2, "value '1.5' is not of the type int"),
    "parameter_wrong_type_later": (3, "parameter 'x': value '1.5' is not of the type int"),
    "parameter_mixed": (2, "mixes types in one list"),
    "parameter_without_value": (2, "<param> needs the attribute 'value'"),
    "parameter_nested_and_value": (2, "takes neither value nor type"),
    "node_name": (2, "node name 'a/b' may only contain"),
    "namespace": (2, "namespace '/9lives' is not valid"),
    "push_namespace": (2, "namespace '/a-b' is not valid"),
    "output": (2, "output='log' is not supported; supported: screen, both"),
    "respawn": (2, "attribute 'respawn': value 'maybe' is not of the type bool"),
    "respawn_delay": (2, "respawn_delay='-1'; expected seconds"),
    "on_exit": (2, "on_exit='restart'; supported: shutdown"),
    "shell": (2, "shell='true' is not supported"),
    "scoped": (2, "scoped='maybe'; expected true or false"),
    "working_directory": (2, "working directory '/no/such' does not exist"),
    "quotes": (2, "quotes cannot enclose a substitution"),
    "dirname": (3, "$(dirname) in or after an <include> of a file of another directory"),
    "dirname_in_include": (2, "$(dirname) in or after an <include>"),
    "root": (1, "expected the root tag <launch>, found <group>"),
    "root_attribute": (1, "unknown attribute 'robot' in <launch>"),
    "doctype": (2, "document type <!DOCTYPE launch> is not supported"),
    "empty": (1, "malformed XML: no element found"),
}
# The fault is found in the file that is included.
ELSEWHERE = {"include_missing_argument": "leaf.launch.xml", "include_broken": "bad_tag.launch.xml"}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_file_and_line(
    name: str, data: Path, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    line, message = REFUSED[name]
    file = f"bad_{name}.launch.xml"
    with pytest.raises(LaunchError) as refusal:
        evaluate(data / file, {}, environment, tmp_path / "parameters")
    location = refusal.value.location
    assert location is not None
    assert (location.file.name, location.line) == (ELSEWHERE.get(name, file), line)
    assert str(refusal.value).startswith(f"{location.file}:{line}: ")
    assert message in str(refusal.value)


def test_every_bad_file_is_listed(data: Path) -> None:
    files = {path.name for path in data.glob("bad_*.launch.xml")}
    assert files == {f"bad_{name}.launch.xml" for name in REFUSED}


def test_unknown_argument_is_refused(data: Path, environment: Mapping[str, str]) -> None:
    with pytest.raises(LaunchError, match=r"unknown argument 'sped' for .*; it takes: speed"):
        evaluate(data / "good_scopes.launch.xml", {"sped": "1"}, environment, Path())


def test_missing_argument_tells_what_was_given(data: Path, environment: Mapping[str, str]) -> None:
    file = data / "bad_missing_argument.launch.xml"
    with pytest.raises(LaunchError, match=r"'pack' \(which pack\) is missing; given: pak"):
        evaluate(file, {"pak": "1"}, environment, Path())


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"cannot read launch file .*: No such file"):
        evaluate(tmp_path / "no.launch.xml", {}, {}, Path())


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "deep.launch.xml"
    file.write_text("<launch>" + "<group>" * 5000 + "</group>" * 5000 + "</launch>")
    with pytest.raises(LaunchError, match="nested too deeply"):
        evaluate(file, {}, {}, Path())
