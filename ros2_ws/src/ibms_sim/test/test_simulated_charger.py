# SPDX-License-Identifier: Apache-2.0
"""The simulated charger on the bus of the simulated pack."""

from collections.abc import Iterator
from pathlib import Path

import can
import msgspec
import pytest

from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import Charger, load_pack
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message, load_databases
from ibms_sim.faults import FAULTS, InjectCode
from ibms_sim.simulated_charger import ChargerProcess, rating_of

from .conftest import CONFIG, STEP_S, Bench, load_database, with_constant_load

PACK_FILE = CONFIG / "packs" / "robot_12s.yaml"
ELCON = load_databases([CONFIG / "can" / "elcon.dbc"])


class ChargerBench(Bench):
    """The bench with a charger; nothing else draws or gives current."""

    def __init__(self) -> None:
        super().__init__(PACK_FILE, with_constant_load(0.0))
        assert self.pack.charger is not None
        self.charger = ChargerProcess(
            self.pack,
            self.pack.charger,
            load_database(PACK_FILE),
            ELCON,
            self.bus_configuration,
            self.clock,
        )
        self.charger.pacer.start()
        self.reports: list[tuple[int, dict[str, float]]] = []
        self._request = FrameEncoder(find_message(ELCON, "ElconRequest"))
        self._status = FrameDecoder(find_message(ELCON, "ElconStatus"), protected=False)

    def close(self) -> None:
        self.charger.close()
        super().close()

    def run(self, duration_s: float) -> None:
        for _ in range(round(duration_s / STEP_S)):
            super().run(STEP_S)
            self.charger.run_due()

    def ask(self, current_a: float, voltage_v: float = 50.4, stop: bool = False) -> None:
        self.bus.send(
            self._request.encode(
                {"MaximumVoltage": voltage_v, "MaximumCurrent": current_a, "Stop": stop}
            )
        )

    @property
    def current_a(self) -> float:
        return self.last["PackSensor"]["Current"]

    def report(self) -> dict[str, float]:
        """A report of what is now."""
        self.reports.clear()
        self.run(1.1)
        return self.reports[-1][1]

    def _receive(self, message: can.Message) -> None:
        if message.is_extended_id:
            assert message.arbitration_id == 0x18FF50E5
            values = self._status.decode(message.data)
            assert values is not None
            self.reports.append((self.clock.boot_ns(), values))
        else:
            super()._receive(message)


@pytest.fixture
def bench() -> Iterator[ChargerBench]:
    made = ChargerBench()
    made.run(0.2)
    yield made
    made.close()


@pytest.fixture
def charging(bench: ChargerBench) -> ChargerBench:
    bench.connect()
    bench.ask(6.0)
    bench.run(1.0)
    assert bench.current_a == pytest.approx(6.0, abs=0.3)
    return bench


def test_reports_once_a_second_and_waits_for_a_battery(bench: ChargerBench) -> None:
    bench.ask(6.0)
    bench.run(3.0)
    times = [time_ns for time_ns, _ in bench.reports]
    assert len(times) in (3, 4)
    values = bench.reports[-1][1]
    assert (values["OutputCurrent"], values["Starting"], values["Communication"]) == (0.0, 1, 0)


def test_the_pack_takes_what_the_charger_gives(charging: ChargerBench) -> None:
    report = charging.report()
    assert report["OutputCurrent"] == pytest.approx(6.0, abs=0.1)
    assert report["OutputVoltage"] == pytest.approx(
        charging.last["PackSensor"]["PackVoltage"], abs=0.3
    )
    assert (report["Starting"], report["Communication"]) == (0, 0)
    charging.ask(0.0, stop=True)
    charging.run(0.5)
    assert charging.current_a == pytest.approx(0.0, abs=0.2)


def test_silence_of_the_bms_ends_it_after_5_s(charging: ChargerBench) -> None:
    charging.run(3.5)
    assert charging.current_a == pytest.approx(6.0, abs=0.3)
    charging.run(1.5)
    assert charging.current_a == pytest.approx(0.0, abs=0.2)
    assert charging.report()["Communication"] == 1


def test_open_contacts_end_it_at_once(charging: ChargerBench) -> None:
    charging.command(0)
    charging.run(0.1)
    assert charging.current_a == pytest.approx(0.0, abs=0.2)
    assert charging.report()["Starting"] == 1


def test_its_own_death_ends_the_current(charging: ChargerBench) -> None:
    for _ in range(round(0.3 / STEP_S)):
        Bench.run(charging, STEP_S)
    assert charging.current_a == pytest.approx(0.0, abs=0.2)


def unplugged(bench: ChargerBench) -> None:
    assert bench.current_a == pytest.approx(0.0, abs=0.2)
    bench.reports.clear()
    bench.run(2.0)
    assert not bench.reports


def silent(bench: ChargerBench) -> None:
    assert bench.current_a == pytest.approx(6.0, abs=0.3)
    bench.reports.clear()
    bench.run(2.0)
    assert not bench.reports


def over_delivery(bench: ChargerBench) -> None:
    assert bench.current_a == pytest.approx(9.0, abs=0.3)
    assert bench.report()["OutputCurrent"] == pytest.approx(9.0, abs=0.1)


def hardware_failure(bench: ChargerBench) -> None:
    assert bench.report()["HardwareFailure"] == 1
    assert bench.current_a == pytest.approx(0.0, abs=0.2)


def overtemperature(bench: ChargerBench) -> None:
    assert bench.report()["OverTemperature"] == 1
    assert bench.current_a == pytest.approx(0.0, abs=0.2)


def input_voltage(bench: ChargerBench) -> None:
    assert bench.report()["InputVoltage"] == 1
    assert bench.current_a == pytest.approx(0.0, abs=0.2)


EFFECTS = {
    f"charger_{check.__name__}": check
    for check in (
        unplugged, silent, over_delivery, hardware_failure, overtemperature, input_voltage
    )
}  # fmt: skip


def test_every_fault_of_the_charger_has_its_effect_checked() -> None:
    assert EFFECTS.keys() == {fault.name for fault in FAULTS if fault.device == "charger"}


@pytest.mark.parametrize("name", EFFECTS)
def test_effect(charging: ChargerBench, name: str) -> None:
    assert charging.inject(name, value=1.5) is InjectCode.OK
    charging.run(0.5)
    EFFECTS[name](charging)
    assert charging.inject(name, remove=True) is InjectCode.OK
    charging.ask(6.0)
    charging.run(1.5)
    assert charging.current_a == pytest.approx(6.0, abs=0.3)


def test_a_pack_that_names_no_charger_is_refused() -> None:
    file = Path("ev_192s.yaml")
    with pytest.raises(ConfigurationError, match="charger: is missing; name the charger"):
        rating_of(load_pack(CONFIG / "packs" / file), file)


def test_a_charger_on_a_bus_of_its_own_cannot_be_simulated() -> None:
    pack = load_pack(PACK_FILE)
    charger = Charger("elcon", 58.0, 12.0, bus_channel="can1")
    with pytest.raises(ConfigurationError, match="leave it out"):
        rating_of(msgspec.structs.replace(pack, charger=charger), PACK_FILE)
