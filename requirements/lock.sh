#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes the lock files from the *.in files beside it; needs uv (https://docs.astral.sh/uv).
# Versions that are locked stay as they are; `./lock.sh --upgrade` takes the newest.
set -eu
cd "$(dirname "$0")/.."

# One lock for CPython 3.11 to 3.14; hashes only, no index addresses.
compile() {
    output=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-emit-index-url --custom-compile-command requirements/lock.sh \
        --output-file "requirements/$output" "$@"
}

common="requirements/tools.in requirements/runtime.in requirements/dev.in"
compile build.txt requirements/build.in "$@"
# shellcheck disable=SC2086 # file names without spaces
compile lock.txt requirements/ros_jazzy.in $common "$@"
# A sourced ROS 2 brings its own NumPy, which its messages were compiled against, and its own empy.
# Everything else must run with the oldest one that counts (Jazzy on Ubuntu 24.04).
# shellcheck disable=SC2086
compile lock-ros.txt $common --constraints requirements/ros_sourced.in \
    --no-emit-package numpy --no-emit-package empy "$@"
