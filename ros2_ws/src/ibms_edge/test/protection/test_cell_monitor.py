# SPDX-License-Identifier: Apache-2.0
"""Signals from scans, over seconds of simulated measurement."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from ibms_battery.pack import Pack, StringOfCells
from ibms_edge.protection.cell_monitor import WIRING_BLANK_S, CellMonitor, Wiring
from ibms_edge.protection.samples import CellsSample, PackSample
from ibms_edge.protection.signals import SIGNALS, FloatArray, Signal, element_count
from ibms_edge.protection.table import SignalParameters

NAN = math.nan
S = 1_000_000_000


class Stream:
    """Scans of the 12-cell pack at a fixed period, with what the test makes of them."""

    def __init__(self, pack: Pack, period_s: float = 0.1) -> None:
        self.pack = pack
        self.period_s = period_s
        self.values: dict[Signal, FloatArray] = {
            signal: np.full(element_count(info.element, pack), NAN)
            for signal, info in SIGNALS.items()
            if info.source == "cells"
        }
        self.monitor = CellMonitor(pack, SignalParameters(rest_current_a=0.5), self.values)
        self.wiring = Wiring()
        self.random = np.random.default_rng(1)
        self.time_s = 10.0
        self.resistance_ohm = 0.01 * (1 + 0.1 * self.random.standard_normal(pack.series))
        self.offset_v = 0.005 * self.random.standard_normal(pack.series)
        self.largest: dict[Signal, float] = {}

    def scan(
        self,
        current_a: float = 0.0,
        change: Callable[[FloatArray, FloatArray], None] | None = None,
        pack_v: float | None = None,
        **fields: Any,
    ) -> CellsSample:
        self.time_s += self.period_s
        boot_ns = round(self.time_s * S)
        noise_v = 0.0004 * self.random.standard_normal(self.pack.series)
        voltage_v = 3.7 + self.offset_v + self.resistance_ohm * current_a + noise_v
        temperature_c = 25.0 + 0.05 * self.random.standard_normal(self.pack.temperature_sensors)
        if change is not None:
            change(voltage_v, temperature_c)
        sum_v = float(voltage_v.sum())
        sample = CellsSample(
            boot_ns,
            voltage_v,
            temperature_c,
            current_a=current_a,
            module_voltage_v=np.array([sum_v]),
            device_time_ms=round(self.time_s * 1000),
            **fields,
        )
        pack = PackSample(boot_ns, current_a, sum_v if pack_v is None else pack_v)
        self.monitor.update(sample, pack, self.wiring)
        for signal, values in self.values.items():
            known = values[~np.isnan(values)]
            if known.size:
                self.largest[signal] = max(self.largest.get(signal, -math.inf), known.max())
        return sample

    def drive(self, seconds: float, **fields: Any) -> None:
        for _ in range(round(seconds / self.period_s)):
            self.scan(20.0 * math.sin(2 * math.pi * self.time_s / 7.0), **fields)

    def value(self, signal: Signal) -> float:
        return float(self.values[signal][0])


@pytest.fixture
def stream(pack: Pack) -> Stream:
    return Stream(pack)


def test_a_healthy_drive_gives_small_signals(stream: Stream) -> None:
    stream.drive(150)
    assert stream.largest["cell_voltage_deviation"] < 0.05
    assert stream.largest["cell_internal_short"] < 0.003
    assert stream.largest["cell_voltage_stuck"] < 0.03
    assert stream.largest["cell_temperature_rate"] < 0.15
    assert stream.largest["thermal_runaway_rate"] == 0.0
    assert stream.largest["sum_of_cells_difference"] == 0.0
    assert stream.largest["module_voltage_difference"] < 1e-9
    assert stream.largest["device_clock_jump"] < 0.002
    assert stream.largest["current_response"] < 0.0


def test_unmeasured_cells_are_missing_and_spoil_no_neighbour(stream: Stream) -> None:
    def blind(voltage_v: FloatArray, temperature_c: FloatArray) -> None:
        voltage_v[4] = temperature_c[1] = NAN

    for _ in range(200):
        stream.scan(10.0, blind)
    assert np.flatnonzero(stream.values["cell_voltage_missing"]).tolist() == [4]
    assert np.flatnonzero(stream.values["cell_temperature_missing"]).tolist() == [1]
    for signal in ("cell_voltage_deviation", "cell_voltage_stuck"):
        assert np.flatnonzero(np.isnan(stream.values[signal])).tolist() == [4]
    assert math.isnan(stream.value("sum_of_cells_difference"))


def test_nothing_measured_is_no_error(stream: Stream) -> None:
    def blind(voltage_v: FloatArray, temperature_c: FloatArray) -> None:
        voltage_v[:] = NAN
        temperature_c[:] = NAN

    stream.drive(2)
    for _ in range(10):
        stream.scan(0.0, blind)
    assert stream.values["cell_voltage_missing"].all()
    stream.drive(2)
    assert not stream.values["cell_voltage_missing"].any()


def test_a_deviation_names_the_cell(stream: Stream) -> None:
    def low(voltage_v: FloatArray, _: FloatArray) -> None:
        voltage_v[7] -= 0.4

    stream.scan(0.0, low)
    deviation_v = stream.values["cell_voltage_deviation"]
    assert int(deviation_v.argmax()) == 7
    assert deviation_v[7] == pytest.approx(0.4, abs=0.02)


def test_a_beginning_short_shows_within_seconds_in_its_cell(stream: Stream) -> None:
    stream.drive(120)

    def shorted(voltage_v: FloatArray, _: FloatArray) -> None:
        voltage_v[3] -= 0.04

    stream.largest.clear()
    stream.drive(8, change=shorted)
    fallen_v = stream.values["cell_internal_short"]
    assert int(fallen_v.argmax()) == 3
    assert fallen_v[3] > 0.03
    assert np.delete(fallen_v, 3).max() < 0.003


def test_without_current_nobody_knows_of_shorts(stream: Stream) -> None:
    for _ in range(10):
        stream.scan(NAN)
    assert np.isnan(stream.values["cell_internal_short"]).all()


def test_imbalance_is_learnt_at_rest_only(stream: Stream) -> None:
    def weak(voltage_v: FloatArray, _: FloatArray) -> None:
        voltage_v[5] -= 0.06

    stream.drive(60, change=weak)
    assert np.isnan(stream.values["cell_imbalance"]).any()  # it hardly rested
    for _ in range(900):
        stream.scan(0.0, weak)
    imbalance_v = stream.values["cell_imbalance"]
    assert int(imbalance_v.argmax()) == 5
    assert imbalance_v[5] == pytest.approx(0.06, abs=0.015)


def test_a_value_that_stands_still_while_the_others_move_is_stuck(stream: Stream) -> None:
    def stuck(voltage_v: FloatArray, temperature_c: FloatArray) -> None:
        voltage_v[2] = 3.71
        temperature_c[:] += stream.time_s - 10.0
        temperature_c[3] = 25.5

    moved_v = np.zeros(stream.pack.series)
    for _ in range(200):
        stream.drive(0.1, change=stuck)
        moved_v = np.fmax(moved_v, stream.values["cell_voltage_stuck"])
    # 20 A over 10 mohm to either side of 3.7 V, and the standstill began a little above that.
    assert moved_v[2] == pytest.approx(0.25, abs=0.03)
    assert np.delete(moved_v, 2).max() < 0.05
    assert stream.values["cell_temperature_stuck"][3] == pytest.approx(20, abs=1)
    assert np.delete(stream.values["cell_temperature_stuck"], 3).max() < 0.5


@pytest.mark.parametrize("disturbed_scan", [0, 5])
def test_one_disturbed_scan_makes_nothing_stuck(stream: Stream, disturbed_scan: int) -> None:
    """Quiet cells at rest, as behind a slow filter, and one scan in which most are wrong."""
    for scan in range(30):

        def quiet(voltage_v: FloatArray, _: FloatArray, scan: int = scan) -> None:
            voltage_v[:] = 3.7
            if scan == disturbed_scan:
                voltage_v[3:] += 0.2
                voltage_v[0] += 0.001

        stream.scan(0.0, quiet)
    assert stream.largest["cell_voltage_stuck"] == 0.0


def test_a_true_step_is_nothing_stuck(stream: Stream) -> None:
    for scan in range(30):

        def step(voltage_v: FloatArray, _: FloatArray, scan: int = scan) -> None:
            voltage_v[:] = 3.7 if scan < 10 else 3.9

        stream.scan(0.0, step)
    assert stream.largest["cell_voltage_stuck"] == 0.0


def test_a_runaway_is_not_excused_by_missing_voltages(stream: Stream) -> None:
    stream.drive(5)

    def hot(voltage_v: FloatArray, temperature_c: FloatArray) -> None:
        voltage_v[0] = NAN
        temperature_c[0] = 30.0 + 2.0 * (stream.time_s - 15.0)

    stream.drive(3, change=hot)
    assert math.isnan(stream.values["thermal_runaway_rate"][0])


def test_rate_of_rise(stream: Stream) -> None:
    def heated(_: FloatArray, temperature_c: FloatArray) -> None:
        temperature_c[2] += 0.5 * (stream.time_s - 10.0)

    stream.drive(10, change=heated)
    rate_k_s = stream.values["cell_temperature_rate"]
    assert rate_k_s[2] == pytest.approx(0.5, abs=0.1)
    assert np.delete(rate_k_s, 2).max() < 0.1


@pytest.mark.parametrize("spike_c", [125.0, -40.0])
def test_one_wrong_temperature_is_a_rise_of_at_most_one_sample(
    stream: Stream, spike_c: float
) -> None:
    stream.drive(6)

    def spike(_: FloatArray, temperature_c: FloatArray) -> None:
        temperature_c[0] = spike_c

    stream.scan(0.0, spike)
    stream.largest.clear()
    stream.drive(6)
    assert stream.largest["cell_temperature_rate"] < 0.2


@pytest.mark.parametrize(("drop_v", "start_c"), [(1.0, 25.0), (0.0, 62.0)])
def test_runaway_is_collapse_or_heat_together_with_a_fast_rise(
    stream: Stream, drop_v: float, start_c: float
) -> None:
    stream.drive(5)
    begin_s = stream.time_s

    def runaway(voltage_v: FloatArray, temperature_c: FloatArray) -> None:
        voltage_v[0] -= drop_v
        temperature_c[0] = start_c + 3.0 * (stream.time_s - begin_s)

    stream.drive(5, change=runaway)
    assert stream.values["thermal_runaway_rate"][0] == pytest.approx(3.0, abs=0.2)
    assert stream.values["thermal_runaway_rate"][6:].max() == 0.0


def test_a_collapsed_cell_does_not_become_its_own_reference(stream: Stream) -> None:
    stream.drive(5)

    def collapsed(voltage_v: FloatArray, temperature_c: FloatArray) -> None:
        voltage_v[0] = 2.0
        temperature_c[0] = 25.0 + (2.0 * (stream.time_s - 300.0) if stream.time_s > 300.0 else 0.0)

    stream.drive(300, change=collapsed)
    assert stream.values["thermal_runaway_rate"][0] == pytest.approx(2.0, abs=0.2)


def test_sum_of_cells_follows_the_verified_wiring_and_is_blanked_while_it_changes(
    stream: Stream,
) -> None:
    stream.scan(pack_v=44.4)
    whole_v = stream.value("sum_of_cells_difference")
    assert whole_v < 0.1
    isolated = np.zeros(12, np.bool_)
    isolated[:4] = True
    stream.wiring = Wiring(isolated, round(stream.time_s * S))
    stream.scan(pack_v=44.4)
    assert stream.value("sum_of_cells_difference") == 0.0
    assert stream.value("pack_voltage_ratio") == 1.0
    stream.time_s += WIRING_BLANK_S
    stream.scan(pack_v=29.6)
    assert stream.value("sum_of_cells_difference") < 0.1
    stream.scan(pack_v=44.4)
    assert stream.value("sum_of_cells_difference") == pytest.approx(14.8, abs=0.1)


def test_a_contact_that_chatters_blanks_once(stream: Stream) -> None:
    stream.period_s = 0.02
    seen = []
    for _ in range(150):
        stream.wiring.changed_ns = round(stream.time_s * S)  # another change with every scan
        stream.scan(pack_v=10.0)
        seen.append(stream.value("pack_voltage_ratio") < 0.5)
    assert seen[0] is False
    assert seen.count(False) <= WIRING_BLANK_S / stream.period_s
    assert all(seen[15:])
    stream.time_s += 1.0
    stream.wiring.changed_ns = round(stream.time_s * S)  # a change after a quiet time
    stream.scan(pack_v=10.0)
    assert stream.value("pack_voltage_ratio") == 1.0


def test_a_change_of_the_future_blanks_no_longer(stream: Stream) -> None:
    stream.wiring.changed_ns = round((stream.time_s + 3600.0) * S)
    stream.scan(pack_v=10.0)
    stream.time_s += WIRING_BLANK_S
    stream.scan(pack_v=10.0)
    assert stream.value("pack_voltage_ratio") < 0.5


@pytest.mark.parametrize(
    ("wiring", "ratio"),
    [
        (Wiring(is_whole=False, all_open=True), 1.0),
        (Wiring(is_whole=False), NAN),
        (Wiring(is_whole=False, all_open=True, faulty=frozenset({"pack_voltage_ratio"})), NAN),
        (Wiring(changed_ns=10 * S, faulty=frozenset({"pack_voltage_ratio"})), NAN),
    ],
)
def test_what_the_wiring_hides_is_good_only_where_nothing_stands(
    stream: Stream, wiring: Wiring, ratio: float
) -> None:
    stream.wiring = wiring
    stream.scan(pack_v=10.0)
    assert stream.value("pack_voltage_ratio") == pytest.approx(ratio, nan_ok=True)


def test_an_open_fuse_shows_as_pack_without_voltage(stream: Stream) -> None:
    stream.scan(pack_v=1.0)
    assert stream.value("pack_voltage_ratio") < 0.05


def test_of_parallel_strings_the_nearest_counts(pack: Pack) -> None:
    strings = [StringOfCells("a", 0, 6), StringOfCells("b", 6, 6)]
    stream = Stream(msgspec.structs.replace(pack, strings=strings))
    stream.scan(pack_v=22.2)
    assert stream.monitor.string_voltage_v == pytest.approx([22.2, 22.2], abs=0.1)
    assert stream.value("sum_of_cells_difference") < 0.1


def test_what_the_hardware_says_of_itself(stream: Stream) -> None:
    stream.scan()
    assert math.isnan(stream.value("hardware_mismatch"))
    stream.scan(hardware=(12, 1, 4))
    assert stream.value("hardware_mismatch") == 0.0
    stream.scan(hardware=(12, 0, 0))
    assert stream.value("hardware_mismatch") == 0.0
    stream.scan(hardware=(14, 1, 4))
    assert stream.value("hardware_mismatch") == 1.0


def test_afe_flags_are_told_from_silence(stream: Stream) -> None:
    for status, fault, lost in ((0, 0, 0), (4, 1, 0), (128, 0, 1), (129, 1, 1)):
        stream.scan(afe_status=np.array([status], np.uint8))
        assert (stream.value("afe_fault"), stream.value("afe_lost")) == (fault, lost)


def test_a_step_of_the_device_clock(stream: Stream) -> None:
    stream.drive(1)
    sample = stream.scan()
    assert sample.device_time_ms is not None
    sample.device_time_ms -= 60_000  # as if it had been wrong before
    stream.scan()
    assert stream.value("device_clock_jump") == pytest.approx(60.0, abs=0.01)
    stream.scan()
    assert stream.value("device_clock_jump") < 0.002


def test_a_current_that_stands_still_while_the_voltages_move(stream: Stream) -> None:
    stream.drive(150)
    for _ in range(400):
        phase = 2 * math.pi * stream.time_s / 7.0

        def moved(voltage_v: FloatArray, _: FloatArray, phase: float = phase) -> None:
            voltage_v += 0.2 * math.sin(phase)

        stream.scan(5.0, moved)
    assert stream.value("current_response") > 0.05


def test_voltages_that_do_not_answer_to_the_current(stream: Stream) -> None:
    stream.drive(150)
    for _ in range(400):
        current_a = 60.0 * math.sin(2 * math.pi * stream.time_s / 7.0)

        def unmoved(voltage_v: FloatArray, _: FloatArray, current_a: float = current_a) -> None:
            voltage_v -= 0.01 * current_a

        stream.scan(current_a, unmoved)
    assert stream.value("current_response") > 0.05


def test_after_a_long_gap_seconds_begin_anew(stream: Stream) -> None:
    stream.drive(100)
    stream.time_s += 3600.0
    stream.scan()
    assert np.isnan(stream.values["cell_temperature_rate"]).all()
    assert np.isnan(stream.values["cell_internal_short"]).all()
