# SPDX-License-Identifier: Apache-2.0
"""The short form of ``./ibms bench fuzz``, and that it would notice what it looks for."""

import gc
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ibms_edge.switching.controller import SwitchController
from ibms_edge.switching.exchange import FeedbackInput, VerdictInput
from ibms_end.afe.scan_decoder import ScanFrameDecoder
from ibms_end.can import end_to_end
from ibms_end.can.end_to_end import Check
from ibms_tools.fuzzing.bad_frames import Kind
from ibms_tools.fuzzing.twins import Findings, compare, deliver_any_payload
from ibms_tools.fuzzing.world import Wish, World

PACKS = Path(__file__).resolve().parents[5] / "config" / "packs"
PACK_FILE = PACKS / "robot_12s.yaml"
FRAMES = 20_000


def allocated_blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def test_bad_frames_change_nothing() -> None:
    found = compare(PACK_FILE, FRAMES, seed=1, memory=allocated_blocks)
    assert found.frames == FRAMES
    # Queues and counters fill up by a little; a frame kept would be a block for each of 16,000.
    assert found.memory_growth_bytes < 4_000
    hold(found)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_million_bad_frames_change_nothing() -> None:
    found = compare(PACKS / "ev_96s.yaml", 1_000_000, seed=2)
    assert found.frames == 1_000_000
    assert found.memory_growth_bytes < 5_000_000  # resident
    hold(found)


def hold(found: Findings) -> None:
    assert set(found.sent) == set(Kind)
    assert found.closings >= 2  # else nothing below would mean anything
    assert found.crc_by_chance <= found.crc_bound
    assert found.accepted.total() <= found.accepted_bound
    assert found.certain_accepted == 0
    assert found.implausible == 0
    assert found.closes_caused == 0
    assert found.openings_masked == 0


def test_any_payload_that_passed_would_be_believable() -> None:
    outputs, implausible = deliver_any_payload(PACK_FILE, 5_000, seed=1)
    assert outputs > 2_000
    assert implausible == 0


def test_what_is_rejected_is_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_to_end.Checker, "check", lambda *_: Check.CRC)
    outputs, _ = deliver_any_payload(PACK_FILE, 5_000, seed=1)
    assert 0 < outputs < 100  # of the charger, whose frames have no CRC


def disturbed(frames: int = 6_000) -> Findings:
    return compare(PACK_FILE, frames, seed=1, memory=lambda: 0)


def test_a_blind_crc_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(self: end_to_end.Checker, data: bytes) -> Check:
        return Check.OK if len(data) == self._length else Check.LENGTH

    monkeypatch.setattr(end_to_end.Checker, "check", check)
    found = disturbed()
    assert found.accepted.total() > found.accepted_bound
    assert found.certain_accepted > 0


def test_a_decoder_that_believes_everything_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ScanFrameDecoder.__init__

    def credulous(self: ScanFrameDecoder, *arguments: object) -> None:
        plain(self, *arguments)  # type: ignore[arg-type]
        self._temperatures._columns[0:2] = [[-1e9], [1e9]]

    monkeypatch.setattr(ScanFrameDecoder, "__init__", credulous)
    _, implausible = deliver_any_payload(PACK_FILE, 2_000, seed=1)
    assert implausible > 0


def test_a_close_that_nobody_wants_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = World.decide
    steps: dict[int, int] = {}

    def decide(self: World, wish: Wish) -> int:
        mask = plain(self, wish)
        steps[id(self)] = steps.get(id(self), 0) + 1
        # The second of the two closes by itself, in the middle of the first rest.
        return mask | (steps[id(self)] == 25 and id(self) != next(iter(steps)))

    monkeypatch.setattr(World, "decide", decide)
    assert disturbed().closes_caused == 1


def test_a_fault_that_is_not_heard_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = SwitchController.verdict
    seen: list[int] = []

    def deaf(self: SwitchController, verdict: VerdictInput) -> None:
        seen.append(id(self)) if id(self) not in seen else None
        if id(self) == seen[0]:
            plain(self, verdict)
        else:
            plain(self, replace(verdict, demands_opening=False, close_allowed=True))

    monkeypatch.setattr(SwitchController, "verdict", deaf)
    assert disturbed(20_000).openings_masked > 0


def test_a_link_that_only_seems_charged_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = SwitchController.feedback

    def hopeful(self: SwitchController, feedback: FeedbackInput) -> None:
        plain(self, replace(feedback, link_voltage_v=feedback.pack_voltage_v))

    monkeypatch.setattr(SwitchController, "feedback", hopeful)
    assert disturbed(12_000).closes_caused > 0


def test_the_first_frame_of_a_message_without_true_ones_counts_as_let_pass() -> None:
    heard = Findings(expected_of={1: 4.0})
    assert heard.expected_accepted == pytest.approx(4.0 * 15 / 256)
    silent = Findings(expected_of={1: 4.0}, without_true=frozenset({1}))
    # One for the first that passes (it comes with 98 %), the other three by their counter.
    assert silent.expected_accepted == pytest.approx(0.982 + 3.018 * 15 / 256, rel=0.01)
    assert silent.accepted_bound == pytest.approx(1.159 + 3 * 1.159**0.5, rel=0.01)
