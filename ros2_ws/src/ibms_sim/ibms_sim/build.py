# SPDX-License-Identifier: Apache-2.0
"""Builds the plant of a simulated pack from its configuration and arguments."""

import argparse
from pathlib import Path

import numpy as np
from cantools.database.can import Database

from ibms_battery import configuration
from ibms_battery.pack import Pack
from ibms_battery.recording_index import find_columns
from ibms_battery.recordings import RecordingError, load_recording
from ibms_sim.cells.parameters import CellParameters
from ibms_sim.cells.recorded import Player, RecordedDemand, RecordedStack
from ibms_sim.cells.reduced import ReducedCells
from ibms_sim.cells.stack import CellBank, ModelStack, Stack
from ibms_sim.cells.thermal import ThermalNetwork
from ibms_sim.circuit import Circuit
from ibms_sim.configuration import Reduced, Simulation
from ibms_sim.faults import FaultSet
from ibms_sim.load.demand import Demand, make_demand
from ibms_sim.load.inverter import Inverter
from ibms_sim.plant import Plant
from ibms_sim.wiring import Wiring


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
    start_c = simulation.start.temperature_c
    bank: CellBank
    if isinstance(plant, Reduced):
        parameters = configuration.load(folder / plant.cell, CellParameters)
        bank = ReducedCells(parameters, soc, capacity, resistance, step_s)
        heat_capacity_j_k = parameters.heat_capacity_j_k
    else:
        # Only here: importing PyBaMM takes many seconds.
        from ibms_sim.cells.electrochemical import ElectrochemicalCells

        bank = ElectrochemicalCells(plant, soc, capacity, resistance, start_c, step_s)
        heat_capacity_j_k = plant.heat_capacity_j_k
    network = ThermalNetwork(pack, simulation.thermal, heat_capacity_j_k, start_c)
    return ModelStack(bank, network, pack, leakage_a, step_s)


def build_plant(
    pack: Pack,
    simulation: Simulation,
    files: argparse.Namespace,
    database: Database,
    faults: FaultSet,
    generator: np.random.Generator,
) -> Plant:
    """The plant that the command line describes.

    Raises:
        ConfigurationError: for a wrong file.
        RecordingError: for measured data that cannot be used.
    """
    folder = files.simulation.parent
    stack: Stack
    demand: Demand
    if files.cells is not None:
        recording = load_recording(files.cells, files.columns or find_columns(files.cells))
        if not 0 <= files.start_s < recording.duration_s:
            raise RecordingError(
                f"{files.cells}: lasts {recording.duration_s:g} s, so --from {files.start_s:g} "
                "is outside"
            )
        player = Player(recording, files.start_s)
        stack = RecordedStack(player, pack, simulation, generator)
        demand = RecordedDemand(player, pack.parallel)
    else:
        stack = model_stack(pack, simulation, folder, generator)
        demand = make_demand(simulation.load, folder)
    wiring = Wiring(pack)
    circuit = Circuit(pack, simulation.link, str(files.pack), wiring.owned_mask)
    return Plant(pack, stack, wiring, circuit, demand, Inverter(database), faults)
