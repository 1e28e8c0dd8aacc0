# SPDX-License-Identifier: Apache-2.0
"""Where things stand in the checkout. Nothing is written outside of ROOT."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements"
WORKSPACE = ROOT / "ros2_ws"
SOURCES = WORKSPACE / "src"
STAMP = VENV / "ibms-setup.json"
