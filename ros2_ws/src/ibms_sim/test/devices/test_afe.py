# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import Pack, load_pack
from ibms_sim.configuration import Error, Sensors
from ibms_sim.devices.afe import AfeModules, Channels, check_fits
from ibms_sim.faults import FaultSet


@pytest.fixture
def pack(config: Path) -> Pack:
    return load_pack(config / "packs" / "ev_96s.yaml")


def exact() -> Sensors:
    return Sensors(cell_voltage=Error(), module_voltage=Error(), temperature=Error())


def modules(pack: Pack, sensors: Sensors) -> AfeModules:
    return AfeModules(pack, sensors, FaultSet(pack, "plant"), np.random.default_rng(1))


def test_values_reach_the_channel_of_their_cell(pack: Pack) -> None:
    afe = modules(pack, exact())
    volts = np.linspace(3.0, 3.95, 96)
    degrees = np.repeat(np.arange(24, dtype=np.float64), 4)
    frames = afe.scan(volts, degrees, 20.0, 1234)
    np.testing.assert_array_equal(frames["cells"].ravel(), np.rint(volts * 1e4))
    np.testing.assert_array_equal(frames["temperatures"].ravel(), np.arange(24) * 100)
    np.testing.assert_allclose(
        frames["module_voltage"] * 0.002, volts.reshape(6, 16).sum(axis=1), atol=0.0011
    )
    assert set(frames["scan_counter"]) == {1}
    assert set(frames["device_time_ms"]) == {1234}


def test_unpopulated_channels_read_zero(config: Path) -> None:
    pack = load_pack(config / "packs" / "robot_12s.yaml")
    frames = modules(pack, exact()).scan(np.full(12, 3.7), np.full(12, 25.0), 20.0, 0)
    assert frames["cells"][0].tolist() == [37000] * 12 + [0] * 4


def test_errors_have_the_configured_size() -> None:
    generator = np.random.default_rng(2)
    channels = Channels(Error(noise=0.002, offset=0.01, gain=0.001), 5000, generator)
    low = np.mean([channels.measure(np.zeros(5000)) for _ in range(40)], axis=0)
    high = np.mean([channels.measure(np.full(5000, 4.0)) for _ in range(40)], axis=0)
    assert low.std() == pytest.approx(0.01, rel=0.05)
    assert ((high - low) / 4.0).std() == pytest.approx(0.001, rel=0.05)
    once = channels.measure(np.zeros(5000))
    assert (once - low).std() == pytest.approx(0.002, rel=0.05)


def test_an_open_wire_does_not_cross_into_the_next_module(pack: Pack) -> None:
    faults = FaultSet(pack, "plant")
    afe = AfeModules(pack, exact(), faults, np.random.default_rng(1))
    faults.inject(6, 15, 0.0, 0.0, False, 0)
    frames = afe.scan(np.full(96, 3.7), np.full(96, 25.0), 20.0, 0)
    assert frames["cells"][0, 15] == 200
    assert frames["cells"][1, 0] == 37000
    assert frames["open_wire"].tolist() == [1 << 15, 0, 0, 0, 0, 0]


def test_bleeding_heats_the_module(pack: Pack) -> None:
    afe = modules(pack, exact())
    cold = afe.scan(np.full(96, 4.0), np.full(96, 25.0), 20.0, 0)["afe_temperature"].copy()
    afe.command_bleed([0xFFFF] + [0] * 15, 0)
    warm = afe.scan(np.full(96, 4.0), np.full(96, 25.0), 20.0, 0)["afe_temperature"]
    assert warm[0] > cold[0] + 1000
    assert warm[1] == cold[1]


def test_a_pack_that_the_modules_cannot_measure_is_refused(pack: Pack) -> None:
    check_fits(pack, "pack.yaml")
    with pytest.raises(ConfigurationError, match=r"pack\.yaml: series: found 97.*at most 96"):
        check_fits(msgspec.structs.replace(pack, series=97), "pack.yaml")
    with pytest.raises(ConfigurationError, match="temperature_sensors: found 25"):
        check_fits(msgspec.structs.replace(pack, temperature_sensors=25), "pack.yaml")
