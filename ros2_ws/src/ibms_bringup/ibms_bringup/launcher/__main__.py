# SPDX-License-Identifier: Apache-2.0
"""`python -m ibms_bringup.launcher`."""

import sys

from .main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
