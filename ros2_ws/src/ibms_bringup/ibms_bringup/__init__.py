# SPDX-License-Identifier: Apache-2.0
"""Launch files, configuration, lifecycle manager and the launcher for machines without ros2 launch."""
