# SPDX-License-Identifier: Apache-2.0
"""A healthy pack on a bus in memory, once among bad frames and once without them."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import can
from cantools.database.can import Message

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_battery.pack import load_pack
from ibms_edge.switching.controller import SwitchController
from ibms_edge.switching.exchange import RequestInput, VerdictInput
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.mapping import load_map
from ibms_sim.board.logic import SwitchBoard
from ibms_tools.campaign.memory_bus import INTERFACE, create_channel, remove_channel
from ibms_tools.fuzzing.receive_path import ReceivePath

TICK_S = 0.01
_START_NS = 1000 * NS_PER_S
_DEAD_MAN_TIME_S = 0.2
_CHALLENGE = 17
_LARGEST_MODULES = 16
_PACK_V = 355.0
_LINK_RISE = 0.2  # of the missing voltage in one tick
_HEALTHY = {
    "CellVoltage": 3.7,
    "Temperature_0": 25.0,
    "ModuleVoltage": 59.2,
    "AfeTemperature": 30.0,
    "PackVoltage": _PACK_V,
    "LinkVoltage": _PACK_V,
    "Resistance": 5e6,
    "ShuntTemperature": 30.0,
    "RequestedState": 1,
}
_numbers = itertools.count()


@dataclass(frozen=True)
class Wish:
    """What the rest of the edge wants of switch control at a moment."""

    closed: bool
    sequence: int
    fault: bool  # protection demands opening


class Devices:
    """Encodes what healthy devices send, each message in its own period."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._sent = [
            (FrameEncoder(message), round(message.cycle_time / 1000 / TICK_S))
            for message in messages
            if message.cycle_time and "SWITCH_BOARD" not in message.senders
        ]

    def frames(self, tick: int) -> list[can.Message]:
        """Frames that are due."""
        frames = []
        for encoder, period in self._sent:
            if tick % period == 0:
                values = {
                    signal.name: value
                    for signal in encoder.message.signals
                    for prefix, value in _HEALTHY.items()
                    if signal.name.startswith(prefix)
                }
                known = {signal.name for signal in encoder.message.signals}
                counters = {
                    "ScanCounter": tick // period,
                    "SampleCounter": tick,
                    "DeviceTime": 10 * tick,
                }
                values |= {name: value for name, value in counters.items() if name in known}
                frames.append(encoder.encode(values))
        return frames


class World:
    """One pack: receive path, switch control and board, on its own channel.

    Protection is left out: each scan that the driver delivers counts as healthy unless a fault is
    wished for. So nothing but bad frames can make two worlds differ.
    """

    def __init__(self, pack_file: Path, clock: VirtualClock) -> None:
        pack = load_pack(pack_file)
        self._clock = clock
        self._channel = f"fuzz_{os.getpid()}_{next(_numbers)}"
        create_channel(self._channel, clock)
        bus = BusConfiguration(INTERFACE, self._channel)
        can_folder = pack_file.parent.parent / "can"
        self.loaded = load_map(can_folder / "maps" / pack.can_map, pack)
        self.path = ReceivePath(pack, self.loaded, can_folder, bus, clock)
        self.controller = SwitchController(pack)
        self._board = SwitchBoard(pack.switching.switches, _CHALLENGE, _DEAD_MAN_TIME_S)
        database = self.loaded.database
        self._permit = FrameDecoder(find_message(database, "SwitchPermit"), True)
        self._command = FrameDecoder(find_message(database, "SwitchCommand"), True)
        self._feedback = FrameEncoder(find_message(database, "SwitchFeedback"))
        self._board_bus = open_bus(bus, self.heard_by_board)
        self._outside = open_bus(bus, [])
        self._link_v = 0.0
        self._pack = pack

    @property
    def received(self) -> list[Message]:
        """Messages that the edge takes from the bus, as the database says."""
        absent = {f"{self._pack.modules + i:02d}" for i in range(_LARGEST_MODULES)}
        return [
            message
            for message in self.loaded.database.messages
            if "BMS" in message.receivers
            and not (message.name.startswith("Afe") and message.name[-2:] in absent)
        ]

    @property
    def heard_by_board(self) -> list[int]:
        """Identifiers that the board listens to."""
        return [self._permit.message.frame_id, self._command.message.frame_id]

    @property
    def precharging(self) -> int:
        """Switches that may close before the link has the pack's voltage."""
        return self._pack.switching.mask("precharge")

    @property
    def is_precharged(self) -> bool:
        """Whether the link truly has the pack's voltage."""
        return self._pack.precharge_is_complete(_PACK_V, self._link_v)

    def close(self) -> None:
        """Take it down."""
        self.path.close()
        self._board_bus.shutdown()
        self._outside.shutdown()
        remove_channel(self._channel)

    def send(self, frames: list[can.Message]) -> None:
        """Put frames of somebody else on the bus and let the edge take them."""
        for frame in frames:
            self._outside.send(frame)
        while self._outside.recv(0) is not None:
            pass  # what others send
        self.path.poll()

    def feedback(self) -> can.Message:
        """Let the board act; returns its frame."""
        now_ns = self._clock.boot_ns()
        board = self._board
        board.advance(now_ns)
        while (message := self._board_bus.recv(0)) is not None:
            identifier, data = message.arbitration_id, message.data
            if identifier == self._permit.message.frame_id:
                values = self._permit.decode(data)
                if values is not None:
                    board.permit(int(values["ScanCounter"]), bool(values["CloseAllowed"]), now_ns)
            else:
                values = self._command.decode(data)
                if values is not None:
                    board.command(
                        int(values["Closed"]),
                        bool(values["Arm"]),
                        int(values["ArmChallenge"]),
                        now_ns,
                    )
        target_v = _PACK_V if board.conducting.bit_count() > 1 else 0.0
        self._link_v += _LINK_RISE * (target_v - self._link_v)
        return self._feedback.encode(
            {
                "Closed": board.auxiliary,
                "ArmChallenge": board.challenge,
                "Armed": board.armed,
                "DeadManLatched": board.latched,
                "InterlockClosed": True,
                "PermitFresh": board.permit_fresh(now_ns),
                "OpenCause": int(board.cause),
                "PackVoltage": _PACK_V,
                "LinkVoltage": self._link_v,
                "LastPermitScan": board.last_permit_scan,
                "DeadManTime": board.dead_man_time_s * 1e3,
                "SwitchCount": len(board.contactors),
            }
        )

    def decide(self, wish: Wish) -> int:
        """Let switch control act on what came; returns the switches that it commands closed."""
        now_ns = self._clock.boot_ns()
        controller = self.controller
        for scan in self.path.scans:
            if not scan.late:
                controller.verdict(
                    VerdictInput(
                        scan.boot_ns, scan.scan_counter, True, wish.fault, not wish.fault, 1
                    )
                )
        self.path.scans.clear()
        configuration = "closed" if wish.closed else "open"
        controller.request(RequestInput(now_ns, wish.sequence, configuration, wish.closed))
        for feedback in self.path.feedbacks:
            controller.feedback(feedback)
        self.path.feedbacks.clear()
        actions = controller.step(now_ns)
        if actions.command is not None:
            self.path.link.send_command(actions.command)
        if actions.permit is not None:
            self.path.link.send_permit(actions.permit)
        return controller.commanded_mask


def clock_of_worlds() -> VirtualClock:
    """A clock to share between worlds."""
    return VirtualClock(_START_NS, _START_NS)
