"""tests/interop/test_fresh.py - directories made now by Apache Kafka, not those of ../shared/golden: a short form of what
make_golden.py and beside.py do. Four minutes a version; KLAMM_FRESH=60 gives it a minute of load and as many copies as that has room for.
"""
import os
import subprocess

import pytest

import beside
import make_golden
from apache import PEER

SECONDS = float(os.environ.get("KLAMM_FRESH", "6"))


@pytest.mark.parametrize("version", ["3.9.1", "2.7.1"])
def test_answers_are_those_of_apache_kafka(version, tmp_path, peer):
    had = subprocess.run([os.path.join(PEER, "get"), version], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         check=False)
    if had.returncode != 0:
        pytest.skip("Apache Kafka %s cannot be had here: %s" % (version, had.stdout.strip()))
    states = make_golden.make_all(version, str(tmp_path / "made"), SECONDS, max(1, int(SECONDS / 6)), hurt_count=10)
    asked = [s for s in states if SECONDS > 6 or s.name in ("kill9-0", "clean", "damaged-0")]
    faults = []
    for state in asked:
        scratch = tmp_path / state.name
        faults += ["%s: %s" % (state.name, f[:400]) for f in beside.compare(state, str(scratch), state.name == "kill9-0")
                   if not beside.is_known(f, state)]
    assert not faults, "\n".join(faults)
