# SPDX-License-Identifier: Apache-2.0
"""Protection, pack supervisor, switch control, balancing, state estimation, limits, thermal control and events of IBMS."""
