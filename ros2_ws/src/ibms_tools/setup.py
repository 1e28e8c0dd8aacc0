# SPDX-License-Identifier: Apache-2.0
"""Installation of ibms_tools as an ament_python package."""

from setuptools import find_packages, setup

PACKAGE = "ibms_tools"

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
    description="Command-line tools of IBMS: demo, record, replay, benchmarks, evaluation, doctor.",
    license="Apache-2.0",
    entry_points={
        "can.interface": ["ibms_memory = ibms_tools.campaign.memory_bus:MemoryBus"],
        "console_scripts": [
            "replayed_nodes = ibms_tools.playback.process:main",
        ],
    },
)
