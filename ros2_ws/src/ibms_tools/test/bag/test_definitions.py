# SPDX-License-Identifier: Apache-2.0
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from ibms_msgs.msg import ProtectionStatus
from ibms_ros_common.manifest import manifest
from ibms_tools.bag.definitions import canonical, definition, hash_of_definition, type_hash

STATUS = "ibms_msgs/msg/ProtectionStatus"


@pytest.mark.parametrize("name", sorted({t.type for t in manifest().topics.values()}))
def test_the_definition_has_the_hash_of_the_installed_type(name: str) -> None:
    assert hash_of_definition(name, definition(name)) == type_hash(name)
    assert type_hash(name).startswith("RIHS01_")


def test_a_changed_definition_has_another_hash() -> None:
    text = definition(STATUS).replace("uint32 iteration", "uint64 iteration")
    assert hash_of_definition(STATUS, text) != type_hash(STATUS)


def test_definitions_keep_their_units() -> None:
    assert "# [V] per cell" in definition("ibms_msgs/msg/CellMeasurement")
    assert "MSG: std_msgs/Header" in definition("ibms_msgs/msg/CellMeasurement")


@settings(deadline=None)
@given(st.text(max_size=9), st.lists(st.integers(0, 65535), max_size=5), st.integers(0, 2**64 - 1))
def test_the_canonical_form_is_the_same_message(frame: str, ids: list[int], boot: int) -> None:
    frame = frame.replace("\0", "").encode("utf-8", "ignore").decode()
    message = ProtectionStatus(boot_ns=boot)
    message.header.frame_id = frame
    message.active_diagnosis = array("H", ids)
    data = canonical(STATUS, serialize_message(message))
    assert deserialize_message(data, ProtectionStatus) == message
    assert canonical(STATUS, data) == data


def test_bytes_between_fields_do_not_count() -> None:
    message = ProtectionStatus(boot_ns=5)
    message.header.frame_id = "p"  # 2 bytes with its end; 6 more align boot_ns
    data = bytearray(canonical(STATUS, serialize_message(message)))
    gap = slice(data.index(b"p\0") + 2, data.index(b"\x05"))
    assert gap.stop > gap.start
    data[gap] = b"\xaa" * (gap.stop - gap.start)
    assert deserialize_message(bytes(data), ProtectionStatus) == message
    assert canonical(STATUS, bytes(data)) == canonical(STATUS, serialize_message(message))
