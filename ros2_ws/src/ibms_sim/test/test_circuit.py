# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import Pack, load_pack
from ibms_sim.circuit import Circuit
from ibms_sim.configuration import Link
from ibms_sim.faults import BY_NAME, NO_ELEMENT, FaultSet

PACK_V, STEP_S = 400.0, 0.01
MAIN, PRECHARGE = 0b011, 0b101


@pytest.fixture
def pack(config: Path) -> Pack:
    return load_pack(config / "packs" / "ev_96s.yaml")


@pytest.fixture
def faults(pack: Pack) -> FaultSet:
    return FaultSet(pack, "plant")


def inject(faults: FaultSet, name: str, value: float = 0.0) -> None:
    faults.inject(BY_NAME[name].number, NO_ELEMENT, value, 0.0, False, 0)


def step(circuit: Circuit, conducting: int, faults: FaultSet, **values: float) -> None:
    arguments = {"pack_v": PACK_V, "source_ohm": 0.0, "load_a": 0.0, "step_s": STEP_S}
    circuit.step(conducting, **(arguments | values), faults=faults)


def test_precharge_follows_the_curve_of_resistor_and_capacitor(
    pack: Pack, faults: FaultSet
) -> None:
    circuit = Circuit(pack, Link(discharge_ohm=1e9), "pack.yaml")
    time_constant_s = pack.precharge.resistor_ohm * pack.precharge.link_capacitance_f
    charge_c = 0.0
    for k in range(1, 40):
        step(circuit, PRECHARGE, faults)
        charge_c -= circuit.current_a * STEP_S
        expected = PACK_V * (1 - np.exp(-k * STEP_S / time_constant_s))
        assert circuit.link_v == pytest.approx(expected, rel=1e-4)
    # What left the pack is in the capacitor.
    assert charge_c == pytest.approx(pack.precharge.link_capacitance_f * circuit.link_v, rel=1e-4)
    assert circuit.link_v / PACK_V > pack.precharge.complete_ratio


def test_nothing_flows_with_open_contacts_or_one_contact(pack: Pack, faults: FaultSet) -> None:
    circuit = Circuit(pack, Link(), "pack.yaml")
    for conducting in (0, 0b001, 0b010, 0b100, 0b110):
        step(circuit, conducting, faults)
        assert circuit.current_a == 0.0
        assert circuit.link_v == 0.0


def test_load_current_comes_out_of_the_pack(pack: Pack, faults: FaultSet) -> None:
    circuit = Circuit(pack, Link(path_ohm=0.002), "pack.yaml")
    for _ in range(20):
        step(circuit, MAIN, faults, load_a=-100.0)
    assert circuit.current_a == pytest.approx(-100.0, rel=1e-3)
    assert circuit.link_v == pytest.approx(PACK_V - 0.2, abs=0.01)


def test_the_link_discharges_by_itself_after_opening(pack: Pack, faults: FaultSet) -> None:
    circuit = Circuit(pack, Link(discharge_ohm=1000.0), "pack.yaml")
    step(circuit, MAIN, faults)
    for _ in range(100):
        step(circuit, 0, faults)
    time_constant_s = 1000.0 * pack.precharge.link_capacitance_f
    assert circuit.link_v == pytest.approx(PACK_V * np.exp(-1.0 / time_constant_s), rel=0.01)


def test_a_short_of_the_link_draws_current_bounded_by_the_resistances(
    pack: Pack, faults: FaultSet
) -> None:
    circuit = Circuit(pack, Link(path_ohm=0.002), "pack.yaml")
    inject(faults, "link_short", 0.1)
    voltage = PACK_V
    for _ in range(10):
        step(circuit, MAIN, faults, pack_v=voltage, source_ohm=0.1)
        voltage = PACK_V + circuit.current_a * 0.1
    assert circuit.current_a == pytest.approx(-PACK_V / 0.202, rel=1e-3)


def test_a_broken_precharge_resistor_charges_nothing(pack: Pack, faults: FaultSet) -> None:
    circuit = Circuit(pack, Link(), "pack.yaml")
    inject(faults, "precharge_open")
    step(circuit, PRECHARGE, faults)
    assert circuit.link_v == 0.0


def test_refuses_a_pack_without_main_path(pack: Pack) -> None:
    switching = msgspec.structs.replace(pack.switching, configurations={"open": []})
    with pytest.raises(ConfigurationError, match="has no 'closed'"):
        Circuit(msgspec.structs.replace(pack, switching=switching), Link(), "pack.yaml")
