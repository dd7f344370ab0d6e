"""tests/system/conftest.py - the fixtures are in system_fixtures.py, which tests/interop uses too, in cluster_fixtures.py, and in
disks.py."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster_fixtures import clusters, zookeeper  # noqa: E402,F401
from disks import disks  # noqa: E402,F401
from system_fixtures import broker, brokers  # noqa: E402,F401
