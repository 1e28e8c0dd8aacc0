# SPDX-License-Identifier: Apache-2.0
"""Command-line tools of IBMS: demo, record, replay, benchmarks, evaluation, doctor."""
