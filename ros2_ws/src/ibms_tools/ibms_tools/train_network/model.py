# SPDX-License-Identifier: Apache-2.0
"""The network, and the filter behind it, as something that can be trained (needs torch).

The loss is that of what the estimator says in the end, after the Kalman filter of charge and bias
that ``ibms_edge.estimation.network`` runs with the readings: so the network learns how much its
readings are worth when there are hundreds of them in a row whose errors are alike.
"""

import torch
from torch import Tensor, nn

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
        self.unit = nn.GRU(len(mean), units, batch_first=True)
        self.reading = nn.Linear(units, READINGS)
        nn.init.zeros_(self.reading.weight)
        nn.init.zeros_(self.reading.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Readings of (sequences, periods, features): each (sequences, periods)."""
        hidden, _ = self.unit((features - self.mean) / self.std)
        raw = torch.tanh(self.reading(hidden))
        soc = features[..., 0] + _FAR * raw[..., 0]
        return soc, _STD_LOG + _STD_STEEP * raw[..., 1], _COMMON_LOG + _COMMON_STEEP * raw[..., 2]

    def scales(self) -> tuple[list[float], list[float]]:
        """Factors and offsets of the readings after tanh; to the first the rough charge comes."""
        return [_FAR, _STD_STEEP, _COMMON_STEEP], [0.0, _STD_LOG, _COMMON_LOG]


def weigh(
    soc: Tensor,
    log_std: Tensor,
    log_common_std: Tensor,
    usable: Tensor,
    charge: Tensor,
    start_soc: Tensor,
    start_std: Tensor,
    gain: float,
    bias_std: float,
    bias_drift: float,
    soc_drift: float,
) -> tuple[Tensor, Tensor]:
    """The filter of charge and bias over all periods; arguments (sequences, periods).

    Args:
        soc: readings.
        log_std: of their sigma.
        log_common_std: of the sigma that they share.
        usable: 1 where there is a reading, else 0.
        charge: counted in each period, of the capacity.
        start_soc: believed beforehand (sequences,).
        start_std: its sigma (sequences,).
        gain: charge that a bias of 1 A counts in a period, of the capacity.
        bias_std: sigma of the bias [A].
        bias_drift: variance that comes to it in each period [A^2].
        soc_drift: variance that comes to the charge in each period.
    """
    x, b = start_soc, torch.zeros_like(start_soc)
    p, q, r = start_std**2, torch.zeros_like(start_soc), torch.full_like(start_soc, bias_std**2)
    noise = torch.exp(2.0 * log_std)
    xs, ps = [], []
    for k in range(soc.shape[1]):
        x = x + charge[:, k] - gain * b
        p = p + gain * (gain * r - 2.0 * q) + soc_drift
        q = q - gain * r
        r = r + bias_drift
        share = usable[:, k] / (p + noise[:, k])
        off = soc[:, k] - x
        x = x + p * share * off
        b = b + q * share * off
        r = r - q * q * share
        q = q - q * p * share
        p = p - p * p * share
        xs.append(x)
        ps.append(p)
    return torch.stack(xs, 1), torch.stack(ps, 1) + torch.exp(2.0 * log_common_std)
