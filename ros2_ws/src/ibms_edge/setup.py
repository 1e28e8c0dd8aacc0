# SPDX-License-Identifier: Apache-2.0
"""Installation of ibms_edge as an ament_python package."""

from setuptools import find_packages, setup

PACKAGE = "ibms_edge"

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
    description="Edge side of IBMS: what protects, switches, estimates, balances and remembers.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "chain = ibms_edge.chain:main",
            "protection = ibms_edge.protection.node:main",
            "switch_control = ibms_edge.switching.node:main",
            "pack_supervisor = ibms_edge.supervisor.node:main",
            "state_estimator = ibms_edge.estimation.node:main",
            "pack_services = ibms_edge.pack_services:main",
        ],
    },
)
