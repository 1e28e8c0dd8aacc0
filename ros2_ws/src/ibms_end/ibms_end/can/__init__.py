# SPDX-License-Identifier: Apache-2.0
"""CAN bus access and the codec of protected frames. No ROS."""
