# SPDX-License-Identifier: Apache-2.0
"""Makes a bag of a pack's measurements out of the recording of one real cell.

Every cell of the pack gets the measured voltage, every sensor the measured temperature, and the
pack the cell's current times the number of cells in parallel. The bag tells a replay how counted
charge becomes the true state of charge.
"""

import argparse
import math
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path

import msgspec
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from ibms_battery.cell import load_cell
from ibms_battery.clock import NS_PER_S
from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import Pack, load_pack
from ibms_battery.recording_index import find_columns
from ibms_battery.recordings import Recording, RecordingError, load_recording
from ibms_battery.soc_reference import SocReference
from ibms_msgs.msg import CellMeasurement, PackMeasurement
from ibms_ros_common.manifest import manifest
from ibms_tools.bag.definitions import canonical
from ibms_tools.bag.errors import BagError
from ibms_tools.bag.writer import BagWriter
from ibms_tools.record import DEFAULT_NAMESPACE, full_name

REFERENCE_KEY = "ibms_soc_reference"
_CELLS, _PACK = "cells/measurement", "pack/measurement"
_START_NS = NS_PER_S  # boot and wall time of the first sample: when it was measured is not known
_SECONDS_PER_HOUR = 3600.0


def write_bag(
    recording: Recording,
    pack: Pack,
    reference: SocReference,
    output: Path,
    namespace: str = DEFAULT_NAMESPACE,
) -> int:
    """Write one scan of cells and one of the pack per sample; returns the number of samples.

    Raises:
        BagError: if ``output`` exists.
    """
    names = {topic: full_name(topic, namespace) for topic in (_CELLS, _PACK)}
    custom = {REFERENCE_KEY: msgspec.json.encode(reference).decode()}
    with BagWriter(output, custom) as writer:
        for topic, name in names.items():
            writer.add(name, manifest().topics[topic].type, manifest().qos_of(topic))
        for index in range(len(recording.time_s)):
            boot_ns = _START_NS + round(float(recording.time_s[index]) * NS_PER_S)
            # The pack's sample comes first, as on the bus: the scan refers to it.
            for topic, message in (
                (_PACK, _pack_measurement(recording, index, pack, boot_ns)),
                (_CELLS, _cell_measurement(recording, index, pack, boot_ns)),
            ):
                data = canonical(manifest().topics[topic].type, serialize_message(message))
                writer.write(names[topic], boot_ns, data)
    return len(recording.time_s)


def _cell_measurement(
    recording: Recording, index: int, pack: Pack, boot_ns: int
) -> CellMeasurement:
    temperature_c = float(recording.temperature_c[index])
    message = CellMeasurement(
        header=_header(pack, boot_ns),
        boot_ns=boot_ns,
        scan_counter=index,
        device_time_ms=boot_ns // 1_000_000 % 2**32,
        current_a=float(recording.current_a[index]) * pack.parallel,
        charge_c=float(recording.charge_ah[index]) * _SECONDS_PER_HOUR * pack.parallel,
    )
    message.voltage_v = array("f", [float(recording.voltage_v[index])] * pack.series)
    message.voltage_valid = array("B", [1] * pack.series)
    message.temperature_c = array("f", [temperature_c] * pack.temperature_sensors)
    valid = int(not math.isnan(temperature_c))
    message.temperature_valid = array("B", [valid] * pack.temperature_sensors)
    message.bleed_active = array("B", bytes(pack.series))
    message.open_wire = array("B", bytes(pack.series))
    message.afe_status = array("B", bytes(pack.modules))
    message.module_voltage_v = array("f", [math.nan] * pack.modules)
    message.afe_temperature_c = array("f", [math.nan] * pack.modules)
    return message


def _pack_measurement(
    recording: Recording, index: int, pack: Pack, boot_ns: int
) -> PackMeasurement:
    charge_c = float(recording.charge_ah[index]) * _SECONDS_PER_HOUR * pack.parallel
    valid = PackMeasurement.VALID_CURRENT | PackMeasurement.VALID_VOLTAGE
    return PackMeasurement(
        header=_header(pack, boot_ns),
        boot_ns=boot_ns,
        sample_counter=index,
        current_a=float(recording.current_a[index]) * pack.parallel,
        voltage_v=float(recording.voltage_v[index]) * pack.series,
        link_voltage_v=math.nan,
        shunt_temperature_c=math.nan,
        charge_c=charge_c,
        valid=valid if math.isnan(charge_c) else valid | PackMeasurement.VALID_CHARGE,
    )


def _header(pack: Pack, boot_ns: int) -> Header:
    seconds, nanoseconds = divmod(boot_ns, NS_PER_S)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=pack.name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert one file."""
    parser = argparse.ArgumentParser(prog="ibms cells-to-bag", description=__doc__)
    parser.add_argument(
        "file", type=Path, help="parquet or CSV that an index.csv above it describes"
    )
    parser.add_argument("output", type=Path, help="bag to create")
    parser.add_argument("--pack", type=Path, required=True, help="pack description, a YAML file")
    parser.add_argument(
        "--capacity-ah", type=float, help="measured capacity of the cell (default: as configured)"
    )
    parser.add_argument(
        "--initial-soc",
        type=float,
        default=1.0,
        help="where its charge is 0 (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        pack = load_pack(options.pack)
        cell = load_cell(options.pack.parent.parent / "cells" / f"{pack.cell}.yaml")
        recording = load_recording(options.file, find_columns(options.file))
        reference = SocReference(options.capacity_ah or cell.capacity_ah, options.initial_soc)
        count = write_bag(recording, pack, reference, options.output)
    except (BagError, ConfigurationError, RecordingError) as error:
        print(f"ibms cells-to-bag: {error}", file=sys.stderr)
        return 1
    print(
        f"{options.output}: {count} samples of {pack.series} cells over "
        f"{recording.duration_s:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
