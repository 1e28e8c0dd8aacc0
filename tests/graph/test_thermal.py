# SPDX-License-Identifier: Apache-2.0
"""A thermal runaway of a cell, from the sensor's frame to the warning on the vehicle's bus."""

import time

import pytest
from can import BusABC

from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameDecoder, find_message, load_databases
from ibms_msgs.msg import PackState, ThermalState
from ibms_ros_common.manifest import manifest
from ibms_tools.bench.pack_under_test import PackUnderTest

pytestmark = pytest.mark.graph

ALARM_WITHIN_S = 3 * 1.0
RATE_K_PER_S = 5.0
CELL = 37


def wait_for_alarm(bus: BusABC, decoder: FrameDecoder, wanted: int, seconds: float) -> float:
    """Wall time of the first VehicleBattery whose alarm bit is as wanted [s]."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        message = bus.recv(0.1)
        if message is None or message.arbitration_id != decoder.message.frame_id:
            continue
        values = decoder.decode(message.data)
        if values is not None and values["ThermalRunaway"] == wanted:
            return float(message.timestamp)
    raise AssertionError(f"no VehicleBattery with ThermalRunaway = {wanted} within {seconds} s")


RUNAWAY = 118  # its identifier in the table of diagnoses


def test_a_runaway_opens_and_warns_on_the_bus_until_it_is_cleared(driving: PackUnderTest) -> None:
    states: list[ThermalState] = []
    driving._node.create_subscription(
        ThermalState, "thermal/state", states.append, manifest().qos_of("thermal/state")
    )
    database = load_databases([driving.pack_file.parent.parent / "can" / "ibms.dbc"])
    decoder = FrameDecoder(find_message(database, "VehicleBattery"), protected=True)
    with open_bus(BusConfiguration("ibms_local", driving.channel), None) as bus:
        wait_for_alarm(bus, decoder, 0, 5.0)
        assert driving.injection.inject("runaway", CELL, RATE_K_PER_S).success
        warned_at = wait_for_alarm(bus, decoder, 1, 30.0)
        driving.can.wait_for("opened", 3.0)  # by this or by the fast rise before it
        driving.wait_until("thermal/state", lambda: states[-1].runaway_alarm, 2.0)
        state = states[-1]
        detected_at = state.runaway_stamp.sec + state.runaway_stamp.nanosec / 1e9
        trip = next(event for event in driving.events if "thermal runaway of" in event.text)
        assert trip.source == "protection"
        assert 0 <= trip.boot_ns - state.runaway_boot_ns < ALARM_WITHIN_S * 1e9
        assert 0.0 <= warned_at - detected_at < ALARM_WITHIN_S
        assert (state.pump_ratio, state.chiller_ratio, state.heater_ratio) == (1.0, 1.0, 0.0)
        assert any("thermal runaway: everybody leave" in text for text in driving.texts())
        assert driving.state == PackState.STATE_ERROR
        driving.injection.inject("runaway", CELL, remove=True)
        wait_for_alarm(bus, decoder, 1, 2.0)  # it is over, and still not acknowledged

        def is_cleared() -> bool:
            driving.clear_faults([RUNAWAY])  # a lock-out: it has to be named
            time.sleep(0.2)
            return not states[-1].runaway_alarm

        driving.wait_until("cleared", is_cleared, 30.0)
        wait_for_alarm(bus, decoder, 0, 5.0)
