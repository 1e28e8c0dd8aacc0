# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ibms_battery.configuration import ConfigurationError
from ibms_battery.identification.plan import load_plan

from .virtual_cell import bench

PLANS = sorted((Path(__file__).parents[5] / "config" / "identification").glob("*.yaml"))

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_every_shipped_plan_loads(file: Path) -> None:
    plan = load_plan(file)
    assert plan.cell.name == file.stem
    for source in [*plan.open_circuit, *plan.circuit.sources]:
        assert "test" not in source.roles


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p["circuit"].update(temperatures_c=[25.0, 5.0]), "must rise, found 5 after 25"),
        (lambda p: p["circuit"].update(soc_points=[0.1, 1.0]), "must run from 0 to 1"),
        (lambda p: p["circuit"].update(time_constants_s=[[50.0, 5.0]]), "must be below"),
        (lambda p: p["circuit"].update(time_constants_s=[]), "circuit.time_constants_s"),
        (lambda p: p["circuit"]["sources"][0].update(dataset="x"), "either dataset"),
        (lambda p: p["circuit"]["sources"][0].update(roles=["train", "test"]), "sources[0].roles"),
        (
            lambda p: p["circuit"]["sources"][0].update(leave_out_soc=[[0.6, 0.4]]),
            "leave_out_soc[0]: must rise",
        ),
        (
            lambda p: p["circuit"]["sources"][0].update(gaps={"test": "x", "clock": "y"}),
            "needs dataset",
        ),
        (lambda p: p["cell"].update(nominal_voltage_v=5.0), "cell.nominal_voltage_v"),
        (lambda p: p["cell"].pop("source"), "missing required field `source`"),
        (lambda p: p.update(open_circuit=[]), "open_circuit"),
    ],
)
def test_a_bad_plan_is_refused_by_its_key(tmp_path: Path, change: Change, words: str) -> None:
    setup = bench(tmp_path, {}, [25.0])
    setup.circuit["sources"] = [{"files": ["a.csv"]}]
    change(setup.plan)
    with pytest.raises(ConfigurationError) as caught:
        load_plan(setup.write_plan())
    assert words in str(caught.value)
