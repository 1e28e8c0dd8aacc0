# SPDX-License-Identifier: Apache-2.0
"""Lifecycle manager, and the launcher for machines without ros2 launch."""
