# SPDX-License-Identifier: Apache-2.0
"""Control of pump, fan, chiller and heater."""
