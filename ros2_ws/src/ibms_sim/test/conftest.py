# SPDX-License-Identifier: Apache-2.0
"""The simulated pack and its switch board on a virtual clock and a local bus of their own."""

import argparse
import functools
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import can
import msgspec
import pytest
from hypothesis import settings

from ibms_battery.clock import VirtualClock
from ibms_battery.pack import Pack, load_pack
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameDecoder, FrameEncoder, data_id_of, find_message
from ibms_sim.configuration import Constant, Simulation, load_simulation
from ibms_sim.faults import BY_NAME, NO_ELEMENT, InjectCode
from ibms_sim.process import simulation_database
from ibms_sim.simulated_pack import PackProcess
from ibms_sim.simulated_switch_board import BoardProcess

# An example is not wrong because the machine was busy with something else.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")

load_database = functools.cache(simulation_database)
CONFIG = Path(__file__).resolve().parents[4] / "config"
STEP_S = 0.005
MAIN, PRECHARGE, CLOSING = 0b011, 0b101, 0b111


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class BenchClock(VirtualClock):
    """Boot time is virtual; wall time is real, as the bus stamps frames with it."""

    def wall_ns(self) -> int:
        return time.time_ns()


class Bench:
    """Runs both devices and plays the BMS: permits for each scan, commands on request."""

    def __init__(
        self,
        pack_file: Path,
        simulation: Simulation,
        cells: Path | None = None,
        change: Callable[[Pack], Pack] = lambda pack: pack,
    ) -> None:
        self.pack: Pack = change(load_pack(pack_file))
        self.clock = BenchClock(10**12)
        bus = BusConfiguration("ibms_local", str(free_port()), "fd")
        self.bus_configuration = bus
        database = load_database(pack_file)
        files = argparse.Namespace(
            pack=pack_file,
            simulation=CONFIG / "simulation" / "robot.yaml",
            cells=cells,
            start_s=0.0,
            columns=None,
        )
        self.device = PackProcess(self.pack, simulation, files, database, bus, self.clock)
        self.board = BoardProcess(self.pack, database, bus, 0.12, self.clock)
        self.device.pacer.start()
        self.bus = open_bus(bus)
        self.decoders = {
            message.frame_id: FrameDecoder(message, data_id_of(message) is not None)
            for message in database.messages
        }
        self.last: dict[str, dict[str, float]] = {}
        self.seen: Counter[str] = Counter()
        self.error_frames = 0
        self.permits = True
        self._encoders = {message.name: FrameEncoder(message) for message in database.messages}
        self._find = database
        self._sequence = 0

    def close(self) -> None:
        self.device.close()
        self.board.close()
        self.bus.shutdown()

    def send(self, name: str, **values: float) -> None:
        self.bus.send(self._encoders[name].encode(values))

    def run(self, duration_s: float) -> None:
        for _ in range(round(duration_s / STEP_S)):
            self.clock.advance(STEP_S)
            self.device.run_due()
            self.board.run_due(0)
            while (message := self.bus.recv(0)) is not None:
                self._receive(message)

    def rejected(self, name: str) -> Counter[str]:
        return self.decoders[find_message(self._find, name).frame_id].rejected

    def count(self, name: str, duration_s: float) -> int:
        """Valid frames ``name`` within ``duration_s``."""
        before = self.seen[name]
        self.run(duration_s)
        return self.seen[name] - before

    def command(self, closed: int, arm: bool = False) -> None:
        challenge = self.last["SwitchFeedback"]["ArmChallenge"]
        self.send("SwitchCommand", Closed=closed, Arm=arm, ArmChallenge=challenge)
        self.run(0.05)

    def connect(self) -> None:
        """Arm, precharge and close."""
        mask = self.pack.switching.mask
        self.run(0.2)
        self.command(0, arm=True)
        self.command(mask("precharge"))
        self.run(0.4)
        self.command(mask("closing"))
        self.command(mask("closed"))
        assert self.last["SwitchFeedback"]["Closed"] == mask("closed")

    def inject(
        self,
        name: str,
        element: int = NO_ELEMENT,
        value: float = 0.0,
        duration_s: float = 0.0,
        remove: bool = False,
        count: int = 0,
    ) -> InjectCode | None:
        self._sequence += 1
        self.last.pop("SimulationAnswer", None)
        self.send(
            "SimulationInject",
            Sequence=self._sequence,
            Fault=BY_NAME[name].number,
            Element=element,
            ValueMicro=value,
            Duration=round(duration_s * 1000),
            Remove=remove,
            Count=count,
        )
        self.run(0.02)
        answer = self.last.get("SimulationAnswer")
        if answer is None:
            return None
        assert answer["Sequence"] == self._sequence
        return InjectCode(int(answer["Code"]))

    def _receive(self, message: can.Message) -> None:
        if message.is_error_frame:
            self.error_frames += 1
            return
        decoder = self.decoders[message.arbitration_id]
        values = decoder.decode(message.data)
        if values is None:
            return
        name = decoder.message.name
        self.last[name] = values
        self.seen[name] += 1
        if name == "AfeMeasurement_00" and self.permits:
            self.send("SwitchPermit", ScanCounter=values["ScanCounter"], CloseAllowed=1)


def with_constant_load(current_a: float) -> Simulation:
    simulation = load_simulation(CONFIG / "simulation" / "robot.yaml")
    return msgspec.structs.replace(simulation, load=Constant(current_a))


@pytest.fixture
def config() -> Path:
    return CONFIG


@pytest.fixture
def robot(config: Path) -> Pack:
    return load_pack(config / "packs" / "robot_12s.yaml")


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Makes a bench out of the name of a pack, and measured data as its cells."""
    made: list[Bench] = []

    def make(pack: str, cells: Path | None = None, **options: Any) -> Bench:
        file = CONFIG / "packs" / f"{pack}.yaml"
        made.append(Bench(file, with_constant_load(-6.0), cells, **options))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench("robot_12s")
