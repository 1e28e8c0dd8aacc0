# SPDX-License-Identifier: Apache-2.0
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibms_battery.clock import NS_PER_S
from ibms_tools.bag.errors import BagError
from ibms_tools.bag.reader import BagReader

TOPIC = "/battery/cells/measurement"


def read(path: Path) -> list[int]:
    with BagReader(path) as bag:
        return [item.message.scan_counter for item in bag.messages([TOPIC])]


def test_round_trip(make_bag: Callable[[int], Path]) -> None:
    with BagReader(make_bag(5)) as bag:
        items = list(bag.messages([TOPIC]))
        assert bag.counts == {TOPIC: 5}
        assert bag.custom == {"note": "made by a test"}
        assert (bag.start_ns, bag.end_ns) == (1000 * NS_PER_S, 1004 * NS_PER_S)
    assert [item.stamp_ns for item in items] == [(1000 + i) * NS_PER_S for i in range(5)]
    assert [item.message.scan_counter for item in items] == [0, 1, 2, 3, 4]
    assert items[0].message.header.frame_id == "pack"


def test_the_mcap_file_alone_can_be_read(make_bag: Callable[[int], Path]) -> None:
    assert read(make_bag(3) / "bag.mcap") == [0, 1, 2]


def test_an_unknown_topic_is_refused(make_bag: Callable[[int], Path]) -> None:
    with (
        BagReader(make_bag(1)) as bag,
        pytest.raises(BagError, match="holds no topic /x; it holds"),
    ):
        list(bag.messages(["/x"]))


def test_a_missing_bag_is_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="does not exist"):
        BagReader(tmp_path / "nothing")
    with pytest.raises(BagError, match="is no bag"):
        BagReader(tmp_path)


def test_an_interrupted_recording_says_what_is_readable(make_bag: Callable[[int], Path]) -> None:
    path = make_bag(5)
    (path / "metadata.yaml").unlink()
    file = path / "bag.mcap"
    whole = file.read_bytes()
    third = whole.index(b"\x06", whole.index((1003 * NS_PER_S).to_bytes(8, "little")) - 9)
    file.write_bytes(whole[: third + 30])
    with pytest.raises(BagError) as raised:
        BagReader(path)
    text = str(raised.value)
    assert "truncated bag" in text
    assert "the first 3 messages (2.0 s) are readable" in text
    assert "mcap recover bag.mcap" in text


def test_a_cut_file_beside_its_metadata_is_found_out(make_bag: Callable[[int], Path]) -> None:
    path = make_bag(5)
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(BagError, match=r"truncated bag.*the first 5 messages"):
        BagReader(path)


def test_a_finished_file_without_metadata_is_pointed_at(make_bag: Callable[[int], Path]) -> None:
    path = make_bag(1)
    (path / "metadata.yaml").unlink()
    with pytest.raises(BagError, match="it is complete"):
        BagReader(path)


def test_garbage_is_no_bag(make_bag: Callable[[int], Path]) -> None:
    path = make_bag(1)
    (path / "bag.mcap").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(BagError, match="is no MCAP file"):
        BagReader(path)
    (path / "metadata.yaml").write_text("{[")
    with pytest.raises(BagError, match="no MCAP file"):
        BagReader(path)


def test_another_definition_is_refused(make_bag: Callable[[int], Path]) -> None:
    path = make_bag(1)
    file = path / "bag.mcap"
    # Of equal length, so that the file stays well formed.
    file.write_bytes(file.read_bytes().replace(b"float32 current_a ", b"float32 current_b "))
    with BagReader(file) as bag, pytest.raises(BagError, match="another definition of ibms_msgs"):
        list(bag.messages([TOPIC]))


def test_messages_that_are_not_there_are_missed(make_bag: Callable[[int], Path]) -> None:
    path = make_bag(3)
    metadata = path / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("message_count: 3", "message_count: 4"))
    with pytest.raises(BagError, match="summary says 4 messages, but 3 were found"):
        read(path)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_damage_anywhere_gives_a_clear_error_or_all_messages(
    make_bag: Callable[[int], Path], data: st.DataObject
) -> None:
    path = make_bag(3)
    try:
        file = path / "bag.mcap"
        content = bytearray(file.read_bytes())
        begin = data.draw(st.integers(0, len(content) - 1))
        junk = data.draw(st.binary(min_size=1, max_size=40))
        content[begin : begin + len(junk)] = junk
        file.write_bytes(content)
        with suppress(BagError):  # anything else fails the test
            assert len(read(path)) == 3
    finally:
        shutil.rmtree(path)
