# SPDX-License-Identifier: Apache-2.0
from ibms_tools.bench.figures import prefix, quantiles


def test_quantiles_of_times() -> None:
    values = [float(i) for i in range(200, 0, -1)]
    results = quantiles("x", values, "context", "<= 100", "<= 150")
    assert [(r.name, r.value, r.met) for r in results] == [
        ("x.count", 200, None),
        ("x.median", 100.5, False),
        ("x.p99", 198.0, False),
        ("x.max", 200.0, None),
    ]


def test_prefix_tells_the_composed_chain() -> None:
    assert (prefix(True), prefix(False)) == ("composed.", "")
