# SPDX-License-Identifier: Apache-2.0
"""Process of the simulated charger: the logic of ``charger.logic`` on the CAN bus."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import can
from cantools.database.can import Database

from ibms_battery.clock import NS_PER_S, Clock, SystemClock
from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import Charger, Pack, load_pack
from ibms_battery.threads import request_real_time
from ibms_end.can.bus import BusConfiguration, claim_role, open_bus
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message, load_databases
from ibms_end.can.identifier import frame_identifier, message_identifier
from ibms_sim import process
from ibms_sim.charger.logic import Ailments, SimulatedCharger
from ibms_sim.faults import FaultSet
from ibms_sim.injecting import InjectionPort
from ibms_sim.pacing import Pacer

_STEP_S = 0.02
_REPORT_S = 1.0
_PHYSICS_STALE_NS = round(0.1 * NS_PER_S)


class ChargerProcess:
    """Feeds frames into the logic and sends what it says and gives."""

    def __init__(
        self,
        pack: Pack,
        rating: Charger,
        database: Database,
        elcon: Database,
        bus: BusConfiguration,
        clock: Clock,
    ) -> None:
        self.charger = SimulatedCharger(rating)
        self.send_failed = 0
        self.pacer = Pacer(clock)
        self._clock = clock
        self._closed_mask = pack.switching.mask("closed")
        self._faults = FaultSet(pack, "charger")
        self._injection = InjectionPort(database, self._faults)
        self._request = FrameDecoder(find_message(elcon, "ElconRequest"), protected=False)
        self._link = FrameDecoder(find_message(database, "SimulationLink"), protected=False)
        self._contacts = FrameDecoder(find_message(database, "SimulationContacts"), protected=False)
        self._status = FrameEncoder(find_message(elcon, "ElconStatus"))
        self._current = FrameEncoder(find_message(database, "SimulationCharger"))
        self._link_v = 0.0
        self._link_ns = self._contacts_ns = clock.boot_ns() - _PHYSICS_STALE_NS
        self._conducting = 0
        self._request_identifier = message_identifier(self._request.message)
        self._bus = open_bus(
            bus,
            [
                self._request_identifier,
                self._link.message.frame_id,
                self._contacts.message.frame_id,
                self._injection.identifier,
            ],
        )
        self.pacer.add(_STEP_S, self._advance)
        self.pacer.add(_REPORT_S, self._report)

    def step(self) -> None:
        """Sleep until something is due, then do it."""
        time.sleep(self.pacer.wait_s())
        self.run_due()

    def run_due(self) -> None:
        """Read what came and run what is due."""
        now = self._clock.boot_ns()
        for message in process.frames(self._bus):
            self._receive(message, now)
        self._faults.expire(now)
        self.pacer.run()

    def close(self) -> None:
        """Close the bus."""
        self._bus.shutdown()

    def _receive(self, message: can.Message, now: int) -> None:
        identifier = frame_identifier(message)
        if identifier == self._request_identifier:
            values = self._request.decode(message.data)
            if values is not None and not self._faults.has("charger_unplugged"):
                self.charger.request(
                    values["MaximumVoltage"], values["MaximumCurrent"], bool(values["Stop"]), now
                )
        elif identifier == self._link.message.frame_id:
            values = self._link.decode(message.data)
            if values is not None:
                self._link_v, self._link_ns = values["LinkVoltage"], now
        elif identifier == self._contacts.message.frame_id:
            values = self._contacts.decode(message.data)
            if values is not None:
                self._conducting, self._contacts_ns = int(values["Closed"]), now
        else:
            answer = self._injection.receive(message.data, now)
            if answer is not None:
                self._transmit(answer)

    def _battery_v(self, now: int) -> float | None:
        """Voltage of the battery at the output, ``None`` while the contacts are open."""
        oldest_ns = now - _PHYSICS_STALE_NS
        closed = self._conducting & self._closed_mask == self._closed_mask
        if not closed or min(self._link_ns, self._contacts_ns) <= oldest_ns:
            return None
        return self._link_v

    def _advance(self, now: int) -> None:
        faults, charger = self._faults, self.charger
        charger.ailments = Ailments(
            hardware_failure=faults.has("charger_hardware_failure"),
            overtemperature=faults.has("charger_overtemperature"),
            input_voltage=faults.has("charger_input_voltage"),
            delivery_factor=faults.value("charger_over_delivery") or 1.0,
        )
        if faults.has("charger_unplugged"):
            charger.unplug()
        else:
            charger.step(self._battery_v(now), _STEP_S, now)
        self._transmit(self._current.encode({"Current": charger.output_a}))

    def _report(self, now: int) -> None:
        if self._faults.has("charger_silent") or self._faults.has("charger_unplugged"):
            return
        charger = self.charger
        self._transmit(
            self._status.encode(
                {
                    "OutputVoltage": round(charger.voltage_v, 1),
                    "OutputCurrent": round(charger.output_a, 1),
                    "HardwareFailure": charger.ailments.hardware_failure,
                    "OverTemperature": charger.ailments.overtemperature,
                    "InputVoltage": charger.ailments.input_voltage,
                    "Starting": not charger.sees_battery,
                    "Communication": not charger.hears(now),
                }
            )
        )

    def _transmit(self, message: can.Message) -> None:
        try:
            self._bus.send(message)
        except can.CanError:
            self.send_failed += 1


def rating_of(pack: Pack, file: Path) -> Charger:
    """The charger that the pack's description names; raises ``ConfigurationError``."""
    if pack.charger is None:
        raise ConfigurationError(
            str(file), None, "charger", "is missing; name the charger that is to be simulated"
        )
    if pack.charger.bus_channel:
        raise ConfigurationError(
            str(file),
            None,
            "charger.bus_channel",
            "a simulated charger is on the bus of the simulated pack; leave it out",
        )
    return pack.charger


def _body(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="simulated_charger", description=__doc__)
    process.add_common_arguments(parser)
    options = parser.parse_args(arguments)
    pack = load_pack(options.pack)
    rating = rating_of(pack, options.pack)
    bus = process.bus_configuration(options)
    elcon = load_databases([options.pack.resolve().parent.parent / "can" / "elcon.dbc"])
    stop = process.Stop()
    # Hardware does not wait for this machine's other work; without permission it may have to.
    request_real_time(process.DEVICE_PRIORITY)
    with claim_role(bus, "charger"):
        device = ChargerProcess(
            pack, rating, process.simulation_database(options.pack), elcon, bus, SystemClock()
        )
        device.pacer.start()
        while not stop.requested:
            device.step()
        device.close()
    print(f"simulated_charger: {device.send_failed} frames not taken by the bus", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return process.run("simulated_charger", _body, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
