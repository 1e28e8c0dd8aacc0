# SPDX-License-Identifier: Apache-2.0
"""Passive balancing of cells."""
