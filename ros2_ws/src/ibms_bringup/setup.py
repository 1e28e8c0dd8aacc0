# SPDX-License-Identifier: Apache-2.0
"""Installation of ibms_bringup, with the root's launch/ and config/ (symbolic links here)."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "ibms_bringup"


def files_below(folder: str) -> list[tuple[str, list[str]]]:
    """Files of ``folder`` by the share folder that they go to."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            found.setdefault(f"share/{PACKAGE}/{path.parent}", []).append(str(path))
    return list(found.items())


setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *files_below("launch"),
        *files_below("config"),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="IBMS maintainers",
    maintainer_email="maintainers@ibms.example",
    description="Launch files, configuration, lifecycle manager and launcher of IBMS.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "lifecycle_manager = ibms_bringup.lifecycle_manager:main",
        ],
    },
)
