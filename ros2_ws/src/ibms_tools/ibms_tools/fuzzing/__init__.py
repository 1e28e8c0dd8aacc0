# SPDX-License-Identifier: Apache-2.0
"""Bad frames on the bus, and what they must not do to the edge."""
