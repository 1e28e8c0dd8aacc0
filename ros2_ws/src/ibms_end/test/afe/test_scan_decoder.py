# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.pack import Pack
from ibms_end.afe.samples import AFE_NOT_RECEIVED, Scan
from ibms_end.afe.scan_decoder import ScanFrameDecoder, build_decoders
from ibms_end.mapping import LoadedMap


def empty(pack: Pack) -> Scan:
    return Scan.empty(pack.series, pack.temperature_sensors, pack.modules)


def fill(loaded: LoadedMap, pack: Pack, module: int, data: bytes) -> Scan:
    decoder = build_decoders(loaded, pack)[module]
    values = decoder.frame.decode(data)
    assert values is not None
    scan = empty(pack)
    decoder.fill(scan, values)
    return scan


def test_every_value_goes_to_its_place(car_map: LoadedMap, car: Pack, car_device: Any) -> None:
    _, data = car_device.frame(
        4, 7, {"BleedActive": 0b1001, "ModuleVoltage": 52.0, "AfeTemperature": 40.5}
    )
    scan = fill(car_map, car, 4, data)
    cells, probes = slice(64, 80), slice(16, 20)
    np.testing.assert_allclose(scan.voltage_v[cells], 3.4 + np.arange(16) / 100, atol=1e-6)
    np.testing.assert_allclose(scan.temperature_c[probes], 24 + np.arange(4) / 10, atol=1e-5)
    assert scan.voltage_valid.sum() == 16
    assert scan.voltage_valid[cells].all()
    assert scan.temperature_valid.sum() == 4
    assert np.isnan(scan.voltage_v).sum() == 80
    assert np.flatnonzero(scan.bleed_active).tolist() == [64, 67]
    assert scan.module_voltage_v[4] == pytest.approx(52.0)
    assert scan.afe_temperature_c[4] == pytest.approx(40.5)
    assert scan.afe_status.tolist() == [AFE_NOT_RECEIVED] * 4 + [0, AFE_NOT_RECEIVED]


def test_a_partly_used_module(robot_map: LoadedMap, robot: Pack, robot_device: Any) -> None:
    scan = fill(robot_map, robot, 0, robot_device.frame(0, 1, {"BleedActive": 0xFFFF})[1])
    assert scan.voltage_valid.tolist() == [1] * 12
    assert scan.bleed_active.tolist() == [1] * 12


@pytest.mark.parametrize(
    ("signal", "raw_value", "quantity", "index"),
    [
        ("CellVoltage_03", 6.5001, "voltage", 3),
        ("CellVoltage_03", 6.5535, "voltage", 3),
        ("Temperature_02", -60.01, "temperature", 2),
        ("Temperature_02", 327.67, "temperature", 2),
    ],
)
def test_absurd_values_are_not_passed_on(
    robot_map: LoadedMap,
    robot: Pack,
    robot_device: Any,
    signal: str,
    raw_value: float,
    quantity: str,
    index: int,
) -> None:
    scan = fill(robot_map, robot, 0, robot_device.frame(0, 1, {signal: raw_value})[1])
    values = scan.voltage_v if quantity == "voltage" else scan.temperature_c
    valid = scan.voltage_valid if quantity == "voltage" else scan.temperature_valid
    assert np.flatnonzero(np.isnan(values)).tolist() == [index]
    assert np.flatnonzero(valid == 0).tolist() == [index]


def test_absurd_values_of_the_module(robot_map: LoadedMap, robot: Pack, robot_device: Any) -> None:
    values = {"ModuleVoltage": 131.07, "AfeTemperature": -327.68}
    scan = fill(robot_map, robot, 0, robot_device.frame(0, 1, values)[1])
    assert np.isnan(scan.module_voltage_v[0])
    assert np.isnan(scan.afe_temperature_c[0])


def test_what_hangs_on_an_open_wire_is_no_measurement(
    robot_map: LoadedMap, robot: Pack, robot_device: Any
) -> None:
    scan = fill(robot_map, robot, 0, robot_device.frame(0, 1, {"OpenWire": 1 << 11})[1])
    assert np.flatnonzero(scan.open_wire).tolist() == [11]
    assert np.flatnonzero(scan.voltage_valid == 0).tolist() == [11]
    assert np.isnan(scan.voltage_v[11])


@pytest.mark.parametrize(
    ("signal", "bit"),
    [("SelfTestFailed", 1), ("OverTemperature", 2), ("SupplyFault", 4), ("ReferenceFault", 8)],
)
def test_flags(robot_map: LoadedMap, robot: Pack, robot_device: Any, signal: str, bit: int) -> None:
    scan = fill(robot_map, robot, 0, robot_device.frame(0, 1, {signal: 1})[1])
    assert scan.afe_status[0] == bit


# A multiplexed foreign message --------------------------------------------------------------------


def cell_data(group: int, *numbers: int) -> bytes:
    """Frame of CellData by its documented layout: group, then 16-bit numbers, big endian."""
    return bytes([group]) + b"".join(n.to_bytes(2, "big") for n in numbers).ljust(7, b"\0")


def foreign_scan(decoder: ScanFrameDecoder, pack: Pack, data: bytes) -> Scan:
    values = decoder.frame.decode(data)
    assert values is not None
    scan = empty(pack)
    decoder.fill(scan, values)
    return scan


def test_a_group_fills_only_what_it_carries(foreign_map: LoadedMap, foreign_pack: Pack) -> None:
    decoder = build_decoders(foreign_map, foreign_pack)[0]
    scan = foreign_scan(decoder, foreign_pack, cell_data(1, 3301, 3302, 3303))
    assert scan.voltage_valid.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(scan.voltage_v[3:6], [3.301, 3.302, 3.303], atol=1e-6)
    scan = foreign_scan(decoder, foreign_pack, cell_data(2, 3307, 3308, 26400))
    assert scan.voltage_valid.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert scan.module_voltage_v[0] == 26400  # the map has no scale for it
    scan = foreign_scan(decoder, foreign_pack, bytes([3, 0b101, 0b10, 1, 0, 0, 0, 0]))
    assert scan.bleed_active.tolist() == [1, 0, 1, 0, 0, 0, 0, 0]
    assert scan.open_wire.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert scan.afe_status[0] == 1
    assert not scan.voltage_valid.any()


def test_unknown_group_is_counted(foreign_map: LoadedMap, foreign_pack: Pack) -> None:
    decoder = build_decoders(foreign_map, foreign_pack)[0]
    assert decoder.frame.decode(cell_data(4, 3301, 3302, 3303)) is None
    assert decoder.frame.rejected == {"undecodable": 1}


@given(data=st.binary(min_size=8, max_size=8))
def test_random_frames_never_crash_and_stay_in_range(
    foreign_map: LoadedMap, foreign_pack: Pack, data: bytes
) -> None:
    for decoder in build_decoders(foreign_map, foreign_pack):
        values = decoder.frame.decode(data)
        if values is None:
            continue
        scan = empty(foreign_pack)
        decoder.fill(scan, values)
        for array, valid, low, high in (
            (scan.voltage_v, scan.voltage_valid, 0.5, 5.0),
            (scan.temperature_c, scan.temperature_valid, -40.0, 125.0),
        ):
            assert (np.isnan(array) == (valid == 0)).all()
            measured = array[valid == 1]
            assert ((measured >= low - 1e-5) & (measured <= high + 1e-5)).all()
