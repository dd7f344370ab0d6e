"""tests/interop/test_groups_golden.py - groups in the log: those that Apache Kafka wrote are served by us as by it, and those
that we wrote by it as by us. The directory goes there and back, and there again after a kill -9; the tools of Apache Kafka
say the same of both.
"""
import os
import subprocess

import pytest

import golden
import group_views
import groups
from apache import PEER, Apache
from harness import Broker

TOPIC, PARTITIONS, OTHER = "plain-v2", 3, "single"          # of every golden directory but the damaged one


def states():
    return [s for s in golden.states() if not s.endswith("damaged")]


@pytest.fixture(scope="module", params=states() or [None])
def lent(request, tmp_path_factory, peer):
    if request.param is None:
        pytest.skip("no data directories in ../shared/golden beside the checkout")
    state = golden.State(request.param, tmp_path_factory.mktemp(request.param))
    had = subprocess.run([os.path.join(PEER, "get"), state.version], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         check=False)
    if had.returncode != 0:
        pytest.skip("Apache Kafka %s cannot be had here: %s" % (state.version, had.stdout.strip()))
    state.klamm = Broker(state.folder, state.properties)
    state.klamm.args = ["--adopt-configs", state.described()]
    state.apache = Apache(state)
    yield state
    state.apache.end()
    if state.klamm.process is not None:
        state.klamm.stop()


def tool(state, port, *args):
    """Apache Kafka's, of the directory's version; its lines in order of the alphabet."""
    done = subprocess.run([os.path.join(PEER, "tool"), state.version, "kafka-consumer-groups", "--bootstrap-server",
                           "127.0.0.1:%d" % port, "--all-groups", "--describe", *args], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return sorted(" ".join(line.split()).replace(":%d" % port, ":PORT") for line in done.stdout.splitlines() if line.strip())


def tools(state, port):
    return {how: tool(state, port, *how.split()) for how in ("--offsets", "--members --verbose", "--state")}


def same(want, got):
    faults = group_views.differences(want, got)
    assert not faults, "%d differences:\n%s" % (len(faults), "\n".join(faults[:40]))


def test_served_as_expected(lent):
    lent.klamm.start()
    lent.klamm.args = []
    faults = group_views.compare_golden(lent.klamm, lent.expected("groups"))
    assert not faults, "\n".join(faults)


def test_there_and_back_and_there_again(lent):
    klamm, apache = lent.klamm, lent.apache
    if klamm.process is None:
        klamm.start()
        klamm.args = []
    names = [w["group"] for w in lent.expected("groups")]
    names += groups.run(group_views.write(klamm.port, "ours", TOPIC, PARTITIONS, OTHER))
    want, said = group_views.view(klamm, names), tools(lent, klamm.port)
    assert klamm.stop() == 0

    apache.start()
    same(want, group_views.view(apache, names))
    assert tools(lent, apache.port) == said
    names += groups.run(group_views.write(apache.port, "theirs", TOPIC, PARTITIONS, OTHER, lent.version[:3]))
    want, said = group_views.view(apache, names), tools(lent, apache.port)
    apache.stop()

    klamm.start()
    same(want, group_views.view(klamm, names))
    assert tools(lent, klamm.port) == said
    names += groups.run(group_views.write(klamm.port, "again", TOPIC, PARTITIONS, OTHER))
    want = group_views.view(klamm, names)
    klamm.kill9()
    klamm.start()
    same(want, group_views.view(klamm, names))
    klamm.kill9()

    apache.start()
    same(want, group_views.view(apache, names))
    apache.stop()
