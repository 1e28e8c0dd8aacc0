# SPDX-License-Identifier: Apache-2.0
"""The gradient of the filter is that of finite differences."""

import numpy as np

from ibms_tools.train_network.charge_and_bias import SOC, SOC_V, filter_charges, gradients


def test_the_gradient_is_that_of_finite_differences() -> None:
    random = np.random.default_rng(1)
    count, periods = 3, 12
    shape = (count, periods)
    reading, noise_v = random.uniform(0.4, 0.6, shape), random.uniform(0.001, 0.01, shape)
    usable = (random.random(shape) < 0.8).astype(np.float64)
    charge = random.normal(0.0, 0.01, shape)
    start = (random.uniform(0.3, 0.7, count), np.array([0.02, 0.2, 0.3]))
    gain, bias_std, drifts = 0.02, 0.1, (1e-4, 1e-6)  # exaggerated, so that all of it matters
    by_soc, by_variance = random.normal(size=shape), 10.0 * random.normal(size=shape)

    def total(
        reading: np.typing.NDArray[np.float64], noise_v: np.typing.NDArray[np.float64]
    ) -> float:
        found = filter_charges(reading, noise_v, usable, charge, *start, gain, bias_std, *drifts)
        return float((by_soc * found[:, 1:, SOC] + by_variance * found[:, 1:, SOC_V]).sum())

    states = filter_charges(reading, noise_v, usable, charge, *start, gain, bias_std, *drifts)
    by_reading, by_noise = gradients(
        states, reading, noise_v, usable, charge, gain, *drifts, by_soc, by_variance
    )
    for place in np.ndindex(shape):
        change = np.zeros(shape)
        change[place] = 1e-6
        upper, lower = total(reading + change, noise_v), total(reading - change, noise_v)
        np.testing.assert_allclose(by_reading[place], (upper - lower) / 2e-6, rtol=1e-4, atol=1e-6)
        upper, lower = total(reading, noise_v + change), total(reading, noise_v - change)
        np.testing.assert_allclose(by_noise[place], (upper - lower) / 2e-6, rtol=1e-4, atol=1e-5)
