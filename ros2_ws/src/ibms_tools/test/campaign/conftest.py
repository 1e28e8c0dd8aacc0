# SPDX-License-Identifier: Apache-2.0
"""A context of rclpy for nodes that never send."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.context import Context

CONFIG = Path(__file__).resolve().parents[5] / "config"


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(args=[], context=context)
    yield context
    context.try_shutdown()
