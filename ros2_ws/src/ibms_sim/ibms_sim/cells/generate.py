# SPDX-License-Identifier: Apache-2.0
"""Writes the simulator's cell file of the LG M50 out of PyBaMM's parameter set OKane2022.

    python -m ibms_sim.cells.generate CONFIG_FOLDER

writes ``simulation/cells/lg_m50.yaml`` (reduced model). Geometry, kinetics and transport are taken
over; the polarisation of the electrolyte is fitted to a current step in PyBaMM's SPMe. The BMS's
cell file comes from ``./ibms identify`` and the tests of ``ibms_sim.cells.virtual_tests``.
"""

import argparse
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pybamm
import yaml

from ibms_sim.cells.parameters import CellParameters, Electrode

PARAMETER_SET = "OKane2022"
_FARADAY = 96485.33212
_REFERENCE_K = 298.15
_SOURCE = (
    f"LG M50 (INR21700) as in PyBaMM {pybamm.__version__}, parameter set {PARAMETER_SET}: "
    "S. O'Kane et al., Phys. Chem. Chem. Phys. 24 (2022) 7909, after C.-H. Chen et al., "
    "J. Electrochem. Soc. 167 (2020) 080534"
)
# Activation energies, which the set's functions hold as literals.
_DIFFUSION_J_MOL = {"negative": 3.03e4, "positive": 2.5e4}
_EXCHANGE_J_MOL = {"negative": 3.5e4, "positive": 1.78e4}
_CONDUCTIVITY_J_MOL = 1.7e4
_ELECTROLYTE_DIFFUSION_J_MOL = 1.7e4

FloatArray = npt.NDArray[np.float64]


def cell_parameters() -> CellParameters:
    """Parameters of the reduced model."""
    values = pybamm.ParameterValues(PARAMETER_SET)
    x_full, x_empty, y_full, y_empty = _stoichiometries(values)
    area = values["Electrode height [m]"] * values["Electrode width [m]"]
    capacity_ah = (x_full - x_empty) * _electrode_capacity_ah(values, "Negative", area)
    ohmic, electrolyte, electrolyte_time = _electrolyte(values)
    return CellParameters(
        name="lg_m50",
        source=_SOURCE,
        capacity_ah=_rounded(capacity_ah),
        # 68 g (Chen 2020) with 0.9 kJ/(kg K), usual for cells of this kind.
        heat_capacity_j_k=61.0,
        negative=_electrode(values, "negative", x_empty, x_full, area),
        positive=_electrode(values, "positive", y_empty, y_full, area),
        ohmic_resistance_ohm=_rounded(ohmic),
        electrolyte_resistance_ohm=_rounded(electrolyte),
        electrolyte_time_s=_rounded(electrolyte_time),
        conductivity_activation_j_mol=_CONDUCTIVITY_J_MOL,
        electrolyte_diffusion_activation_j_mol=_ELECTROLYTE_DIFFUSION_J_MOL,
    )


def _stoichiometries(values: pybamm.ParameterValues) -> tuple[float, float, float, float]:
    # Negative at 0 and 100 %, positive at 100 and 0 %, between the set's voltage limits.
    empty_n, full_n, full_p, empty_p = pybamm.lithium_ion.get_min_max_stoichiometries(values)
    return float(full_n), float(empty_n), float(full_p), float(empty_p)


def _electrode_capacity_ah(values: pybamm.ParameterValues, side: str, area: float) -> float:
    volume = area * values[f"{side} electrode thickness [m]"]
    fraction = values[f"{side} electrode active material volume fraction"]
    concentration = values[f"Maximum concentration in {side.lower()} electrode [mol.m-3]"]
    return float(_FARADAY * volume * fraction * concentration / 3600)


def _electrode(
    values: pybamm.ParameterValues, side: str, empty: float, full: float, area: float
) -> Electrode:
    title = side.capitalize()
    radius = values[f"{title} particle radius [m]"]
    surface = 3 * values[f"{title} electrode active material volume fraction"] / radius
    concentration = values[f"Maximum concentration in {side} electrode [mol.m-3]"]
    electrolyte = values["Initial concentration in electrolyte [mol.m-3]"]
    half = pybamm.Scalar(concentration / 2)
    exchange = values[f"{title} electrode exchange-current density [A.m-2]"](
        pybamm.Scalar(electrolyte), half, pybamm.Scalar(concentration), pybamm.Scalar(_REFERENCE_K)
    )
    diffusivity = values[f"{title} particle diffusivity [m2.s-1]"](
        pybamm.Scalar(0.5), pybamm.Scalar(_REFERENCE_K)
    )
    volume = area * values[f"{title} electrode thickness [m]"]
    low, high = min(empty, full), max(empty, full)
    # Margins: a surface may go beyond the mean's window under load.
    grid = np.linspace(max(low - 0.05, 0.002), min(high + 0.14, 0.998), 141)
    potential = values[f"{title} electrode OCP [V]"]
    return Electrode(
        stoichiometry_empty=_rounded(empty),
        stoichiometry_full=_rounded(full),
        diffusion_time_s=_rounded(radius**2 / _number(values, diffusivity)),
        diffusion_activation_j_mol=_DIFFUSION_J_MOL[side],
        # sqrt(x (1 - x)) is 1/2 at half filling.
        exchange_current_a=_rounded(2 * _number(values, exchange) * surface * volume),
        exchange_activation_j_mol=_EXCHANGE_J_MOL[side],
        potential_stoichiometry=[round(float(x), 5) for x in grid],
        potential_v=[round(_number(values, potential(pybamm.Scalar(x))), 5) for x in grid],
    )


def _electrolyte(values: pybamm.ParameterValues) -> tuple[float, float, float]:
    """Ohmic resistance [Ohm], steady concentration resistance [Ohm] and its time constant [s]."""
    current_a = 2.5
    values = values.copy()
    values["Current function [A]"] = current_a
    simulation = pybamm.Simulation(pybamm.lithium_ion.SPMe(), parameter_values=values)
    solution = simulation.solve(np.linspace(0, 400, 801), initial_soc=0.7)
    loss = -(
        solution["X-averaged battery electrolyte ohmic losses [V]"].entries
        + solution["X-averaged battery solid phase ohmic losses [V]"].entries
    )
    polarisation = -solution["X-averaged battery concentration overpotential [V]"].entries
    time = solution["Time [s]"].entries
    final = float(polarisation[-1])
    # Time constant of the first-order step response with the same area above it.
    time_constant = float(np.trapezoid(1 - polarisation / final, time))
    return float(loss[0]) / current_a, final / current_a, time_constant


def _number(values: pybamm.ParameterValues, symbol: pybamm.Symbol) -> float:
    return float(np.asarray(values.evaluate(symbol)).item())


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _write(path: Path, comment: str, content: msgspec.Struct) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(
        msgspec.to_builtins(content), sort_keys=False, width=98, default_flow_style=None
    )
    path.write_text(f"# {comment}\n{text}", encoding="utf-8")


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configuration", type=Path, help="the folder config")
    folder: Path = parser.parse_args().configuration
    parameters = cell_parameters()
    made = "written by python -m ibms_sim.cells.generate"
    _write(folder / "simulation/cells/lg_m50.yaml", f"Reduced model, {made}", parameters)


if __name__ == "__main__":
    main()
