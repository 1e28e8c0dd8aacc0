# SPDX-License-Identifier: Apache-2.0
"""The graph's SOC against the counted charge of the recording that is played. No ROS."""

from pathlib import Path
from typing import Any

import numpy as np

from ibms_battery.clock import NS_PER_S
from ibms_battery.recordings import Recording, RecordingError
from ibms_battery.results import Result
from ibms_battery.soc_reference import SocReference, compare

_PREFIX = "demo.soc.recording"
_CHARGED = 1.0  # drive runs are recorded from a full cell on, where their charge counter is 0


class Playback:
    """Knows where in the recording the pack is, and gathers SOC and reference.

    The simulated pack plays on by one sample period with each sample of its sensor while its main
    contactors conduct, so playback time is counted in samples since they were fed back as closed.
    The reference is ``1 + ah(t) / capacity``: the recording counts from a full cell.

    Args:
        recording: what is played.
        file: its name, for texts.
        from_s: where it begins.
        capacity_ah: of the recorded cell.
        period_s: of the pack sensor's samples.

    Raises:
        RecordingError: if the recording has no counted charge, or ends before ``from_s``.
    """

    def __init__(
        self, recording: Recording, file: Path, from_s: float, capacity_ah: float, period_s: float
    ) -> None:
        if not np.isfinite(recording.charge_ah).all():
            raise RecordingError(f"{file}: holds no counted charge to compare the SOC with")
        if from_s >= recording.duration_s:
            raise RecordingError(
                f"{file}: lasts {recording.duration_s:g} s, so --from {from_s:g} is outside"
            )
        self.time_s: list[float] = []
        self.soc: list[float] = []
        self._recording = recording
        self._file = file
        self._from_s = from_s
        self._capacity_ah = capacity_ah
        self._period_s = period_s
        self._closed_ns: int | None = None
        self._anchor: tuple[int, int] | None = None  # sample counter and boot time at closing

    @property
    def has_ended(self) -> bool:
        """Whether the recording was played to its end."""
        return bool(self.time_s) and self.time_s[-1] + self._from_s >= self._recording.duration_s

    def on_switch(self, switch: Any) -> None:
        """Take a ``SwitchState``: the first with both mains closed connects the load."""
        if self._closed_ns is None and switch.configuration in ("closing", "closed"):
            self._closed_ns = switch.boot_ns

    def on_cells(self, cells: Any, sample: Any) -> None:
        """Take a ``CellStates`` and the newest ``PackMeasurement``, while the pack is connected."""
        if self._closed_ns is None or sample is None:
            return
        if self._anchor is None:
            self._anchor = (sample.sample_counter, sample.boot_ns)
        counter, boot_ns = self._anchor
        since_anchor_s = (sample.sample_counter - counter) * self._period_s
        since_sample_s = (cells.boot_ns - sample.boot_ns) / NS_PER_S
        time_s = (boot_ns - self._closed_ns) / NS_PER_S + since_anchor_s + since_sample_s
        soc = np.asarray(cells.soc, dtype=np.float64)
        if time_s >= 0 and not self.has_ended and np.isfinite(soc).any():
            self.time_s.append(time_s)
            self.soc.append(float(np.nanmean(soc)))

    def results(self) -> list[Result]:
        """Error of the mean SOC of all cells; figures without value if nothing was played."""
        time_s = self._from_s + np.asarray(self.time_s)
        charge_ah = np.interp(time_s, self._recording.time_s, self._recording.charge_ah)
        reference = SocReference(self._capacity_ah, _CHARGED).soc(charge_ah)
        context = (
            f"mean SOC of the graph's cells against {_CHARGED:g} + ah/{self._capacity_ah:g} Ah "
            f"of {self._file.name} from {self._from_s:g} s on, {len(time_s)} values"
        )
        if not len(time_s):
            names = ("rmse", "largest_error", "final_error")
            return [Result(f"{_PREFIX}.{name}", None, "1", context=context) for name in names]
        error = compare(np.asarray(self.soc)[:, np.newaxis], reference)
        return [
            Result(f"{_PREFIX}.reference_start", float(reference[0]), "1", context=context),
            Result(f"{_PREFIX}.reference_end", float(reference[-1]), "1", context=context),
            *error.results(_PREFIX, context),
        ]
