# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.pack import load_pack
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_sim.configuration import Error, Sensors
from ibms_sim.devices.pack_sensor import PackSensor
from ibms_sim.faults import FaultSet
from ibms_sim.process import simulation_database

PERIOD_S = 0.01


@pytest.fixture
def decoder(config: Path) -> FrameDecoder:
    database = simulation_database(config / "packs" / "ev_96s.yaml")
    return FrameDecoder(find_message(database, "PackSensor"), protected=True)


def sensor(config: Path, current: Error) -> PackSensor:
    faults = FaultSet(load_pack(config / "packs" / "ev_96s.yaml"), "plant")
    sensors = Sensors(current=current, voltage=Error())
    return PackSensor(sensors, PERIOD_S, faults, np.random.default_rng(5))


def sample(device: PackSensor, decoder: FrameDecoder, current_a: float) -> dict[str, float]:
    message = device.sample(current_a, 350.0, 349.0, 20.0)
    assert message is not None
    values = decoder.decode(message.data)
    assert values is not None
    return values


def test_counts_the_charge_of_its_current(config: Path, decoder: FrameDecoder) -> None:
    device = sensor(config, Error(noise=0.5))
    for _ in range(1000):
        values = sample(device, decoder, -36.0)
    assert values["Charge"] == pytest.approx(-360.0, abs=1e-3)
    assert values["SampleCounter"] == 1000
    assert values["PackVoltage"] == 350.0


def test_saturates_and_says_so(config: Path, decoder: FrameDecoder) -> None:
    device = sensor(config, Error())
    values = sample(device, decoder, -5000.0)
    assert (values["Current"], values["OverRange"]) == (-3000.0, 1)
    assert sample(device, decoder, -2000.0)["OverRange"] == 0


def test_offset_is_counted_too(config: Path, decoder: FrameDecoder) -> None:
    device = sensor(config, Error(offset=0.1))
    shown = [sample(device, decoder, 0.0) for _ in range(100)]
    assert shown[-1]["Current"] != 0.0
    assert shown[-1]["Charge"] == pytest.approx(shown[-1]["Current"], abs=1e-3)
