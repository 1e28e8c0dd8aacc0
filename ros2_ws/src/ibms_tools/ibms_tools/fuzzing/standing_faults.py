# SPDX-License-Identifier: Apache-2.0
"""Faults that stand in the true frames, with bad frames between them: does the pack still open?

The nodes of the chain run in closed loop with the simulated pack, once undisturbed and once among
bad frames.
"""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec
from rclpy.context import Context

from ibms_battery.clock import NS_PER_S
from ibms_end.can.bus import open_bus
from ibms_end.can.codec import data_id_of
from ibms_msgs.msg import PackState
from ibms_sim.configuration import Constant, load_simulation
from ibms_sim.faults import NO_ELEMENT
from ibms_sim.process import simulation_database
from ibms_tools.campaign.closed_loop import ClosedLoop
from ibms_tools.fuzzing.bad_frames import BadFrames

_STEP_S = 0.01
_FRAMES_PER_STEP = 20
_LOAD_A = -6.0
_IDLE_S = 2.0
_DRIVE_S = 3.0  # until it drives, and for a while
_OPENS_WITHIN_S = 5.0
_AFTERWARDS_S = 1.0
# True frames may be lost to repeated and old ones: a sample or two of each debounce.
ALLOWED_DELAY_S = 0.2


@dataclass(frozen=True)
class StandingFault:
    """A fault of the simulated pack that has to open it."""

    name: str
    element: int = NO_ELEMENT
    value: float = 0.0


FAULTS = (
    StandingFault("cell_voltage", 3, 4.5),
    StandingFault("cell_voltage", 7, 2.2),
    StandingFault("cell_temperature", 1, 75.0),
    StandingFault("current_value", value=-400.0),
    StandingFault("open_wire", 5),
    StandingFault("interlock_open"),
    StandingFault("emergency_stop"),
    StandingFault("pack_sensor_silent"),
)


@dataclass
class Trial:
    """What happened in one loop."""

    fault: StandingFault
    frames: int = 0
    closed_unasked: bool = False  # conducted before anybody asked
    drove: bool = False
    opened_early: bool = False  # before the fault
    opening_s: float | None = None  # from the fault to opened contacts
    closed_again: bool = False  # though the fault stands, at a new request
    cause: int = 0


def is_masked(calm: Trial, disturbed: Trial) -> bool:
    """Whether bad frames kept the fault from opening the pack as it does without them."""
    if calm.opening_s is None or not calm.drove:
        raise ValueError(f"{calm.fault.name} does not open the undisturbed pack")
    if disturbed.opened_early:
        return False  # open is open
    return (
        disturbed.opening_s is None
        or disturbed.opening_s > calm.opening_s + ALLOWED_DELAY_S
        or disturbed.cause != calm.cause
    )


def run_trial(
    fault: StandingFault, pack_file: Path, context: Context, random: Random | None
) -> Trial:
    """Idle, drive, fault, and a request to drive again; bad frames if there is a ``random``."""
    folder = pack_file.parent.parent / "simulation"
    simulation = msgspec.structs.replace(
        load_simulation(folder / "robot.yaml"), load=Constant(_LOAD_A)
    )
    loop = ClosedLoop(pack_file, simulation, folder, context)
    disturbed = _Disturbed(loop, pack_file, random)
    trial = Trial(fault)
    try:
        _run(trial, disturbed)
    finally:
        trial.frames = disturbed.frames
        disturbed.close()
        loop.close()
    return trial


def _run(trial: Trial, disturbed: "_Disturbed") -> None:
    loop, fault = disturbed.loop, trial.fault
    trial.closed_unasked = disturbed.run(_IDLE_S, stop_at=True)
    loop.request(PackState.STATE_DRIVE)
    disturbed.run(_DRIVE_S)
    trial.drove = loop.newest["pack/state"].state == PackState.STATE_DRIVE
    trial.opened_early = trial.drove and loop.conducting == 0
    start_ns = loop.clock.boot_ns()
    loop.inject(fault.name, fault.element, fault.value)
    if disturbed.run(_OPENS_WITHIN_S, stop_at=False):
        trial.opening_s = (loop.clock.boot_ns() - start_ns) / NS_PER_S
    trial.cause = loop.newest["protection/status"].first_cause
    loop.clear_faults()
    loop.request(PackState.STATE_DRIVE)
    trial.closed_again = disturbed.run(_AFTERWARDS_S, stop_at=True)


class _Disturbed:
    """A loop with somebody on its bus who listens and sends what he should not."""

    def __init__(self, loop: ClosedLoop, pack_file: Path, random: Random | None) -> None:
        self.loop = loop
        self.frames = 0
        self._bus = open_bus(loop.bus)
        messages = simulation_database(pack_file).messages
        # What the simulated devices say to each other is not protected and none of its business.
        contract = [message for message in messages if data_id_of(message) is not None]
        targets = [
            message
            for message in contract
            if "BMS" in message.receivers
            and (not message.name.startswith("Afe") or message.name.endswith("_00"))
        ]
        known = {message.frame_id for message in targets}
        avoided = [m.frame_id for m in messages if m.frame_id not in known]
        self._bad = BadFrames(targets, avoided, random) if random is not None else None

    def close(self) -> None:
        """Leave the bus."""
        self._bus.shutdown()

    def run(self, duration_s: float, stop_at: bool | None = None) -> bool:
        """Let time pass; returns whether the contacts (do not) conduct, and stops there."""
        for _ in range(round(duration_s / _STEP_S)):
            self.loop.run(_STEP_S)
            if stop_at is not None and bool(self.loop.conducting) == stop_at:
                return True
            self._disturb()
        return False

    def _disturb(self) -> None:
        while (message := self._bus.recv(0)) is not None:
            if self._bad is not None and not (message.is_error_frame or message.is_remote_frame):
                self._bad.saw(message)
        if self._bad is None:
            return
        for frame in self._bad.batch(self._bad.kind(), _FRAMES_PER_STEP):
            self._bus.send(frame)
            self.frames += 1
