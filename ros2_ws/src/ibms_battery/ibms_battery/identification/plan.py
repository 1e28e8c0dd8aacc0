# SPDX-License-Identifier: Apache-2.0
"""Plan of an identification: which data make which part of a cell file. No ROS."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ibms_battery import configuration
from ibms_battery.configuration import Document
from ibms_battery.recordings import Columns

Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Celsius = Annotated[float, Meta(ge=-60, le=100)]

HELD_BACK = "test"  # role of rows that nothing may learn from


class RatedData(Struct, frozen=True, forbid_unknown_fields=True):
    """What the manufacturer says of the cell."""

    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
    chemistry: Annotated[str, Meta(description="e.g. NMC, NCA, LFP")]
    minimum_voltage_v: Annotated[float, Meta(ge=0, le=6)]
    maximum_voltage_v: Annotated[float, Meta(gt=0, le=6)]
    nominal_voltage_v: Annotated[float, Meta(gt=0, le=6)]
    maximum_charge_current_a: Positive
    maximum_discharge_current_a: Positive
    source: Annotated[str, Meta(min_length=1, description="of these figures and of the data")]
    simulated: Annotated[bool, Meta(description="the tests ran on a simulated cell")] = False


class Gaps(Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of the index with what happened in the gaps of others, found by the wall clock."""

    test: str
    clock: Annotated[str, Meta(description="column with date and time")]


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """Recordings: rows of an index (``dataset``), or plain files with their columns."""

    dataset: Annotated[str, Meta(description="of the index")] = ""
    tests: Annotated[
        list[str], Meta(min_length=1, description="names or patterns such as Mixed*")
    ] = field(default_factory=lambda: ["*"])
    roles: list[str] = field(default_factory=lambda: ["identify", "train"])
    temperatures_c: Annotated[list[Celsius], Meta(description="of the rows; empty: all")] = []
    gaps: Gaps | None = None
    files: Annotated[list[str], Meta(description="below the folder of the data")] = []
    columns: Columns = Columns()
    temperature_c: Annotated[
        Celsius | None,
        Meta(description="where the files hold none, or instead of what the index says"),
    ] = None
    starting_soc: Annotated[Share, Meta(description="at the first sample of the part")] = 1.0
    part: Annotated[
        Literal["whole", "discharge"],
        Meta(description="discharge: only the stretch in which most charge leaves the cell"),
    ] = "whole"
    weight: Annotated[float, Meta(gt=0, le=1000, description="of its squared errors")] = 1.0
    leave_out_soc: Annotated[
        list[tuple[Share, Share]],
        Meta(description="ranges of charge kept for an evaluation, or where the run is not to fit"),
    ] = []
    voltage_offset: Annotated[
        bool,
        Meta(description="measured with another voltmeter: one constant per temperature is free"),
    ] = False


class CircuitPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """How the circuit is fitted."""

    temperatures_c: Annotated[list[Celsius], Meta(min_length=1, description="rising")]
    time_constants_s: Annotated[
        list[tuple[Positive, Positive]],
        Meta(min_length=1, description="pairs to try: the one that fits best is taken"),
    ]
    sources: Annotated[list[Source], Meta(min_length=1)]
    soc_points: Annotated[list[Share], Meta(min_length=2, description="0 to 1, rising")] = field(
        default_factory=lambda: [round(0.05 * point, 2) for point in range(21)]
    )
    hysteresis_rates: Annotated[
        list[Positive], Meta(description="to try; empty: no hysteresis")
    ] = []
    ocv_step_v: Annotated[
        Positive,
        Meta(
            description="how far the open-circuit voltage may differ from one temperature to the "
            "next, one sigma; a flat one wants it near to what its entropy allows"
        ),
    ] = 0.02


class ThermalPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """Thermal figures where the data hold no temperature."""

    heat_capacity_j_per_k: Positive
    thermal_resistance_k_per_w: Positive
    source: str


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """A plan of ``config/identification``."""

    cell: RatedData
    open_circuit: Annotated[
        list[Source], Meta(min_length=1, description="slow discharges and charges")
    ]
    circuit: CircuitPlan
    thermal: ThermalPlan | None = None


def load_plan(path: Path | str) -> Plan:
    """Load and check a plan; raises ``ConfigurationError``."""
    document = configuration.read(path)
    plan = configuration.convert(document, Plan)
    rated, circuit = plan.cell, plan.circuit
    if not rated.minimum_voltage_v < rated.nominal_voltage_v < rated.maximum_voltage_v:
        raise document.error(
            ["cell", "nominal_voltage_v"],
            f"minimum, nominal and maximum voltage must rise, found {rated.minimum_voltage_v:g}, "
            f"{rated.nominal_voltage_v:g}, {rated.maximum_voltage_v:g} V",
        )
    for key, points in (
        ("temperatures_c", circuit.temperatures_c),
        ("soc_points", circuit.soc_points),
    ):
        for index, (before, after) in enumerate(pairwise(points)):
            if after <= before:
                raise document.error(
                    ["circuit", key, index + 1], f"must rise, found {after:g} after {before:g}"
                )
    if circuit.soc_points[0] != 0.0 or circuit.soc_points[-1] != 1.0:
        raise document.error(["circuit", "soc_points"], "must run from 0 to 1")
    for index, (fast, slow) in enumerate(circuit.time_constants_s):
        if fast >= slow:
            raise document.error(
                ["circuit", "time_constants_s", index],
                f"the fast time constant must be below the slow one, found {fast:g} and {slow:g} s",
            )
    for index, source in enumerate(plan.open_circuit):
        _check_source(document, ["open_circuit", index], source)
    for index, source in enumerate(circuit.sources):
        _check_source(document, ["circuit", "sources", index], source)
    return plan


def _check_source(document: Document, place: list[str | int], source: Source) -> None:
    if bool(source.dataset) == bool(source.files):
        raise document.error(place, "needs either dataset (rows of an index) or files")
    if HELD_BACK in source.roles:
        raise document.error(
            [*place, "roles", source.roles.index(HELD_BACK)],
            f"rows with role {HELD_BACK} are for evaluation, nothing may learn from them",
        )
    if source.gaps and source.files:
        raise document.error([*place, "gaps"], "needs dataset, it names rows of an index")
    for index, (low, high) in enumerate(source.leave_out_soc):
        if low >= high:
            raise document.error(
                [*place, "leave_out_soc", index], f"must rise, found {low:g} to {high:g}"
            )
