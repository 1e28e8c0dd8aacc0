# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.pack import load_pack
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_sim.configuration import Error
from ibms_sim.devices.redundant_sensor import RedundantSensor
from ibms_sim.faults import FaultSet
from ibms_sim.process import simulation_database


@pytest.fixture
def decoder(config: Path) -> FrameDecoder:
    database = simulation_database(config / "packs" / "ev_96s.yaml")
    return FrameDecoder(find_message(database, "PackSensorRedundant"), protected=True)


def read(config: Path, decoder: FrameDecoder, error: Error, current_a: float) -> dict[str, float]:
    faults = FaultSet(load_pack(config / "packs" / "ev_96s.yaml"), "plant")
    sensor = RedundantSensor(error, faults, np.random.default_rng(5))
    message = sensor.sample(current_a)
    assert message is not None
    values = decoder.decode(message.data)
    assert values is not None
    return values


def test_measures(config: Path, decoder: FrameDecoder) -> None:
    values = read(config, decoder, Error(), -123.456)
    assert values["Current"] == pytest.approx(-123.456)
    assert (values["OverRange"], values["SelfTestFailed"]) == (0, 0)


def test_saturates_and_says_so(config: Path, decoder: FrameDecoder) -> None:
    values = read(config, decoder, Error(), -5000.0)
    assert (values["Current"], values["OverRange"]) == (-3000.0, 1)


@pytest.mark.parametrize("error", [Error(noise=1.0), Error(offset=1.0), Error(gain=0.01)])
def test_its_errors_are_its_own(config: Path, decoder: FrameDecoder, error: Error) -> None:
    current = read(config, decoder, error, 200.0)["Current"]
    assert current != 200.0
    assert current == pytest.approx(200.0, abs=8.0)
