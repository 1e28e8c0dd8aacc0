# SPDX-License-Identifier: Apache-2.0
"""Command line of the demo, checked in full before anything starts."""

import argparse
import math
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ibms_battery.pack import Pack, load_pack
from ibms_bringup.launcher.packages import find_share
from ibms_end.can.bus import BusConfiguration
from ibms_sim.faults import BY_NAME, FAULTS, NO_ELEMENT, Fault, InjectCode, check, element_count

INTERFACE = "ibms_local"
_RECORDED_PACK = "ev_96s_lg_18650hg2"
_SIMULATION_OF = {"robot_12s": "robot"}  # what a pack drives; the others are cars
_CAR, _CHARGING = "ev_udds", "ev_charging"
# What is injected where no value is given: enough for a reaction of protection.
_VALUES = {
    "cell_voltage": 4.5,
    "cell_voltage_offset": 0.8,
    "cell_temperature": 75.0,
    "internal_short": 0.01,
    "temperature_rate": 5.0,
    "runaway": 5.0,
    "module_voltage_offset": -3.0,
    "device_time_jump": 100.0,
    "wrong_identity": 1,
    "afe_corruption": 3,
    "current_offset": -1000.0,
    "current_value": -1000.0,
    "redundant_current_offset": -1000.0,
    "insulation_resistance": 20e3,
    "gas": 2000.0,
    "shock": 100.0,
    "humidity": 99.0,
    "pressure": 130e3,
    "link_short": 0.5,
    "charger_over_delivery": 1.5,
    "precharge_slow": 100.0,
    "does_not_open_slow": 2.0,
    "wrong_switch_count": 1,
}
_INJECTION = re.compile(r"(?P<name>\w+)(:(?P<element>\d+)(:(?P<value>[^:@]+))?)?@(?P<at>[^@]+)")


@dataclass(frozen=True)
class Injection:
    """A fault to inject ``at_s`` seconds after the pack has reached drive or charge."""

    fault: Fault
    element: int
    value: float
    at_s: float

    def __str__(self) -> str:
        """In words."""
        element = "" if self.element == NO_ELEMENT else f" {self.fault.element} {self.element}"
        value = "" if math.isnan(self.value) else f" = {self.value:g} {self.fault.unit}"
        return f"{self.fault.name}{element}{value}"


@dataclass(frozen=True)
class Options:
    """What the demo is to do.

    Attributes:
        command: how it was called.
        charge: charge the pack with a simulated charger instead of driving it.
    """

    command: str
    pack_file: Path
    pack: Pack
    simulation_file: Path
    bus: BusConfiguration
    duration_s: float | None
    json: Path | None
    charge: bool
    cells: Path | None
    from_s: float
    injections: tuple[Injection, ...]
    chain: str
    log: Path


def parse(arguments: Sequence[str]) -> Options:
    """Parse and check the command line.

    Raises:
        SystemExit: with 2 and a sentence for a wrong call, with 0 after --help.
        ConfigurationError: if the pack's description is wrong.
    """
    config = find_share("ibms_bringup", os.environ) / "config"
    packs = {path.stem: path for path in sorted((config / "packs").glob("*.yaml"))}
    parser = _parser(packs)
    options = parser.parse_args(arguments)
    name = options.pack or (_RECORDED_PACK if options.cells else "ev_96s")
    pack_file = packs.get(name, Path(name))
    if not pack_file.is_file():
        parser.error(f"--pack: {name!r} is neither a file nor one of {', '.join(packs)}")
    pack = load_pack(pack_file)
    if options.cells is not None and not options.cells.is_file():
        parser.error(f"--cells: there is no file {options.cells}")
    if options.json is not None and not options.json.resolve().parent.is_dir():
        parser.error(f"--json: there is no folder {options.json.resolve().parent}")
    try:
        injections = tuple(injection(text, pack) for text in options.inject)
    except ValueError as error:
        parser.error(f"--inject: {error}")
    if options.charge and options.cells is not None:
        parser.error("--charge: measured cells cannot be charged, leave out --cells")
    if options.charge and pack.charger is None:
        parser.error(f"--charge: the description of {pack.name} names no charger")
    simulation = _CHARGING if options.charge else _SIMULATION_OF.get(pack.name, _CAR)
    return Options(
        command=shlex.join(["./ibms", "demo", *arguments]),
        pack_file=pack_file.absolute(),
        pack=pack,
        simulation_file=config / "simulation" / f"{simulation}.yaml",
        bus=BusConfiguration(INTERFACE, str(options.bus_channel)),
        duration_s=options.duration,
        json=options.json,
        charge=options.charge,
        cells=options.cells.resolve() if options.cells else None,
        from_s=options.from_s,
        injections=tuple(sorted(injections, key=lambda item: item.at_s)),
        chain=options.chain,
        log=(options.log or project_folder() / "log" / f"demo_{options.bus_channel}").resolve(),
    )


def injection(text: str, pack: Pack) -> Injection:
    """Read ``FAULT[:ELEMENT[:VALUE]]@SECONDS``.

    Raises:
        ValueError: with a sentence that says what is possible.
    """
    match = _INJECTION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not FAULT[:ELEMENT[:VALUE]]@SECONDS, e.g. cell_voltage@10")
    fault = BY_NAME.get(match["name"])
    if fault is None:
        names = ", ".join(fault.name for fault in FAULTS)
        raise ValueError(f"no fault is called {match['name']!r}; there are {names}")
    at_s = _number(text, match["at"])
    if not 0 <= at_s < math.inf:
        raise ValueError(f"{text!r}: the time must not be negative")
    count = element_count(fault, pack)
    given = match["element"]
    if count == 0 and given not in (None, "0"):
        raise ValueError(f"{fault.name} has no element; with a value it is {fault.name}:0:VALUE")
    element = NO_ELEMENT if count == 0 else int(given or 0)
    value = math.nan
    if fault.unit:
        value = _number(text, match["value"]) if match["value"] else _VALUES[fault.name]
    elif match["value"]:
        raise ValueError(f"{fault.name} takes no value")
    if check(fault, element, value, pack) is not InjectCode.OK:
        bounds = [f"{fault.element} 0 to {count - 1}"] if count else []
        bounds += [f"{fault.minimum:g} to {fault.maximum:g} {fault.unit}"] if fault.unit else []
        raise ValueError(f"{text!r} is out of range; {fault.name} takes {' and '.join(bounds)}")
    return Injection(fault, element, value, at_s)


def project_folder() -> Path:
    """The checkout that this module belongs to; the current folder where it was installed."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "ibms").is_file() and (folder / "ros2_ws").is_dir():
            return folder
    return Path.cwd()


def _number(text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise ValueError(f"{text!r}: {value!r} is not a number") from error


def _positive(text: str) -> float:
    value = _seconds(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def _not_negative(text: str) -> float:
    value = _seconds(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 0 on")
    return value


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None


def _port(text: str) -> int:
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a UDP port from 1024 to 65535")
    return int(text)


def _parser(packs: Sequence[str] | dict[str, Path]) -> argparse.ArgumentParser:
    faults = "\n".join(
        f"  {fault.name:<27}{fault.element:<8}{fault.unit:<7}{fault.description}"
        for fault in FAULTS
    )
    parser = argparse.ArgumentParser(
        prog="ibms demo",
        description="Drives a simulated pack through the whole graph and shows it live.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"faults, with the element and the unit of the value that they take:\n{faults}",
    )
    parser.add_argument(
        "--duration",
        type=_positive,
        metavar="SECONDS",
        help="end after this time in drive or charge",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary")
    parser.add_argument(
        "--pack",
        metavar="NAME|FILE",
        help=f"one of {', '.join(packs)}, or a file; default ev_96s, with --cells {_RECORDED_PACK}",
    )
    parser.add_argument(
        "--charge", action="store_true", help="charge it with a simulated charger instead"
    )
    parser.add_argument(
        "--cells",
        type=Path,
        metavar="FILE",
        help="replay measured cell data as the pack's cells, and compare the SOC with it",
    )
    parser.add_argument(
        "--from",
        dest="from_s",
        type=_not_negative,
        default=0.0,
        metavar="SECONDS",
        help="where in the measured data to begin",
    )
    parser.add_argument(
        "--inject",
        action="append",
        default=[],
        metavar="FAULT[:ELEMENT[:VALUE]]@SECONDS",
        help="inject a fault that long after drive or charge was reached; may be repeated",
    )
    parser.add_argument(
        "--bus-channel",
        type=_port,
        default=int(BusConfiguration().channel),
        metavar="PORT",
        help="the local bus to run on (default %(default)s); one demo per bus",
    )
    parser.add_argument(
        "--chain",
        choices=("separate", "composed"),
        default="separate",
        help="AFE driver, protection and switch control in a process each, or in one",
    )
    parser.add_argument("--log", type=Path, metavar="FOLDER", help="folder of the nodes' output")
    return parser
