# SPDX-License-Identifier: Apache-2.0
"""Cells, packs, topology, configuration and cell models. No ROS."""
