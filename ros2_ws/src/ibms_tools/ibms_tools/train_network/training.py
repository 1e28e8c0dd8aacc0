# SPDX-License-Identifier: Apache-2.0
"""Training of a network on sequences, until runs that it does not see get no better."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ibms_tools.train_network.model import ReadingNetwork, Weighing
from ibms_tools.train_network.sequences import Sequences

BIAS_A = 0.065  # sigma of evenly distributed +-110 mA
BIAS_DRIFT_A = 0.01  # per square root of an hour
SOC_DRIFT = 0.001  # per square root of an hour
_BATCH = 64
_STEEPEST = 1.0
_CHECK_EVERY = 20
_SETTLING_S = 600.0
_SETTLING_WEIGHT = 0.1
_UNKNOWN_STD = 12.0**-0.5
_START_STD = 0.2
_S_PER_H = 3600.0
# What a network is told of its errors in training is too little for runs that it has not seen.
_SCALES = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0)


@dataclass(frozen=True)
class Progress:
    """Where a training stands."""

    iteration: int
    loss: float
    validation: float
    rmse: float
    std_ratio: float  # root mean square of error over sigma: 1 if sigma is right


@dataclass(frozen=True)
class Trained:
    """A network, the scale of what it doubts, and how it does on the runs left out."""

    network: ReadingNetwork
    std_scale: float
    validated: Progress


class Filter:
    """The filter of the estimator for a cell type and period."""

    def __init__(self, capacity_ah: float, period_s: float) -> None:
        hours = period_s / _S_PER_H
        self.gain = hours / capacity_ah
        self.bias_drift_v = BIAS_DRIFT_A**2 * hours
        self.soc_drift_v = SOC_DRIFT**2 * hours
        self.settling = round(_SETTLING_S / period_s)

    def told(
        self, network: ReadingNetwork, data: dict[str, Tensor], begin: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """State of charge and variance that the estimator says, (sequences, periods)."""
        reading, log_std, log_common_std = network(data["features"])
        soc, variance = Weighing.apply(
            reading,
            torch.exp(2.0 * log_std),
            data["usable"],
            data["charge"],
            *begin,
            self.gain,
            BIAS_A,
            self.bias_drift_v,
            self.soc_drift_v,
        )
        return soc, variance + torch.exp(2.0 * log_common_std)

    def weights(self, usable: Tensor) -> Tensor:
        """Of each period in the loss: little before the estimator has settled."""
        weights: Tensor = usable.clone()
        weights[:, : self.settling] *= _SETTLING_WEIGHT
        return weights


def train(
    fresh: Callable[[], Sequences],
    validation: Sequences,
    capacity_ah: float,
    period_s: float,
    units: int,
    seconds: float,
    rate: float,
    seed: int,
    report: Callable[[Progress], None],
) -> Trained:
    """The network that was best for ``validation``, made as unsure as it is off there.

    Args:
        fresh: draws new training sequences.
        validation: of runs that ``fresh`` never draws from.
        capacity_ah: of the cell type.
        period_s: of the network.
        units: of its hidden state.
        seconds: how long to train.
        rate: of learning; falls to a twentieth of it.
        seed: of starts and weights.
        report: told every few iterations.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    data = _tensors(fresh())
    there = data["features"][data["usable"] > 0]
    std = torch.clamp(there.std(dim=0), min=1e-3)
    network = ReadingNetwork(there.mean(dim=0), std, units)
    filtered = Filter(capacity_ah, period_s)
    held = _tensors(validation)
    held_begin = _begin(held["start"], np.random.default_rng(seed))
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    best, best_loss = copy.deepcopy(network.state_dict()), np.inf
    begun_s = time.monotonic()
    iteration, used, running = 0, 0, 0.0
    while (passed := (time.monotonic() - begun_s) / seconds) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.05 + 0.95 * 0.5 * (1.0 + np.cos(np.pi * passed)))
        if used > 2 * len(data["start"]):
            data, used = _tensors(fresh()), 0
        rows = torch.from_numpy(random.choice(len(data["start"]), _BATCH, replace=False))
        batch = {name: values[rows] for name, values in data.items()}
        used += _BATCH
        loss = _loss(filtered, network, batch, _begin(batch["start"], random))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _STEEPEST)
        optimiser.step()
        running += float(loss.detach())
        iteration += 1
        if iteration % _CHECK_EVERY == 0:
            progress = _judge(filtered, network, held, held_begin, iteration, running)
            running = 0.0
            report(progress)
            if progress.validation < best_loss:
                best, best_loss = copy.deepcopy(network.state_dict()), progress.validation
    network.load_state_dict(best)
    for scale in _SCALES:
        network.set_std_scale(scale)
        last = _judge(filtered, network, held, held_begin, iteration, 0.0)
        if last.std_ratio <= 1.0:
            break
    return Trained(network, scale, last)


def _tensors(sequences: Sequences) -> dict[str, Tensor]:
    found = {
        name: torch.from_numpy(getattr(sequences, name))
        for name in ("features", "charge", "truth", "start")
    }
    return {**found, "usable": torch.from_numpy(sequences.usable.astype(np.float32))}


def _begin(start: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Beliefs before the first period, right and wrong ones, and the sigma that is told."""
    count = len(start)
    kind = random.random(count)
    std = np.where(kind < 0.4, _START_STD, np.where(kind < 0.8, _UNKNOWN_STD, 0.02))
    off = std * random.normal(size=count)
    wrong = (kind < 0.4) & (random.random(count) < 0.5)
    off = np.where(wrong, np.sign(off) * _START_STD, off)
    truth = start.numpy()
    believed = np.where((kind >= 0.4) & (kind < 0.8), 0.5, truth + off)
    return torch.from_numpy(believed.astype(np.float32)), torch.from_numpy(std.astype(np.float32))


def _loss(
    filtered: Filter,
    network: ReadingNetwork,
    batch: dict[str, Tensor],
    begin: tuple[Tensor, Tensor],
) -> Tensor:
    """Gaussian likelihood and, so that none is given up by a large sigma, the square itself."""
    soc, variance = filtered.told(network, batch, begin)
    square = (soc - batch["truth"]) ** 2
    weights = filtered.weights(batch["usable"])
    each = 0.5 * (square / variance + torch.log(variance)) + square / 0.01**2 * 0.1
    return (weights * each).sum() / weights.sum()


def _judge(
    filtered: Filter,
    network: ReadingNetwork,
    held: dict[str, Tensor],
    begin: tuple[Tensor, Tensor],
    iteration: int,
    running: float,
) -> Progress:
    with torch.no_grad():
        loss = float(_loss(filtered, network, held, begin))
        soc, variance = filtered.told(network, held, begin)
        counted = held["usable"] > 0
        counted[:, : filtered.settling] = False
        square = (soc - held["truth"])[counted] ** 2
        return Progress(
            iteration,
            running / _CHECK_EVERY,
            loss,
            float(square.mean().sqrt()),
            float((square / variance[counted]).mean().sqrt()),
        )
