# SPDX-License-Identifier: Apache-2.0
"""What draws current from the simulated pack."""
