# SPDX-License-Identifier: Apache-2.0
"""Short circuits of the load in drive: the whole chain, contactors that weld, a fuse that melts.

The current is that of the plant. Its multiple of the break current is made by the contactors of a
derived pack, since the cells decide how much a short draws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import can
import msgspec
import pytest
from rclpy.context import Context

from ibms_edge.events.records import SwitchUse
from ibms_edge.events.wear import use_of_opening
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_msgs.msg import Event, PackState, SwitchCommand
from ibms_sim.configuration import Constant, load_simulation
from ibms_sim.process import simulation_database
from ibms_tools.campaign.closed_loop import ClosedLoop
from ibms_tools.campaign.memory_bus import INTERFACE

from .conftest import CONFIG

NEGATIVE, POSITIVE = 0, 1
MAIN = 0b011
SHORT_OHM = 0.12  # about 300 A: more than 200 A is a short circuit in the table of this pack
OVERCURRENT, FUSE_OPEN, STAYS_CLOSED = 122, 133, 175
JUDGED_WITHIN_S = 0.045  # three samples at 10 ms, the first up to 10 ms after the short
OPENING_S = 0.015  # of a contactor
ORDER_S = 0.030  # until the partner follows at the latest

# As the shipped one above 240 A; quick enough at 30 A for a contactor that breaks 15 A.
QUICK_FUSE = [(20, 5.0), (28, 1.0), (240, 0.3), (480, 0.06)]
# Clears about 300 A in 0.7 s, so that there is time for something else to happen before.
SLOW_FUSE = [(20, 5.0), (240, 0.9), (480, 0.5)]


@dataclass
class Seen:
    """What a pack told since the short began; times in seconds since then."""

    events: list[tuple[float, Event]] = field(default_factory=list)
    holds: list[tuple[float, bool]] = field(default_factory=list)  # switch/state, each change
    commands: list[tuple[float, int, int]] = field(default_factory=list)  # Closed and Reason
    contacts: list[tuple[float, int]] = field(default_factory=list)  # truth, each change
    fuse_s: float | None = None  # when it cleared

    def opened(self, pack: Any) -> dict[int, SwitchUse]:
        """Per switch that was seen to open what the event memory makes of it."""
        switches = pack.switching.switches
        return {
            event.element: use_of_opening(switches[event.element], event.value)
            for _, event in self.events
            if event.kind == Event.KIND_SWITCHED and " opened at " in event.text
        }

    @property
    def open_command_s(self) -> float:
        """First command that leaves less than both contactors closed."""
        return next(at for at, closed, _ in self.commands if closed & MAIN != MAIN)


class Short:
    """A pack in drive whose load is shorted; ``run`` writes down what happens."""

    def __init__(self, loop: ClosedLoop, pack_file: Path) -> None:
        self.loop = loop
        self.seen = Seen()
        command = find_message(simulation_database(pack_file), "SwitchCommand")
        self._decoder = FrameDecoder(command, protected=True)
        self._bus = can.Bus(
            interface=INTERFACE,
            channel=loop._channel,
            can_filters=[{"can_id": command.frame_id, "can_mask": 0x7FF}],
        )
        loop.run(3.0)
        assert loop.request(PackState.STATE_DRIVE).success
        assert loop.run(
            3.0, until=lambda: bool(loop.newest["pack/state"].state == PackState.STATE_DRIVE)
        )
        loop.run(1.0)
        while self._bus.recv(0) is not None:
            pass
        loop.heard = self._hear
        self._start_s = loop.now_s

    @property
    def now_s(self) -> float:
        return self.loop.now_s - self._start_s

    @property
    def current_a(self) -> float:
        return abs(self.loop.device._plant.circuit.current_a)

    def begin(self, ohm: float) -> None:
        self._start_s = self.loop.now_s
        self.loop.inject("link_short", value=ohm)

    def run(self, duration_s: float, until: Callable[[], bool] = lambda: False) -> bool:
        return self.loop.run(duration_s, lambda: self._look() or until())

    @property
    def is_welded(self) -> bool:
        return any(contactor.welded for contactor in self.loop.board.board.contactors)

    @property
    def cause(self) -> int:
        return int(self.loop.newest["pack/state"].cause)

    def close(self) -> None:
        self._bus.shutdown()
        self.loop.close()

    def _hear(self, topic: str, message: Any) -> None:
        if topic == "events":
            self.seen.events.append((self.now_s, message))
        elif topic == "switch/state":
            holds = self.seen.holds
            if not holds or holds[-1][1] != message.break_current_hold:
                holds.append((self.now_s, message.break_current_hold))

    def _look(self) -> bool:
        seen = self.seen
        while (frame := self._bus.recv(0)) is not None:
            values = self._decoder.decode(frame.data)
            assert values is not None
            seen.commands.append((self.now_s, int(values["Closed"]), int(values["Reason"])))
        conducting = self.loop.conducting
        if not seen.contacts or seen.contacts[-1][1] != conducting:
            seen.contacts.append((self.now_s, conducting))
        if seen.fuse_s is None and self.loop.device._plant._fuse.is_open:
            seen.fuse_s = self.now_s
        return False


def derive(folder: Path, break_a: float, fuse: list[tuple[float, float]] | None) -> Path:
    """The robot's pack with contactors that break ``break_a``, and another fuse unless ``None``."""
    config = folder / "config"
    (config / "packs").mkdir(parents=True)
    for entry in CONFIG.iterdir():
        if entry.name != "packs":
            (config / entry.name).symlink_to(entry)
    pack = msgspec.yaml.decode((CONFIG / "packs" / "robot_12s.yaml").read_bytes())
    for index in (NEGATIVE, POSITIVE):
        pack["switching"]["switches"][index]["maximum_break_current_a"] = break_a
    if fuse is not None:
        pack["fuse"]["rated_current_a"] = 10.0
        pack["fuse"]["melting_curve"] = [{"current_a": a, "time_s": s} for a, s in fuse]
    file = config / "packs" / "robot_12s.yaml"
    file.write_bytes(msgspec.yaml.encode(pack))
    return file


Shorts = Callable[..., Short]


@pytest.fixture
def make(context: Context, tmp_path: Path) -> Iterator[Shorts]:
    made: list[Short] = []

    def make(break_a: float, fuse: list[tuple[float, float]] | None = None) -> Short:
        file = derive(tmp_path / str(len(made)), break_a, fuse)
        simulation = msgspec.structs.replace(
            load_simulation(CONFIG / "simulation" / "robot.yaml"), load=Constant(-6.0)
        )
        made.append(Short(ClosedLoop(file, simulation, CONFIG / "simulation", context), file))
        return made[-1]

    yield make
    for short in made:
        short.close()


@pytest.fixture
def short_a(make: Shorts) -> float:
    """What the short draws when opening is demanded: the greater of truth and measurement."""
    short = make(1e3, QUICK_FUSE)
    short.begin(SHORT_OHM)
    assert short.run(1.0, lambda: bool(short.seen.commands) and short.seen.commands[-1][1] != MAIN)
    return max(short.current_a, abs(float(short.loop.newest["pack/measurement"].current_a)))


@pytest.mark.parametrize("multiple", [0.5, 1.0, 2.0, 20.0])
def test_what_contactors_can_break_they_break_and_the_rest_is_left_to_the_fuse(
    make: Shorts, short_a: float, multiple: float
) -> None:
    holds = multiple > 1.0
    short = make(short_a / multiple, QUICK_FUSE)
    seen, pack = short.seen, short.loop.pack
    assert pack.fuse is not None
    short.begin(SHORT_OHM)
    short.run(1.5)

    # Told at once: by the state of the switches, by a frame to the board, by an event.
    told_s = [at for at, is_held in seen.holds if is_held]
    framed_s = [
        at for at, _, why in seen.commands if why == SwitchCommand.REASON_BREAK_CURRENT_HOLD
    ]
    notices = [(at, event) for at, event in seen.events if "held for the fuse" in event.text]
    assert (bool(told_s), bool(framed_s), bool(notices)) == (holds, holds, holds)
    if holds:
        assert max(told_s[0], framed_s[0], notices[0][0]) <= JUDGED_WITHIN_S
        assert -notices[0][1].value == pytest.approx(short_a, rel=0.02)
        assert seen.holds[-1][1] is False

    # The fuse clears where it must, and only then the contacts move.
    assert (seen.fuse_s is not None) == holds
    opened_s = [at for at, _ in seen.contacts[1:]]
    if seen.fuse_s is not None:
        assert seen.fuse_s < told_s[0] + pack.fuse.clearing_time_s
        assert seen.fuse_s < opened_s[0]
        limit_s = seen.fuse_s + 0.025  # the next sample shows it
    else:
        limit_s = JUDGED_WITHIN_S
    assert seen.open_command_s < limit_s
    assert opened_s[-1] < limit_s + ORDER_S + OPENING_S

    # No weld, and the wear of what was truly broken.
    assert seen.contacts[0][1] == MAIN
    assert seen.contacts[-1][1] == short.loop.conducting == 0
    assert not short.is_welded
    wear = seen.opened(pack)
    assert wear.keys() == {NEGATIVE, POSITIVE}
    # The one that suits discharging breaks it, its partner moves without current.
    assert wear[POSITIVE].under_load == (0 if holds else 1)
    assert wear[NEGATIVE].under_load == 0
    assert all(use.above_break == 0 for use in wear.values())

    assert short.loop.newest["pack/state"].state == PackState.STATE_ERROR
    assert short.cause == OVERCURRENT
    assert short.loop.newest["protection/status"].first_cause == OVERCURRENT
    assert short.loop.newest["switch/state"].open_reason == SwitchCommand.REASON_PROTECTION


def test_the_contactors_open_when_the_time_of_the_fuse_is_over(make: Shorts) -> None:
    """A current that the fuse bears for 3 s and the contactors do not break."""
    short = make(75.0)
    seen, pack = short.seen, short.loop.pack
    assert pack.fuse is not None
    short.begin(0.46)  # about 95 A
    short.run(4.0)
    hold_s = next(at for at, is_held in seen.holds if is_held)
    assert hold_s <= JUDGED_WITHIN_S
    assert seen.open_command_s == pytest.approx(hold_s + pack.fuse.clearing_time_s, abs=0.021)
    # Both at once, so that they share the arc; in this plant they weld, which is told.
    at_opening = [closed for at, closed, _ in seen.commands if at == seen.open_command_s]
    assert at_opening == [0]
    assert short.is_welded
    stays_closed = [at for at, event in seen.events if event.diagnosis == STAYS_CLOSED]
    assert stays_closed[0] < seen.open_command_s + 0.3
    # The fuse ends it in the end.
    assert seen.fuse_s is not None
    assert seen.fuse_s > seen.open_command_s
    assert short.current_a == 0.0
    assert short.loop.newest["pack/state"].state == PackState.STATE_ERROR
    assert short.cause == OVERCURRENT


def test_a_dead_short_melts_the_shipped_fuse_before_anybody_judges(make: Shorts) -> None:
    short = make(150.0)  # as shipped; the short draws ten times as much
    seen = short.seen
    short.begin(0.001)
    short.run(1.0)
    assert seen.fuse_s is not None
    assert seen.fuse_s <= 0.011
    assert not any(is_held for _, is_held in seen.holds)
    assert short.loop.conducting == 0
    assert not short.is_welded
    assert all(use.under_load == 0 for use in seen.opened(short.loop.pack).values())
    assert short.cause == FUSE_OPEN


def press_emergency_stop(short: Short) -> None:
    short.loop.inject("emergency_stop")


def lose_permits(short: Short) -> None:
    short.loop.board.board.permit = lambda *_: None  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("unconditional", "latest_s"),
    [(press_emergency_stop, OPENING_S + 0.01), (lose_permits, 0.2 + 0.02 + OPENING_S + 0.01)],
)
def test_emergency_stop_and_dead_man_open_at_twice_the_break_current_and_wear(
    make: Shorts, short_a: float, unconditional: Callable[[Short], None], latest_s: float
) -> None:
    """Contactors that survive it, better than rated, have used up life."""
    short = make(short_a / 2, SLOW_FUSE)
    short.loop.device._plant._break_a[:] = 1e6
    short.begin(SHORT_OHM)
    short.run(0.1)
    assert short.seen.holds[-1][1] is True
    stopped_s = short.now_s
    unconditional(short)
    short.run(1.0)
    seen = short.seen
    assert seen.fuse_s is None
    assert [contacts for _, contacts in seen.contacts] == [MAIN, 0]  # both at once
    assert seen.contacts[-1][0] - stopped_s <= latest_s
    assert seen.holds[-1][1] is False
    wear = seen.opened(short.loop.pack)
    assert [wear[index].above_break for index in (NEGATIVE, POSITIVE)] == [1, 1]
    assert all(use.life_used > 0.1 for use in wear.values())
    told = [event for _, event in seen.events if "more than the" in event.text]
    assert {event.element for event in told} >= {NEGATIVE, POSITIVE}
    assert short.loop.newest["pack/state"].state == PackState.STATE_ERROR
    assert short.cause == OVERCURRENT  # stood first


def test_an_emergency_stop_that_welds_is_told_and_the_fuse_ends_the_current(
    make: Shorts, short_a: float
) -> None:
    short = make(short_a / 2, SLOW_FUSE)
    short.begin(SHORT_OHM)
    short.run(0.1)
    stopped_s = short.now_s
    press_emergency_stop(short)
    short.run(1.5)
    seen = short.seen
    assert seen.open_command_s - stopped_s <= 0.02
    assert short.is_welded
    assert any(event.diagnosis == STAYS_CLOSED for _, event in seen.events)
    assert seen.fuse_s is not None
    assert short.current_a == 0.0
    assert not short.loop.request(PackState.STATE_DRIVE).success
