# SPDX-License-Identifier: Apache-2.0
"""A healthy pack around a judge, of which tests disturb one thing."""

from array import array
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from ibms_battery.pack import Pack
from ibms_edge.protection.engine import Verdict
from ibms_edge.protection.judge import Judge
from ibms_edge.protection.table import DiagnosisTable, load_table
from ibms_msgs.msg import (
    CellMeasurement,
    EnvironmentMeasurement,
    InsulationMeasurement,
    PackMeasurement,
    PackState,
    ProtectionLockouts,
    SwitchState,
)

MS = 1_000_000
S = 1_000 * MS


class World:
    """All inputs of a judge, 100 times a second."""

    def __init__(self, pack: Pack, table: Path) -> None:
        self.pack = pack
        self.now_ns = 1_000 * S
        self.judge = Judge(pack, _table(table), self.now_ns)
        self.judge.take_lockouts(ProtectionLockouts())
        self.wall_ns = 7_000 * S
        self.state = PackState.STATE_DRIVE
        self.counter = 0
        self.silent: set[str] = set()
        self.change: dict[str, Callable[[Any], None]] = {}
        self.history: list[Verdict] = []

    def cells(self) -> CellMeasurement:
        pack = self.pack
        message = CellMeasurement(scan_counter=self.counter, current_a=-1.0)
        message.voltage_v = array("f", [3.7] * pack.series)
        message.voltage_valid = array("B", [1] * pack.series)
        message.open_wire = array("B", bytes(pack.series))
        message.temperature_c = array("f", [25.0] * pack.temperature_sensors)
        message.temperature_valid = array("B", [1] * pack.temperature_sensors)
        message.afe_status = array("B", bytes(pack.modules))
        message.module_voltage_v = array("f", [3.7 * pack.series] * pack.modules)
        message.device_time_ms = self.now_ns // MS
        return message

    def switch(self) -> SwitchState:
        count = len(self.pack.switching.switches)
        return SwitchState(
            board_valid=True,
            interlock_closed=True,
            configuration="closed",
            closed=array("B", [1, 1, *[0] * (count - 2)]),
            mismatch=array("B", bytes(count)),
            pack_voltage_v=44.4,
            link_voltage_v=44.4,
        )

    def messages(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "pack": PackMeasurement(current_a=-1.0, voltage_v=44.4, link_voltage_v=44.4, valid=31),
            "switch": self.switch(),
        }
        if self.counter % 2 == 0:
            made["cells"] = self.cells()
        if self.counter % 10 == 0:
            made["insulation"] = InsulationMeasurement(resistance_ohm=5e6, valid=True)
            made["environment"] = EnvironmentMeasurement(
                valid=31, humidity_ratio=0.4, pressure_pa=101_325.0, gas_ppm=5.0
            )
            made["pack_state"] = PackState(state=self.state)
        return made

    def run(self, seconds: float) -> Verdict:
        for _ in range(round(seconds * 100)):
            self.now_ns += 10 * MS
            self.wall_ns += 10 * MS
            self.counter += 1
            for name, message in self.messages().items():
                if name in self.silent:
                    continue
                message.boot_ns = self.now_ns
                if name in self.change:
                    self.change[name](message)
                getattr(self.judge, f"take_{name}")(message)
            self.history.append(self.judge.judge(self.now_ns, self.wall_ns))
        return self.history[-1]

    def first(self, name: str) -> tuple[Verdict, float]:
        """Verdict in which a diagnosis tripped, and the time since the last call of ``mark``."""
        for index, verdict in enumerate(self.history):
            if name in [fault.diagnosis.name for fault in verdict.set_now]:
                return verdict, (index + 1) * 0.01
        names = {fault.diagnosis.name for v in self.history for fault in v.set_now}
        raise AssertionError(f"{name} did not trip, but {names}")

    def mark(self) -> None:
        self.history.clear()


def put(name: str, *values: float, at: int | None = None) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        if at is None:
            setattr(message, name, values[0])
        else:
            getattr(message, name)[at] = values[0]

    return change


@cache
def _table(path: Path) -> DiagnosisTable:
    return load_table(path)
