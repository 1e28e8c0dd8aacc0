# SPDX-License-Identifier: Apache-2.0
"""Installation of ibms_sim as an ament_python package."""

from setuptools import find_packages, setup

PACKAGE = "ibms_sim"

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
    description="Simulated pack hardware of IBMS that speaks only CAN.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "simulated_charger = ibms_sim.simulated_charger:main",
            "fault_injector = ibms_sim.fault_injector:main",
            "simulated_pack = ibms_sim.simulated_pack:main",
            "simulated_switch_board = ibms_sim.simulated_switch_board:main",
        ]
    },
)
