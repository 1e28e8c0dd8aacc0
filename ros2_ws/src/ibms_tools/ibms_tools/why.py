# SPDX-License-Identifier: Apache-2.0
"""Tells why the pack opened, out of the event memory; the graph may run or not.

Says when it was, what was demanded first, what followed, how long it took until open was verified,
and what current and cells were like. --bag writes the freeze frame of the opening as a bag.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ibms_edge.events.explanation import Explanation, explain, story
from ibms_edge.events.reader import EventReader, MemoryReadError

_STATE = Path("~/.ros/ibms")
_SUFFIX = ".events.sqlite"
_NAMESPACE = "battery"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the story; returns 1 if there is none to tell."""
    options = _parse(arguments)
    try:
        path = memory_in(options.state_directory.expanduser(), options.pack)
        with EventReader(path) as memory:
            explanation = explain(memory, options.index)
            if explanation is None:
                print(f"ibms why: {_nothing(memory, options.index)}", file=sys.stderr)
                return 1
            if options.bag is not None:
                return _write_bag(options, memory, explanation)
    except MemoryReadError as error:
        print(f"ibms why: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(as_json(explanation))
    else:
        print(story(explanation))
        print(_outlook(options, explanation, path))
    return 0


def memory_in(folder: Path, pack: str | None) -> Path:
    """The event memory of a pack in ``folder``, without a name the one written last.

    Raises:
        MemoryReadError: if there is none.
    """
    found = {path.name.removesuffix(_SUFFIX): path for path in folder.glob(f"*{_SUFFIX}")}
    if pack is None and found:
        return max(found.values(), key=_written)
    if pack in found:
        return found[pack]
    there = f"there are {', '.join(sorted(found))}" if found else "nothing was recorded there yet"
    what = "no event memory" if pack is None else f"no event memory of pack {pack!r}"
    raise MemoryReadError(
        f"{folder}: {what}; {there}. --state-directory names another folder, as the launch "
        "argument state_directory does (the demo's is log/demo_43200/state)"
    )


def as_json(explanation: Explanation) -> str:
    """The explanation for programs; what is not known is null."""
    known = msgspec.to_builtins(explanation)
    known["opened_after_ms"] = explanation.opened_after_ms
    return msgspec.json.format(msgspec.json.encode(known)).decode()


def _written(path: Path) -> float:
    log = path.with_name(f"{path.name}-wal")
    return max(file.stat().st_mtime for file in (path, log) if file.exists())


def _nothing(memory: EventReader, index: int) -> str:
    count = memory.openings()
    if count == 0:
        return f"{memory.path}: no opening of the pack was recorded yet"
    return f"{memory.path}: holds {count} openings, the oldest is --index {count - 1}, not {index}"


def _outlook(options: argparse.Namespace, explanation: Explanation, path: Path) -> str:
    lines = [f"Opening {explanation.index + 1} of {explanation.openings} in {path}."]
    if explanation.frame is not None:
        command = ["./ibms", "why"]  # what was given says which opening of which memory
        if options.index:
            command += ["--index", str(options.index)]
        if options.state_directory != _STATE:
            command += ["--state-directory", str(options.state_directory)]
        if options.pack is not None:
            command += ["--pack", options.pack]
        lines.append(
            f"To look at it: {shlex.join([*command, '--bag', 'opening'])}, then "
            "./ibms replay opening --node protection, or open it in PlotJuggler or Foxglove."
        )
    return "\n".join(lines)


def _write_bag(options: argparse.Namespace, memory: EventReader, explanation: Explanation) -> int:
    # Takes a second to load, for those who need it.
    from ibms_tools.bag.errors import BagError
    from ibms_tools.freeze_frame import write_bag

    if explanation.frame is None:
        print("ibms why: there is no freeze frame of this opening", file=sys.stderr)
        return 1
    try:
        messages = memory.messages(explanation.frame)
        counts = write_bag(options.bag, explanation.frame, messages, options.namespace)
    except (BagError, ValueError) as error:
        print(f"ibms why: {error}", file=sys.stderr)
        return 1
    for topic, count in counts.items():
        print(f"{count:>9}  {topic}")
    print(f"written to {options.bag}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ibms why",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--index", type=int, default=0, metavar="N", help="0: the last opening, 1: the one before"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument(
        "--state-directory",
        type=Path,
        default=_STATE,
        metavar="DIR",
        help="folder of the event memory (default: %(default)s)",
    )
    parser.add_argument(
        "--pack", metavar="NAME", help="whose memory; default: the one that was written last"
    )
    parser.add_argument("--bag", type=Path, metavar="DIR", help="write the freeze frame there")
    parser.add_argument(
        "--namespace", default=_NAMESPACE, help="of the topics in the bag (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.index < 0:
        parser.error("--index counts from 0, the last opening")
    return options


if __name__ == "__main__":
    sys.exit(main())
