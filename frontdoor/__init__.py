# SPDX-License-Identifier: Apache-2.0
"""Front door of the project: set-up and start of everything, with the standard library only."""
