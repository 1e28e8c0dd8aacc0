# SPDX-License-Identifier: Apache-2.0
"""Process with the time-critical chain in one: AFE driver, protection and switch control.

Each keeps its own threads; the death of one is the death of all, which the switch board's dead-man
covers, and a hung thread of one is seen by the next in the chain as in processes of their own.
"""

from ibms_edge.protection.node import Protection
from ibms_edge.switching.node import SwitchControl
from ibms_end.afe.node import AfeDriver
from ibms_ros_common.process import CHAIN_PRIORITY, run


def main() -> int:
    """Run them until SIGINT or SIGTERM."""
    return run(AfeDriver, Protection, SwitchControl, real_time_priority=CHAIN_PRIORITY)
