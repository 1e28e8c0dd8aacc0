# SPDX-License-Identifier: Apache-2.0
"""The demo: a simulated pack driven through the whole graph, live on screen."""
