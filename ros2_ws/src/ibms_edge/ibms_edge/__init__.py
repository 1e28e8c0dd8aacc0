# SPDX-License-Identifier: Apache-2.0
"""Edge side of IBMS: what protects, switches, estimates, balances and remembers."""
