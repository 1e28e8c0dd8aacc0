# SPDX-License-Identifier: Apache-2.0
"""Collects the estimated and the counted state of charge while a bag is replayed."""

from typing import Any

import msgspec
import numpy as np

from ibms_battery.pack import Pack
from ibms_battery.soc_reference import SocError, SocReference, compare
from ibms_msgs.msg import CellMeasurement, CellStates
from ibms_tools.bag.reader import BagReader
from ibms_tools.cells_to_bag import REFERENCE_KEY

_SECONDS_PER_HOUR = 3600.0


def reference_of(bag: BagReader) -> SocReference | None:
    """How counted charge becomes true state of charge in ``bag``; None if it does not say."""
    text = bag.custom.get(REFERENCE_KEY)
    return None if text is None else msgspec.json.decode(text, type=SocReference)


class SocTrace:
    """Estimates by the scan behind them, beside that scan's charge counter."""

    def __init__(self, reference: SocReference, pack: Pack) -> None:
        self._reference = reference
        self._parallel = pack.parallel
        self._charge_ah = float("nan")
        self._counted_ah: list[float] = []
        self._estimates: list[Any] = []

    def heard(self, _topic: str, message: CellMeasurement) -> None:
        """Take what the estimator is about to get."""
        self._charge_ah = message.charge_c / _SECONDS_PER_HOUR / self._parallel

    def said(self, _topic: str, message: Any, _data: bytes) -> None:
        """Take what the estimator made of it."""
        if not isinstance(message, CellStates):
            return
        self._counted_ah.append(self._charge_ah)
        self._estimates.append(np.frombuffer(message.soc, np.float32))

    def error(self) -> SocError:
        """Error over the recording; raises ValueError if a value is missing."""
        reference = self._reference.soc(np.array(self._counted_ah))
        return compare(np.array(self._estimates), reference)
