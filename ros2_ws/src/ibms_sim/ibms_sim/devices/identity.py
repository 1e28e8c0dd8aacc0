# SPDX-License-Identifier: Apache-2.0
"""What the AFE modules say the pack is built of."""

import can
from cantools.database.can import Database

from ibms_battery.pack import Pack
from ibms_end.can.codec import FrameEncoder, find_message
from ibms_sim.faults import FaultSet

PERIOD_S = 1.0


class Identity:
    """Says it each second."""

    def __init__(self, database: Database, pack: Pack, faults: FaultSet) -> None:
        self._encoder = FrameEncoder(find_message(database, "PackIdentity"))
        self._pack = pack
        self._faults = faults

    def frame(self) -> can.Message:
        """PackIdentity frame."""
        said = self._faults.value("wrong_identity")
        return self._encoder.encode(
            {
                "SeriesCells": self._pack.series if said is None else round(said),
                "AfeModules": self._pack.modules,
                "TemperatureSensors": self._pack.temperature_sensors,
            }
        )
