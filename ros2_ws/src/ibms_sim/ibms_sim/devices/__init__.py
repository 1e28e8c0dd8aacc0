# SPDX-License-Identifier: Apache-2.0
"""The measuring devices and actuators of the simulated pack."""
