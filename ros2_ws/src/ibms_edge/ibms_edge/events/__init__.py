# SPDX-License-Identifier: Apache-2.0
"""Memory of events."""
