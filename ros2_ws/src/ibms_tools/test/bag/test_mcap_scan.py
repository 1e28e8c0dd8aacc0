# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibms_battery.clock import NS_PER_S
from ibms_tools.bag.mcap_scan import scan


def test_a_finished_file(make_bag: Callable[[int], Path]) -> None:
    file = make_bag(4) / "bag.mcap"
    part = scan(file)
    assert part is not None
    assert part.finished
    assert part.messages == 4
    assert (part.first_ns, part.last_ns) == (1000 * NS_PER_S, 1003 * NS_PER_S)


def test_something_else(tmp_path: Path) -> None:
    for content in (b"", b"\x89MCAP", b"SQLite format 3\0"):
        (tmp_path / "file").write_bytes(content)
        assert scan(tmp_path / "file") is None


def test_every_cut_is_noticed_and_counts_whole_messages(make_bag: Callable[[int], Path]) -> None:
    file = make_bag(3) / "bag.mcap"
    whole = file.read_bytes()
    before = 0
    for size in [*range(8, len(whole), 13), len(whole) - 1]:
        file.write_bytes(whole[:size])
        part = scan(file)
        assert part is not None
        assert not part.finished
        assert part.end <= size
        assert before <= part.messages <= 3
        before = part.messages
    assert before == 3


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=200))
def test_junk_after_the_beginning_ends_the_readable_part(tmp_path: Path, junk: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\x89MCAP0\r\n" + junk)
    part = scan(file)
    assert part is not None
    assert part.end <= part.size == len(junk) + 8
