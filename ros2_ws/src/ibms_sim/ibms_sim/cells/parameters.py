# SPDX-License-Identifier: Apache-2.0
"""Parameters of the reduced cell model, written by ``ibms_sim.cells.generate`` out of PyBaMM."""

from typing import Annotated

from msgspec import Meta, Struct

from ibms_battery.pack import Name, PositiveFloat

Stoichiometry = Annotated[float, Meta(ge=0, le=1)]


class Electrode(Struct, frozen=True, forbid_unknown_fields=True):
    """One electrode; currents per cell, rates at 25 degC."""

    stoichiometry_empty: Stoichiometry
    stoichiometry_full: Stoichiometry
    diffusion_time_s: Annotated[PositiveFloat, Meta(description="radius^2 / diffusivity [s]")]
    diffusion_activation_j_mol: float
    exchange_current_a: Annotated[
        PositiveFloat, Meta(description="factor of sqrt(x (1 - x)) in the exchange current [A]")
    ]
    exchange_activation_j_mol: float
    potential_stoichiometry: Annotated[list[Stoichiometry], Meta(min_length=2)]
    potential_v: Annotated[list[float], Meta(min_length=2)]


class CellParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A cell."""

    name: Name
    source: str
    capacity_ah: Annotated[PositiveFloat, Meta(description="between both stoichiometries [A h]")]
    heat_capacity_j_k: PositiveFloat
    negative: Electrode
    positive: Electrode
    ohmic_resistance_ohm: PositiveFloat
    electrolyte_resistance_ohm: Annotated[
        PositiveFloat, Meta(description="concentration polarisation in steady state [Ohm]")
    ]
    electrolyte_time_s: PositiveFloat
    conductivity_activation_j_mol: float
    electrolyte_diffusion_activation_j_mol: float
