# SPDX-License-Identifier: Apache-2.0
"""Installation of ibms_battery as an ament_python package."""

from setuptools import find_packages, setup

PACKAGE = "ibms_battery"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(exclude=["test", "test.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    maintainer="IBMS maintainers",
    maintainer_email="maintainers@ibms.example",
    description="Cells, packs, topology, configuration and cell models. No ROS.",
    license="Apache-2.0",
    entry_points={"console_scripts": []},
)
