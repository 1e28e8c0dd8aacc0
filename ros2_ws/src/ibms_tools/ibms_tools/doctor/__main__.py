# SPDX-License-Identifier: Apache-2.0
"""Entry point: one line per check; the exit code is 1 if one failed."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

from ibms_bringup.launcher.packages import find_share
from ibms_end.can.bus import BusConfiguration
from ibms_tools.doctor import bus, dds, files
from ibms_tools.doctor.finding import Finding


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and print."""
    default = BusConfiguration()
    parser = argparse.ArgumentParser(prog="ibms doctor", description=__doc__)
    parser.add_argument(
        "--bus-interface",
        metavar="NAME",
        help=f"python-can interface to listen on (default {default.interface})",
    )
    parser.add_argument(
        "--bus-channel", metavar="NAME", help=f"its channel (default {default.channel})"
    )
    options = parser.parse_args(arguments)
    failed = False
    for finding in _findings(options.bus_interface, options.bus_channel):
        print(finding, flush=True)
        failed = failed or finding.level == "FAIL"
    return int(failed)


def _findings(interface: str | None, channel: str | None) -> Iterator[Finding]:
    share = find_share("ibms_bringup", os.environ)
    yield from files.check(share / "config", share / "launch")
    default = BusConfiguration()
    chosen = BusConfiguration(interface or default.interface, channel or default.channel)
    is_expected = interface is not None or channel is not None
    yield from bus.check(chosen, is_expected, sorted((share / "config" / "can").glob("*.dbc")))
    yield dds.check_reach(os.environ)
    yield dds.check_loopback()


if __name__ == "__main__":
    sys.exit(main())
