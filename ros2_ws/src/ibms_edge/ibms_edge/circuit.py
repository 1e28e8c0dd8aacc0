# SPDX-License-Identifier: Apache-2.0
"""Which cells carry the pack's current, as feedback of the switches shows. No DDS."""

import numpy as np
import numpy.typing as npt

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_msgs.msg import SwitchState

_STALE_NS = NS_PER_S // 2


def in_circuit(pack: Pack, switches: SwitchState | None, now_ns: int) -> npt.NDArray[np.bool_]:
    """Per cell True, shape (series,), unless fresh feedback shows it bypassed."""
    if (
        switches is None
        or len(switches.isolated) != pack.series
        or now_ns - switches.boot_ns > _STALE_NS
    ):
        return np.ones(pack.series, np.bool_)
    connected: npt.NDArray[np.bool_] = np.frombuffer(switches.isolated, np.uint8) == 0
    return connected
