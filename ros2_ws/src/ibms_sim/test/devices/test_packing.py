# SPDX-License-Identifier: Apache-2.0
"""The layouts packed by hand against the databases."""

import math
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from cantools.database.can import Database, Message
from hypothesis import given
from hypothesis import strategies as st

from ibms_end.can.codec import FrameDecoder, data_id_of, find_message
from ibms_sim.devices import packing
from ibms_sim.process import simulation_database

CONFIG = Path(__file__).resolve().parents[5] / "config"
DATABASE: Database = simulation_database(CONFIG / "packs" / "ev_96s.yaml")


def decode(message: Message, data: bytes, scaling: bool = True) -> dict[str, float]:
    values = message.decode(data, decode_choices=False, scaling=scaling)
    return cast("dict[str, float]", values)


U16, I16, U32 = st.integers(0, 65535), st.integers(-32768, 32767), st.integers(0, 2**32 - 1)


@given(
    flags=st.integers(0, 15),
    counter=U32,
    time_ms=U32,
    cells=st.lists(U16, min_size=16, max_size=16),
    temperatures=st.lists(I16, min_size=4, max_size=4),
    bleed=U16,
    open_wire=U16,
    module_voltage=U16,
    afe_temperature=I16,
)
def test_afe_frame(
    flags: int,
    counter: int,
    time_ms: int,
    cells: list[int],
    temperatures: list[int],
    **others: int,
) -> None:
    frame = np.zeros(1, dtype=packing.AFE_LAYOUT)
    frame["flags"], frame["scan_counter"], frame["device_time_ms"] = flags, counter, time_ms
    frame["cells"], frame["temperatures"] = cells, temperatures
    for name, value in others.items():
        frame[name] = value
    for base in (packing.AFE_MEASUREMENT_ID, packing.AFE_HISTORY_ID):
        message = DATABASE.get_message_by_frame_id(base)
        values = decode(message, frame.tobytes(), scaling=False)
        for bit, name in enumerate(
            ["SelfTestFailed", "OverTemperature", "SupplyFault", "ReferenceFault"]
        ):
            assert values[name] == flags >> bit & 1
        assert [values[f"CellVoltage_{k:02d}"] for k in range(16)] == cells
        assert [values[f"Temperature_{k:02d}"] for k in range(4)] == temperatures
        assert (values["ScanCounter"], values["DeviceTime"]) == (counter, time_ms)
        assert (values["BleedActive"], values["OpenWire"]) == (others["bleed"], others["open_wire"])
        assert values["ModuleVoltage"] == others["module_voltage"]
        assert values["AfeTemperature"] == others["afe_temperature"]


def test_steps_are_those_of_the_database() -> None:
    signals = {s.name: s for s in DATABASE.get_message_by_frame_id(0x100).signals}
    assert signals["CellVoltage_00"].scale == packing.VOLTAGE_STEP_V
    assert signals["Temperature_00"].scale == packing.TEMPERATURE_STEP_C
    assert signals["ModuleVoltage"].scale == packing.MODULE_VOLTAGE_STEP_V


@given(
    counter=U32,
    current=st.floats(-3000, 3000),
    volts=st.lists(st.floats(0, 1500), min_size=2, max_size=2),
    charge=st.floats(-1e11, 1e11),
    shunt=st.floats(-40, 200),
    flags=st.integers(0, 3),
)
def test_pack_sensor(
    counter: int, current: float, volts: list[float], charge: float, shunt: float, flags: int
) -> None:
    data = packing.pack_sensor(counter, current, volts[0], volts[1], charge, shunt, flags)
    message = find_message(DATABASE, "PackSensor")
    assert message.frame_id == packing.PACK_SENSOR_ID
    values = decode(message, bytes(data))
    assert values["SampleCounter"] == counter
    assert values["Current"] == pytest.approx(current, abs=5.1e-4)
    assert values["PackVoltage"] == pytest.approx(volts[0], abs=5.1e-4)
    assert values["LinkVoltage"] == pytest.approx(volts[1], abs=5.1e-4)
    assert values["Charge"] == pytest.approx(charge, abs=5.2e-4)
    assert values["ShuntTemperature"] == pytest.approx(shunt, abs=0.051)
    assert (values["OverRange"], values["SelfTestFailed"]) == (flags & 1, flags >> 1)


def test_a_voltage_that_is_not_available_is_outside_of_its_range() -> None:
    signals = {s.name: s for s in find_message(DATABASE, "PackSensor").signals}
    values = decode(
        find_message(DATABASE, "PackSensor"),
        bytes(packing.pack_sensor(0, 0.0, math.nan, math.nan, 0.0, 20.0, 0)),
    )
    for name in ("PackVoltage", "LinkVoltage"):
        maximum = signals[name].maximum
        assert maximum is not None
        assert values[name] > maximum


@given(current=st.floats(-3000, 3000), flags=st.integers(0, 3))
def test_pack_sensor_redundant(current: float, flags: int) -> None:
    message = find_message(DATABASE, "PackSensorRedundant")
    assert message.frame_id == packing.PACK_SENSOR_REDUNDANT_ID
    assert not message.is_fd
    values = decode(message, bytes(packing.pack_sensor_redundant(current, flags)))
    assert values["Current"] == pytest.approx(current, abs=5.1e-4)
    assert (values["OverRange"], values["SelfTestFailed"]) == (flags & 1, flags >> 1)


@given(st.floats(0, 1500), st.floats(0, 1500), st.floats(-1e6, 1e6), st.integers(0, 2**24 - 1))
def test_simulation_link(pack_v: float, link_v: float, current_a: float, mask: int) -> None:
    message = find_message(DATABASE, "SimulationLink")
    assert message.frame_id == packing.SIMULATION_LINK_ID
    values = decode(message, packing.simulation_link(pack_v, link_v, current_a, mask))
    assert values["PackVoltage"] == pytest.approx(pack_v, abs=5.1e-4)
    assert values["LinkVoltage"] == pytest.approx(link_v, abs=5.1e-4)
    assert values["Current"] == pytest.approx(current_a, abs=5.1e-4)
    assert values["Unbreakable"] == mask
    data = packing.simulation_link(pack_v, link_v, current_a, mask)
    assert packing.read_simulation_link(data) == (
        round(pack_v * 1e3),
        round(link_v * 1e3),
        mask,
    )


@given(
    closed=st.integers(0, 2**24 - 1),
    challenge=st.integers(0, 255),
    flags=st.integers(0, 63),
    cause=st.integers(0, 7),
    millivolts=st.lists(st.integers(0, 2**24 - 1), min_size=2, max_size=2),
    scan=U32,
    dead_man=st.integers(0, 200),
    switches=st.integers(1, 24),
)
def test_switch_feedback(
    closed: int,
    challenge: int,
    flags: int,
    cause: int,
    millivolts: list[int],
    scan: int,
    dead_man: int,
    switches: int,
) -> None:
    pack_mv, link_mv = millivolts
    data = packing.switch_feedback(
        closed, challenge, flags, cause, pack_mv, link_mv, scan, dead_man, switches
    )
    message = find_message(DATABASE, "SwitchFeedback")
    assert message.frame_id == packing.SWITCH_FEEDBACK_ID
    values = decode(message, bytes(data))
    names = [
        "Armed", "DeadManLatched", "InterlockClosed", "EmergencyStop", "PermitFresh", "CrashInput"
    ]  # fmt: skip
    assert [values[name] for name in names] == [flags >> bit & 1 for bit in range(6)]
    assert (values["Closed"], values["ArmChallenge"], values["OpenCause"]) == (
        closed,
        challenge,
        cause,
    )
    assert values["PackVoltage"] == pytest.approx(millivolts[0] / 1000)
    assert values["LinkVoltage"] == pytest.approx(millivolts[1] / 1000)
    assert (values["LastPermitScan"], values["DeadManTime"]) == (scan, dead_man)
    assert values["SwitchCount"] == switches


@given(st.integers(0, 2**24 - 1))
def test_simulation_contacts(mask: int) -> None:
    message = find_message(DATABASE, "SimulationContacts")
    assert message.frame_id == packing.SIMULATION_CONTACTS_ID
    assert decode(message, packing.simulation_contacts(mask)) == {"Closed": mask}


@pytest.mark.parametrize(
    "identifier", [0x12, 0x90, 0x91, *range(0x100, 0x110), *range(0x300, 0x310)]
)
def test_protection_is_what_the_receiver_checks(identifier: int) -> None:
    message = DATABASE.get_message_by_frame_id(identifier)
    assert data_id_of(message) == packing.DATA_ID_OFFSET + identifier
    decoder = FrameDecoder(message, protected=True)
    protection = packing.Protection(identifier)
    for _ in range(300):  # the counter wraps
        data = bytearray(message.length)
        protection.protect(data)
        assert decoder.decode(data) is not None
    protection.protect(data, frozen=True)
    assert decoder.decode(data) is not None
    protection.protect(data, frozen=True)
    assert decoder.decode(data) is None
    assert decoder.rejected["repeated"] == 1


def test_converters_saturate() -> None:
    raw = packing.quantise(np.array([-1.0, 0.00016, 9.0]), packing.VOLTAGE_STEP_V, 0, 65535)
    assert raw.tolist() == [0, 2, 65535]
