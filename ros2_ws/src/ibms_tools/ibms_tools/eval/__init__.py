# SPDX-License-Identifier: Apache-2.0
"""The project's algorithms on measured data."""
