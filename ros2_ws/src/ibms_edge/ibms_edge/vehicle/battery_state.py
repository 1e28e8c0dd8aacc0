# SPDX-License-Identifier: Apache-2.0
"""The pack as a standard ``sensor_msgs/BatteryState``."""

from array import array

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import BatteryState

from ibms_battery.cell import Cell
from ibms_battery.pack import Pack
from ibms_msgs.msg import CellStates, PackEstimate, PackState

# By the beginning of the chemistry's name: NMC811 is an NMC.
_TECHNOLOGY = {
    "NMC": BatteryState.POWER_SUPPLY_TECHNOLOGY_LION,
    "NCA": BatteryState.POWER_SUPPLY_TECHNOLOGY_LION,
    "LCO": BatteryState.POWER_SUPPLY_TECHNOLOGY_LION,
    "LFP": BatteryState.POWER_SUPPLY_TECHNOLOGY_LIFE,
}
_FLOWING_A = 0.5


def battery_state(
    pack: Pack,
    cell: Cell,
    cells: CellStates | None,
    estimate: PackEstimate | None,
    connected: npt.NDArray[np.bool_],
    state: PackState | None,
    serial_number: str,
) -> BatteryState:
    """Fully populated message; NaN where something is not known.

    Args:
        pack: its description.
        cell: rated data of its cells.
        cells: newest state of the cells; None if there is no fresh one.
        estimate: newest estimate of the pack; None if there is no fresh one.
        connected: (series,) True for cells in the circuit. The voltage is theirs alone.
        state: newest state of the pack, if there is one.
        serial_number: of the pack.
    """
    message = BatteryState(
        voltage=float("nan"),
        temperature=float("nan"),
        current=float("nan"),
        charge=float("nan"),
        capacity=float("nan"),
        design_capacity=cell.capacity_ah * pack.parallel * pack.parallel_strings,
        percentage=float("nan"),
        power_supply_status=BatteryState.POWER_SUPPLY_STATUS_UNKNOWN,
        power_supply_health=BatteryState.POWER_SUPPLY_HEALTH_UNKNOWN,
        power_supply_technology=_technology(cell.chemistry),
        present=True,
        location=pack.name,
        serial_number=serial_number,
    )
    if cells is None:
        message.cell_voltage = array("f", [float("nan")] * pack.series)
        message.cell_temperature = array("f", [float("nan")] * pack.series)
        return message
    voltage_v = np.frombuffer(cells.voltage_v, np.float32)[connected]
    temperature_c = np.frombuffer(cells.temperature_c, np.float32)
    message.cell_voltage = cells.voltage_v
    message.cell_temperature = cells.temperature_c
    message.current = cells.current_a
    if not np.isnan(voltage_v).any():
        message.voltage = float(voltage_v.sum()) / pack.parallel_strings
    if not np.isnan(temperature_c).all():
        message.temperature = float(np.nanmax(temperature_c))
    if estimate is not None and estimate.valid:
        message.percentage = estimate.soc
        message.charge = estimate.charge_to_empty_ah
        message.capacity = estimate.capacity_ah
    message.power_supply_status = _status(message, state)
    message.power_supply_health = _health(temperature_c, state)
    return message


def _technology(chemistry: str) -> int:
    for beginning, technology in _TECHNOLOGY.items():
        if chemistry.upper().startswith(beginning):
            return int(technology)
    return int(BatteryState.POWER_SUPPLY_TECHNOLOGY_UNKNOWN)


def _status(message: BatteryState, state: PackState | None) -> int:
    current_a = message.current
    if current_a != current_a:
        return int(BatteryState.POWER_SUPPLY_STATUS_UNKNOWN)
    if current_a > _FLOWING_A:
        return int(BatteryState.POWER_SUPPLY_STATUS_CHARGING)
    if current_a < -_FLOWING_A:
        return int(BatteryState.POWER_SUPPLY_STATUS_DISCHARGING)
    if message.percentage >= 0.99 and state is not None and state.state == PackState.STATE_CHARGE:
        return int(BatteryState.POWER_SUPPLY_STATUS_FULL)
    return int(BatteryState.POWER_SUPPLY_STATUS_NOT_CHARGING)


def _health(temperature_c: npt.NDArray[np.float32], state: PackState | None) -> int:
    if state is None:
        return int(BatteryState.POWER_SUPPLY_HEALTH_UNKNOWN)
    if state.state == PackState.STATE_ERROR:
        return int(BatteryState.POWER_SUPPLY_HEALTH_UNSPEC_FAILURE)
    if np.isnan(temperature_c).all():
        return int(BatteryState.POWER_SUPPLY_HEALTH_UNKNOWN)
    if float(np.nanmax(temperature_c)) > 55.0:
        return int(BatteryState.POWER_SUPPLY_HEALTH_OVERHEAT)
    if float(np.nanmin(temperature_c)) < -10.0:
        return int(BatteryState.POWER_SUPPLY_HEALTH_COLD)
    return int(BatteryState.POWER_SUPPLY_HEALTH_GOOD)
