# SPDX-License-Identifier: Apache-2.0
"""Opening a CAN bus from its configuration, and claiming a role on it."""

import socket
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import can
from msgspec import Meta, Struct

from ibms_end.can.identifier import EXTENDED


class BusConfiguration(Struct, frozen=True, forbid_unknown_fields=True):
    """Which bus to open; the same fields as ``can.Bus`` takes."""

    interface: Annotated[
        str,
        Meta(
            description="python-can interface: socketcan on a vehicle, ibms_local without hardware"
        ),
    ] = "ibms_local"
    channel: Annotated[str, Meta(description="e.g. can0; for ibms_local a UDP port")] = "43200"
    protocol: Annotated[Literal["classic", "fd"], Meta(description="CAN 2.0 or CAN FD frames")] = (
        "fd"
    )


class BusRoleTakenError(RuntimeError):
    """Another process on this machine already has the role on the bus."""


def open_bus(
    configuration: BusConfiguration, identifiers: Iterable[int] | None = None
) -> can.BusABC:
    """Open the bus; receive only ``identifiers`` (see ``identifier``; all if ``None``).

    Raises:
        can.CanError: with interface and channel in the text, if the bus does not open.
    """
    filters: list[can.typechecking.CanFilter] | None = None
    if identifiers is not None:
        filters = [
            {
                "can_id": identifier & ~EXTENDED,
                "can_mask": 0x1FFFFFFF if identifier & EXTENDED else 0x7FF,
                "extended": bool(identifier & EXTENDED),
            }
            for identifier in sorted(set(identifiers))
        ]
    options: dict[str, Any] = (
        {"local_loopback": True} if configuration.interface == "socketcan" else {}
    )
    try:
        return can.Bus(
            interface=configuration.interface,
            channel=configuration.channel,
            can_filters=filters,
            fd=configuration.protocol == "fd",
            **options,
        )
    except (can.CanError, OSError, ValueError) as error:
        raise can.CanInitializationError(
            f"CAN bus {configuration.interface}:{configuration.channel} does not open: {error}. "
            f"Check interface and channel of the bus and, on a vehicle, 'ip link show "
            f"{configuration.channel}'"
        ) from error


def claim_role(configuration: BusConfiguration, role: str) -> socket.socket:
    """Claim ``role`` (e.g. ``"bms"``) on a bus for this process, until the socket is closed.

    The kernel frees an abstract socket name when its owner dies, so no stale lock can remain.

    Raises:
        BusRoleTakenError: if another process has it.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0ibms/{role}/{configuration.interface}/{configuration.channel}")
    except OSError as error:
        claim.close()
        raise BusRoleTakenError(
            f"another IBMS already acts as {role!r} on bus {configuration.interface}:"
            f"{configuration.channel}; end it first or choose another channel"
        ) from error
    return claim
