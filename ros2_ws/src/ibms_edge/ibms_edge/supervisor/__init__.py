# SPDX-License-Identifier: Apache-2.0
"""Pack supervisor: the state machine that users talk to."""
