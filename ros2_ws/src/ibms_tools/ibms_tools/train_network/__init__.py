# SPDX-License-Identifier: Apache-2.0
"""Training of the networks in config/networks; needs requirements/training.in."""
