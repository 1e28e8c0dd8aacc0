# SPDX-License-Identifier: Apache-2.0
"""Plays a bag into one node, as fast as it goes, or into a graph of nodes over DDS.

Into one node (--node) the real node's handlers run in this process, on the recorded time: two
replays are equal to the bit. Into the graph (--graph) the recorded messages go through DDS, at a
chosen rate and in a domain of their own, into nodes started for it; every input of every node is
counted.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from ibms_battery import results
from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import load_pack
from ibms_battery.results import Result
from ibms_bringup.launcher.errors import LaunchError
from ibms_ros_common.parameters import ParameterError
from ibms_tools.bag.errors import BagError
from ibms_tools.bag.reader import BagReader
from ibms_tools.bag.writer import BagWriter
from ibms_tools.playback.graph_replay import GraphReplay, replay_graph
from ibms_tools.playback.node_replay import NodeReplay, replay_node
from ibms_tools.playback.nodes import NODES, ReplayError
from ibms_tools.playback.soc_trace import SocTrace, reference_of
from ibms_tools.record import DEFAULT_NAMESPACE

_ESTIMATOR = "state_estimator"
_DOMAIN = 99


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay; returns 0 only if no input was missing."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        parameters = _parameters(options.param)
        with BagReader(options.bag) as bag:
            if options.graph:
                return _into_graph(options, bag, parameters)
            return _into_node(options, bag, parameters)
    except KeyboardInterrupt:
        print("ibms replay: interrupted", file=sys.stderr)
        return 130
    except (
        BagError, ConfigurationError, LaunchError, ParameterError, ReplayError, results.ResultsError
    ) as error:  # fmt: skip
        print(f"ibms replay: {error}", file=sys.stderr)
        return 1


def _into_node(options: argparse.Namespace, bag: BagReader, parameters: dict[str, Any]) -> int:
    reference = reference_of(bag) if options.node == _ESTIMATOR else None
    trace = None
    if reference is not None and "pack" in parameters:
        trace = SocTrace(reference, load_pack(parameters["pack"]))
    with ExitStack() as stack:
        output = stack.enter_context(BagWriter(options.output)) if options.output else None
        replay = replay_node(
            options.node,
            bag,
            options.namespace,
            parameters,
            output,
            heard=trace.heard if trace is not None else None,
            said=trace.said if trace is not None else None,
        )
    context = f"{options.node}, {options.bag.name}"
    figures = _node_figures(replay, context)
    for topic, count in replay.received.items():
        print(f"in  {count:>9}  {topic}" + _stale_note(replay.stale[topic]))
    for topic, count in replay.published.items():
        print(f"out {count:>9}  {topic}")
    print(f"{replay.recorded_s:.1f} s in {replay.wall_s:.2f} s, {replay.speed_factor:.0f} times")
    print(f"SHA-256 of the output: {replay.digest}")
    if trace is not None:
        error = trace.error()
        print(
            f"SOC against counted charge, {error.samples} samples: RMSE {error.rmse:.2%}, "
            f"largest {error.largest:.2%}, at the end {error.final:.2%}"
        )
        figures += error.results("replay.soc", context)
    _write_figures(options, figures)
    return 0


def _into_graph(options: argparse.Namespace, bag: BagReader, parameters: dict[str, Any]) -> int:
    replay = replay_graph(
        bag, options.namespace, parameters, options.rate, options.domain, options.topics
    )
    for line in replay.lines():
        print(line)
    _write_figures(options, _graph_figures(replay, f"rate {options.rate:g}, {options.bag.name}"))
    return 0 if replay.is_equal else 1


def _stale_note(count: int) -> str:
    return f"  ({count} of them stale)" if count else ""


def _node_figures(replay: NodeReplay, context: str) -> list[Result]:
    return [
        Result("replay.speed_factor", replay.speed_factor, "1", context=context),
        Result("replay.inputs", sum(replay.received.values()), "messages", context=context),
        Result("replay.inputs_stale", sum(replay.stale.values()), "messages", context=context),
        Result("replay.outputs", sum(replay.published.values()), "messages", context=context),
    ]


def _graph_figures(replay: GraphReplay, context: str) -> list[Result]:
    inputs = replay.inputs
    return [
        Result("replay.graph.inputs", sum(i.expected for i in inputs), "messages", None, context),
        Result("replay.graph.missing", sum(i.missing for i in inputs), "messages", "<= 0", context),
        Result("replay.graph.stale", sum(i.stale for i in inputs), "messages", None, context),
        Result("replay.graph.different_outputs", replay.different, "messages", "<= 0", context),
    ]


def _write_figures(options: argparse.Namespace, figures: list[Result]) -> None:
    if options.json is not None:
        target = "--graph" if options.graph else f"--node {options.node}"
        command = f"./ibms replay {options.bag.name} {target}"
        results.write(results.measured(command, figures), options.json)


def _parameters(texts: Sequence[str]) -> dict[str, Any]:
    parameters = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (name and separator):
            raise ReplayError(f"--param {text}: expected NAME=VALUE")
        parameters[name] = yaml.safe_load(value) if value else ""
    return parameters


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ibms replay", description=__doc__)
    parser.add_argument("bag", type=Path, help="folder of a bag, or an MCAP file")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--node", choices=list(NODES), help="play into this node alone")
    target.add_argument("--graph", action="store_true", help="play into nodes started for it")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the node, or argument of launch/replay.launch.xml",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--namespace", default=DEFAULT_NAMESPACE, help="default: %(default)s")
    node = parser.add_argument_group("into one node")
    node.add_argument("--output", type=Path, metavar="DIR", help="bag of what the node publishes")
    graph = parser.add_argument_group("into the graph")
    graph.add_argument("--rate", type=float, default=1.0, help="times real time (default: 1)")
    graph.add_argument("--topics", nargs="+", metavar="TOPIC", help="play only these")
    graph.add_argument(
        "--domain", type=int, default=_DOMAIN, help="DDS domain (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.graph and options.output:
        parser.error("--output goes with --node")
    if options.rate <= 0:
        parser.error("--rate must be above 0")
    return options


if __name__ == "__main__":
    sys.exit(main())
