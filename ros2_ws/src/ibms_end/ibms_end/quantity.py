# SPDX-License-Identifier: Apache-2.0
"""One physical value out of the decoded signals of a message. No ROS."""

import math
from collections.abc import Mapping

from cantools.database.can import Message

from ibms_end.can.codec import limits_of
from ibms_end.map_schema import Values, holds


class Quantity:
    """Reads ``source`` of ``message``.

    What is not there, out of range, or marked as not valid is NaN.
    """

    def __init__(self, message: Message, source: Values) -> None:
        self._source = source
        self._checks = source.checks()[0]
        self._low, self._high = limits_of(message.get_signal_by_name(source.signal))

    def read(self, values: Mapping[str, float]) -> float:
        """Physical value in the unit of the map."""
        raw = values.get(self._source.signal, math.nan)
        if not (self._low <= raw <= self._high and holds(self._checks, values)):
            return math.nan
        return raw * self._source.scale + self._source.offset
