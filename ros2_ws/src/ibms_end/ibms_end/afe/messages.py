# SPDX-License-Identifier: Apache-2.0
"""Messages of ``afe_driver`` from scans and samples; headers are the node's."""

from array import array

from ibms_end.afe.samples import PackSample, Scan
from ibms_msgs.msg import CellMeasurement, PackMeasurement


def cell_message(scan: Scan, sample: PackSample | None) -> CellMeasurement:
    """A scan with the pack sample next to it in time, ``None`` if there is none."""
    message = CellMeasurement(
        boot_ns=scan.boot_ns,
        scan_counter=scan.scan_counter,
        device_time_ms=scan.device_time_ms,
        late=scan.late,
        frames_missing=scan.frames_missing,
        frames_rejected=scan.frames_rejected,
        reduced_integrity=scan.reduced_integrity,
        hardware_series=scan.hardware_series,
        hardware_modules=scan.hardware_modules,
        hardware_temperature_sensors=scan.hardware_temperature_sensors,
        current_a=sample.current_a if sample is not None else float("nan"),
        charge_c=sample.charge_c if sample is not None else float("nan"),
    )
    message.voltage_v = array("f", scan.voltage_v.tobytes())
    message.voltage_valid = array("B", scan.voltage_valid.tobytes())
    message.temperature_c = array("f", scan.temperature_c.tobytes())
    message.temperature_valid = array("B", scan.temperature_valid.tobytes())
    message.bleed_active = array("B", scan.bleed_active.tobytes())
    message.open_wire = array("B", scan.open_wire.tobytes())
    message.afe_status = array("B", scan.afe_status.tobytes())
    message.module_voltage_v = array("f", scan.module_voltage_v.tobytes())
    message.afe_temperature_c = array("f", scan.afe_temperature_c.tobytes())
    return message


def pack_message(sample: PackSample) -> PackMeasurement:
    """A sample of the pack sensor."""
    valid = 0
    for bit, value in (
        (PackMeasurement.VALID_CURRENT, sample.current_a),
        (PackMeasurement.VALID_VOLTAGE, sample.voltage_v),
        (PackMeasurement.VALID_LINK_VOLTAGE, sample.link_voltage_v),
        (PackMeasurement.VALID_SHUNT_TEMPERATURE, sample.shunt_temperature_c),
        (PackMeasurement.VALID_CHARGE, sample.charge_c),
        (PackMeasurement.VALID_REDUNDANT_CURRENT, sample.redundant_current_a),
    ):
        valid |= bit if value == value else 0  # NaN is unequal to itself
    return PackMeasurement(
        boot_ns=sample.boot_ns,
        sample_counter=sample.sample_counter,
        current_a=sample.current_a,
        voltage_v=sample.voltage_v,
        link_voltage_v=sample.link_voltage_v,
        shunt_temperature_c=sample.shunt_temperature_c,
        charge_c=sample.charge_c,
        redundant_current_a=sample.redundant_current_a,
        redundant_boot_ns=sample.redundant_boot_ns,
        valid=valid,
        status=sample.status,
        frames_rejected=sample.frames_rejected,
        reduced_integrity=sample.reduced_integrity,
    )
