# SPDX-License-Identifier: Apache-2.0
"""Comparison of an estimated state of charge with the counted charge of a recording. No ROS."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from ibms_battery.results import Result

FloatArray = npt.NDArray[np.float64]


class SocReference(Struct, frozen=True, forbid_unknown_fields=True):
    """What turns counted charge into the true state of charge of a recording."""

    capacity_ah: Annotated[float, Meta(gt=0, description="measured capacity of one cell [A h]")]
    initial_soc: Annotated[float, Meta(ge=0, le=1, description="where the charge counter is 0")]

    def soc(self, charge_ah: FloatArray) -> FloatArray:
        """State of charge (samples,) for the charge counted per cell [A h] (samples,)."""
        return self.initial_soc + np.asarray(charge_ah, np.float64) / self.capacity_ah


@dataclass(frozen=True)
class SocError:
    """Error of an estimate over a recording, in state of charge (1 is full)."""

    rmse: float
    largest: float
    final: float  # of the cell that is worst at the end
    samples: int

    def results(self, prefix: str, context: str) -> list[Result]:
        """The figures in the shape that every command writes."""
        return [
            Result(f"{prefix}.rmse", self.rmse, "1", context=context),
            Result(f"{prefix}.largest_error", self.largest, "1", context=context),
            Result(f"{prefix}.final_error", self.final, "1", context=context),
        ]


def compare(estimate: FloatArray, reference: FloatArray) -> SocError:
    """Compare estimates (samples, cells) with the true state of charge (samples,).

    Raises:
        ValueError: if the sizes differ, there is nothing to compare, or a value is not finite: a
            cell without an estimate must not make the error look smaller.
    """
    estimate, reference = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    if estimate.ndim != 2 or estimate.shape[:1] != reference.shape or not estimate.size:
        raise ValueError(
            f"cannot compare estimates of shape {estimate.shape} with a reference of shape "
            f"{reference.shape}; expected (samples, cells) and (samples,)"
        )
    for name, values in (("estimate", estimate), ("reference", reference)):
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            raise ValueError(f"the {name} has no value at sample {int(wrong[0][0])}")
    error = np.abs(estimate - reference[:, np.newaxis])
    return SocError(
        rmse=float(np.sqrt(np.mean(error**2))),
        largest=float(error.max()),
        final=float(error[-1].max()),
        samples=len(reference),
    )
