# SPDX-License-Identifier: Apache-2.0
from ibms_tools.bench.figures import prefix, quantile, quantiles


def test_quantiles_of_times() -> None:
    values = [float(i) for i in range(200, 0, -1)]
    results = quantiles("x", values, "context", "<= 100", "<= 150")
    assert [(r.name, r.value, r.met) for r in results] == [
        ("x.count", 200, None),
        ("x.median", 100.5, False),
        ("x.p99", 198.0, False),
        ("x.max", 200.0, None),
    ]


def test_a_quantile_is_a_value_that_occurred() -> None:
    values = [float(i) for i in range(100, 0, -1)]
    assert [quantile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile([3.0], 0.5) == quantile([3.0], 0.99) == 3.0


def test_prefix_tells_the_composed_chain() -> None:
    assert (prefix(True), prefix(False)) == ("composed.", "")
