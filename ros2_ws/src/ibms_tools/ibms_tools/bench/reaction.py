# SPDX-License-Identifier: Apache-2.0
"""``./ibms bench reaction``: from the first frame that shows a fault to the open command, by fault.

The graph runs as shipped, with the simulated pack on a CAN channel of its own. All times are the
kernel's receive stamps of an independent process that speaks only CAN; "opened" is the frame with
which the simulation says that no contact truly conducts any more. A sender that is lost counts from
its last frame. Beside each figure stands the one computed for foxBMS 2 v1.11.0.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ibms_battery.results import Result, measured, write
from ibms_tools.bench.availability import measure_availability
from ibms_tools.bench.faults import FAULTS, measure_fault
from ibms_tools.bench.figures import prefix, show
from ibms_tools.bench.losses import measure_losses
from ibms_tools.bench.pack_under_test import PackUnderTest
from ibms_tools.bench.senders import SENDERS, measure_sender, with_charger

_PACK = "ev_96s"
_CHANNEL = 43780


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; exit code 0 if it could measure, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="ibms bench reaction", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--trials", type=int, default=100, help="of each fault")
    parser.add_argument("--losses", type=int, default=5, help="of each part of the chain")
    known = [*(fault.name for fault in FAULTS), *SENDERS]
    parser.add_argument("--faults", default=",".join(known), help="only these")
    parser.add_argument(
        "--chain",
        choices=("separate", "composed"),
        default="separate",
        help="a process for each node of the chain, or one for all",
    )
    parser.add_argument(
        "--availability",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="also drive for so long, as an hour, and count openings that nothing needed",
    )
    parser.add_argument(
        "--load",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="also drive for so long, as ten minutes, while another process loads every core",
    )
    options = parser.parse_args(arguments)
    wanted = options.faults.split(",") if options.faults else []
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        parser.error(f"--faults: there is no {unknown[0]!r}, there are {', '.join(known)}")
    console = Console()
    composed = options.chain == "composed"
    results: list[Result] = []
    try:
        with tempfile.TemporaryDirectory(prefix="ibms_bench_") as folder:
            chosen = [fault for fault in FAULTS if fault.name in wanted]
            if options.trials and chosen:
                with under_test(Path(folder), composed) as running:
                    running.wait_for_standby()
                    for fault in chosen:
                        results += measure_fault(running, fault, options.trials, composed, console)
            if options.losses:
                with under_test(Path(folder), composed) as running:
                    running.wait_for_standby()
                    results += measure_losses(running, options.losses, composed, console)
            for seconds, is_loaded in ((options.availability, False), (options.load, True)):
                if seconds:
                    with under_test(Path(folder), composed) as running:
                        running.wait_for_standby()
                        results += measure_availability(
                            running, seconds, is_loaded, prefix(composed), console
                        )
            silenced = [name for name in SENDERS if name in wanted]
            if options.trials and silenced:
                with under_test(Path(folder), composed, with_charger()) as running:
                    running.wait_for_standby()
                    for name in silenced:
                        results += measure_sender(
                            running, name, options.trials, prefix(composed), console
                        )
    finally:  # what was measured is kept, whatever went wrong afterwards
        if options.json:
            command = " ".join(["./ibms bench reaction", *(arguments or sys.argv[1:])])
            write(measured(command, results), options.json)
        show(results, console)
    return 0


def under_test(
    folder: Path, composed: bool, arguments: dict[str, str] | None = None
) -> PackUnderTest:
    """The pack on its own DDS domain and bus."""
    domain = int(os.environ.get("ROS_DOMAIN_ID", "80"))
    return PackUnderTest(_PACK, domain, str(_CHANNEL), folder, arguments, composed)


if __name__ == "__main__":
    sys.exit(main())
