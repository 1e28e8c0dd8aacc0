# SPDX-License-Identifier: Apache-2.0
"""Simulated pack hardware of IBMS that speaks only CAN."""
