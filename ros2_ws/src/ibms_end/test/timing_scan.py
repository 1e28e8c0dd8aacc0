# SPDX-License-Identifier: Apache-2.0
"""CPU time of one scan, from frames to message: ``python timing_scan.py``. No test.

Target: 96 cells in 6 frames, decoded, assembled and turned into a message in less than 300 us.
"""

import time
from pathlib import Path

from ibms_battery.pack import load_pack
from ibms_end.afe.messages import cell_message
from ibms_end.afe.samples import Scan
from ibms_end.afe.scan_assembler import NumberedAssembler
from ibms_end.afe.scan_decoder import build_decoders
from ibms_end.can.codec import FrameEncoder, find_message
from ibms_end.mapping import load_map

TARGET_US = 300.0
SCANS = 500
ROUNDS = 5


def scan_us() -> float:
    """CPU time per scan [us], the best of several rounds."""
    config = Path(__file__).resolve().parents[4] / "config"
    pack = load_pack(config / "packs" / "ev_96s.yaml")
    loaded = load_map(config / "can" / "maps" / "ibms.yaml", pack)
    encoders = [
        FrameEncoder(find_message(loaded.database, f"AfeMeasurement_{module:02d}"))
        for module in range(pack.modules)
    ]
    cells = {f"CellVoltage_{i:02d}": 3.5 + i / 100 for i in range(16)}
    frames = [
        (encoder.message.frame_id, bytes(encoder.encode({"ScanCounter": number, **cells}).data))
        for number in range(SCANS)
        for encoder in encoders
    ]
    best_s = float("inf")
    for _ in range(ROUNDS):
        delivered = 0

        def on_scan(scan: Scan) -> None:
            nonlocal delivered
            cell_message(scan, None)
            delivered += 1

        assembler = NumberedAssembler(pack, build_decoders(loaded, pack), on_scan, timeout_s=0.01)
        start_s = time.process_time()
        for identifier, data in frames:
            assembler.take(identifier, data, 0)
        best_s = min(best_s, time.process_time() - start_s)
        assert delivered == SCANS
    return best_s / SCANS * 1e6


if __name__ == "__main__":
    print(f"{scan_us():.0f} us per scan of 96 cells, target below {TARGET_US:.0f} us")
