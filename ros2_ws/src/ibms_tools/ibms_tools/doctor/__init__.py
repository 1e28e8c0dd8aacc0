# SPDX-License-Identifier: Apache-2.0
"""Checks of CAN bus, DDS and configuration; the front door checks the machine before."""
