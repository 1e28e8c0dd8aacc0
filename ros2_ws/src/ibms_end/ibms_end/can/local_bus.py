# SPDX-License-Identifier: Apache-2.0
"""A CAN bus for development that several processes share and that never leaves the machine.

It is a python-can interface (``can.Bus(interface="ibms_local", channel="43200")``) over UDP
multicast bound to the loopback device with a hop limit of 0. Like SocketCAN it stamps frames in the
kernel and filters in the kernel (a classic BPF program). The channel is a UDP port.
"""

import ctypes
import os
import select
import socket
import struct
import time
from typing import Any

import can

GROUP = "239.255.67.78"
DEFAULT_CHANNEL = "43200"

_LOOPBACK = socket.inet_aton("127.0.0.1")
_HEADER = struct.Struct("!IIBB2x")  # sender tag, identifier with flags, length, frame flags
_TIMESPEC = struct.Struct("@ll")
_SO_TIMESTAMPNS = 35
_SO_ATTACH_FILTER = 26
_IP_MULTICAST_ALL = 49
_EFF_FLAG, _RTR_FLAG, _ERR_FLAG = 0x80000000, 0x40000000, 0x20000000
_EFF_MASK, _SFF_MASK = 0x1FFFFFFF, 0x7FF
_FD_BRS, _FD_ESI, _FD_FDF = 0x01, 0x02, 0x04
_UDP_HEADER_SIZE = 8  # a filter on a UDP socket sees the packet from its UDP header on
_RECEIVE_BUFFER = 4 * 1024 * 1024
_LARGEST_PACKET = 128
_LARGEST_DATA = {False: 8, True: 64}  # by CAN FD

# Opcodes of classic BPF (linux/bpf_common.h).
_LD_WORD_ABSOLUTE, _AND_CONSTANT, _JUMP_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_INSTRUCTION = struct.Struct("=HBBI")
_DROP = _INSTRUCTION.pack(_RETURN, 0, 0, 0)
_ACCEPT = _INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFF)


def filter_program(tag: int, filters: list[tuple[int, int]]) -> bytes:
    """Classic BPF program that drops own frames and passes identifiers that match a filter.

    Args:
        tag: sender tag of the own socket.
        filters: (identifier with flags, mask) pairs; empty passes all.
    """
    program = [
        _INSTRUCTION.pack(_LD_WORD_ABSOLUTE, 0, 0, _UDP_HEADER_SIZE),
        _INSTRUCTION.pack(_JUMP_EQUAL, 0, 1, tag),
        _DROP,
    ]
    for identifier, mask in filters:
        program += [
            _INSTRUCTION.pack(_LD_WORD_ABSOLUTE, 0, 0, _UDP_HEADER_SIZE + 4),
            _INSTRUCTION.pack(_AND_CONSTANT, 0, 0, mask),
            _INSTRUCTION.pack(_JUMP_EQUAL, 0, 1, identifier & mask),
            _ACCEPT,
        ]
    program.append(_DROP if filters else _ACCEPT)
    return b"".join(program)


class LocalBus(can.BusABC):
    """Shared CAN bus on the loopback device.

    Args:
        channel: UDP port as text; processes with the same channel share a bus.
        fd: accept and send CAN FD frames.
        can_filters: as in python-can; applied in the kernel.

    Raises:
        can.CanInitializationError: if the channel is not a port or the socket cannot be set up.
    """

    def __init__(
        self,
        channel: Any = DEFAULT_CHANNEL,
        can_filters: can.typechecking.CanFilters | None = None,
        fd: bool = True,
        **kwargs: Any,
    ) -> None:
        if not str(channel).isdigit() or not 1024 <= int(channel) <= 65535:
            raise can.CanInitializationError(
                f"channel {channel!r} of the local bus must be a UDP port from 1024 to 65535"
            )
        self.channel_info = f"local bus {channel}"
        self.malformed = 0  # packets that are no frame of this bus; received, but not passed on
        self._address = (GROUP, int(channel))
        self._fd = fd
        self._can_protocol = can.CanProtocol.CAN_FD if fd else can.CanProtocol.CAN_20
        self._tag = int.from_bytes(os.urandom(4), "big")
        self._socket = self._open()
        super().__init__(channel, can_filters=can_filters, **kwargs)

    def _open(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            # Only what comes over loopback, and nothing goes further: hop limit 0, no other
            # interface.
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _LOOPBACK)
            sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            # Nothing waits in the socket when the filters are applied: it would pass unfiltered.
            self._attach(sock, _DROP)
            sock.bind(self._address)
            sock.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + _LOOPBACK
            )
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            raise can.CanInitializationError(
                f"the local bus on port {self._address[1]} cannot be opened: {error}"
            ) from error
        return sock

    def _apply_filters(self, filters: can.typechecking.CanFilters | None) -> None:
        pairs = []
        for entry in filters or []:
            flags = _EFF_FLAG if entry.get("extended", entry["can_id"] > 0x7FF) else 0
            pairs.append((entry["can_id"] | flags, entry["can_mask"] | _EFF_FLAG))
        if pairs:
            pairs.append(
                (_ERR_FLAG, _ERR_FLAG)
            )  # error frames pass always, as the driver needs them
        self._attach(self._socket, filter_program(self._tag, pairs))
        self._is_filtered = True

    @staticmethod
    def _attach(sock: socket.socket, program: bytes) -> None:
        buffer = ctypes.create_string_buffer(program)
        count = len(program) // _INSTRUCTION.size
        sock.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HL", count, ctypes.addressof(buffer)),
        )

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Send one frame.

        Raises:
            can.CanOperationError: if the frame does not fit the bus or the socket refuses it.
        """
        if msg.is_fd and not self._fd:
            raise can.CanOperationError("this bus was opened without CAN FD")
        identifier = msg.arbitration_id
        if msg.is_extended_id:
            identifier |= _EFF_FLAG
        if msg.is_remote_frame:
            identifier |= _RTR_FLAG
        if msg.is_error_frame:
            identifier |= _ERR_FLAG
        flags = 0
        if msg.is_fd:
            flags = _FD_FDF
            flags |= _FD_BRS if msg.bitrate_switch else 0
            flags |= _FD_ESI if msg.error_state_indicator else 0
        packet = _HEADER.pack(self._tag, identifier, msg.dlc, flags) + bytes(msg.data)
        try:
            self._socket.sendto(packet, self._address)
        except OSError as error:
            raise can.CanOperationError(f"sending on the local bus failed: {error}") from error

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        try:
            packet, ancillary, _, _ = self._socket.recvmsg(_LARGEST_PACKET, 64)
        except BlockingIOError:
            if timeout == 0:
                return None, self._is_filtered
            select.select([self._socket], [], [], timeout)
            try:
                packet, ancillary, _, _ = self._socket.recvmsg(_LARGEST_PACKET, 64)
            except BlockingIOError:
                return None, self._is_filtered
        timestamp = 0.0
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(data)
                timestamp = seconds + nanoseconds * 1e-9
        message = self._parse(packet, timestamp or time.time())
        if message is None:
            self.malformed += 1
        return message, self._is_filtered

    def _parse(self, packet: bytes, timestamp: float) -> can.Message | None:
        """The frame that a packet holds, or ``None`` if it holds none that fits this bus."""
        if len(packet) < _HEADER.size:
            return None
        _, identifier, length, flags = _HEADER.unpack_from(packet)
        data = packet[_HEADER.size :]
        is_fd, is_remote = bool(flags & _FD_FDF), bool(identifier & _RTR_FLAG)
        extended = bool(identifier & _EFF_FLAG)
        if (
            (is_fd and (is_remote or not self._fd))
            or length > _LARGEST_DATA[is_fd]
            or len(data) != (0 if is_remote else length)
            or (not extended and identifier & _EFF_MASK > _SFF_MASK)
        ):
            return None
        return can.Message(
            timestamp=timestamp,
            arbitration_id=identifier & _EFF_MASK,
            is_extended_id=extended,
            is_remote_frame=is_remote,
            is_error_frame=bool(identifier & _ERR_FLAG),
            dlc=length,
            data=data,
            is_fd=is_fd,
            bitrate_switch=bool(flags & _FD_BRS),
            error_state_indicator=bool(flags & _FD_ESI),
            channel=self.channel_info,
        )

    def fileno(self) -> int:
        """Descriptor of the socket, for select."""
        return self._socket.fileno()

    def shutdown(self) -> None:
        """Close the socket."""
        super().shutdown()
        self._socket.close()
