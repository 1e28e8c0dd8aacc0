# SPDX-License-Identifier: Apache-2.0
"""Playing bags into one node or into the graph."""
