# SPDX-License-Identifier: Apache-2.0
"""Lifecycle node base, named QoS profiles, interface manifest, parameters, diagnostics and real-time loop of IBMS nodes."""
