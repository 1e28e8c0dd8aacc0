# SPDX-License-Identifier: Apache-2.0
"""From messages to verdicts with the shipped tables: what each fault looks like from outside."""

import math
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ibms_battery.pack import Pack
from ibms_edge.protection.table import Reaction
from ibms_msgs.msg import (
    CellMeasurement,
    EnvironmentMeasurement,
    InsulationMeasurement,
    PackMeasurement,
    ProtectionLockouts,
)

from .world import MS, S, World, put


@pytest.mark.parametrize(
    ("source", "change", "name", "reaction", "seconds"),
    [
        ("cells", put("voltage_v", 4.6, at=3), "cell_overvoltage", Reaction.OPEN_NOW, 0.2),
        ("cells", put("voltage_v", 2.2, at=3), "cell_undervoltage", Reaction.OPEN_NOW, 0.2),
        ("cells", put("voltage_v", 1.5, at=3), "deep_discharge", Reaction.OPEN_NOW, 1.0),
        ("cells", put("voltage_valid", 0, at=3), "cell_voltage_missing", Reaction.OPEN_NOW, 0.2),
        ("cells", put("open_wire", 1, at=3), "open_sense_wire", Reaction.OPEN_NOW, 0.2),
        ("cells", put("temperature_c", 70.0, at=1), "cell_overtemperature", Reaction.OPEN_NOW, 2.0),
        (
            "cells",
            put("temperature_c", -30.0, at=1),
            "cell_undertemperature",
            Reaction.OPEN_AFTER_ZERO_CURRENT,
            2.0,
        ),
        (
            "cells",
            put("temperature_valid", 0, at=1),
            "cell_temperature_missing",
            Reaction.OPEN_AFTER_ZERO_CURRENT,
            0.5,
        ),
        ("cells", put("afe_status", 4, at=0), "afe_fault", Reaction.OPEN_NOW, 0.3),
        ("cells", put("afe_status", 128, at=0), "afe_lost", Reaction.OPEN_NOW, 0.3),
        ("cells", put("hardware_series", 14), "hardware_mismatch", Reaction.OPEN_NOW, 0.3),
        ("cells", put("frames_rejected", 2), "afe_frames_rejected", Reaction.INFORM, 0.3),
        (
            "cells",
            put("module_voltage_v", 42.0, at=0),
            "module_voltage",
            Reaction.OPEN_AFTER_ZERO_CURRENT,
            0.5,
        ),
        ("pack", put("current_a", 40.0), "charge_overcurrent", Reaction.OPEN_NOW, 0.05),
        ("pack", put("current_a", -90.0), "discharge_overcurrent", Reaction.OPEN_NOW, 0.05),
        ("pack", put("current_a", -300.0), "short_circuit_discharge", Reaction.OPEN_NOW, 0.05),
        (
            "pack",
            put("current_a", -65.0),
            "discharge_overload",
            Reaction.OPEN_AFTER_ZERO_CURRENT,
            6.0,
        ),
        (
            "pack",
            put("current_a", 25.0),
            "charge_overload",
            Reaction.OPEN_AFTER_ZERO_CURRENT,
            6.0,
        ),
        ("pack", put("status", 2), "pack_current_missing", Reaction.OPEN_NOW, 0.05),
        ("pack", put("voltage_v", 0.5), "fuse_open", Reaction.OPEN_NOW, 0.3),
        ("pack", put("voltage_v", 41.0), "sum_of_cells", Reaction.INFORM, 1.0),
        (
            "insulation",
            put("resistance_ohm", 3000.0),
            "insulation_error",
            Reaction.OPEN_AFTER_ZERO_CURRENT,
            0.6,
        ),
        (
            "insulation",
            put("resistance_ohm", 20_000.0),
            "insulation_warning",
            Reaction.INFORM,
            0.6,
        ),
        ("insulation", put("valid", False), "insulation_not_measured", Reaction.INFORM, 6.0),
        ("environment", put("gas_ppm", 900.0), "gas_detected", Reaction.OPEN_NOW, 0.5),
        ("environment", put("valid", 23), "gas_not_measured", Reaction.INFORM, 6.0),
        ("environment", put("humidity_ratio", 0.95), "humidity_high", Reaction.INFORM, 12.0),
        ("environment", put("pressure_pa", 106_000.0), "pressure_venting", Reaction.OPEN_NOW, 0.5),
        ("environment", put("vibration_peak_m_s2", 200.0), "shock", Reaction.INFORM, 0.2),
        ("switch", put("interlock_closed", False), "interlock_open", Reaction.OPEN_NOW, 0.05),
        ("switch", put("emergency_stop", True), "emergency_stop", Reaction.OPEN_NOW, 0.05),
        ("switch", put("crash_input", True), "crash", Reaction.OPEN_NOW, 0.05),
        ("switch", put("mismatch", 2, at=1), "switch_stays_closed", Reaction.OPEN_NOW, 0.05),
        ("switch", put("mismatch", 1, at=2), "switch_stays_open", Reaction.OPEN_NOW, 0.05),
        ("switch", put("hardware_switches", 5), "switch_count", Reaction.OPEN_NOW, 0.1),
    ],
)
def test_a_fault_trips_its_diagnosis_in_time(
    world: World,
    source: str,
    change: Callable[[Any], None],
    name: str,
    reaction: Reaction,
    seconds: float,
) -> None:
    world.change[source] = change
    world.run(seconds + 0.1)
    verdict, took_s = world.first(name)
    assert verdict.reaction >= reaction
    assert next(f for f in verdict.active if f.diagnosis.name == name).demand is reaction
    assert took_s <= seconds


def test_a_fault_is_not_called_off_by_the_zero_current_that_it_asked_for(world: World) -> None:
    """A stuck cell moves with the others again once nothing flows."""
    world.change["cells"] = put("module_voltage_v", 42.0, at=0)
    world.run(0.5)
    assert world.history[-1].reaction is Reaction.OPEN_AFTER_ZERO_CURRENT
    del world.change["cells"]
    world.mark()
    world.run(3.0)
    assert max(verdict.reaction for verdict in world.history) is Reaction.OPEN_NOW


def test_a_road_downhill_is_no_venting_and_one_wrong_pressure_neither(world: World) -> None:
    pressure_pa = 101_325.0

    def descent(message: EnvironmentMeasurement) -> None:
        nonlocal pressure_pa
        pressure_pa += 5.0  # 4 m/s downhill
        message.pressure_pa = pressure_pa

    world.change["environment"] = descent
    world.run(65.0)
    wrong = [98_000.0]

    def once(message: EnvironmentMeasurement) -> None:
        descent(message)
        if wrong:
            message.pressure_pa = wrong.pop()

    world.change["environment"] = once
    world.run(25.0)
    assert max(verdict.reaction for verdict in world.history) is Reaction.NONE


def test_insulation_is_judged_without_a_pack_voltage_too(world: World) -> None:
    def blind(message: PackMeasurement) -> None:
        message.valid &= ~(PackMeasurement.VALID_VOLTAGE | PackMeasurement.VALID_LINK_VOLTAGE)

    world.change["pack"] = blind
    assert world.run(0.5).reaction is Reaction.DERATE
    assert world.first("pack_voltage_missing")
    assert world.first("link_voltage_missing")
    world.change["insulation"] = put("resistance_ohm", 100.0)
    assert world.run(0.6).reaction is Reaction.OPEN_AFTER_ZERO_CURRENT
    assert world.first("insulation_error")


def test_insulation_that_nothing_relates_to_a_voltage_neither_trips_nor_clears(
    world: World,
) -> None:
    def blind(message: PackMeasurement) -> None:
        message.valid &= ~PackMeasurement.VALID_VOLTAGE

    def blind_to_cells(message: CellMeasurement) -> None:
        message.voltage_valid = array("B", bytes(world.pack.series))

    def names() -> list[str]:
        return [fault.diagnosis.name for fault in world.history[-1].active]

    world.change["insulation"] = put("resistance_ohm", 100.0)
    world.change["pack"], world.change["cells"] = blind, blind_to_cells
    world.run(1.0)
    assert "insulation_warning" not in names()
    del world.change["pack"], world.change["cells"]
    world.run(1.0)
    assert "insulation_warning" in names()
    world.change["pack"], world.change["cells"] = blind, blind_to_cells
    world.change["insulation"] = put("resistance_ohm", 1e6)
    world.run(30.0)
    assert "insulation_warning" in names()


def test_insulation_is_judged_by_the_cells_where_loose_modules_leave_no_pack_voltage(
    world: World,
) -> None:
    world.change["pack"] = put("voltage_v", 0.1)
    world.change["insulation"] = put("resistance_ohm", 2000.0)
    world.run(0.6)
    assert "insulation_error" in [fault.diagnosis.name for fault in world.history[-1].active]


def test_gaps_in_the_current_are_no_other_direction(world: World) -> None:
    count = 0

    def charging(message: PackMeasurement) -> None:
        nonlocal count
        count += 1
        message.current_a = 5.0
        if count % 7 == 0:
            message.valid &= ~PackMeasurement.VALID_CURRENT

    def cold(message: CellMeasurement) -> None:
        message.temperature_c = array("f", [-15.0] * len(message.temperature_c))

    world.change = {"pack": charging, "cells": cold}
    world.run(5.6)
    assert world.first("charge_undertemperature")


def test_a_second_current_sensor_that_only_says_it_is_faulty_is_lost(world: World) -> None:
    def redundant(message: PackMeasurement) -> None:
        message.redundant_boot_ns = message.boot_ns
        message.redundant_current_a = -1.0
        message.valid |= PackMeasurement.VALID_REDUNDANT_CURRENT

    world.change["pack"] = redundant
    world.run(0.5)

    def faulty(message: PackMeasurement) -> None:
        redundant(message)
        message.valid &= ~PackMeasurement.VALID_REDUNDANT_CURRENT

    world.change["pack"] = faulty
    world.run(0.3)
    assert world.first("redundant_current_lost")


def test_one_sample_of_the_pack_voltage_is_judged_once(world: World) -> None:
    world.change["pack"] = put("voltage_v", 0.0)
    world.run(0.01)
    world.silent.add("pack")
    world.run(0.12)
    names = {fault.diagnosis.name for verdict in world.history for fault in verdict.set_now}
    assert "fuse_open" not in names


@pytest.mark.parametrize(
    ("source", "name", "seconds"),
    [
        ("cells", "cells_lost", 0.3),
        ("pack", "pack_sensor_lost", 0.3),
        ("insulation", "insulation_monitor_lost", 0.4),
        ("environment", "environment_lost", 0.4),
        ("switch", "switch_state_lost", 0.55),
        ("pack_state", "supervisor_lost", 0.7),
    ],
)
def test_each_sender_that_falls_silent_is_missed(
    world: World, source: str, name: str, seconds: float
) -> None:
    world.silent.add(source)
    world.run(seconds + 0.2)
    assert world.first(name)[1] <= seconds


@pytest.mark.parametrize(
    ("source", "change", "samples"),
    [
        ("cells", put("voltage_v", 9.0, at=3), 2),
        ("cells", put("temperature_c", 180.0, at=1), 2),
        ("cells", put("open_wire", 1, at=0), 2),
        ("cells", put("afe_status", 128, at=0), 2),
        ("pack", put("current_a", 2000.0), 2),
        ("pack", put("valid", 0), 2),
        ("insulation", put("resistance_ohm", 1.0), 2),
        ("environment", put("gas_ppm", 60_000.0), 2),
        ("switch", put("interlock_closed", False), 1),
        ("switch", put("emergency_stop", True), 1),
    ],
)
def test_one_or_two_disturbed_samples_trip_nothing_that_opens(
    world: World, source: str, change: Callable[[Any], None], samples: int
) -> None:
    left = samples

    def spike(message: Any) -> None:
        nonlocal left
        if left:
            left -= 1
            change(message)

    world.change[source] = spike
    world.run(12.0)
    assert left == 0
    assert max(verdict.reaction for verdict in world.history) <= Reaction.DERATE


def test_charging_has_its_own_temperatures(world: World) -> None:
    world.change["cells"] = put("temperature_c", 52.0, at=0)
    assert world.run(1.0).reaction is Reaction.INFORM  # the operating limit of all
    world.change["pack"] = put("current_a", 5.0)
    assert world.run(1.0).reaction is Reaction.OPEN_AFTER_ZERO_CURRENT
    assert world.first("charge_overtemperature")


def test_cells_too_cold_to_be_charged_may_be_discharged(world: World) -> None:
    def cold(message: CellMeasurement) -> None:
        message.temperature_c = array("f", [-12.0] * len(message.temperature_c))

    world.change["cells"] = cold
    assert world.run(1.0).reaction is Reaction.NONE
    world.change["pack"] = put("current_a", 5.0)
    assert world.run(4.0).reaction is Reaction.NONE  # braking gives back seconds of charge
    assert world.run(1.5).reaction is Reaction.OPEN_AFTER_ZERO_CURRENT
    assert world.first("charge_undertemperature")


def test_a_temperature_far_from_the_others_is_told(world: World) -> None:
    world.change["cells"] = put("temperature_c", 44.0, at=2)
    world.run(1.5)
    verdict, _ = world.first("cell_temperature_spread")
    assert verdict.set_now[0].element == 2


def test_two_current_sensors_that_differ(world: World) -> None:
    def redundant(message: PackMeasurement) -> None:
        message.redundant_current_a = -1.2
        message.redundant_boot_ns = message.boot_ns
        message.valid |= PackMeasurement.VALID_REDUNDANT_CURRENT

    world.change["pack"] = redundant
    assert world.run(1.0).reaction is Reaction.NONE

    def differs(message: PackMeasurement) -> None:
        redundant(message)
        message.redundant_current_a = -9.0

    world.change["pack"] = differs
    world.mark()
    assert world.run(0.5).reaction is Reaction.OPEN_AFTER_ZERO_CURRENT
    assert world.first("current_sensors_differ")


def test_a_second_current_sensor_may_be_absent_but_not_fall_silent(world: World) -> None:
    seen_ns = 0

    def redundant(message: PackMeasurement) -> None:
        nonlocal seen_ns
        seen_ns = seen_ns or message.boot_ns
        message.redundant_boot_ns = seen_ns
        message.redundant_current_a = -1.0
        message.valid |= PackMeasurement.VALID_REDUNDANT_CURRENT

    world.change["pack"] = redundant
    assert world.run(0.1).reaction is Reaction.NONE
    assert world.run(0.2).reaction is Reaction.DERATE
    assert world.first("redundant_current_lost")


def test_a_wall_clock_that_steps_is_told_and_changes_nothing_else(world: World) -> None:
    world.wall_ns -= 3_600 * S
    verdict = world.run(0.01)
    assert [fault.diagnosis.name for fault in verdict.active] == ["clock_jump"]
    assert verdict.close_allowed


def test_a_loop_that_stood_still_is_told(world: World) -> None:
    world.now_ns += 150 * MS
    world.run(0.01)
    assert world.first("loop_overrun")


def test_a_second_publisher(world: World) -> None:
    verdict = world.judge.judge(world.now_ns + MS, None, foreign=True)
    assert verdict.reaction is Reaction.OPEN_NOW
    assert [fault.diagnosis.name for fault in verdict.active] == ["foreign_publisher"]


def test_malformed_and_old_inputs_are_refused(world: World) -> None:
    judge = world.judge
    short = world.switch()
    short.mismatch = array("B", [0])
    assert not judge.take_switch(short)
    odd = world.switch()
    odd.isolated = array("B", [0, 0])
    assert not judge.take_switch(odd)
    old = PackMeasurement(boot_ns=world.now_ns)
    assert not judge.take_pack(old)
    assert not judge.take_insulation(InsulationMeasurement(boot_ns=1))
    assert not judge.take_environment(EnvironmentMeasurement(boot_ns=1))
    unknown = ProtectionLockouts(
        diagnosis=array("H", [60_000]), element=array("i", [1]), value=array("f", [1.0])
    )
    assert not judge.take_lockouts(unknown)


def test_closing_waits_for_the_memory_of_lock_outs(pack: Pack, config: Path) -> None:
    world = World(pack, config / "diagnoses" / "nmc_3p.yaml")
    world.judge.engine.waits_for_lockouts = True
    assert not world.run(3.0).close_allowed
    locked = ProtectionLockouts(
        diagnosis=array("H", [106]), element=array("i", [5]), value=array("f", [1.5])
    )
    assert world.judge.take_lockouts(locked)
    verdict = world.run(0.1)
    assert verdict.reaction is Reaction.OPEN_NOW
    status = world.judge.status(verdict)
    assert (status.first_cause, status.first_cause_element) == (106, 5)
    assert status.first_cause_value == pytest.approx(1.5)
    world.run(2.0)
    assert world.judge.engine.acknowledge([]) == ([], [106])
    assert world.judge.engine.acknowledge([106]) == ([106], [])
    assert world.run(0.1).close_allowed


def test_the_status_tells_levels_and_strings(world: World) -> None:
    world.change["cells"] = put("voltage_v", 4.24, at=2)
    verdict = world.run(0.2)
    status = world.judge.status(verdict)
    assert list(status.active_diagnosis) == [101, 104, 101] or 101 in status.active_diagnosis
    assert set(status.active_level) <= {1, 2, 3}
    assert len(status.string_voltage_v) == 1
    assert status.string_voltage_v[0] == pytest.approx(44.4 + 0.54, abs=0.01)
    assert math.isnan(status.first_cause_value)
    assert status.diagnoses_evaluated == status.diagnoses_total
