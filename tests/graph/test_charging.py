# SPDX-License-Identifier: Apache-2.0
"""A charge of the whole graph with the simulated charger, seen from the CAN bus."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from ament_index_python.packages import get_package_share_directory

from ibms_battery.configuration import load
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameDecoder, data_id_of, find_message, load_databases
from ibms_end.can.identifier import frame_identifier, message_identifier
from ibms_msgs.msg import ChargerState, Event, PackState
from ibms_sim.configuration import Simulation, Spread, Start
from ibms_tools.bench.pack_under_test import PackUnderTest

from .conftest import domain_and_channel

pytestmark = pytest.mark.graph

RATED_A = 16.0
# So full that the limit of the pack is soon below the charger's rating.
START, SPREAD = Start(state_of_charge=0.98), Spread(state_of_charge=0.0)


class BusLog:
    """Values of some messages on the bus, in the order in which they came."""

    MESSAGES = ("PackSensor", "VehicleLimits", "SwitchFeedback", "ElconRequest", "ElconStatus")

    def __init__(self, can_folder: Path, channel: str) -> None:
        database = load_databases([can_folder / "ibms.dbc", can_folder / "elcon.dbc"])
        found = [find_message(database, name) for name in self.MESSAGES]
        self._decoders = {
            message_identifier(message): FrameDecoder(message, data_id_of(message) is not None)
            for message in found
        }
        self.seen: list[tuple[str, dict[str, float]]] = []
        self.newest: dict[str, dict[str, float]] = defaultdict(dict)
        self._bus = open_bus(BusConfiguration("ibms_local", channel), list(self._decoders))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(2.0)
        self._bus.shutdown()

    @property
    def current_a(self) -> float:
        return self.newest["PackSensor"].get("Current", 0.0)

    def _read(self) -> None:
        while not self._stop.is_set():
            frame = self._bus.recv(0.1)
            if frame is None or frame.is_error_frame:
                continue
            decoder = self._decoders[frame_identifier(frame)]
            values = decoder.decode(frame.data)
            if values is not None:
                self.seen.append((decoder.message.name, values))
                self.newest[decoder.message.name] = values


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackUnderTest]:
    folder = tmp_path_factory.mktemp("charging")
    share = Path(get_package_share_directory("ibms_bringup"))
    shipped = share / "config" / "simulation" / "ev_charging.yaml"
    simulation = load(shipped, Simulation)
    plant = msgspec.structs.replace(
        simulation.plant, cell=str(shipped.parent / "cells" / "lg_m50.yaml")
    )
    file = folder / "nearly_full.yaml"
    nearly_full = msgspec.structs.replace(simulation, start=START, spread=SPREAD, plant=plant)
    file.write_bytes(msgspec.yaml.encode(nearly_full))
    domain, channel = domain_and_channel(0)
    arguments = {"charger": "true", "simulation": str(file)}
    with PackUnderTest("ev_96s", domain, channel, folder, arguments) as running:
        running._listen("charger/state", lambda m: running.newest.__setitem__("charger/state", m))
        running.wait_for_standby()
        yield running


@pytest.fixture
def bus(pack: PackUnderTest) -> Iterator[BusLog]:
    log = BusLog(pack.pack_file.parent.parent / "can", pack.channel)
    yield log
    log.close()


def charger_is(pack: PackUnderTest, state: int) -> bool:
    newest: ChargerState | None = pack.newest.get("charger/state")
    return newest is not None and newest.state == state


def charge(pack: PackUnderTest, bus: BusLog) -> None:
    """From standby to a pack into which what is allowed flows."""
    pack.wait_until("plugged", lambda: charger_is(pack, ChargerState.STATE_PLUGGED), 20.0)
    pack.wait_until(
        "charge accepted", lambda: bool(pack.request(PackState.STATE_CHARGE).success), 5.0
    )
    pack.wait_until("state charge", lambda: pack.state == PackState.STATE_CHARGE, 6.0)
    pack.wait_until("charging", lambda: charger_is(pack, ChargerState.STATE_CHARGING), 5.0)
    pack.wait_until("current flows", lambda: bus.current_a > 5.0, 15.0)


def errors(pack: PackUnderTest) -> list[str]:
    return [e.text for e in pack.events if e.severity == Event.SEVERITY_ERROR]


def test_current_flows_in_charge_alone_follows_the_limits_and_ramps_down(
    pack: PackUnderTest, bus: BusLog
) -> None:
    pack.wait_until("plugged", lambda: charger_is(pack, ChargerState.STATE_PLUGGED), 20.0)
    pack.wait_until("a request", lambda: bool(bus.newest["ElconRequest"]), 3.0)
    assert bus.newest["ElconRequest"]["Stop"] == 1
    charge(pack, bus)
    pack.can.wait_for("closed", 5.0)
    pack.wait_until(
        "the limit is below the charger's rating",
        lambda: 1.0 < bus.newest["VehicleLimits"]["ChargeCurrent"] < RATED_A - 0.5,
        60.0,
    )
    limit_a = bus.newest["VehicleLimits"]["ChargeCurrent"]
    pack.wait_until("the current follows", lambda: 1.0 < bus.current_a < limit_a + 1.0, 5.0)

    assert pack.request(PackState.STATE_STANDBY).success
    pack.can.wait_for("opened", 5.0)
    at_opening_a = bus.current_a
    pack.wait_until("standby", lambda: pack.state == PackState.STATE_STANDBY, 5.0)
    assert abs(at_opening_a) < 2.0
    assert not errors(pack)

    assert any(
        name == "ElconRequest" and values["MaximumCurrent"] > 5.0 for name, values in bus.seen
    )
    # Over the whole charge: no request above the limits that the vehicle is told about that time;
    # the newest limit may reach the charger just before the vehicle.
    seen = list(bus.seen)
    limits = [
        (at, values["ChargeCurrent"])
        for at, (name, values) in enumerate(seen)
        if name == "VehicleLimits"
    ]
    for at, (name, values) in enumerate(seen):
        if name != "ElconRequest":
            continue
        before = [limit_a for when, limit_a in limits if when < at][-3:]
        after = [limit_a for when, limit_a in limits if when > at][:1]
        assert values["MaximumCurrent"] <= max([*before, *after], default=0.0) + 0.1
        assert values["MaximumCurrent"] <= RATED_A
        assert values["MaximumVoltage"] <= 96 * 4.2 + 0.01


def test_unplugging_at_full_current_ends_cleanly(pack: PackUnderTest, bus: BusLog) -> None:
    charge(pack, bus)
    assert pack.injection.inject("charger_unplugged").success
    pack.wait_until("no current", lambda: abs(bus.current_a) < 1.0, 1.0)
    pack.wait_until("told", lambda: charger_is(pack, ChargerState.STATE_FAULT), 6.0)
    assert "charger_interface: the charger fell silent while charging" in pack.texts()
    assert bus.newest["ElconRequest"]["Stop"] == 1
    pack.wait_until("unplugged", lambda: charger_is(pack, ChargerState.STATE_UNPLUGGED), 5.0)
    assert pack.state == PackState.STATE_CHARGE
    assert pack.request(PackState.STATE_STANDBY).success
    pack.wait_until("standby", lambda: pack.state == PackState.STATE_STANDBY, 5.0)
    assert pack.injection.inject("charger_unplugged", remove=True).success
    pack.wait_until("plugged again", lambda: charger_is(pack, ChargerState.STATE_PLUGGED), 5.0)
    assert not errors(pack)


def test_a_charger_that_gives_too_much_is_told_to_stop(pack: PackUnderTest, bus: BusLog) -> None:
    charge(pack, bus)
    assert pack.injection.inject("charger_over_delivery", value=2.0).success
    pack.wait_until("fault", lambda: charger_is(pack, ChargerState.STATE_FAULT), 4.0)
    pack.wait_until("no current", lambda: abs(bus.current_a) < 1.0, 2.0)
    assert bus.newest["ElconRequest"]["Stop"] == 1
    assert any(text.startswith("over-delivery: the ") for text in errors(pack))
    assert pack.request(PackState.STATE_STANDBY).success
    pack.wait_until("standby", lambda: pack.state == PackState.STATE_STANDBY, 5.0)
    assert pack.injection.inject("charger_over_delivery", remove=True).success
