# SPDX-License-Identifier: Apache-2.0
"""Hardware side of IBMS: CAN bus, AFE driver, insulation monitor, environment sensors."""
