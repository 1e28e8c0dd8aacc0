# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.pack import Charger
from ibms_sim.charger.logic import SILENCE_NS, Ailments, SimulatedCharger

RATING = Charger(protocol="elcon", maximum_voltage_v=58.0, maximum_current_a=12.0)
S = 1_000_000_000
STEP_S = 0.02


class Driver:
    def __init__(self) -> None:
        self.charger = SimulatedCharger(RATING)
        self.now_ns = S

    def run(self, seconds: float, battery_v: float | None = 44.0) -> float:
        for _ in range(round(seconds / STEP_S)):
            self.now_ns += round(STEP_S * S)
            self.charger.step(battery_v, STEP_S, self.now_ns)
        return self.charger.output_a

    def ask(self, current_a: float, voltage_v: float = 50.4, stop: bool = False) -> None:
        self.charger.request(voltage_v, current_a, stop, self.now_ns)


@pytest.fixture
def driver() -> Driver:
    return Driver()


def test_gives_what_it_is_asked_for_at_a_bounded_rate(driver: Driver) -> None:
    driver.ask(8.0)
    assert driver.run(0.1) == pytest.approx(2.0)
    assert driver.run(1.0) == pytest.approx(8.0)
    driver.ask(3.0)
    assert driver.run(0.1) == pytest.approx(6.0)
    driver.ask(3.0, stop=True)
    assert driver.run(1.0) == 0.0


def test_stops_5_s_after_the_last_request_and_says_so(driver: Driver) -> None:
    driver.ask(8.0)
    assert driver.run(SILENCE_NS / S - 0.05) == pytest.approx(8.0)
    assert driver.charger.hears(driver.now_ns)
    assert driver.run(1.0) == 0.0
    assert not driver.charger.hears(driver.now_ns)


def test_without_a_battery_nothing_flows(driver: Driver) -> None:
    driver.ask(8.0)
    driver.run(1.0)
    assert driver.run(0.02, battery_v=None) == 0.0
    assert not driver.charger.sees_battery


def test_the_current_fades_at_the_voltage_asked_for(driver: Driver) -> None:
    driver.ask(8.0)
    assert driver.run(1.0, battery_v=50.0) == pytest.approx(8.0)
    assert 0.0 < driver.run(1.0, battery_v=50.35) < 4.0
    assert driver.run(1.0, battery_v=50.4) == 0.0


def test_unplugged_it_begins_anew(driver: Driver) -> None:
    driver.ask(8.0)
    driver.run(1.0)
    driver.charger.unplug()
    assert driver.charger.output_a == 0.0
    assert driver.run(1.0) == 0.0


@pytest.mark.parametrize(
    "ailments",
    [Ailments(hardware_failure=True), Ailments(overtemperature=True), Ailments(input_voltage=True)],
)
def test_what_it_notices_switches_its_output_off(driver: Driver, ailments: Ailments) -> None:
    driver.ask(8.0)
    driver.run(1.0)
    driver.charger.ailments = ailments
    assert driver.run(1.0) == 0.0


def test_over_delivery_is_what_really_flows(driver: Driver) -> None:
    driver.charger.ailments = Ailments(delivery_factor=1.5)
    driver.ask(8.0)
    assert driver.run(1.0) == pytest.approx(12.0)


@given(
    current_a=st.floats(0, 100),
    voltage_v=st.integers(0, 1000).map(lambda raw: raw * 0.1),  # as the protocol says it
    battery_v=st.floats(0, 60),
    stop=st.booleans(),
)
def test_never_beyond_request_and_rating(
    current_a: float, voltage_v: float, battery_v: float, stop: bool
) -> None:
    driver = Driver()
    driver.ask(current_a, voltage_v, stop)
    most = driver.run(2.0, battery_v)
    assert 0.0 <= most <= min(current_a, RATING.maximum_current_a) + 1e-9
    if stop or battery_v >= min(voltage_v, RATING.maximum_voltage_v):
        assert most == 0.0
