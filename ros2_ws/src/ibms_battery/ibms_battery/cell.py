# SPDX-License-Identifier: Apache-2.0
"""Description of a cell type as configuration: rated data and, once identified, its circuit."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from ibms_battery import configuration
from ibms_battery.cell_model import CellModel, check_model


class Cell(Struct, forbid_unknown_fields=True, frozen=True):
    """Rated data of a cell type."""

    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
    chemistry: Annotated[str, Meta(description="e.g. NMC, NCA, LFP")]
    capacity_ah: Annotated[float, Meta(gt=0, extra_json_schema={"unit": "A h"})]
    minimum_voltage_v: Annotated[float, Meta(ge=0, le=6, extra_json_schema={"unit": "V"})]
    maximum_voltage_v: Annotated[float, Meta(gt=0, le=6, extra_json_schema={"unit": "V"})]
    nominal_voltage_v: Annotated[float, Meta(gt=0, le=6, extra_json_schema={"unit": "V"})]
    resistance_ohm: Annotated[float, Meta(gt=0, le=1, description="at 25 degC and half charge")]
    soc_points: Annotated[list[float], Meta(min_length=2, description="states of charge, rising")]
    ocv_points_v: Annotated[list[float], Meta(min_length=2, description="open-circuit voltages")]
    maximum_charge_current_a: Annotated[float, Meta(gt=0)]
    maximum_discharge_current_a: Annotated[float, Meta(gt=0)]
    source: Annotated[str, Meta(description="where the figures come from")]
    model: Annotated[
        CellModel | None,
        Meta(description="from ./ibms identify; without it a coarse one is made of the rated data"),
    ] = None


def load_cell(path: Path | str) -> Cell:
    """Load and check the description of a cell type; raises ``ConfigurationError``."""
    return check_cell(configuration.read(path))


def check_cell(document: configuration.Document) -> Cell:
    """The description of a cell type in a document; raises ``ConfigurationError``."""
    cell = configuration.convert(document, Cell)
    if not cell.minimum_voltage_v < cell.nominal_voltage_v < cell.maximum_voltage_v:
        raise document.error(
            ["nominal_voltage_v"],
            f"minimum, nominal and maximum voltage must rise, found {cell.minimum_voltage_v:g}, "
            f"{cell.nominal_voltage_v:g}, {cell.maximum_voltage_v:g} V",
        )
    for key, points in (("soc_points", cell.soc_points), ("ocv_points_v", cell.ocv_points_v)):
        for index, (before, after) in enumerate(pairwise(points)):
            if after <= before:
                raise document.error(
                    [key, index + 1], f"must rise strictly, found {after:g} after {before:g}"
                )
    if cell.soc_points[0] != 0.0 or cell.soc_points[-1] != 1.0:
        raise document.error(
            ["soc_points"],
            f"must run from 0 to 1, found {cell.soc_points[0]:g} to {cell.soc_points[-1]:g}",
        )
    if len(cell.soc_points) != len(cell.ocv_points_v):
        raise document.error(["ocv_points_v"], "needs as many points as soc_points")
    if cell.model is not None:
        check_model(document, cell.model)
    return cell
