# SPDX-License-Identifier: Apache-2.0
"""Base of IBMS nodes: lifecycle, parameters, manifest, QoS profiles, diagnostics, loops."""
