# SPDX-License-Identifier: Apache-2.0
"""``./ibms bench fuzz``: bad frames into everything that receives: what passes, what it causes.

Two equal packs run side by side on a virtual clock, over encoded frames on a bus in memory; one of
them is sent bad frames between the true ones. What differs was caused by them. Then the nodes of
the chain run in closed loop with the simulated pack, and faults have to open it among bad frames.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import rclpy
from ament_index_python.packages import get_package_share_directory
from rclpy.context import Context
from rich.console import Console
from rich.table import Table

from ibms_battery.pack import load_pack
from ibms_battery.results import Result, measured, write
from ibms_end.can.codec import data_id_of
from ibms_end.mapping import load_map
from ibms_tools.bench.figures import show
from ibms_tools.fuzzing.bit_errors import LONGEST_BURST_BITS, undetected_bursts
from ibms_tools.fuzzing.standing_faults import ALLOWED_DELAY_S, FAULTS, is_masked, run_trial
from ibms_tools.fuzzing.twins import Findings, compare, deliver_any_payload

_MEMORY_LIMIT_MB = 5.0
_LOOP_PACK = "robot_12s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; exit code 0 if every figure that has a target keeps it."""
    parser = argparse.ArgumentParser(prog="ibms bench fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="bad frames to send")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pack", default="ev_96s", help="a file of config/packs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    if options.frames < 1:
        parser.error("--frames must be at least 1")
    console = Console()
    pack_file = _share() / "config" / "packs" / f"{options.pack}.yaml"
    start_s = time.monotonic()
    results = errors(pack_file)
    found = compare(pack_file, options.frames, options.seed)
    outputs, implausible = deliver_any_payload(pack_file, options.frames // 10, options.seed)
    results += figures(found, options.seed)
    results.append(
        Result(
            "fuzz.any_payload.implausible",
            implausible,
            "1",
            "== 0",
            f"of {outputs} outputs from random payloads with the right CRC and counter",
        )
    )
    results += standing_faults(options.seed)
    results.append(Result("fuzz.time", round(time.monotonic() - start_s, 1), "s"))
    if options.json:
        command = " ".join(["./ibms bench fuzz", *(arguments or sys.argv[1:])])
        write(measured(command, results), options.json)
    _show_kinds(found, console)
    show(results, console)
    return 0 if all(result.met is not False for result in results) else 1


def errors(pack_file: Path) -> list[Result]:
    """Every burst on every message of the bus."""
    pack = load_pack(pack_file)
    database = load_map(pack_file.parent.parent / "can" / "maps" / pack.can_map, pack).database
    protected = [m for m in database.messages if data_id_of(m) is not None]
    counts = [undetected_bursts(message) for message in protected]
    tried = sum(count for count, _ in counts)
    return [
        Result(
            "fuzz.bursts.undetected",
            sum(passed for _, passed in counts),
            "1",
            "== 0",
            f"{tried} single bits and bursts of up to {LONGEST_BURST_BITS} bits, all of "
            f"{len(protected)} messages",
        )
    ]


def figures(found: Findings, seed: int) -> list[Result]:
    """What two worlds showed."""
    context = f"{found.frames} bad frames, seed {seed}"
    return [
        Result("fuzz.frames", found.frames, "1", None, f"without a crash, seed {seed}"),
        Result(
            "fuzz.passed_crc",
            found.crc_by_chance,
            "1",
            f"<= {found.crc_bound:.4g}",
            f"{context}; {found.expected_crc:.4g} expected, 3 sigma above",
        ),
        Result(
            "fuzz.accepted",
            found.accepted.total(),
            "1",
            f"<= {found.accepted_bound:.4g}",
            f"{context}; {found.expected_accepted:.4g} expected to pass CRC and counter",
        ),
        Result(
            "fuzz.accepted.impossible",
            found.certain_accepted,
            "1",
            "== 0",
            "few wrong bits, wrong length or identifier, repeated, old, remote and error frames",
        ),
        Result("fuzz.implausible", found.implausible, "1", "== 0", f"of {found.delivered} outputs"),
        Result(
            "fuzz.closes_caused",
            found.closes_caused,
            "1",
            "== 0",
            f"{found.closings} closings by request in the undisturbed pack",
        ),
        Result("fuzz.openings_masked", found.openings_masked, "1", "== 0", context),
        Result(
            "fuzz.openings_caused",
            found.openings_caused,
            "1",
            None,
            "safe, though not needed: repeated and old frames cost the true one after them",
        ),
        Result(
            "fuzz.memory_growth",
            round(found.memory_growth_bytes / 1e6, 3),
            "MB",
            f"<= {_MEMORY_LIMIT_MB:g}",
            "resident memory after a fifth of the frames against the end",
        ),
    ]


def standing_faults(seed: int) -> list[Result]:
    """The nodes of the chain among bad frames while a fault stands."""
    pack_file = _share() / "config" / "packs" / f"{_LOOP_PACK}.yaml"
    context = Context()
    rclpy.init(args=[], context=context)
    try:
        trials = [
            (
                run_trial(fault, pack_file, context, None),
                run_trial(fault, pack_file, context, Random(seed + number)),
            )
            for number, fault in enumerate(FAULTS)
        ]
    finally:
        context.try_shutdown()
    disturbed = [trial for _, trial in trials]
    frames = sum(trial.frames for trial in disturbed)
    valid = sum(trial.drove and not trial.opened_early for trial in disturbed)
    delay_s = max((trial.opening_s or 0.0) - (calm.opening_s or 0.0) for calm, trial in trials)
    context_text = f"{len(trials)} faults in {_LOOP_PACK}, {frames} bad frames between true ones"
    return [
        Result(
            "fuzz.standing_faults.valid",
            valid,
            "1",
            f"== {len(trials)}",
            f"{context_text}; so many packs still drove when the fault came",
        ),
        Result(
            "fuzz.standing_faults.masked",
            sum(is_masked(calm, trial) for calm, trial in trials),
            "1",
            "== 0",
            context_text,
        ),
        Result(
            "fuzz.standing_faults.delay",
            round(1e3 * delay_s, 1),
            "ms",
            f"<= {1e3 * ALLOWED_DELAY_S:g}",
            "latest opening against the undisturbed pack",
        ),
        Result(
            "fuzz.standing_faults.closed",
            sum(trial.closed_unasked + trial.closed_again for trial in disturbed),
            "1",
            "== 0",
            "closed before anybody asked, or at a request while the fault stood",
        ),
    ]


def _share() -> Path:
    return Path(get_package_share_directory("ibms_bringup"))


def _show_kinds(found: Findings, console: Console) -> None:
    kinds = Table("kind", "sent", "passed CRC", "accepted")
    for kind, count in found.sent.items():
        kinds.add_row(
            kind.value, str(count), str(found.passed_crc[kind]), str(found.accepted[kind])
        )
    console.print(kinds)


if __name__ == "__main__":
    raise SystemExit(main())
