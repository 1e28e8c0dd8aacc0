# SPDX-License-Identifier: Apache-2.0
"""Process of the simulated switch board: the logic of ``board.logic`` on the CAN bus."""

import argparse
import os
import sys
from collections.abc import Sequence

import can
from cantools.database.can import Database

from ibms_battery.clock import NS_PER_S, Clock, SystemClock
from ibms_battery.pack import Pack, load_pack
from ibms_battery.threads import request_real_time
from ibms_end.can.bus import BusConfiguration, claim_role, open_bus
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_sim import process
from ibms_sim.board.logic import MAXIMUM_DEAD_MAN_TIME_S, SwitchBoard
from ibms_sim.devices import packing
from ibms_sim.faults import BY_NAME, FaultSet
from ibms_sim.injecting import InjectionPort

_FEEDBACK_NS = 10_000_000
_FRESH_NS = 50_000_000  # older frames waited in the socket while this process did not run
_LINK_STALE_NS = 100_000_000
# All bits set means "not available": outside the signal's range, so nobody takes it for a voltage.
_VOLTAGE_NOT_AVAILABLE = 0xFFFFFF


class BoardProcess:
    """Feeds frames into the logic and sends its state."""

    def __init__(
        self,
        pack: Pack,
        database: Database,
        bus: BusConfiguration,
        dead_man_time_s: float,
        clock: Clock,
        challenge: int | None = None,
    ) -> None:
        # A random first challenge: the one of an earlier run does not arm this one.
        challenge = os.urandom(1)[0] if challenge is None else challenge
        self.board = SwitchBoard(pack.switching.switches, challenge, dead_man_time_s)
        self.stale_frames = 0
        self.send_failed = 0
        self._clock = clock
        self._faults = FaultSet(pack, "switch_board")
        self._faults_version = 0
        self._injection = InjectionPort(database, self._faults)
        self._permit = FrameDecoder(find_message(database, "SwitchPermit"), protected=True)
        self._command = FrameDecoder(find_message(database, "SwitchCommand"), protected=True)
        self._protection = packing.Protection(packing.SWITCH_FEEDBACK_ID)
        identifiers = [self._permit, self._command]
        self._bus = open_bus(
            bus, [d.message.frame_id for d in identifiers] + [self._injection.identifier]
        )
        # A socket of its own for what the plant says, read only when it is needed: it comes often
        # and must not wake this process.
        self._link_bus = open_bus(bus, [packing.SIMULATION_LINK_ID])
        self._voltages = (_VOLTAGE_NOT_AVAILABLE, _VOLTAGE_NOT_AVAILABLE)
        self._voltages_ns = -_LINK_STALE_NS
        self._sent: tuple[object, ...] = ()
        self._next_feedback_ns = 0

    def step(self) -> None:
        """Wait for a frame or the next event, then act; returns after at most 10 ms."""
        wait_ns = self.due_ns() - self._clock.boot_ns()
        self.run_due(max(wait_ns, 0) / NS_PER_S)

    def due_ns(self) -> int:
        """When there is something to do next without a frame."""
        due = [self._next_feedback_ns, self.board.next_event_ns(), self._faults.next_end_ns()]
        return min(time for time in due if time is not None)

    def run_due(self, wait_s: float) -> None:
        """Handle frames that come within ``wait_s`` or wait already, then what is due."""
        message = self._bus.recv(wait_s)
        while message is not None:
            self._receive(message)
            message = self._bus.recv(0)
        self._act(self._clock.boot_ns())

    def close(self) -> None:
        """Close the bus."""
        self._bus.shutdown()
        self._link_bus.shutdown()

    def _act(self, now: int) -> None:
        self._faults.expire(now)
        self._apply_faults(now)
        self._advance(now)
        state = self._state(now)
        if state == self._sent and now < self._next_feedback_ns:
            return
        self._sent = state
        self._next_feedback_ns = now + _FEEDBACK_NS
        self._send(now)

    def _advance(self, now: int) -> None:
        if self.board.moving:
            self._read_plant(now)
        self.board.advance(now)
        for index, contactor in enumerate(self.board.contactors):
            if contactor.arced and not self._faults.has("weld", index):
                # From now on the fault that it would be if injected, and removed likewise.
                self._faults.inject(BY_NAME["weld"].number, index, 0.0, 0.0, False, now)

    def _receive(self, message: can.Message) -> None:
        # The dead-man runs before any frame is looked at: a backlog cannot talk it out of opening.
        now = self._clock.boot_ns()
        self._advance(now)
        if message.is_error_frame or message.is_remote_frame:
            return
        if self._clock.wall_ns() - round(message.timestamp * NS_PER_S) > _FRESH_NS:
            self.stale_frames += 1
            return
        identifier = message.arbitration_id
        if identifier == self._permit.message.frame_id:
            values = self._permit.decode(message.data)
            if values is not None:
                self.board.permit(int(values["ScanCounter"]), bool(values["CloseAllowed"]), now)
        elif identifier == self._command.message.frame_id:
            values = self._command.decode(message.data)
            if values is not None:
                self.board.command(
                    int(values["Closed"]), bool(values["Arm"]), int(values["ArmChallenge"]), now
                )
        else:
            answer = self._injection.receive(message.data, now)
            if answer is not None:
                self._transmit(answer)
        self._act(now)

    def _apply_faults(self, now: int) -> None:
        if self._faults.version == self._faults_version:
            return
        self._faults_version = self._faults.version
        for index, contactor in enumerate(self.board.contactors):
            hidden = self._faults.has("weld_hidden", index)
            delay_s = self._faults.of("does_not_open_slow").get(index, 0.0)
            contactor.delay_ns = round(delay_s * NS_PER_S)
            contactor.set_faults(
                welded=hidden or self._faults.has("weld", index),
                hides_weld=hidden,
                blocked=self._faults.has("does_not_close", index),
                now_ns=now,
            )
        self.board.set_interlock(not self._faults.has("interlock_open"), now)
        self.board.set_emergency_stop(self._faults.has("emergency_stop"), now)
        self.board.set_crash(self._faults.has("crash"), now)

    def _state(self, now: int) -> tuple[object, ...]:
        board = self.board
        return (
            board.auxiliary,
            board.conducting,
            board.armed,
            board.latched,
            board.cause,
            board.challenge,
            self._shown_interlock(),
            board.emergency_stop,
            board.crash,
            board.permit_fresh(now),
        )

    def _shown_interlock(self) -> bool:
        return self.board.interlock_closed and not self._faults.has("interlock_glitch")

    def _send(self, now: int) -> None:
        self._read_plant(now)
        contacts = packing.simulation_contacts(self.board.conducting)
        self._transmit(packing.fd_frame(packing.SIMULATION_CONTACTS_ID, contacts))
        if not self._faults.has("switch_board_silent"):
            self._send_feedback(now)
        self._faults.passed("feedback")

    def _send_feedback(self, now: int) -> None:
        board = self.board
        bits = (
            board.armed,
            board.latched,
            self._shown_interlock(),
            board.emergency_stop,
            board.permit_fresh(now),
            board.crash,
        )
        data = packing.switch_feedback(
            board.auxiliary,
            board.challenge,
            sum(1 << place for place, bit in enumerate(bits) if bit),
            int(board.cause),
            *self._voltages,
            board.last_permit_scan,
            round(board.dead_man_time_s * 1e3),
            round(self._faults.value("wrong_switch_count") or len(board.contactors)),
        )
        self._protection.protect(data)
        self._transmit(packing.fd_frame(packing.SWITCH_FEEDBACK_ID, data))

    def _transmit(self, message: can.Message) -> None:
        try:
            self._bus.send(message)
        except can.CanError:
            self.send_failed += 1

    def _read_plant(self, now: int) -> None:
        for message in process.frames(self._link_bus):
            pack_raw, link_raw, self.board.unbreakable = packing.read_simulation_link(message.data)
            self._voltages = (pack_raw, link_raw)
            self._voltages_ns = now
        if now - self._voltages_ns > _LINK_STALE_NS:
            self._voltages = (_VOLTAGE_NOT_AVAILABLE, _VOLTAGE_NOT_AVAILABLE)


def _body(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="simulated_switch_board", description=__doc__)
    process.add_common_arguments(parser)
    parser.add_argument(
        "--dead-man-time",
        type=float,
        default=0.2,
        metavar="SECONDS",
        help="time without advancing permits after which the board opens, at most "
        f"{MAXIMUM_DEAD_MAN_TIME_S}",
    )
    options = parser.parse_args(arguments)
    if not 0 < options.dead_man_time <= MAXIMUM_DEAD_MAN_TIME_S:
        parser.error(f"--dead-man-time must be above 0 and at most {MAXIMUM_DEAD_MAN_TIME_S} s")
    pack = load_pack(options.pack)
    bus = process.bus_configuration(options)
    stop = process.Stop()
    # Hardware does not wait for this machine's other work; without permission it may have to.
    request_real_time(process.DEVICE_PRIORITY)
    with claim_role(bus, "switch_board"):
        device = BoardProcess(
            pack,
            process.simulation_database(options.pack),
            bus,
            options.dead_man_time,
            SystemClock(),
        )
        while not stop.requested:
            device.step()
        device.close()
    print(
        f"simulated_switch_board: {device.stale_frames} frames too old to be used, "
        f"{device.send_failed} frames not taken by the bus",
        file=sys.stderr,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return process.run("simulated_switch_board", _body, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
