# SPDX-License-Identifier: Apache-2.0
"""Installation of ibms_end as an ament_python package."""

from setuptools import find_packages, setup

PACKAGE = "ibms_end"

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
    description="Hardware side of IBMS: CAN bus, AFE driver, insulation and environment",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "afe_driver = ibms_end.afe.node:main",
            "slow_sensors = ibms_end.slow_sensors:main",
        ],
        "can.interface": ["ibms_local = ibms_end.can.local_bus:LocalBus"],
    },
)
