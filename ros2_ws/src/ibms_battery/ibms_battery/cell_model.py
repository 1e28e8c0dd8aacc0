# SPDX-License-Identifier: Apache-2.0
"""Equivalent circuit of a cell type as data: what ``./ibms identify`` writes into a cell file."""

from itertools import pairwise
from typing import Annotated

from msgspec import Meta, Struct

from ibms_battery.configuration import Document

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Table = Annotated[list[list[float]], Meta(description="one row per temperature, one value per SOC")]
PerSoc = Annotated[list[float], Meta(description="one value per SOC")]


class ResistorCapacitor(Struct, frozen=True, forbid_unknown_fields=True):
    """A resistance with a capacitor in parallel: one time constant of the polarisation."""

    time_constant_s: Positive
    resistance_ohm: Table


class Activation(Struct, frozen=True, forbid_unknown_fields=True):
    """Charge transfer that grows less than in proportion: resistance * i0 asinh(i / i0)."""

    current_a: Annotated[Positive, Meta(description="i0 [A]")]
    resistance_ohm: Annotated[Table, Meta(description="at small currents [ohm]")]


class Hysteresis(Struct, frozen=True, forbid_unknown_fields=True):
    """One-state hysteresis of the open-circuit voltage (Plett, Battery Management Systems 1)."""

    voltage_v: Annotated[PerSoc, Meta(description="half the gap of charge and discharge [V]")]
    rate: Annotated[float, Meta(gt=0, le=1000, description="turns over in 1/rate of full charge")]


class Thermal(Struct, frozen=True, forbid_unknown_fields=True):
    """One thermal mass that loses heat to its surroundings."""

    heat_capacity_j_per_k: Positive
    thermal_resistance_k_per_w: Positive


class Uncertainty(Struct, frozen=True, forbid_unknown_fields=True):
    """How far the circuit is from the cell and the sensors: one setting for all temperatures.

    Standard deviations. Those of a sample and of the polarisation hold at 25 degC and above; below
    they grow with exp(cold_growth_per_k * (25 degC - temperature)). Drifts are per square root of
    an hour.
    """

    voltage_v: Annotated[Positive, Meta(description="of a single sample at rest [V]")]
    drop_share: Annotated[
        NotNegative, Meta(description="of the drop at the series resistance, in addition [1]")
    ]
    polarisation_v: Annotated[NotNegative, Meta(description="of each pair per root of second [V]")]
    cold_growth_per_k: Annotated[float, Meta(ge=0, le=0.2)]
    offset_v: Annotated[
        Positive, Meta(description="that all voltages share: sensor, open-circuit voltage [V]")
    ]
    model_v: Annotated[Positive, Meta(description="of the first voltage at 25 degC [V]")]
    load_before_h: Annotated[
        Positive,
        Meta(description="rate of the load before a cell is met that has not rested [1/h]"),
    ]
    bias_a: Annotated[Positive, Meta(description="of the current sensor per cell, at start [A]")]
    bias_drift_a: NotNegative
    resistance: Annotated[Positive, Meta(description="of the factor of all resistances, at start")]
    resistance_drift: NotNegative
    temperature_k: Annotated[
        Positive, Meta(description="of the temperature that the tables hold for, at start [K]")
    ]
    temperature_drift_k: NotNegative
    capacity: Annotated[Positive, Meta(description="of the factor of the capacity, at start [1]")]
    capacity_drift: NotNegative
    gate: Annotated[
        float,
        Meta(
            ge=1, description="square of the innovation over its variance from which it is doubted"
        ),
    ]


class CellModel(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Equivalent circuit with two RC pairs and hysteresis, over temperature and state of charge.

    v = OCV(soc) + correction(soc, T) + M(soc) h + R0 i + R_activation i0 asinh(i / i0) + v_fast
    + v_slow, all resistances over soc and T, with the current i positive when charging.
    """

    version: Annotated[int, Meta(ge=1, description="rises with each identification")]
    simulated: Annotated[bool, Meta(description="identified from a simulated cell")] = False
    temperatures_c: Annotated[list[float], Meta(min_length=1, description="rising [degC]")]
    soc_points: Annotated[list[float], Meta(min_length=2, description="from 0 to 1, rising")]
    ocv_correction_v: Table
    ohmic_resistance_ohm: Table
    activation: Activation
    fast: ResistorCapacitor
    slow: ResistorCapacitor
    hysteresis: Hysteresis
    entropic_coefficient_v_per_k: PerSoc
    thermal: Thermal
    uncertainty: Uncertainty
    source: Annotated[str, Meta(description="the data that it was identified from")]


def check_model(document: Document, model: CellModel) -> None:
    """Raise ``ConfigurationError`` where sizes do not fit or a value cannot be."""
    for key, points in (
        ("temperatures_c", model.temperatures_c),
        ("soc_points", model.soc_points),
    ):
        for index, (before, after) in enumerate(pairwise(points)):
            if after <= before:
                raise document.error(
                    ["model", key, index + 1], f"must rise, found {after:g} after {before:g}"
                )
    if model.soc_points[0] != 0.0 or model.soc_points[-1] != 1.0:
        raise document.error(
            ["model", "soc_points"],
            f"must run from 0 to 1, found {model.soc_points[0]:g} to {model.soc_points[-1]:g}",
        )
    if model.fast.time_constant_s >= model.slow.time_constant_s:
        raise document.error(
            ["model", "slow", "time_constant_s"],
            f"must be above that of the fast pair, found {model.slow.time_constant_s:g} s "
            f"with {model.fast.time_constant_s:g} s",
        )
    tables: tuple[tuple[list[str | int], list[list[float]]], ...] = (
        (["ohmic_resistance_ohm"], model.ohmic_resistance_ohm),
        (["activation", "resistance_ohm"], model.activation.resistance_ohm),
        (["fast", "resistance_ohm"], model.fast.resistance_ohm),
        (["slow", "resistance_ohm"], model.slow.resistance_ohm),
    )
    _check_table(document, ["model", "ocv_correction_v"], model.ocv_correction_v, model)
    for path, table in tables:
        _check_table(document, ["model", *path], table, model)
        for row, values in enumerate(table):
            if min(values) < 0.0:
                raise document.error(
                    ["model", *path, row], f"a resistance is negative: {min(values):g} ohm"
                )
    for row, values in enumerate(model.ohmic_resistance_ohm):
        if min(values) <= 0.0:
            raise document.error(["model", "ohmic_resistance_ohm", row], "must be above zero")
    per_soc: tuple[tuple[list[str | int], list[float]], ...] = (
        (["hysteresis", "voltage_v"], model.hysteresis.voltage_v),
        (["entropic_coefficient_v_per_k"], model.entropic_coefficient_v_per_k),
    )
    for path, values in per_soc:
        _check_length(document, ["model", *path], len(values), len(model.soc_points), "soc_points")


def _check_table(
    document: Document, path: list[str | int], table: list[list[float]], model: CellModel
) -> None:
    _check_length(document, path, len(table), len(model.temperatures_c), "temperatures_c")
    for row, values in enumerate(table):
        _check_length(document, [*path, row], len(values), len(model.soc_points), "soc_points")


def _check_length(
    document: Document, path: list[str | int], found: int, expected: int, of: str
) -> None:
    if found != expected:
        raise document.error(path, f"has {found} values, expected {expected}, as many as {of}")
