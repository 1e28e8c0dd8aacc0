# SPDX-License-Identifier: Apache-2.0
"""State estimation of every cell."""
