# SPDX-License-Identifier: Apache-2.0
"""Sends messages between two processes over DDS, and looks at where DDS may send them."""

import multiprocessing
import os
import time
from collections.abc import Mapping
from xml.etree import ElementTree

from ibms_tools.doctor.finding import Finding

_TOPIC = "dds"
_TIMEOUT_S = 10.0
_PERIOD_S = 0.05
_WANTED = 5


def check_reach(environment: Mapping[str, str]) -> Finding:
    """Whether DDS stays on this machine, by the variables that ROS 2 reads."""
    domain = environment.get("ROS_DOMAIN_ID", "0")
    reach = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET").upper()
    peers = environment.get("ROS_STATIC_PEERS", "") if reach != "SYSTEM_DEFAULT" else ""
    if environment.get("ROS_LOCALHOST_ONLY", "0") == "1" or (
        (reach in ("LOCALHOST", "OFF") or _is_loopback_profile(environment)) and not peers
    ):
        return Finding("OK", _TOPIC, f"domain {domain}, stays on this machine")
    where = f"to the peers {peers}" if peers else f"into the network (discovery range {reach})"
    return Finding(
        "WARN",
        _TOPIC,
        f"domain {domain} reaches out {where}: others can see and disturb the graph",
        "unset ROS_STATIC_PEERS, ROS_AUTOMATIC_DISCOVERY_RANGE and FASTRTPS_DEFAULT_PROFILES_FILE: "
        "ibms then stays on this machine",
    )


def _is_loopback_profile(environment: Mapping[str, str]) -> bool:
    """Whether a profile of Fast DDS leaves it the loopback address only."""
    try:
        root = ElementTree.parse(environment["FASTRTPS_DEFAULT_PROFILES_FILE"]).getroot()
    except (KeyError, OSError, ElementTree.ParseError):
        return False
    transports = root.findall(".//{*}transport_descriptor")
    addresses = [
        [address.text for address in transport.findall("{*}interfaceWhiteList/{*}address")]
        for transport in transports
    ]
    builtin = [element.text for element in root.findall(".//{*}useBuiltinTransports")]
    return bool(addresses) and all(a == ["127.0.0.1"] for a in addresses) and builtin == ["false"]


def check_loopback() -> Finding:
    """Whether messages of another process arrive here."""
    topic = f"ibms_doctor_{os.getpid()}"
    start_s = time.monotonic()
    talker = multiprocessing.get_context("spawn").Process(target=talk, args=(topic,), daemon=True)
    talker.start()
    try:
        received = _listen(topic, start_s + _TIMEOUT_S)
    finally:
        talker.terminate()
        talker.join()
    taken_s = time.monotonic() - start_s
    if received < _WANTED:
        return Finding(
            "FAIL",
            _TOPIC,
            f"{received} messages of another process arrived within {_TIMEOUT_S:g} s",
            "let the firewall pass UDP on lo, and set the same RMW_IMPLEMENTATION everywhere",
        )
    return Finding("OK", _TOPIC, f"two processes talk, {taken_s:.1f} s with their start")


def talk(topic: str) -> None:
    """Publish until the end; runs in a process of its own."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from std_msgs.msg import UInt32

    # Without handlers: a terminated talker ends at once and silently.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("ibms_doctor_talker")
    publisher = node.create_publisher(UInt32, topic, 10)
    while True:
        publisher.publish(UInt32(data=1))
        time.sleep(_PERIOD_S)


def _listen(topic: str, end_s: float) -> int:
    import rclpy
    from std_msgs.msg import UInt32

    rclpy.init()
    node = rclpy.create_node("ibms_doctor_listener")
    received = 0

    def count(_message: UInt32) -> None:
        nonlocal received
        received += 1

    node.create_subscription(UInt32, topic, count, 10)
    while received < _WANTED and time.monotonic() < end_s:
        rclpy.spin_once(node, timeout_sec=_PERIOD_S)
    node.destroy_node()
    rclpy.shutdown()
    return received
