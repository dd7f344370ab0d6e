"""tests/system/conftest.py - the fixtures are in system_fixtures.py, which tests/interop uses too."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from system_fixtures import broker, brokers  # noqa: E402,F401
