# SPDX-License-Identifier: Apache-2.0
"""``./ibms bench protection``: how fast the core of protection judges a pack of 96 cells.

Once as in the node, with every input fresh in each scan so that the whole table is judged, and once
over a recording, with the diagnoses that a recording can answer. It is processor time on one core;
the pack is made up, rests and is then driven, and has no fault.
"""

import argparse
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ament_index_python.packages import get_package_share_directory
from rich.console import Console

from ibms_battery.clock import NS_PER_S
from ibms_battery.fleet_recordings import FleetRecording
from ibms_battery.pack import Pack, load_pack
from ibms_battery.results import Result, measured, write
from ibms_edge.protection.judge import Judge
from ibms_edge.protection.signals import FloatArray
from ibms_edge.protection.table import table_of
from ibms_msgs.msg import (
    CellMeasurement,
    EnvironmentMeasurement,
    InsulationMeasurement,
    PackMeasurement,
    PackState,
    ProtectionLockouts,
    SwitchState,
)
from ibms_tools.bench.figures import quantiles, show
from ibms_tools.eval.recorded_protection import judge_recording

_TARGET = ">= 5000"
_PACK = "ev_96s"
_REST_S = 65.0  # imbalance is known after a minute of rest,
_LEARN_S = 65.0  # internal shorts and the response to the current after one of driving
_WARM_UP_PERIOD_S = 0.08  # of scans until then; below each limit of silence
_MEASURED_S = 60.0
_START_NS = 1_000 * NS_PER_S
_RECORDED_PERIOD_S = 0.1
_RECORDED_ROWS = 6_000


@dataclass(frozen=True)
class Drive:
    """A healthy pack that rests and is then driven; one row per scan."""

    time_s: FloatArray  # (rows,)
    current_a: FloatArray  # (rows,), charge positive
    voltage_v: FloatArray  # (rows, cells)
    temperature_c: FloatArray  # (rows, sensors)
    pack_voltage_v: FloatArray  # (rows,), sum of the cells


def make_drive(pack: Pack, time_s: FloatArray) -> Drive:
    """Cells of somewhat different resistance under a current that swings, with noise."""
    rows = len(time_s)
    random = np.random.default_rng(1)
    current_a = np.where(time_s < _REST_S, 0.0, 100.0 * np.sin(2 * np.pi * time_s / 10.0))
    resistance_ohm = 0.001 * (1.0 + 0.05 * random.standard_normal(pack.series))
    voltage_v = 3.7 + current_a[:, None] * resistance_ohm
    voltage_v += 0.0003 * random.standard_normal((rows, pack.series))
    temperature_c = 25.0 + 0.05 * random.standard_normal((rows, pack.temperature_sensors))
    return Drive(time_s, current_a, voltage_v, temperature_c, voltage_v.sum(axis=1))


def messages(pack: Pack, drive: Drive) -> Iterator[tuple[int, dict[str, object]]]:
    """All inputs of protection for each scan, with its boot time [ns]."""
    modules_v = np.add.reduceat(
        drive.voltage_v, np.arange(0, pack.series, pack.series // pack.modules), axis=1
    )
    switches = len(pack.switching.switches)
    for row, time_s in enumerate(drive.time_s.tolist()):
        now_ns = _START_NS + round(time_s * NS_PER_S)
        current_a, voltage_v = float(drive.current_a[row]), float(drive.pack_voltage_v[row])
        yield (
            now_ns,
            {
                "pack": PackMeasurement(
                    boot_ns=now_ns,
                    current_a=current_a,
                    redundant_current_a=current_a,
                    redundant_boot_ns=now_ns,
                    voltage_v=voltage_v,
                    link_voltage_v=voltage_v,
                    valid=0xFF,
                ),
                "switch": SwitchState(
                    boot_ns=now_ns,
                    board_valid=True,
                    interlock_closed=True,
                    configuration="closed",
                    closed=array("B", [1, 1, *[0] * (switches - 2)]),
                    mismatch=array("B", bytes(switches)),
                    pack_voltage_v=voltage_v,
                    link_voltage_v=voltage_v,
                    hardware_switches=switches,
                ),
                "insulation": InsulationMeasurement(boot_ns=now_ns, resistance_ohm=5e6, valid=True),
                "environment": EnvironmentMeasurement(
                    boot_ns=now_ns,
                    valid=0xFF,
                    humidity_ratio=0.4,
                    pressure_pa=101_325.0,
                    gas_ppm=5.0,
                ),
                "pack_state": PackState(boot_ns=now_ns, state=PackState.STATE_DRIVE),
                "cells": CellMeasurement(
                    boot_ns=now_ns,
                    scan_counter=row,
                    current_a=current_a,
                    voltage_v=array("f", drive.voltage_v[row]),
                    voltage_valid=array("B", [1] * pack.series),
                    open_wire=array("B", bytes(pack.series)),
                    temperature_c=array("f", drive.temperature_c[row]),
                    temperature_valid=array("B", [1] * pack.temperature_sensors),
                    afe_status=array("B", bytes(pack.modules)),
                    module_voltage_v=array("f", modules_v[row]),
                    device_time_ms=now_ns // 1_000_000,
                    hardware_series=pack.series,
                    hardware_modules=pack.modules,
                    hardware_temperature_sensors=pack.temperature_sensors,
                ),
            },
        )


def measure_judge(pack_file: Path, measured_s: float = _MEASURED_S) -> list[Result]:
    """Judge scan after scan as the node does, once every signal is known."""
    pack = load_pack(pack_file)
    table = table_of(pack_file, pack)
    warm_s = np.arange(0.0, _REST_S + _LEARN_S, _WARM_UP_PERIOD_S)
    scans_s = np.arange(round(measured_s / pack.scan_period_s)) * pack.scan_period_s
    drive = make_drive(pack, np.concatenate([warm_s, warm_s[-1] + pack.scan_period_s + scans_s]))
    judge = Judge(pack, table, _START_NS)
    judge.take_lockouts(ProtectionLockouts())
    times_ms, tripped = [], set()
    for now_ns, inputs in messages(pack, drive):
        start_ns = time.thread_time_ns()
        for name, message in inputs.items():
            getattr(judge, f"take_{name}")(message)
        verdict = judge.judge(now_ns, now_ns)
        times_ms.append((time.thread_time_ns() - start_ns) / 1e6)
        tripped |= {fault.diagnosis.name for fault in verdict.set_now}
    times_ms = times_ms[len(warm_s) :]
    unknown = [row.name for row in judge.engine.never_evaluated]
    total = len(table.diagnoses)
    context = f"each scan of {pack.series} cells with all its inputs, {total} diagnoses"
    return [
        *quantiles("protection.judge", times_ms, context),
        Result(
            "protection.judge.diagnoses",
            total - len(unknown),
            "1",
            f"== {total}",
            f"that had a value to judge{'; without: ' if unknown else ''}{', '.join(unknown)}",
        ),
        _none("protection.judge.tripped", tripped),
    ]


def measure_recording(pack_file: Path, rows: int = _RECORDED_ROWS) -> list[Result]:
    """Judge a recording as ``./ibms eval protection`` does."""
    pack = load_pack(pack_file)
    table = table_of(pack_file, pack)
    drive = make_drive(pack, np.arange(rows, dtype=np.float64) * _RECORDED_PERIOD_S)
    recording = FleetRecording(
        name="made up",
        time_s=drive.time_s,
        voltage_v=drive.voltage_v,
        temperature_c=drive.temperature_c,
        current_a=drive.current_a,
        pack_voltage_v=drive.pack_voltage_v,
        warning_level=np.full(rows, np.nan),
        wall_time=np.array([], "datetime64[ms]"),
        cell_names=[f"U_{cell + 1}" for cell in range(pack.series)],
        sensor_names=[f"T_{sensor + 1}" for sensor in range(pack.temperature_sensors)],
        repeated=0,
        invalid=0,
        refresh_s=0.0,
    )
    outcome = judge_recording(recording, table)
    return [
        Result(
            "protection.recording.speed",
            round(outcome.scans_per_second),
            "scans/s",
            _TARGET,
            f"{rows} scans of {pack.series} cells, one each {_RECORDED_PERIOD_S:g} s; "
            f"{outcome.evaluated} of {len(table.diagnoses)} diagnoses, the others need devices",
        ),
        _none("protection.recording.tripped", {e.diagnosis.name for e in outcome.events}),
    ]


def _none(name: str, tripped: set[str]) -> Result:
    return Result(name, len(tripped), "1", "== 0", ", ".join(sorted(tripped)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; exit code 0 if every figure that has a target keeps it."""
    parser = argparse.ArgumentParser(prog="ibms bench protection", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    config = Path(get_package_share_directory("ibms_bringup")) / "config"
    pack_file = config / "packs" / f"{_PACK}.yaml"
    results = measure_judge(pack_file) + measure_recording(pack_file)
    if options.json:
        command = " ".join(["./ibms bench protection", *(arguments or sys.argv[1:])])
        write(measured(command, results), options.json)
    show(results, Console())
    return 0 if all(result.met is not False for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
