# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path
from random import Random

import can
import pytest
import yaml
from cantools.autosar import end_to_end as reference
from cantools.database.can import Database, Message, Signal
from hypothesis import given, settings
from hypothesis import strategies as st

from ibms_end.can.codec import (
    COUNTER_SIGNAL,
    CRC_SIGNAL,
    DatabaseError,
    FrameDecoder,
    FrameEncoder,
    data_id_of,
    find_message,
    limits_of,
    load_databases,
)

DBC = Path(__file__).parents[5] / "config" / "can" / "ibms.dbc"
DATA = Path(__file__).parents[1] / "data"
DATABASE = load_databases([DBC])
PROTECTED = sorted(message.name for message in DATABASE.messages if data_id_of(message))
GOLDEN: dict[str, str] = yaml.safe_load((DATA / "golden_frames.yaml").read_text())


def payload(message: Message) -> list[Signal]:
    return [s for s in message.signals if s.name not in (CRC_SIGNAL, COUNTER_SIGNAL)]


def spread_values(message: Message) -> dict[str, float]:
    """Values that differ from signal to signal, over the range of each."""
    signals = payload(message)
    values = {}
    for number, signal in enumerate(signals, start=1):
        low, high = limits_of(signal)
        values[signal.name] = low + (high - low) * number / (len(signals) + 1)
        if signal.scale == 1:
            values[signal.name] = round(values[signal.name])
    return values


def raw_range(signal: Signal) -> tuple[int, int]:
    low, high = (round(limit / signal.scale) for limit in limits_of(signal))
    size = 1 << (signal.length - 1 if signal.is_signed else signal.length)
    return max(low, -size if signal.is_signed else 0), min(high, size - 1)


def test_all_messages_of_the_contract_are_protected_and_have_golden_frames() -> None:
    assert PROTECTED == sorted(message.name for message in DATABASE.messages) == sorted(GOLDEN)
    identifiers = [data_id_of(message) for message in DATABASE.messages]
    assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize("name", PROTECTED)
def test_golden_frame(name: str) -> None:
    """A changed database changes frames; who changes the contract changes the golden ones too."""
    message = find_message(DATABASE, name)
    values = spread_values(message)
    frame = FrameEncoder(message).encode(values)
    assert frame.data.hex() == GOLDEN[name]
    data_id = data_id_of(message)
    assert data_id is not None
    assert reference.compute_profile5_crc(bytes(frame.data), data_id) == int.from_bytes(
        frame.data[:2], "little"
    )
    decoded = FrameDecoder(message, protected=True).decode(bytes.fromhex(GOLDEN[name]))
    assert decoded is not None
    for signal in payload(message):
        assert decoded[signal.name] == pytest.approx(values[signal.name], abs=signal.scale * 0.501)


@pytest.mark.parametrize("name", PROTECTED)
def test_round_trip(name: str) -> None:
    message = find_message(DATABASE, name)
    encoder, decoder = FrameEncoder(message), FrameDecoder(message, protected=True)
    ranges = {signal.name: raw_range(signal) for signal in payload(message)}
    scales = {signal.name: float(signal.scale) for signal in payload(message)}

    @settings(max_examples=10, database=None)
    @given(st.randoms(use_true_random=False), st.sampled_from(["lowest", "highest", "any"]))
    def round_trip(random: Random, kind: str) -> None:
        values = {}
        for key, (low, high) in ranges.items():
            raw = {"lowest": low, "highest": high, "any": random.randint(low, high)}[kind]
            values[key] = raw * scales[key]
        decoded = decoder.decode(encoder.encode(values).data)
        assert decoded is not None
        for key, value in values.items():
            assert abs(decoded[key] - value) < 0.01 * scales[key]

    round_trip()


@given(st.binary(max_size=70))
def test_random_frames_never_crash_and_never_pass(data: bytes) -> None:
    for name in ("SwitchFeedback", "AfeMeasurement_00", "InsulationMonitor"):
        decoder = FrameDecoder(find_message(DATABASE, name), protected=True)
        assert decoder.decode(data) is None
        assert decoder.rejected.total() == 1


@given(st.binary(max_size=64))
def test_random_frames_never_crash_without_protection(data: bytes) -> None:
    database = load_databases([DATA / "can" / "foreign.dbc"])
    for message in database.messages:
        decoder = FrameDecoder(message, protected=False)
        values = decoder.decode(data)
        assert (values is None) == (decoder.rejected.total() == 1)
        assert values is None or len(data) == message.length


def test_rejections_are_counted_by_kind() -> None:
    message = find_message(DATABASE, "InsulationMonitor")
    encoder, decoder = FrameEncoder(message), FrameDecoder(message, protected=True)
    first, second, third = (bytes(encoder.encode({"Resistance": 1e6}).data) for _ in range(3))
    broken = bytes([*third[:7], third[7] ^ 1])
    for data in (first, first, third, second, broken, first[:7], b"", first + b"\0"):
        decoder.decode(data)
    assert decoder.accepted == 2
    assert decoder.lost == 1
    assert decoder.rejected == {"repeated": 1, "sequence": 1, "crc": 1, "length": 3}


def test_remote_frame_has_no_data_to_decode() -> None:
    remote = can.Message(arbitration_id=0xA0, is_remote_frame=True, dlc=8)
    decoder = FrameDecoder(find_message(DATABASE, "InsulationMonitor"), protected=True)
    assert decoder.decode(remote.data) is None
    assert decoder.rejected == {"length": 1}


def test_unprotected_fd_frame_may_be_padded_to_the_next_length_only() -> None:
    message = Message(1, "M", 9, [], is_fd=True, protocol=None)
    decoder = FrameDecoder(message, protected=False)
    assert [decoder.decode(bytes(n)) is not None for n in (8, 9, 12, 16)] == [
        False,
        True,
        True,
        False,
    ]


def test_encoder_refuses_what_does_not_fit() -> None:
    encoder = FrameEncoder(find_message(DATABASE, "VehicleLimits"))
    for values, what in (
        ({"Voltage": 1.0}, "has no signal 'Voltage'"),
        ({"ChargeCurrent": 7000.0}, "ChargeCurrent"),
        ({"ChargeCurrent": -1.0}, "ChargeCurrent"),
        ({"ChargeCurrent": math.nan}, "ChargeCurrent: found nan, expected 0.0 to 6553.5"),
    ):
        with pytest.raises(DatabaseError, match=what):
            encoder.encode(values)


def test_a_refused_frame_does_not_use_up_a_counter() -> None:
    encoder = FrameEncoder(find_message(DATABASE, "VehicleLimits"))
    decoder = FrameDecoder(encoder.message, protected=True)
    assert decoder.decode(encoder.encode({}).data) is not None
    with pytest.raises(DatabaseError):
        encoder.encode({"ChargeCurrent": math.nan})
    assert decoder.decode(encoder.encode({}).data) is not None
    assert decoder.lost == 0


def test_unprotected_message_cannot_be_decoded_as_protected() -> None:
    message = load_databases([DATA / "can" / "foreign.dbc"]).messages[0]
    with pytest.raises(DatabaseError, match="no end-to-end protection"):
        FrameDecoder(message, protected=True)


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("missing.dbc", "missing.dbc: cannot be loaded.*No such file"),
        ("can/bad_syntax.dbc", "bad_syntax.dbc: cannot be loaded"),
        ("can/bad_value_table.dbc", "bad_value_table.dbc: cannot be loaded"),
    ],
)
def test_databases_that_cannot_be_used(file: str, problem: str) -> None:
    with pytest.raises(DatabaseError, match=problem):
        load_databases([DATA / file])


def test_database_of_others_that_is_broken_is_named(shared_data: Path) -> None:
    file = shared_data / "can_dbc_and_logs" / "dbc" / "opendbc" / "tesla_can.dbc"
    with pytest.raises(
        DatabaseError, match=r"tesla_can\.dbc: cannot be loaded as a CAN database: .+"
    ):
        load_databases([file])


def test_missing_message_is_named_with_what_there_is() -> None:
    with pytest.raises(
        DatabaseError, match=r"no message 'Afe' in the CAN database, it holds e\.g\. Afe"
    ):
        find_message(DATABASE, "Afe")


def test_message_that_stands_in_two_databases_is_refused() -> None:
    with pytest.raises(DatabaseError, match="2 messages are called 'PackSensor'"):
        find_message(load_databases([DBC, DBC]), "PackSensor")


def test_several_databases_make_one() -> None:
    database = load_databases([DBC, DATA / "can" / "foreign.dbc"])
    assert isinstance(database, Database)
    assert find_message(database, "PackSensor").length == 32
    assert find_message(database, "PackData").is_extended_frame


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "own.dbc"
    text = (DATA / "can" / "foreign.dbc").read_text()
    file.write_text(text)
    assert load_databases([file]).messages[0].name == "CellData"
    file.write_text(text.replace("CellData", "CellNews"))
    assert load_databases([file]).messages[0].name == "CellNews"
