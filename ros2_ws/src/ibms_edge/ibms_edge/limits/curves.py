# SPDX-License-Identifier: Apache-2.0
"""Schema of the files in ``config/limits``: how a cell type is derated. No ROS."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct

from ibms_battery import configuration
from ibms_battery.cell import Cell
from ibms_battery.configuration import Document

Voltage = Annotated[float, Meta(gt=0, le=6, description="of a cell [V]")]
Share = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(gt=0, le=10, description="of the rating per second [1/s]")]
Direction = Literal["charge", "discharge"]


class Curve(Struct, frozen=True, forbid_unknown_fields=True):
    """Share of the rating over a quantity, linear between its points, constant outside."""

    at: Annotated[list[float], Meta(min_length=2, description="rising")]
    share: Annotated[list[Share], Meta(min_length=2)]

    def value(self, quantity: float) -> float:
        """Share of the rating at ``quantity``."""
        return float(np.interp(quantity, self.at, self.share))


class Resistance(Struct, frozen=True, forbid_unknown_fields=True):
    """What a cell's voltage changes by within seconds, over its rated resistance."""

    at_c: Annotated[list[float], Meta(min_length=2, description="rising [degC]")]
    factor: Annotated[list[Annotated[float, Meta(gt=0, le=100)]], Meta(min_length=2)]

    def value(self, temperature_c: float) -> float:
        """Factor of the rated resistance at a temperature [degC]."""
        return float(np.interp(temperature_c, self.at_c, self.factor))


class DirectionCurves(Struct, frozen=True, forbid_unknown_fields=True):
    """Derating of one direction of the current."""

    hold_v: Annotated[Voltage, Meta(description="the current may bring a cell to here [V]")]
    zero_v: Annotated[Voltage, Meta(description="from here on nothing is allowed [V]")]
    temperature_c: Annotated[Curve, Meta(description="over the coldest and the hottest cell")]
    soc: Annotated[Curve, Meta(description="over the fullest (charge) or emptiest (discharge)")]


class DeratingCurves(Struct, frozen=True, forbid_unknown_fields=True):
    """How a cell type is derated before protection has to open."""

    description: str
    source: Annotated[str, Meta(description="where the figures come from")]
    charge: DirectionCurves
    discharge: DirectionCurves
    resistance: Resistance
    fault_share: Annotated[Share, Meta(description="what is left while a diagnosis derates")]
    fall_per_s: Annotated[Rate, Meta(description="a falling limit falls at most this fast")]
    rise_per_s: Annotated[Rate, Meta(description="a rising limit rises at most this fast")]
    hysteresis: Annotated[
        float, Meta(ge=0, le=0.2, description="of the rating; less is no reason to rise")
    ]


def load_curves(path: Path | str, cell: Cell) -> DeratingCurves:
    """Load the derating of ``cell``.

    Raises:
        ConfigurationError: where a curve is wrong or does not fit the cell.
    """
    document = configuration.read(path)
    curves = configuration.convert(document, DeratingCurves)
    directions: tuple[tuple[Direction, DirectionCurves], ...] = (
        ("charge", curves.charge),
        ("discharge", curves.discharge),
    )
    for name, direction in directions:
        _check_points(document, [name, "temperature_c"], "at", direction.temperature_c.at)
        _check_points(document, [name, "soc"], "at", direction.soc.at)
        for key, curve in (("temperature_c", direction.temperature_c), ("soc", direction.soc)):
            _check_lengths(document, [name, key], "share", len(curve.at), len(curve.share))
        ends = direction.temperature_c.share[0], direction.temperature_c.share[-1]
        if ends != (0.0, 0.0):
            raise document.error(
                [name, "temperature_c", "share"],
                f"must begin and end with 0, so that nothing flows in too cold or too hot cells, "
                f"found {ends[0]:g} and {ends[1]:g}",
            )
    _check_points(document, ["resistance"], "at_c", curves.resistance.at_c)
    _check_lengths(
        document,
        ["resistance"],
        "factor",
        len(curves.resistance.at_c),
        len(curves.resistance.factor),
    )
    if not curves.charge.hold_v < curves.charge.zero_v <= cell.maximum_voltage_v:
        raise document.error(
            ["charge", "zero_v"],
            f"must lie above hold_v ({curves.charge.hold_v:g} V) and not above the cell's maximum "
            f"of {cell.maximum_voltage_v:g} V, found {curves.charge.zero_v:g} V",
        )
    if not curves.discharge.hold_v > curves.discharge.zero_v >= cell.minimum_voltage_v:
        raise document.error(
            ["discharge", "zero_v"],
            f"must lie below hold_v ({curves.discharge.hold_v:g} V) and not below the cell's "
            f"minimum of {cell.minimum_voltage_v:g} V, found {curves.discharge.zero_v:g} V",
        )
    if curves.rise_per_s > curves.fall_per_s:
        raise document.error(
            ["rise_per_s"],
            f"must not exceed fall_per_s ({curves.fall_per_s:g}), found {curves.rise_per_s:g}",
        )
    return curves


def _check_points(document: Document, path: list[str | int], key: str, points: list[float]) -> None:
    for index, (before, after) in enumerate(pairwise(points)):
        if after <= before:
            raise document.error(
                [*path, key, index + 1], f"must rise, found {after:g} after {before:g}"
            )


def _check_lengths(
    document: Document, path: list[str | int], key: str, points: int, values: int
) -> None:
    if points != values:
        raise document.error([*path, key], f"has {values} entries for {points} points")
