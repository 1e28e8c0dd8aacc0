# SPDX-License-Identifier: Apache-2.0
"""Entry point: catches Ctrl-C before anything else, as the imports take a second."""

import sys
from collections.abc import Sequence

from ibms_tools.stop import Stop


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns its exit code."""
    stop = Stop()
    from ibms_tools.demo.run import run

    return run(sys.argv[1:] if arguments is None else arguments, stop)


if __name__ == "__main__":
    raise SystemExit(main())
