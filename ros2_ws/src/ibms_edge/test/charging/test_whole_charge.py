# SPDX-License-Identifier: Apache-2.0
"""From nearly full to full: cells, limits, session and charger in one loop on a virtual clock."""

from pathlib import Path

import numpy as np

from ibms_battery import configuration
from ibms_battery.cell import load_cell
from ibms_battery.pack import load_pack
from ibms_edge.charging.elcon import NO_OUTPUT, ChargerStatus, Report
from ibms_edge.charging.session import Allowed, Cells, ChargeSession, PackNow, State
from ibms_edge.limits.curves import load_curves
from ibms_edge.limits.power_limits import CellsNow, PowerLimits
from ibms_sim.cells.parameters import CellParameters
from ibms_sim.cells.reduced import ReducedCells
from ibms_sim.charger.logic import SimulatedCharger

CONFIG = Path(__file__).resolve().parents[5] / "config"
PACK = load_pack(CONFIG / "packs" / "robot_12s.yaml")
CELL = load_cell(CONFIG / "cells" / f"{PACK.cell}.yaml")
S = 1_000_000_000
STEP_S = 0.1


def test_a_nearly_full_pack_becomes_full_and_no_cell_too_high() -> None:
    assert PACK.charger is not None
    random = np.random.default_rng(3)
    parameters = configuration.load(CONFIG / "simulation" / "cells" / "lg_m50.yaml", CellParameters)
    soc = random.normal(0.95, 0.005, PACK.series)
    ones = np.ones(PACK.series)
    bank = ReducedCells(parameters, soc, ones, random.normal(1.0, 0.03, PACK.series), STEP_S)
    limits = PowerLimits(CELL, PACK.parallel, load_curves(CONFIG / "limits" / "lg_m50.yaml", CELL))
    session = ChargeSession(
        PACK.charger, CELL.capacity_ah * PACK.parallel, PACK.series, CELL.maximum_voltage_v
    )
    charger = SimulatedCharger(PACK.charger)
    degrees = np.full(PACK.series, 25.0)
    unknown = np.full(PACK.series, np.nan)
    states: list[State] = []
    currents: list[float] = []
    sent = NO_OUTPUT
    for step in range(round(3600 / STEP_S)):
        now_ns = (1000 + step) * round(STEP_S * S)
        current_a = charger.output_a
        bank.step(np.full(PACK.series, current_a / PACK.parallel), degrees)
        voltage_v = float(bank.voltage_v.sum())
        charger.step(voltage_v, STEP_S, now_ns)
        seen = CellsNow(bank.voltage_v, degrees, bank.soc, unknown, current_a)
        allowed = limits.update(seen, False, False, now_ns)
        session.take_cells(Cells(now_ns, current_a, float(bank.voltage_v.max())))
        session.take_pack_voltage(voltage_v)
        session.take_pack_state(PackNow(now_ns, in_charge=True, leaving=False))
        session.take_allowed(
            Allowed(
                now_ns,
                allowed.charge_current_a,
                PACK.series * CELL.maximum_voltage_v,
                allowed.limited_by,
            )
        )
        if step % 10 == 0:
            session.take_report(Report(now_ns, voltage_v, current_a, ChargerStatus(0)))
        request = session.step(now_ns)
        if step % 10 == 0 or request.current_a < sent.current_a:
            charger.request(request.voltage_v, request.current_a, request == NO_OUTPUT, now_ns)
            sent = request
        states.append(session.state)
        currents.append(current_a)
        assert bank.voltage_v.max() <= CELL.maximum_voltage_v
        if session.state is State.COMPLETE and current_a == 0.0:
            break
    order = [
        state for state, before in zip(states, [None, *states], strict=False) if state != before
    ]
    assert order == [State.PLUGGED, State.CHARGING, State.RAMP_DOWN, State.COMPLETE]
    assert max(currents) > 2.0
    # The fullest cell is full, and in constant voltage the current only falls.
    assert bank.soc.max() > 0.97
    peak = int(np.argmax(currents))
    assert (np.diff(currents[peak + 600 :]) < 0.05).all()
