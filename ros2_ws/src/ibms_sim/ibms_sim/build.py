# SPDX-License-Identifier: Apache-2.0
"""Builds the cells of a simulated pack from its configuration."""

from pathlib import Path

import numpy as np

from ibms_battery import configuration
from ibms_battery.pack import Pack
from ibms_sim.cells.parameters import CellParameters
from ibms_sim.cells.reduced import ReducedCells
from ibms_sim.cells.stack import ModelStack
from ibms_sim.cells.thermal import ThermalNetwork
from ibms_sim.configuration import Reduced, Simulation


def spread(
    pack: Pack, simulation: Simulation, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Drawn differences between groups, each (groups,).

    Returns:
        State of charge at the start, factors of capacity and resistance, leakage per cell [A].
    """
    width, count = simulation.spread, pack.series
    soc = simulation.start.state_of_charge + generator.normal(0.0, width.state_of_charge, count)
    return (
        np.clip(soc, 0.0, 1.0),
        1 + generator.normal(0.0, width.capacity, count),
        np.maximum(1 + generator.normal(0.0, width.resistance, count), 0.1),
        generator.exponential(width.self_discharge_a, count),
    )


def model_stack(
    pack: Pack, simulation: Simulation, folder: Path, generator: np.random.Generator
) -> ModelStack:
    """Cells from a model; raises ``ConfigurationError``."""
    soc, capacity, resistance, leakage_a = spread(pack, simulation, generator)
    step_s = pack.pack_sample_period_s
    plant = simulation.plant
    assert isinstance(plant, Reduced)
    parameters = configuration.load(folder / plant.cell, CellParameters)
    bank = ReducedCells(parameters, soc, capacity, resistance, step_s)
    network = ThermalNetwork(
        pack, simulation.thermal, parameters.heat_capacity_j_k, simulation.start.temperature_c
    )
    return ModelStack(bank, network, pack, leakage_a, step_s)
