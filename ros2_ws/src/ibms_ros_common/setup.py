# SPDX-License-Identifier: Apache-2.0
"""Installation of ibms_ros_common as an ament_python package."""

from setuptools import find_packages, setup

PACKAGE = "ibms_ros_common"

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
    package_data={PACKAGE: ["*.yaml"]},
    zip_safe=False,
    maintainer="IBMS maintainers",
    maintainer_email="maintainers@ibms.example",
    description="Base of IBMS nodes: lifecycle, parameters, manifest, QoS profiles, diagnostics.",
    license="Apache-2.0",
    entry_points={"console_scripts": []},
)
