# SPDX-License-Identifier: Apache-2.0
"""Tests of the demo's command line."""

import math
from pathlib import Path

import pytest

from ibms_battery.pack import Pack
from ibms_sim.faults import FAULTS
from ibms_tools.demo.arguments import injection, parse


def test_defaults() -> None:
    options = parse([])
    assert (options.pack.name, options.bus.channel) == ("ev_96s", "43200")
    assert options.simulation_file.name == "ev_udds.yaml"
    assert (options.duration_s, options.json, options.injections) == (None, None, ())
    assert options.log.parts[-2:] == ("log", "demo_43200")
    assert options.command == "./ibms demo"
    assert options.chain == "separate"


def test_the_chain_can_be_composed() -> None:
    assert parse(["--chain", "composed"]).chain == "composed"


def test_measured_cells_choose_their_pack(tmp_path: Path) -> None:
    file = tmp_path / "run.parquet"
    file.touch()
    options = parse(["--cells", str(file), "--from", "600"])
    assert (options.pack.name, options.cells, options.from_s) == (
        "ev_96s_lg_18650hg2",
        file,
        600.0,
    )


def test_the_robot_drives_as_a_robot() -> None:
    assert parse(["--pack", "robot_12s"]).simulation_file.name == "robot.yaml"


def test_a_charge_has_a_charger_and_no_load() -> None:
    options = parse(["--charge"])
    assert options.charge
    assert options.simulation_file.name == "ev_charging.yaml"
    assert not parse([]).charge


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--pack", "nothing"], "neither a file nor one of ev_192s, ev_96s"),
        (["--cells", "/nowhere.parquet"], "there is no file /nowhere.parquet"),
        (["--json", "/nowhere/out.json"], "there is no folder /nowhere"),
        (["--charge", "--pack", "ev_192s"], "ev_192s names no charger"),
        (["--charge", "--cells", __file__], "measured cells cannot be charged"),
        (["--duration", "0"], "not a positive number of seconds"),
        (["--duration", "x"], "'x' is not a number of seconds"),
        (["--bus-channel", "can0"], "not a UDP port"),
        (["--inject", "melt@5"], "no fault is called 'melt'; there are cell_voltage,"),
        (["--inject", "cell_voltage"], "is not FAULT[:ELEMENT[:VALUE]]@SECONDS"),
        (["--inject", "cell_voltage:96@5"], "takes cell 0 to 95 and 0 to 6.5 V"),
        (["--inject", "cell_voltage:1:9@5"], "out of range"),
        (["--inject", "cell_voltage:1:x@5"], "'x' is not a number"),
        (["--inject", "cell_voltage@x"], "'x' is not a number"),
        (["--inject", "bus_loss:1@5"], "has no element"),
        (["--inject", "bus_loss:0:1@5"], "takes no value"),
        (["--frobnicate"], "unrecognized arguments"),
    ],
)
def test_refusals_say_what_is_possible(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(arguments)
    assert refused.value.code == 2
    assert sentence in capsys.readouterr().err


def test_help_lists_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    assert all(fault.name in text for fault in FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_can_be_injected_by_its_name_alone(fault: object, pack: Pack) -> None:
    name = getattr(fault, "name")  # noqa: B009
    made = injection(f"{name}@7", pack)
    assert (made.fault, made.at_s) == (fault, 7.0)
    assert math.isfinite(made.value) == bool(made.fault.unit)


def test_element_and_value_as_given(pack: Pack) -> None:
    made = injection("cell_temperature:3:-40@1.5", pack)
    assert (made.element, made.value, made.at_s) == (3, -40.0, 1.5)
    assert str(made) == "cell_temperature sensor 3 = -40 degC"


def test_injections_in_order_of_time() -> None:
    options = parse(["--inject", "gas@20", "--inject", "bus_loss@10"])
    assert [item.fault.name for item in options.injections] == ["bus_loss", "gas"]
