# SPDX-License-Identifier: Apache-2.0
"""The network, and the filter behind it, as something that can be trained (needs torch).

The loss is that of what the estimator says in the end, after the Kalman filter of charge and bias
that ``ibms_edge.estimation.network`` runs with the readings: so the network learns how much its
readings are worth when there are hundreds of them in a row whose errors are alike.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ibms_tools.train_network.charge_and_bias import SOC, SOC_V, filter_charges, gradients

FloatArray = npt.NDArray[np.float64]

READINGS = 3  # charge, log of its sigma, log of the sigma that all readings share
_FAR = 0.35  # most that a reading may lie off the rough charge that was shown
_STD_STEEP, _STD_LOG = 4.0, -3.0  # of a reading: exp(-7) to exp(1)
_COMMON_STEEP, _COMMON_LOG = 2.5, -5.0  # exp(-7.5) to exp(-2.5)


class ReadingNetwork(nn.Module):
    """Recurrent unit and a linear layer.

    Args:
        mean: of the features (features,).
        std: of the features (features,).
        units: of the hidden state.
    """

    def __init__(self, mean: Tensor, std: Tensor, units: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self._log_scale = 0.0
        self.unit = nn.GRU(len(mean), units, batch_first=True)
        self.reading = nn.Linear(units, READINGS)
        nn.init.zeros_(self.reading.weight)
        nn.init.zeros_(self.reading.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Readings of (sequences, periods, features): each (sequences, periods)."""
        hidden, _ = self.unit((features - self.mean) / self.std)
        raw = torch.tanh(self.reading(hidden))
        factors, offsets = self.scales()
        soc = features[..., 0] + factors[0] * raw[..., 0]
        return soc, offsets[1] + factors[1] * raw[..., 1], offsets[2] + factors[2] * raw[..., 2]

    def set_std_scale(self, scale: float) -> None:
        """Multiply both sigmas by ``scale`` from now on."""
        self._log_scale = math.log(scale)

    def scales(self) -> tuple[list[float], list[float]]:
        """Factors and offsets of the readings after tanh; to the first the rough charge comes."""
        logs = (_STD_LOG + self._log_scale, _COMMON_LOG + self._log_scale)
        return [_FAR, _STD_STEEP, _COMMON_STEEP], [0.0, *logs]


class Weighing(torch.autograd.Function):
    """``filter_charges`` with its gradient, as torch wants it."""

    @staticmethod
    def forward(ctx: Any, reading: Tensor, noise_v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        """Charge and its variance after each period; ``rest`` as ``filter_charges`` takes it."""
        usable, charge, start_soc, start_std = (_double(one) for one in rest[:4])
        readings, noises_v = _double(reading), _double(noise_v)
        gain, bias_std, bias_drift_v, soc_drift_v = rest[4:]
        states = filter_charges(
            readings,
            noises_v,
            usable,
            charge,
            start_soc,
            start_std,
            gain,
            bias_std,
            bias_drift_v,
            soc_drift_v,
        )
        inputs = (readings, noises_v, usable, charge)
        ctx.kept = (states, *inputs, gain, bias_drift_v, soc_drift_v)
        return _single(states[:, 1:, SOC]), _single(states[:, 1:, SOC_V])

    @staticmethod
    def backward(ctx: Any, by_soc: Tensor, by_variance: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by reading and noise_v only: nothing else is learned."""
        states, reading, noise_v, usable, charge, gain, bias_drift_v, soc_drift_v = ctx.kept
        found = gradients(
            states,
            reading,
            noise_v,
            usable,
            charge,
            gain,
            bias_drift_v,
            soc_drift_v,
            _double(by_soc),
            _double(by_variance),
        )
        return _single(found[0]), _single(found[1]), *[None] * 8


def _double(tensor: Tensor) -> FloatArray:
    values: FloatArray = tensor.detach().numpy().astype(np.float64)
    return values


def _single(values: FloatArray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
