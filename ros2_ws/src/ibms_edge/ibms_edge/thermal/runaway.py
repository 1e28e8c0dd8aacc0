# SPDX-License-Identifier: Apache-2.0
"""The alarm of a thermal runaway: raised by protection, held until acknowledged. No ROS.

It knows nothing of cells: protection alone detects, this holds the alarm and when it began.
"""

from dataclasses import dataclass

DIAGNOSIS = "thermal_runaway"  # name of the row in the table of diagnoses


@dataclass(frozen=True)
class Detection:
    """When protection detected it."""

    boot_ns: int
    wall_ns: int


class RunawayAlarm:
    """Stands from the detection until the run of protection that reports it drops it.

    The diagnosis is latched in protection, so it is dropped only when somebody clears the faults. A
    protection that was restarted and does not know of it any more has not acknowledged anything.
    """

    def __init__(self) -> None:
        self.detection: Detection | None = None
        self._told: Detection | None = None
        self._iteration = 0
        self._is_same_run = False

    def told(self, detection: Detection | None) -> None:
        """Protection's event of the detection, from which a latecomer learns when it was.

        None: its event that the fault is over, so what was told before is of the past.
        """
        self._told = detection

    def status(self, is_active: bool, iteration: int, seen: Detection | None) -> bool:
        """A verdict of protection; returns whether the alarm was raised or ended by it.

        Args:
            is_active: the diagnosis is among the active ones.
            iteration: protection's count of judgements, which a restart sets back.
            seen: time of the judged scan, the detection's where no event told it; None where the
                diagnosis is active but was never measured: that raises nothing.
        """
        restarted, self._iteration = iteration <= self._iteration, iteration
        stood = self.detection is not None
        if is_active:
            self._is_same_run = True
            if stood or seen is None:
                return False
            self.detection = self._told or seen
            return True
        if restarted:
            self._is_same_run = False
        if stood and self._is_same_run:
            self.detection = self._told = None
            return True
        return False
