# SPDX-License-Identifier: Apache-2.0
"""Device side of fault injection: SimulationInject in, SimulationAnswer out."""

import can
from cantools.database.can import Database

from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_sim.faults import FaultSet


class InjectionPort:
    """Applies injections to a device's faults and forms the answers."""

    def __init__(self, database: Database, faults: FaultSet) -> None:
        self._faults = faults
        self._decoder = FrameDecoder(find_message(database, "SimulationInject"), protected=False)
        self._encoder = FrameEncoder(find_message(database, "SimulationAnswer"))
        self.identifier = self._decoder.message.frame_id

    def receive(self, data: bytes | bytearray, now_ns: int) -> can.Message | None:
        """Apply one frame; the answer, or ``None`` if another device answers."""
        values = self._decoder.decode(data)
        if values is None:
            return None
        code = self._faults.inject(
            number=int(values["Fault"]),
            element=int(values["Element"]),
            value=values["ValueMicro"],
            duration_s=values["Duration"] * 1e-3,
            remove=bool(values["Remove"]),
            now_ns=now_ns,
            count=int(values["Count"]),
        )
        if code is None:
            return None
        return self._encoder.encode({"Sequence": values["Sequence"], "Code": int(code)})
