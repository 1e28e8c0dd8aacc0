# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_end.afe.history import HistoryFetch

S = 1_000_000_000
WRAP = 1 << 32


class Fetching:
    """A fetch and what it asked for."""

    def __init__(self, first_expected: int | None = None) -> None:
        self.requests: list[tuple[int, int]] = []
        self.fetch = HistoryFetch(lambda f, c: self.requests.append((f, c)), first_expected)
        self.counts = self.fetch.counts


def test_no_gap_no_request() -> None:
    fetching = Fetching()
    for counter in (WRAP - 2, WRAP - 1, 0, 1):
        fetching.fetch.live(counter, 0)
    fetching.fetch.tick(10 * S)
    assert fetching.requests == []


def test_gap_while_running_over_the_wrap() -> None:
    fetching = Fetching()
    fetching.fetch.live(WRAP - 2, 0)
    fetching.fetch.live(3, 0)
    assert fetching.requests == [(WRAP - 1, 4)]
    assert [fetching.fetch.accept(c % WRAP, 0) for c in range(WRAP - 1, WRAP + 3)] == [True] * 4
    assert not fetching.fetch.accept(3, 0)
    assert fetching.counts["history_fetched"] == 4
    assert fetching.counts["history_missing"] == 0


def test_gap_of_a_restart() -> None:
    fetching = Fetching(first_expected=100)
    fetching.fetch.live(150, 0)
    assert fetching.requests == [(100, 50)]


def test_long_gap_asks_for_its_newest_part() -> None:
    fetching = Fetching(first_expected=0)
    fetching.fetch.live(200_000, 0)
    assert fetching.requests == [(200_000 - 65535, 65535)]
    assert fetching.counts["history_missing"] == 200_000 - 65535


def test_restarted_device_has_no_old_scans() -> None:
    fetching = Fetching(first_expected=5000)
    fetching.fetch.live(5010, 0)
    fetching.fetch.live(2, 0)
    assert fetching.requests == [(5000, 10)]
    assert fetching.counts["history_missing"] == 10
    assert not fetching.fetch.accept(5000, 0)


def test_frames_of_an_older_request_are_not_taken() -> None:
    """The process before this one asked for 100 to 200; its answer still runs."""
    fetching = Fetching(first_expected=180)
    assert not fetching.fetch.accept(150, 0)
    fetching.fetch.live(210, 0)
    taken = [counter for counter in range(151, 215) if fetching.fetch.accept(counter, 0)]
    assert taken == list(range(180, 210))
    assert fetching.counts["history_not_asked_for"] == 64 - 30 + 1


def test_second_gap_waits_for_the_first() -> None:
    fetching = Fetching(first_expected=10)
    fetching.fetch.live(13, 0)
    fetching.fetch.live(16, 0)
    assert fetching.requests == [(10, 3)]
    assert [fetching.fetch.accept(c, 0) for c in (14, 10, 11, 12)] == [False, True, True, True]
    assert fetching.requests == [(10, 3), (14, 2)]
    assert [fetching.fetch.accept(c, 0) for c in (14, 15)] == [True, True]


def test_scans_older_than_the_ring_are_counted_as_missing() -> None:
    fetching = Fetching(first_expected=0)
    fetching.fetch.live(10, 0)
    taken = [c for c in range(6, 10) if fetching.fetch.accept(c, 0)]
    assert taken == [6, 7, 8, 9]
    assert fetching.counts["history_missing"] == 6


def test_missing_answer_is_asked_for_again_and_given_up() -> None:
    fetching = Fetching(first_expected=0)
    fetching.fetch.live(4, 0)
    assert fetching.fetch.accept(0, S // 2)
    for at_ms in range(0, 10_000, 100):
        fetching.fetch.tick(at_ms * 1_000_000)
    assert fetching.requests == [(0, 4), (1, 3), (1, 3)]
    assert fetching.counts == {"history_requests": 3, "history_fetched": 1, "history_missing": 3}
    fetching.fetch.live(7, 20 * S)
    assert fetching.requests[-1] == (5, 2)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("live"), st.integers(1, 50)),
            st.tuples(st.just("past"), st.integers(-100, 100)),
            st.tuples(st.just("tick"), st.integers(0, 2)),
        ),
        max_size=80,
    ),
    st.sampled_from([0, WRAP - 60]),
)
def test_each_past_scan_is_taken_at_most_once_and_all_are_accounted_for(
    actions: list[tuple[str, int]], start: int
) -> None:
    fetching = Fetching(first_expected=start)
    live, now_ns, missed = start, 0, 0
    taken: list[int] = []
    for action, amount in actions:
        if action == "live":
            live += amount
            missed += amount - 1 if live > start + amount else amount
            fetching.fetch.live(live % WRAP, now_ns)
        elif action == "past":
            if fetching.fetch.accept((live + amount) % WRAP, now_ns):
                taken.append(live + amount)
        else:
            now_ns += amount * S
            fetching.fetch.tick(now_ns)
    assert len(set(taken)) == len(taken)
    assert taken == sorted(taken)
    for _ in range(400):
        now_ns += 2 * S
        fetching.fetch.tick(now_ns)
    assert fetching.counts["history_fetched"] == len(taken)
    assert fetching.counts["history_fetched"] + fetching.counts["history_missing"] == missed


def test_tick_without_a_gap_is_quiet() -> None:
    fetching = Fetching()
    fetching.fetch.tick(S)
    assert fetching.counts.total() == 0
    with pytest.raises(IndexError):
        fetching.requests[0]
