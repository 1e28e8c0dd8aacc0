# SPDX-License-Identifier: Apache-2.0
"""What the pack can give and take now."""
