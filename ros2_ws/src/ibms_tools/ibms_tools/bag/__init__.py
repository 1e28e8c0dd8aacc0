# SPDX-License-Identifier: Apache-2.0
"""Bags in the format of `ros2 bag` (MCAP): writing, reading, message definitions."""
