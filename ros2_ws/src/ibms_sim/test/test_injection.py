# SPDX-License-Identifier: Apache-2.0
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ibms_end.can.bus import BusConfiguration
from ibms_sim.injection import InjectionClient, ResultCode

from .conftest import Bench, free_port


@pytest.fixture
def client(bench: Bench, config: Path) -> Iterator[InjectionClient]:
    """A client, with the devices running in a thread."""
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            bench.run(0.02)
            stop.wait(0.001)

    thread = threading.Thread(target=serve)
    client = InjectionClient(bench.bus_configuration, config / "can")
    thread.start()
    yield client
    stop.set()
    thread.join()
    client.close()


def test_devices_answer(client: InjectionClient, bench: Bench) -> None:
    assert client.inject("cell_voltage", 2, 4.31).success
    assert client.inject("weld", 0).success
    assert client.inject("cell_voltage", 2, remove=True).success
    assert client.inject("cell_voltage", 12, 4.31).code is ResultCode.OUT_OF_RANGE
    assert client.inject("weld", 3).code is ResultCode.OUT_OF_RANGE


def test_nonsense_is_refused_before_it_is_sent(client: InjectionClient) -> None:
    result = client.inject("cell_volts", 2, 4.31)
    assert result.code is ResultCode.UNKNOWN_FAULT
    assert "cell_voltage" in result.message
    for value in (math.nan, math.inf):
        result = client.inject("cell_voltage", 2, value)
        assert result.code is ResultCode.OUT_OF_RANGE
        assert "0 to 6.5 V" in result.message
    assert client.inject("gas", value=5.0, duration_s=-1.0).code is ResultCode.OUT_OF_RANGE
    assert client.inject("gas", value=5.0, count=1).code is ResultCode.OUT_OF_RANGE
    result = client.inject("cell_voltage", 2, 4.3, count=65536)
    assert result.code is ResultCode.OUT_OF_RANGE
    assert "counted in scans" in result.message


def test_silence_is_reported(config: Path) -> None:
    bus = BusConfiguration("ibms_local", str(free_port()), "fd")
    client = InjectionClient(bus, config / "can")
    try:
        result = client.inject("interlock_open")
        assert result.code is ResultCode.NO_ANSWER
        assert "switch board did not answer" in result.message
    finally:
        client.close()
