# SPDX-License-Identifier: Apache-2.0
"""What a restart may conclude from what was kept."""

from dataclasses import replace
from math import isnan, nan
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_edge.estimation.estimator_memory import (
    Absence,
    ForeignMemoryError,
    Memory,
    Moment,
    Owner,
    absence,
    decode,
    encode,
)

OWNER = Owner("robot_12s", "lg_m50", "NMC", "adaptive", 12, 5.0)
DAY_S = 86_400.0
CAPACITY_C = 15 * 3600.0
KEPT = Moment("first", 5_000 * 10**9, 1_790_000_000 * 10**9, -1000.0)


def later(
    seconds: float, up_s: float = 30.0, charge_c: float = 0.0, boot: str = "second"
) -> Moment:
    return Moment(boot, round(up_s * 1e9), KEPT.wall_ns + round(seconds * 1e9), charge_c)


def memory() -> Memory:
    states = {"soc": np.linspace(0, 1, 12), "covariance": np.arange(24.0).reshape(2, 12)}
    return Memory(OWNER, KEPT, states)


def test_what_is_encoded_is_decoded() -> None:
    found = decode(encode(memory()), OWNER)
    assert (found.owner, found.moment) == (OWNER, KEPT)
    for name, values in memory().states.items():
        assert (found.states[name] == values).all()
        found.states[name][:] = 0.0  # may be worked with


def test_a_counter_without_value_is_kept_as_such() -> None:
    unknown = replace(memory(), moment=replace(KEPT, charge_c=nan))
    assert isnan(decode(encode(unknown), OWNER).moment.charge_c)


@pytest.mark.parametrize(
    "changed",
    [
        {"pack": "ev_96s"},
        {"cell": "a123_26650"},
        {"chemistry": "LFP"},
        {"estimator": "ekf"},
        {"cells": 96},
        {"capacity_ah": 4.0},
    ],
)
def test_a_foreign_state_is_refused_with_what_differs(changed: dict[str, Any]) -> None:
    other = replace(OWNER, **changed)
    with pytest.raises(ForeignMemoryError, match=f"is of {next(iter(changed))} "):
        decode(encode(memory()), other)


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ForeignMemoryError):
        decode(data, OWNER)


def test_another_schema_and_a_wrong_shape_are_refused() -> None:
    file = msgspec.msgpack.decode(encode(memory()))
    file["schema"] = 3
    with pytest.raises(ForeignMemoryError, match="schema 3"):
        decode(msgspec.msgpack.encode(file), OWNER)
    file["schema"] = 2
    file["states"]["soc"]["shape"] = [13]
    with pytest.raises(ForeignMemoryError, match="cannot be read"):
        decode(msgspec.msgpack.encode(file), OWNER)


def test_a_restart_of_the_node_is_a_gap_between_scans() -> None:
    now = replace(KEPT, boot_ns=KEPT.boot_ns + 3 * 10**9, wall_ns=0)
    assert absence(KEPT, now, CAPACITY_C) == Absence(3.0, is_gap=True)


def test_a_sensor_that_counts_anew_says_that_somebody_worked_on_the_pack() -> None:
    now = replace(KEPT, boot_ns=KEPT.boot_ns + 3 * 10**9, charge_c=0.5)
    assert isnan(absence(KEPT, now, CAPACITY_C).away_s)


@pytest.mark.parametrize(("charge_c", "rested"), [(-1000.0, True), (-3000.0, False), (nan, False)])
def test_a_long_absence_in_the_same_boot_was_a_rest_if_the_counter_says_so(
    charge_c: float, rested: bool
) -> None:
    now = replace(KEPT, boot_ns=KEPT.boot_ns + 7200 * 10**9, charge_c=charge_c)
    found = absence(KEPT, now, CAPACITY_C)
    assert not found.is_gap
    assert (found.away_s == 7200.0) is rested


def test_after_a_boot_the_wall_clock_tells_how_long_the_pack_rested() -> None:
    assert absence(KEPT, later(DAY_S), CAPACITY_C) == Absence(DAY_S)
    assert absence(KEPT, later(DAY_S, charge_c=nan), CAPACITY_C) == Absence(DAY_S)


@pytest.mark.parametrize(
    "now",
    [
        later(-60.0),  # the clock lost its battery
        later(10.0, up_s=500.0),  # up for longer than it has been away
        later(20 * 365 * DAY_S),
        later(DAY_S, charge_c=-9000.0),  # the counter went on: somebody drove
        replace(later(-1.0, boot="first"), boot_ns=KEPT.boot_ns - 1),
    ],
)
def test_what_cannot_be_is_unknown(now: Moment) -> None:
    found = absence(KEPT, now, CAPACITY_C)
    assert isnan(found.away_s)
    assert not found.is_gap


@given(
    st.floats(-1e9, 1e9), st.floats(0, 1e6), st.floats(-1e5, 1e5), st.sampled_from(["first", "b"])
)
def test_an_absence_is_never_negative(
    seconds: float, up_s: float, charge_c: float, boot: str
) -> None:
    found = absence(KEPT, later(seconds, up_s, charge_c, boot), CAPACITY_C)
    assert isnan(found.away_s) or found.away_s >= 0.0
