# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from cantools.database.can import Database
from hypothesis import given
from hypothesis import strategies as st

from ibms_end.can.codec import FrameEncoder, find_message
from ibms_sim.load.inverter import LIMITS_EXPIRY_NS, Inverter
from ibms_sim.process import simulation_database

CONFIG = Path(__file__).resolve().parents[5] / "config"
DATABASE: Database = simulation_database(CONFIG / "packs" / "ev_96s.yaml")


def limited(now_ns: int = 0, **values: float) -> Inverter:
    inverter = Inverter(DATABASE)
    message = find_message(DATABASE, "VehicleLimits")
    given_values = {"ChargeVoltage": 400.0, "DischargeVoltage": 250.0} | values
    frame = FrameEncoder(message).encode(given_values)
    inverter.receive(message.frame_id, frame.data, now_ns)
    return inverter


def test_a_bms_that_never_spoke_limits_nothing() -> None:
    assert Inverter(DATABASE).bound(-500.0, 350.0, 10**15) == -500.0


@given(
    wanted=st.floats(-1000, 1000),
    charge_a=st.floats(0, 500),
    discharge_a=st.floats(0, 500),
    charge_w=st.floats(0, 1e5),
    discharge_w=st.floats(0, 1e5),
    link_v=st.floats(100, 500),
)
def test_never_beyond_a_limit(
    wanted: float,
    charge_a: float,
    discharge_a: float,
    charge_w: float,
    discharge_w: float,
    link_v: float,
) -> None:
    inverter = limited(
        ChargeCurrent=charge_a,
        DischargeCurrent=discharge_a,
        ChargePower=charge_w,
        DischargePower=discharge_w,
    )
    current = inverter.bound(wanted, link_v, 1)
    assert -discharge_a - 0.06 <= current <= charge_a + 0.06  # the frame's resolution
    assert -discharge_w - 6 <= current * link_v <= charge_w + 6
    assert abs(current) <= abs(wanted)
    assert current * wanted >= 0
    if link_v >= 400.05:
        assert current <= 0
    if link_v <= 249.95:
        assert current >= 0


def test_silence_means_zero_after_300_ms() -> None:
    inverter = limited(1000, DischargeCurrent=100.0, DischargePower=1e5)
    assert inverter.bound(-50.0, 350.0, 1000 + LIMITS_EXPIRY_NS - 1) == -50.0
    assert inverter.bound(-50.0, 350.0, 1000 + LIMITS_EXPIRY_NS) == 0.0
    assert pytest.approx(0.3e9) == LIMITS_EXPIRY_NS
