# SPDX-License-Identifier: Apache-2.0
import os, sys
from frontdoor import installer, world
from frontdoor.errors import FrontDoorError
def main(argv):
    try:
        w = world.detect(os.environ)
        env = installer.ensure(w, os.environ)
        if "--print-env" in argv:
            from frontdoor.environment import export_lines
            print(export_lines(env, os.environ))
    except FrontDoorError as e:
        print("ibms:", e, file=sys.stderr); return 1
    return 0
