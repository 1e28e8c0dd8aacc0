# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.pack import Pack, load_pack
from ibms_battery.recordings import Recording
from ibms_battery.soc_reference import SocReference
from ibms_tools.bag.reader import BagReader
from ibms_tools.cells_to_bag import main, write_bag
from ibms_tools.playback.soc_trace import reference_of

PACKS = Path(__file__).resolve().parents[4] / "config" / "packs"
REFERENCE = SocReference(capacity_ah=3.0, initial_soc=0.9)


@pytest.fixture
def pack() -> Pack:
    return load_pack(PACKS / "robot_12s.yaml")  # 12 groups of 3 cells, 4 sensors


def recording(temperature_c: float) -> Recording:
    return Recording(
        time_s=np.array([0.0, 0.5, 2.0]),  # a step of another length: time counts, not rows
        voltage_v=np.array([4.0, 3.9, 3.8]),
        current_a=np.array([0.0, -2.0, -1.0]),
        temperature_c=np.full(3, temperature_c),
        charge_ah=np.array([0.0, -0.001, -0.002]),
        repeated=0,
    )


def test_cells_and_pack_get_what_was_measured(tmp_path: Path, pack: Pack) -> None:
    assert write_bag(recording(25.0), pack, REFERENCE, tmp_path / "bag") == 3
    with BagReader(tmp_path / "bag") as bag:
        assert reference_of(bag) == REFERENCE
        cells = [m.message for m in bag.messages(["/battery/cells/measurement"])]
        packs = [m.message for m in bag.messages(["/battery/pack/measurement"])]
    assert [m.boot_ns - cells[0].boot_ns for m in cells] == [0, 500_000_000, 2_000_000_000]
    assert [m.scan_counter for m in cells] == [0, 1, 2]
    assert cells[1].voltage_v.tolist() == pytest.approx([3.9] * 12)
    assert cells[1].temperature_c.tolist() == [25.0] * 4
    assert cells[1].temperature_valid.tolist() == [1] * 4
    assert cells[1].current_a == packs[1].current_a == -6.0
    assert cells[1].charge_c == packs[1].charge_c == pytest.approx(-0.001 * 3600 * 3)
    assert packs[1].voltage_v == pytest.approx(3.9 * 12)
    assert math.isnan(packs[1].link_voltage_v)
    assert not packs[1].valid & packs[1].VALID_LINK_VOLTAGE


def test_an_unmeasured_temperature_is_not_invented(tmp_path: Path, pack: Pack) -> None:
    write_bag(recording(math.nan), pack, REFERENCE, tmp_path / "bag")
    with BagReader(tmp_path / "bag") as bag:
        cells = next(bag.messages(["/battery/cells/measurement"])).message
    assert all(math.isnan(value) for value in cells.temperature_c)
    assert cells.temperature_valid.tolist() == [0] * 4


def test_a_file_without_description_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cell.csv").write_text("time_s,voltage_V,current_A\n0,4,0\n1,4,0\n")
    arguments = [str(tmp_path / "cell.csv"), str(tmp_path / "bag"), "--pack"]
    assert main([*arguments, str(PACKS / "robot_12s.yaml")]) == 1
    assert "no index.csv" in capsys.readouterr().err
    assert not (tmp_path / "bag").exists()
