# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a running graph: counted and decoded cheaply, shown on one screen."""
