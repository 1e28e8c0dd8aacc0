# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import msgspec
import pytest

from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import Pack, load_pack
from ibms_end.mapping import LoadedMap, load_map

MAPS = Path(__file__).parent / "data" / "can" / "maps"

# File -> key and problem that the error must name.
REJECTED = {
    "syntax": r"is not valid YAML",
    "unknown_key": r"scan\.frames\[0\]\.massage: Object contains unknown field `massage`",
    "missing_key": r"pack_sensor: Object missing required field `current`",
    "type": r"freshness_s: Expected `float`, got `str`, found 'soon'",
    "range": r"freshness_s: Expected `float` > 0.0, found 0",
    "database_missing": r"databases: .*absent\.dbc: cannot be loaded.*No such file",
    "database_syntax": r"databases: .*bad_syntax\.dbc: cannot be loaded.*Invalid syntax at line 3",
    "message": r"frames\[1\]\.message: no message 'Temperatures'.*it holds e\.g\. CellData",
    "signal": r"frames\[0\]\.cells\[0\]: .* no signal 'CellVoltage1', it has e\.g\. .*Cell1",
    "module_voltage": r"frames\[0\]: .* no signal 'Stack'",
    "flag": r"frames\[1\]: .* no signal 'Warm'",
    "protection": r"frames\[0\]\.message: .* no end-to-end protection.*'protection: none'",
    "freshness": r"frames\[0\]\.protection: .*freshness limit of its own",
    "index": r"cells\[0\]\.signal: found 'Cell1', but 'count' needs \{index\}",
    "braces": r"cells\[0\]\.signal: found 'Cell\{number\}', expected only \{index\}",
    "brace_open": r"cells\[0\]\.signal: found 'Cell\{index', expected only \{index\}",
    "module_braces": r"frames\[0\]\.message: found 'Cell\{cell\}Data', expected only \{module\}",
    "scale": r"cells\[0\]\.scale: found 0",
    "invalid": r"cells\[0\]: .* no signal 'Cell1Bad'",
    "invalid_braces": r"cells\[0\]\.invalid: found 'Cell\{i\}Bad', expected only \{index\}",
    "cell_missing": r"frames: no signal feeds cell 7 of pack 'foreign_8s', which has 8",
    "cell_twice": r"cells\[1\]: index 7 is fed twice",
    "sensor_missing": r"frames: no signal feeds temperature sensor 1 of pack 'foreign_8s'",
    "message_twice": r"frames\[1\]\.message: .*'CellData'.* used already",
    "bits_narrow": r"frames\[0\]\.bleed_bits: .*'FrontEndFault' is too narrow for 8 cells",
    "flag_scaled": r"pack_sensor\.flags: signal 'Volts' of 'PackData' must be a plain integer",
    "counter_float": r"frames\[0\]: signal 'Exact' of 'Precise' must be a plain integer",
    "single": r"pack_sensor\.voltage\.count: expected 1",
    "sensor_signal": r"pack_sensor\.voltage: .* no signal 'Voltage'",
    "redundant": r"redundant_pack_sensor\.faults: signal 'Volts' of 'PackData' must be a plain",
    "redundant_message": r"redundant_pack_sensor\.message: no message 'Clamp'",
    "identity": r"identity\.protection: .*freshness limit of its own",
    "identity_signal": r"identity\.series: .* no signal 'Cells'",
    "balancing": r"scan\.balancing_message: .* no signal 'BleedMask_00'",
    "history_no_request": r"history_request_message: past scans need 'history_request_message'",
    "history_no_message": r"history_request_message: past scans need .* 'history_message'",
    "history_uncounted": r"history_request_message: past scans need 'counter' and 'device_time_ms'",
    "history_request": r"history_request_message: .* no signal 'FirstScan'",
    "history_message": r"frames\[0\]\.history_message: no message 'AfePast_00'",
    "history_used": r"frames\[0\]\.history_message: .*'AfeMeasurement_00'.* used already",
    "insulation": r"insulation\.message: no message 'Imd'",
    "environment": r"environment\.values\.ambient_temperature_c: .* no signal 'Probe3'",
    "environment_valid": r"environment\.values\.ambient_temperature_c: .* no signal 'Valid'",
}


@pytest.mark.parametrize("name", REJECTED)
def test_wrong_map_is_refused_with_its_place(name: str, foreign_pack: Pack) -> None:
    path = MAPS / f"bad_{name}.yaml"
    with pytest.raises(ConfigurationError, match=REJECTED[name]) as caught:
        load_map(path, foreign_pack)
    assert caught.value.file == str(path)
    assert caught.value.line is not None


def test_every_wrong_map_is_tested() -> None:
    assert {path.stem.removeprefix("bad_") for path in MAPS.glob("bad_*.yaml")} == set(REJECTED)


def test_missing_file(foreign_pack: Pack) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: cannot be read"):
        load_map(MAPS / "absent.yaml", foreign_pack)


def test_pack_with_more_modules_than_the_map_feeds(foreign_pack: Pack) -> None:
    pack = msgspec.structs.replace(foreign_pack, modules=2)
    with pytest.raises(ConfigurationError, match="no message feeds module 1 of pack 'foreign_8s'"):
        load_map(MAPS / "foreign.yaml", pack)


def test_pack_with_more_cells_than_the_map_feeds(config: Path, car: Pack) -> None:
    pack = msgspec.structs.replace(car, modules=5)
    with pytest.raises(ConfigurationError, match="no signal feeds cell 80 of pack 'ev_96s'"):
        load_map(config / "can" / "maps" / "ibms.yaml", pack)


@pytest.mark.parametrize("name", ["robot_12s", "ev_96s", "ev_192s", "ev_96s_lg_18650hg2", "jbd_4s"])
def test_shipped_packs_fit_the_shipped_map(config: Path, name: str) -> None:
    pack = load_pack(config / "packs" / f"{name}.yaml")
    load_map(config / "can" / "maps" / pack.can_map, pack)


def test_foreign_map(foreign_map: LoadedMap) -> None:
    assert [frame.protection for frame in foreign_map.map.scan.frames] == ["none", "none"]
