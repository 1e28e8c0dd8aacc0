# SPDX-License-Identifier: Apache-2.0
"""A picture with values as a 96-cell pack in drive gives them."""

from array import array

import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from ibms_battery.pack import Pack, Switch, Switching
from ibms_msgs.msg import (
    BalancingStatus,
    CellStates,
    Event,
    InsulationMeasurement,
    PackEstimate,
    PackLimits,
    PackMeasurement,
    PackPower,
    PackState,
    ProtectionStatus,
    SwitchState,
    ThermalState,
)
from ibms_tools.view.loads import Load
from ibms_tools.view.picture import Flow, Picture

CELLS = 96


def cell_states() -> CellStates:
    message = CellStates(current_a=-23.4)
    message.soc = array("f", [0.78 + 0.0004 * i for i in range(CELLS)])
    message.soc_std = array("f", [0.021] * CELLS)
    message.voltage_v = array("f", [3.85 + 0.0005 * (i * 7 % CELLS) for i in range(CELLS)])
    message.temperature_c = array("f", [22.0 + i // 4 * 0.1 for i in range(CELLS)])
    message.bleed_active = array("B", [int(i in (3, 5)) for i in range(CELLS)])
    message.valid = array("B", [1] * CELLS)
    return message


def pack_power() -> PackPower:
    message = PackPower(horizon_s=array("f", [2.0, 10.0, 30.0, float("inf")]))
    message.charge_power_w = array("f", [60e3, 50.2e3, 40e3, 9e3])
    message.discharge_power_w = array("f", [160e3, 151.6e3, 140e3, 80e3])
    return message


def event(text: str, severity: int = Event.SEVERITY_INFO, source: str = "pack_supervisor") -> Event:
    return Event(
        header=Header(stamp=Time(sec=1_795_000_000)), source=source, text=text, severity=severity
    )


@pytest.fixture
def pack() -> Pack:
    switches = [Switch("main_negative"), Switch("main_positive"), Switch("precharge")]
    return Pack(
        name="ev_96s",
        description="",
        cell="lg_m50",
        series=CELLS,
        parallel=28,
        temperature_sensors=24,
        modules=6,
        scan_period_s=0.02,
        pack_sample_period_s=0.01,
        can_map="ibms.yaml",
        diagnoses="nmc.yaml",
        switching=Switching(switches, {"open": []}, []),
    )


@pytest.fixture
def picture(pack: Pack) -> Picture:
    balancing = BalancingStatus(active=True)
    balancing.fed_back = array("B", [int(i in (3, 5)) for i in range(CELLS)])
    switch = SwitchState(configuration="closed", board_valid=True, armed=True)
    switch.closed = array("B", [1, 1, 0])
    return Picture(
        pack=pack,
        titles=("IBMS demo", "ev_96s", "simulated", "bus 43200", "domain 74"),
        phase="driving",
        elapsed_s=83.4,
        state=PackState(
            state=PackState.STATE_DRIVE, time_in_state_s=83.4, text="drive as requested"
        ),
        switch=switch,
        sample=PackMeasurement(current_a=-23.4, voltage_v=371.2, link_voltage_v=371.1),
        cells=cell_states(),
        estimate=PackEstimate(
            valid=True,
            soc=0.799,
            soc_std=0.021,
            energy_to_empty_wh=41_200.0,
            soh_capacity=0.975,
            soh_capacity_std=0.012,
            empties_first=37,
        ),
        prediction=pack_power(),
        protection=ProtectionStatus(diagnoses_evaluated=26, diagnoses_total=26),
        limits=PackLimits(
            charge_current_a=137.0,
            discharge_current_a=412.0,
            charge_power_w=50_800.0,
            discharge_power_w=152_900.0,
        ),
        balancing=balancing,
        thermal=ThermalState(mode=ThermalState.MODE_COOLING, pump_ratio=0.4, fan_ratio=0.2),
        insulation=InsulationMeasurement(resistance_ohm=5.03e6, valid=True),
        scans=Flow(4170, 50.0, 0, 0.0021),
        samples=Flow(8340, 100.0, 0, 0.0008),
        verdicts=Flow(4170, 50.0, 0, 0.004),
        events=(
            event("off -> standby: ready"),
            event("switches: closed (request)", source="switch_control"),
            event("precharge -> drive: drive as requested"),
        ),
        loads=(
            Load("simulated_pack", 0.31, 0, True),
            Load("afe_driver", 0.12, 0, True),
            Load("protection", 0.09, 1, True),
        ),
        view_cpu_cores=0.04,
        log="log/demo_43200/nodes.log",
    )
