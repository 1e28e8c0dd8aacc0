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
from ibms_sim.wiring import Source

PACK_V, STEP_S = 400.0, 0.01
SOURCE = Source(PACK_V, 0.0)
MAIN, PRECHARGE = 0b011, 0b101


@pytest.fixture
def pack(config: Path) -> Pack:
    return load_pack(config / "packs" / "ev_96s.yaml")


@pytest.fixture
def faults(pack: Pack) -> FaultSet:
    return FaultSet(pack, "plant")


def inject(faults: FaultSet, name: str, value: float = 0.0) -> None:
    faults.inject(BY_NAME[name].number, NO_ELEMENT, value, 0.0, False, 0)


def step(
    circuit: Circuit,
    conducting: int,
    faults: FaultSet,
    load_a: float = 0.0,
    source: Source | None = SOURCE,
) -> None:
    circuit.step(conducting, source, load_a, STEP_S, faults)


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
    for _ in range(10):
        step(circuit, MAIN, faults, source=Source(PACK_V, 0.1))
    assert circuit.current_a == pytest.approx(-PACK_V / 0.202, rel=1e-3)


def test_a_broken_precharge_resistor_charges_nothing(pack: Pack, faults: FaultSet) -> None:
    circuit = Circuit(pack, Link(), "pack.yaml")
    inject(faults, "precharge_open")
    step(circuit, PRECHARGE, faults)
    assert circuit.link_v == 0.0


def test_a_multiple_of_the_precharge_resistor_slows_precharge(pack: Pack, faults: FaultSet) -> None:
    circuit = Circuit(pack, Link(discharge_ohm=1e9), "pack.yaml")
    inject(faults, "precharge_slow", 5.0)
    time_constant_s = 5.0 * pack.precharge.resistor_ohm * pack.precharge.link_capacitance_f
    for _ in range(round(time_constant_s / STEP_S)):
        step(circuit, PRECHARGE, faults)
    assert circuit.link_v / PACK_V == pytest.approx(1 - np.exp(-1.0), rel=1e-3)


def test_without_capacitance_the_link_follows_at_once(pack: Pack, faults: FaultSet) -> None:
    circuit = Circuit(pack, Link(), "pack.yaml")
    inject(faults, "link_open")
    step(circuit, PRECHARGE, faults)
    assert circuit.link_v > 0.99 * PACK_V


def test_without_a_source_the_link_discharges_through_load_and_resistor(
    pack: Pack, faults: FaultSet
) -> None:
    circuit = Circuit(pack, Link(), "pack.yaml")
    step(circuit, MAIN, faults)
    step(circuit, MAIN, faults, load_a=-20.0, source=None)
    assert circuit.current_a == 0.0
    assert circuit.link_v == pytest.approx(PACK_V - 20.0 * STEP_S / 0.0008, rel=0.01)
    for _ in range(10):
        step(circuit, MAIN, faults, load_a=-20.0, source=None)
    assert circuit.link_v == 0.0


def test_says_which_contacts_carry_the_current(pack: Pack) -> None:
    circuit = Circuit(pack, Link(), "pack.yaml")
    carrying = {mask: circuit.path_mask(mask) for mask in range(8)}
    assert carrying == {0: 0, 1: 0, 2: 0, 3: MAIN, 4: 0, 5: PRECHARGE, 6: 0, 7: MAIN}


def test_refuses_a_pack_without_main_path(pack: Pack) -> None:
    switching = msgspec.structs.replace(pack.switching, configurations={"open": []})
    with pytest.raises(ConfigurationError, match="has no 'closed'"):
        Circuit(msgspec.structs.replace(pack, switching=switching), Link(), "pack.yaml")
