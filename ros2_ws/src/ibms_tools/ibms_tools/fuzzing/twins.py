# SPDX-License-Identifier: Apache-2.0
"""Two worlds in step, one of them among bad frames: what these cause is the difference."""

import gc
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from ibms_end.can.codec import data_id_of
from ibms_end.can.end_to_end import Protector
from ibms_end.can.identifier import message_identifier
from ibms_tools.fuzzing.bad_frames import (
    COUNTER_PASSES,
    REJECTED_FOR_CERTAIN,
    TRUE_FRAMES,
    BadFrames,
    Kind,
    fuzz_frame,
)
from ibms_tools.fuzzing.receive_path import Counts
from ibms_tools.fuzzing.world import TICK_S, Devices, Wish, World, clock_of_worlds

FRAMES_PER_TICK = 100  # ten times what a bus of 1 Mbit/s carries
_ROUND_TICKS = 200
# What opens one world must open the other before the limit of a silent status has passed.
_OPENING_TICKS = round(0.2 / TICK_S)
_WARM_UP = 0.2  # share of the frames after which memory has to stay


@dataclass
class Findings:
    """What bad frames did."""

    sent: Counter[Kind] = field(default_factory=Counter)
    passed_crc: Counter[Kind] = field(default_factory=Counter)
    accepted: Counter[Kind] = field(default_factory=Counter)
    # Frames that the code lets pass on average, by identifier, and identifiers without true frames.
    expected_of: dict[int, float] = field(default_factory=dict)
    without_true: frozenset[int] = frozenset()
    delivered: int = 0
    implausible: int = 0
    closings: int = 0  # of the undisturbed world, so that the figures below mean something
    closes_caused: int = 0
    openings_masked: int = 0
    openings_caused: int = 0
    memory_growth_bytes: int = 0

    @property
    def frames(self) -> int:
        """Bad frames sent."""
        return self.sent.total()

    @property
    def crc_by_chance(self) -> int:
        """Frames that passed the CRC though nobody computed it for them."""
        return self.passed_crc.total() - sum(self.passed_crc[kind] for kind in TRUE_FRAMES)

    @property
    def expected_crc(self) -> float:
        """How many pass the CRC on average."""
        return sum(self.expected_of.values())

    @property
    def expected_accepted(self) -> float:
        """How many are accepted on average; of a message without true frames the first one is."""
        accepted = 0.0
        for identifier, passing in self.expected_of.items():
            first = 1.0 - math.exp(-passing) if identifier in self.without_true else 0.0
            accepted += first + (passing - first) * COUNTER_PASSES
        return accepted

    @property
    def crc_bound(self) -> float:
        """Most that may pass the CRC: what the code allows on average and three sigma."""
        return three_sigma(self.expected_crc)

    @property
    def accepted_bound(self) -> float:
        """Most that may be accepted."""
        return three_sigma(self.expected_accepted)

    @property
    def certain_accepted(self) -> int:
        """Frames accepted though the code rejects their kind for certain."""
        return sum(self.accepted[kind] for kind in REJECTED_FOR_CERTAIN)


def three_sigma(mean: float) -> float:
    """Upper bound of a Poisson count."""
    return mean + 3.0 * math.sqrt(mean)


def resident_bytes() -> int:
    """Resident memory of this process, after what is garbage has gone."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def compare(
    pack_file: Path, frames: int, seed: int, memory: Callable[[], int] = resident_bytes
) -> Findings:
    """Send ``frames`` bad frames into one of two equal worlds.

    Each round of two seconds: nothing is wished for, then a user wants the pack closed, then
    protection demands opening while the user still wants it closed, then all rests.
    """
    clock = clock_of_worlds()
    random = Random(seed)
    calm, disturbed = World(pack_file, clock), World(pack_file, clock)
    devices = Devices(calm.received)
    bad = BadFrames(calm.received, calm.heard_by_board, random)
    watch = _Watch(calm.precharging)
    found = watch.found
    memory_before: int | None = None
    tick = 0
    while found.frames < frames:
        clock.advance(TICK_S)
        wish = _wish(tick)
        due = devices.frames(tick)
        for world in (calm, disturbed):
            true = [world.feedback(), *due]
            world.send(true)
            if world is disturbed:
                for frame in true:
                    bad.saw(frame)
        _disturb(disturbed, bad, min(FRAMES_PER_TICK, frames - found.frames), found)
        watch.take(calm.decide(wish), disturbed.decide(wish), disturbed.is_precharged)
        tick += 1
        if memory_before is None and found.frames >= _WARM_UP * frames:
            memory_before = memory()
    assert memory_before is not None
    found.memory_growth_bytes = memory() - memory_before
    found.without_true = bad.never_seen
    found.delivered, found.implausible = disturbed.path.delivered, disturbed.path.implausible
    calm.close()
    disturbed.close()
    return found


def deliver_any_payload(pack_file: Path, frames: int, seed: int) -> tuple[int, int]:
    """Random payloads with the right counter and CRC, and of the charger, which has neither.

    This is what would reach the edge if a bad frame ever passed.

    Returns:
        number of outputs, and how many of them were not believable.
    """
    clock = clock_of_worlds()
    random = Random(seed)
    world = World(pack_file, clock)
    senders = [
        (message_identifier(message), message.length, Protector(data_id))
        for message in world.received
        if (data_id := data_id_of(message)) is not None
    ]
    sent = 0
    while sent < frames:
        clock.advance(TICK_S)
        batch = []
        for identifier, length, protector in senders:
            data = bytearray(random.randbytes(length))
            protector.protect(data)
            batch.append(fuzz_frame(identifier, data))
        batch.append(fuzz_frame(world.path.charger.report_identifier, random.randbytes(8)))
        world.send(batch)
        world.path.scans.clear()
        world.path.feedbacks.clear()
        sent += len(batch)
    world.close()
    return world.path.delivered, world.path.implausible


def _disturb(world: World, bad: BadFrames, count: int, found: Findings) -> None:
    kind = bad.kind()
    frames = bad.batch(kind, count)
    before = world.path.counts()
    world.send(frames)
    passed: Counts = world.path.counts().since(before)
    found.sent[kind] += len(frames)
    found.passed_crc[kind] += passed.passed_crc
    found.accepted[kind] += passed.accepted
    for identifier, share in bad.expected_to_pass_crc(kind, frames).items():
        found.expected_of[identifier] = found.expected_of.get(identifier, 0.0) + share


def _wish(tick: int) -> Wish:
    number, place = divmod(tick, _ROUND_TICKS)
    return Wish(
        closed=30 <= place < 160, sequence=2 * number + (place >= 30), fault=120 <= place < 160
    )


class _Watch:
    """Holds what two switch controls command against each other."""

    def __init__(self, precharging: int) -> None:
        self.found = Findings()
        self._precharging = precharging  # switches that need no charged link
        self._calm = self._disturbed = 0
        self._calm_open_ticks = _OPENING_TICKS + 1  # it begins open

    def take(self, calm: int, disturbed: int, is_precharged: bool) -> None:
        """Switches commanded closed in this tick, and the true state of the disturbed link."""
        found = self.found
        self._calm_open_ticks = 0 if calm else self._calm_open_ticks + 1
        found.closings += bool(calm & ~self._calm)
        newly = disturbed & ~self._disturbed
        unasked = newly and self._calm_open_ticks > _OPENING_TICKS
        too_early = newly & ~self._precharging and not is_precharged
        found.closes_caused += bool(unasked or too_early)
        found.openings_masked += bool(disturbed and self._calm_open_ticks > _OPENING_TICKS)
        found.openings_caused += bool(self._disturbed and not disturbed and calm)
        self._calm, self._disturbed = calm, disturbed
