"""tests/interop/conftest.py - Apache Kafka's own tools against our broker. Each call starts a JVM: 2 to 5 seconds."""
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))
from apache import PEER  # noqa: E402
from harness import SLOW  # noqa: E402
from system_fixtures import broker, brokers  # noqa: E402,F401

VERSION = "3.9.1"


@pytest.fixture(scope="session")
def peer():
    """A function that runs a tool of Apache Kafka: peer("kafka-topics", "--list", ...)."""
    get = os.path.join(PEER, "get")
    if not os.path.exists(get):
        pytest.skip("no ../shared/peer beside the checkout")
    had = subprocess.run([get, VERSION], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if had.returncode != 0:
        pytest.skip("Apache Kafka %s cannot be had here: %s" % (VERSION, had.stdout.strip()))

    def run(name, *args, stdin=None, within=60, check=True):
        done = subprocess.run([os.path.join(PEER, "tool"), VERSION, name, *args], input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=within * SLOW, check=False)
        if check:
            assert done.returncode == 0, "%s %s: status %d\n%s%s" % (name, args, done.returncode, done.stdout, done.stderr)
        return done

    return run
