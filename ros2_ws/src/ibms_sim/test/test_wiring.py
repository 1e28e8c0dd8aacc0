# SPDX-License-Identifier: Apache-2.0
"""Currents of the wiring against a nodal analysis of the same network."""

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.pack import (
    Bypass,
    Pack,
    StringOfCells,
    StringVoltage,
    Switch,
    Switching,
    Transition,
    load_pack,
)
from ibms_sim.wiring import Wiring

CONFIG = Path(__file__).resolve().parents[4] / "config"
CONTACT_OHM = 0.0005
ROBOT = load_pack(CONFIG / "packs" / "robot_12s.yaml")
MODULAR = load_pack(CONFIG / "packs" / "robot_12s_modular.yaml")
_NAMES = ["main", "series_1", "bypass_1", "series_2", "bypass_2", "right_string"]
_LEFT = ["main", "series_1", "series_2"]
STRINGS = msgspec.structs.replace(
    ROBOT,
    strings=[StringOfCells("left", 0, 6), StringOfCells("right", 6, 6)],
    switching=Switching(
        switches=[Switch(name) for name in _NAMES],
        configurations={"open": [], "closed": _LEFT, "both": [*_LEFT, "right_string"]},
        transitions=[
            Transition("open", "closed"),
            Transition("closed", "both", requires_string=StringVoltage("right", 0.5)),
        ],
        bypasses=[
            Bypass([1, 2], ["series_1"], ["bypass_1"]),
            Bypass([8, 10, 11], ["series_2"], ["bypass_2"]),
        ],
    ),
)
FloatArray = npt.NDArray[np.float64]


def mask(pack: Pack, *names: str) -> int:
    return pack.switching.mask_of(names)


def solve(
    pack: Pack, conducting: int, emf_v: FloatArray, ohm: FloatArray, current_a: float
) -> FloatArray:
    """Current of each group by nodal analysis; a terminal current that cannot flow does not."""
    names = [switch.name for switch in pack.switching.switches]

    def closed(switches: list[str]) -> bool:
        return all(conducting >> names.index(name) & 1 for name in switches)

    strings = [(s.first_cell, s.cells, s.name) for s in pack.strings] or [(0, pack.series, "")]
    way_of = {w.requires_string.name: w for w in pack.switching.transitions if w.requires_string}
    branches: list[tuple[int, int, float, float, list[int]]] = []  # from, to, emf, ohm, cells
    nodes = 2  # 0: negative terminal, 1: positive terminal
    for first, count, name in strings:
        at = 0
        inside: set[int] = set()
        for bypass in pack.switching.bypasses:
            if bypass.cells[0] not in range(first, first + count):
                continue
            inside |= set(bypass.cells)
            to, nodes = nodes, nodes + 1
            cells = list(bypass.cells)
            if closed(bypass.opens):
                branches.append((at, to, emf_v[cells].sum(), ohm[cells].sum(), cells))
            if closed(bypass.closes):
                branches.append((at, to, 0.0, CONTACT_OHM, []))
            at = to
        plain = [cell for cell in range(first, first + count) if cell not in inside]
        to, nodes = nodes, nodes + 1
        branches.append((at, to, emf_v[plain].sum(), ohm[plain].sum() or 1e-6, plain))
        way = way_of.get(name)
        configurations = pack.switching.configurations
        needed = (
            []
            if way is None
            else [n for n in configurations[way.target] if n not in configurations[way.source]]
        )
        if closed(needed):
            # A single string has no contact of its own: what matters is how strings share.
            branches.append((to, 1, 0.0, CONTACT_OHM, []))
    matrix, right = np.zeros((nodes, nodes)), np.zeros(nodes)
    right[1] = current_a
    for a, b, emf, r, _ in branches:  # from b through the cells to a flows (v_b - v_a - emf) / r
        for here, there, sign in ((b, a, 1.0), (a, b, -1.0)):
            matrix[here, here] += 1 / r
            matrix[here, there] -= 1 / r
            right[here] += sign * emf / r
    matrix += 1e-9 * np.eye(nodes)  # leaks hold what floats
    matrix[0], right[0] = 0.0, 0.0
    matrix[0, 0] = 1.0
    voltage = np.linalg.solve(matrix, right)
    group_a = np.zeros(pack.series)
    for a, b, emf, r, cells in branches:
        group_a[cells] = (voltage[b] - voltage[a] - emf) / r
    return group_a


@given(
    which=st.sampled_from(["robot", "modular", "strings"]),
    conducting=st.integers(0, 2**9 - 1),
    seed=st.integers(0, 1000),
    wanted_a=st.floats(-300, 300),
)
def test_currents_are_those_of_the_network(
    which: str, conducting: int, seed: int, wanted_a: float
) -> None:
    pack = {"robot": ROBOT, "modular": MODULAR, "strings": STRINGS}[which]
    generator = np.random.default_rng(seed)
    emf_v = generator.uniform(3.0, 4.2, pack.series)
    ohm = generator.uniform(0.002, 0.01, pack.series)
    wiring = Wiring(pack)
    source = wiring.connect(conducting, emf_v, ohm)
    current_a = 0.0 if source is None else wanted_a
    wiring.flow(current_a)
    expected = solve(pack, conducting, emf_v, ohm, current_a)
    np.testing.assert_allclose(wiring.group_a, expected, rtol=1e-4, atol=1e-3)
    # Once more from the voltages under that current: the same, and the terminals fit.
    again = wiring.connect(conducting, emf_v + wiring.group_a * ohm, ohm)
    if source is None:
        assert again is None
    else:
        assert again is not None
        assert again.voltage_v == pytest.approx(source.voltage_v, rel=1e-9)
        assert again.terminal_v(5.0) == pytest.approx(source.terminal_v(5.0), rel=1e-9)


def test_plain_pack_is_the_sum_of_its_cells() -> None:
    wiring = Wiring(ROBOT)
    source = wiring.connect(0, np.full(12, 3.5), np.full(12, 0.01))
    assert source is not None
    assert source.voltage_v == pytest.approx(42.0)
    assert source.resistance_ohm == pytest.approx(0.12)
    assert wiring.owned_mask == 0


def test_module_in_circuit_bypassed_interrupted_and_shorted() -> None:
    voltage_v, ohm = np.full(12, 3.5), np.full(12, 0.01)
    series = [f"series_{k}" for k in (1, 2, 3)]
    wiring = Wiring(MODULAR)

    source = wiring.connect(mask(MODULAR, *series), voltage_v, ohm)
    assert source is not None
    assert source.voltage_v == pytest.approx(42.0)

    bypassed = mask(MODULAR, "series_1", "bypass_2", "series_3")
    source = wiring.connect(bypassed, voltage_v, ohm)
    assert source is not None
    assert source.voltage_v == pytest.approx(28.0)
    wiring.flow(-10.0)
    assert wiring.group_a.tolist() == [-10.0] * 4 + [0.0] * 4 + [-10.0] * 4
    assert wiring.switch_a[MODULAR.switching.index("bypass_2")] == -10.0
    assert wiring.switch_a[MODULAR.switching.index("series_2")] == 0.0

    assert wiring.connect(mask(MODULAR, "series_1", "series_3"), voltage_v, ohm) is None
    wiring.flow(0.0)
    assert not wiring.group_a.any()

    wiring = Wiring(MODULAR)
    shorted = mask(MODULAR, *series, "bypass_2")
    source = wiring.connect(shorted, voltage_v, ohm)
    assert source is not None
    assert source.voltage_v == pytest.approx(28.0, abs=0.2)
    wiring.flow(0.0)  # the short needs no load
    assert wiring.group_a[4:8] == pytest.approx(np.full(4, -14.0 / 0.0405))
    assert wiring.switch_a[MODULAR.switching.index("bypass_2")] == pytest.approx(14.0 / 0.0405)
    assert not wiring.group_a[:4].any()


def test_strings_of_different_voltage_drive_current_into_each_other() -> None:
    voltage_v = np.where(np.arange(12) < 6, 3.6, 3.5)
    ohm = np.full(12, 0.01)
    both = mask(STRINGS, "series_1", "series_2", "right_string")
    wiring = Wiring(STRINGS)
    source = wiring.connect(both, voltage_v, ohm)
    assert source is not None
    assert source.voltage_v == pytest.approx(21.3)
    wiring.flow(0.0)
    balancing_a = 0.6 / (2 * (0.06 + CONTACT_OHM))
    assert wiring.group_a == pytest.approx(np.repeat([-balancing_a, balancing_a], 6))
    assert wiring.switch_a[STRINGS.switching.index("right_string")] == pytest.approx(balancing_a)
    only_left = wiring.connect(mask(STRINGS, "series_1", "series_2"), voltage_v, ohm)
    assert only_left is not None
    wiring.flow(-7.0)
    assert wiring.group_a == pytest.approx(np.repeat([-7.0, 0.0], 6))


def test_switches_of_the_wiring_are_no_part_of_the_main_path() -> None:
    assert Wiring(MODULAR).owned_mask == 0b111111000
    assert Wiring(STRINGS).owned_mask == 0b111110
