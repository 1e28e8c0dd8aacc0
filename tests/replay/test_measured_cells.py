# SPDX-License-Identifier: Apache-2.0
"""A whole measured drive cycle into the estimator, many times faster than real time."""

import json
import os
from pathlib import Path

import pytest

from ibms_battery import results
from ibms_tools import cells_to_bag, replay

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("IBMS_DATA", ROOT.parent / "shared" / "data"))
US06 = DATA / "lg_18650hg2" / "drive_1hz" / "25degC" / "551_US06.parquet"
PACK = ROOT / "config" / "packs" / "ev_96s_lg_18650hg2.yaml"


@pytest.mark.skipif(not US06.exists(), reason="measured data are not there (IBMS_DATA)")
def test_soc_of_a_whole_recording_against_its_counted_charge(tmp_path: Path) -> None:
    bag, figures = tmp_path / "us06", tmp_path / "figures.json"
    assert cells_to_bag.main([str(US06), str(bag), "--pack", str(PACK)]) == 0
    arguments = [str(bag), "--node", "state_estimator", "--param", f"pack={PACK}"]
    assert replay.main([*arguments, "--json", str(figures)]) == 0
    report = results.parse(json.loads(figures.read_text()))
    values = {result.name: result.value or 0.0 for result in report.results}
    assert values["replay.inputs"] == 4016
    assert values["replay.inputs_stale"] == 0
    assert values["replay.speed_factor"] > 100 / 3
    # Not a target of accuracy: an estimate that does not follow the charge would be far outside.
    assert 0.0 < values["replay.soc.rmse"] < 0.15
