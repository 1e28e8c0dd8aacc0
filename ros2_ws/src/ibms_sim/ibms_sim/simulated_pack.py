# SPDX-License-Identifier: Apache-2.0
"""Process of the simulated pack: the plant and its measuring devices on the CAN bus."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import can
import msgspec
import numpy as np
from cantools.database.can import Database

from ibms_battery.clock import Clock, SystemClock
from ibms_battery.pack import Pack, load_pack
from ibms_battery.recordings import Columns
from ibms_battery.threads import request_real_time
from ibms_end.can.bus import BusConfiguration, claim_role, open_bus
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_sim import process
from ibms_sim.build import build_plant
from ibms_sim.configuration import Simulation, load_simulation
from ibms_sim.devices import environment, identity, insulation, packing, thermal_actuators
from ibms_sim.devices.afe import AfeModules, check_fits
from ibms_sim.devices.history import History
from ibms_sim.devices.pack_sensor import PackSensor
from ibms_sim.devices.redundant_sensor import RedundantSensor
from ibms_sim.faults import FaultSet
from ibms_sim.injecting import InjectionPort
from ibms_sim.load.charger_current import ChargerCurrent
from ibms_sim.pacing import Pacer

_HISTORY_FRAMES = 8  # per wake-up: 800 a second at a sensor period of 10 ms
_NS_PER_MS = 1_000_000


class PackProcess:
    """All devices of the pack but the switch board, on one bus."""

    def __init__(
        self,
        pack: Pack,
        simulation: Simulation,
        files: argparse.Namespace,
        database: Database,
        bus: BusConfiguration,
        clock: Clock,
    ) -> None:
        generator = np.random.default_rng(simulation.seed)
        self.send_failed = 0
        self.pacer = Pacer(clock)
        self._clock = clock
        self._start_ns = clock.boot_ns()
        self._ambient_c = simulation.thermal.ambient_temperature_c
        # Recorded cells cannot be shorted.
        without = frozenset({"internal_short"}) if files.cells is not None else frozenset()
        self._faults = FaultSet(pack, "plant", without)
        self._injection = InjectionPort(database, self._faults)
        self._afe = AfeModules(pack, simulation.sensors, self._faults, generator)
        self._history = History(pack.modules, pack.scan_period_s)
        self._sensor = PackSensor(
            simulation.sensors, pack.pack_sample_period_s, self._faults, generator
        )
        # A generator of its own: the pack stays the one that the seed has always made.
        self._redundant = RedundantSensor(
            simulation.sensors.redundant_current, self._faults, generator.spawn(1)[0]
        )
        self._identity = identity.Identity(database, pack, self._faults)
        self._insulation = insulation.InsulationMonitor(
            database, simulation.surroundings.insulation_ohm, self._faults, generator
        )
        self._environment = environment.EnvironmentSensors(
            database, simulation.surroundings, self._faults, generator
        )
        self._actuators = thermal_actuators.ThermalActuators(database)
        self._plant = build_plant(pack, simulation, files, database, self._faults, generator)
        self._charger = ChargerCurrent(database)
        self._contacts = FrameDecoder(find_message(database, "SimulationContacts"), protected=False)
        self._balancing = FrameDecoder(find_message(database, "AfeBalancing"), protected=True)
        self._request = FrameDecoder(find_message(database, "AfeHistoryRequest"), protected=True)
        decoders = (self._contacts, self._balancing, self._request)
        self._bus = open_bus(
            bus,
            [
                *(decoder.message.frame_id for decoder in decoders),
                *self._plant.inverter.identifiers,
                self._charger.identifier,
                self._actuators.identifier,
                self._injection.identifier,
            ],
        )
        self.pacer.add(pack.scan_period_s, self._scan)
        self.pacer.add(pack.pack_sample_period_s, self._sample)
        self.pacer.add(insulation.PERIOD_S, self._send_insulation)
        self.pacer.add(environment.PERIOD_S, self._send_environment)
        self.pacer.add(thermal_actuators.PERIOD_S, self._send_thermal)
        self.pacer.add(identity.PERIOD_S, self._send_identity)

    def step(self) -> None:
        """Sleep until something is due, then do it."""
        time.sleep(self.pacer.wait_s())
        self.run_due()

    def run_due(self) -> None:
        """Read what came and run what is due."""
        self._drain()
        self.pacer.run()

    def close(self) -> None:
        """Close the bus."""
        self._bus.shutdown()

    def _drain(self) -> None:
        now = self._clock.boot_ns()
        for message in process.frames(self._bus):
            self._receive(message, now)
        self._faults.expire(now)
        self._afe.check_dead_man(now)
        self._actuators.check_dead_man(now)

    def _receive(self, message: can.Message, now: int) -> None:
        identifier, data = message.arbitration_id, message.data
        if identifier == self._contacts.message.frame_id:
            values = self._contacts.decode(data)
            if values is not None:
                self._plant.set_contacts(int(values["Closed"]), now)
        elif identifier in self._plant.inverter.identifiers:
            self._plant.inverter.receive(identifier, data, now)
        elif identifier == self._charger.identifier:
            self._charger.receive(data, now)
        elif identifier == self._balancing.message.frame_id:
            values = self._balancing.decode(data)
            if values is not None:
                masks = [int(values[f"BleedMask_{module:02d}"]) for module in range(16)]
                self._afe.command_bleed(masks, now)
        elif identifier == self._actuators.identifier:
            self._actuators.receive(data, now)
        elif identifier == self._request.message.frame_id:
            values = self._request.decode(data)
            if values is not None:
                self._history.request(int(values["FirstScan"]), int(values["ScanCount"]))
        elif identifier == self._injection.identifier:
            answer = self._injection.receive(data, now)
            if answer is not None:
                self._transmit(answer)

    def _scan(self, now: int) -> None:
        plant = self._plant
        jump_s = self._faults.value("device_time_jump") or 0.0
        device_time_ms = (now - self._start_ns) // _NS_PER_MS + round(1e3 * jump_s)
        frames = self._afe.scan(
            plant.voltage_v, plant.temperature_c, self._ambient_c, device_time_ms
        )
        self._history.store(frames)
        for message in self._afe.messages(frames):
            self._send(message)
        if self._faults.has("error_frames"):
            self._send(can.Message(is_error_frame=True, is_extended_id=False, check=False))
        self._faults.passed("scan")

    def _sample(self, now: int) -> None:
        plant = self._plant
        plant.charger_a = self._charger.now_a(now)
        plant.step(self._afe.bleed_s, self._actuators.actuation, now)
        pack_v, link_v = plant.pack_v, plant.circuit.link_v
        current_a = plant.circuit.current_a
        self._send(self._redundant.sample(current_a))
        self._send(self._sensor.sample(current_a, pack_v, link_v, self._ambient_c))
        self._faults.passed("sample")
        link = packing.simulation_link(pack_v, link_v, current_a, plant.unbreakable)
        self._transmit(packing.fd_frame(packing.SIMULATION_LINK_ID, link))
        for message in self._history.messages(_HISTORY_FRAMES):
            self._send(message)

    def _send_insulation(self, now: int) -> None:
        self._send(self._insulation.sample())

    def _send_environment(self, now: int) -> None:
        self._send(self._environment.sample(self._ambient_c, self._plant.driving))

    def _send_thermal(self, now: int) -> None:
        self._send(self._actuators.feedback())

    def _send_identity(self, now: int) -> None:
        self._send(self._identity.frame())

    def _send(self, message: can.Message | None) -> None:
        """Send what a device sends; a bus loss takes it."""
        if message is not None and not self._faults.has("bus_loss"):
            self._transmit(message)

    def _transmit(self, message: can.Message) -> None:
        try:
            self._bus.send(message)
        except can.CanError:
            self.send_failed += 1


def _columns(text: str) -> Columns:
    try:
        return msgspec.convert(
            dict(item.split("=", 1) for item in text.split(",")), Columns, strict=False
        )
    except (ValueError, msgspec.ValidationError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def _body(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="simulated_pack", description=__doc__)
    process.add_common_arguments(parser)
    parser.add_argument("--simulation", type=Path, required=True, help="file of config/simulation")
    parser.add_argument(
        "--cells",
        type=lambda text: Path(text) if text else None,
        metavar="FILE",
        help="measured cell data, parquet or CSV, as the cells",
    )
    parser.add_argument(
        "--from", dest="start_s", type=float, default=0.0, metavar="SECONDS", help="where it begins"
    )
    parser.add_argument(
        "--columns",
        type=_columns,
        metavar="NAME=COLUMN,...",
        help="columns of --cells: time, voltage, current, temperature, charge, and "
        "discharge_positive=true; by default from the index.csv above the file",
    )
    options = parser.parse_args(arguments)
    pack = load_pack(options.pack)
    check_fits(pack, str(options.pack))
    simulation = load_simulation(options.simulation)
    bus = process.bus_configuration(options)
    stop = process.Stop()
    # Hardware does not wait for this machine's other work; without permission it may have to.
    request_real_time(process.DEVICE_PRIORITY)
    with claim_role(bus, "pack"):
        device = PackProcess(
            pack, simulation, options, process.simulation_database(options.pack), bus, SystemClock()
        )
        device.pacer.start()
        while not stop.requested:
            device.step()
        device.close()
    print(
        f"simulated_pack: worst lateness {device.pacer.worst_lateness_ns / _NS_PER_MS:.1f} ms, "
        f"{device.pacer.missed} runs missed, {device.send_failed} frames not taken by the bus",
        file=sys.stderr,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return process.run("simulated_pack", _body, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
