# SPDX-License-Identifier: Apache-2.0
"""Runs ROS 2 launch files (XML) where `ros2 launch` does not exist.

On the command line: `python -m ibms_bringup.launcher FILE [name:=value ...]`. In Python: Launch.
"""

from .errors import LaunchError
from .launch import Launch
from .runner import ProcessStatus

__all__ = ["Launch", "LaunchError", "ProcessStatus"]
