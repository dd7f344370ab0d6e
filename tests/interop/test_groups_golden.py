"""tests/interop/test_groups_golden.py - groups in the log: those that Apache Kafka wrote are served by us as by it, and those
that we wrote by it as by us. The directory goes there and back, and there again after a kill -9; the tools of Apache Kafka
say the same of both.
"""
import base64
import json
import os
import subprocess

import pytest
from kazoo.client import KazooClient

import golden
import group_views
import groups
from apache import PEER, Apache
from harness import Broker
from wire import Wire

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


# ---- a directory that we made ----------------------------------------------------------------------------------------

class Own:
    """What Apache() wants of a state, for the directory of a broker of ours."""
    name, version = "own", "3.9.1"

    def __init__(self, folder, topics):
        self.folder, self.topics = folder, topics
        self.properties = dict(golden.properties(self.version), **PROPERTIES)

    def partitions(self):
        return [(t["Name"], p["PartitionIndex"]) for t in self.topics for p in t["Partitions"]]


PROPERTIES = {"group.initial.rebalance.delay.ms": "0", "group.max.session.timeout.ms": str(golden.FOR_EVER),
              "offsets.topic.num.partitions": "7", "offsets.retention.minutes": str(golden.FOR_EVER)}


def announce(zk_port, topics, cluster):
    """What the controller of Apache Kafka would have written of these topics: names, ids and replicas."""
    zk = KazooClient("127.0.0.1:%d" % zk_port)
    zk.start(timeout=30)
    zk.create("/cluster/id", json.dumps({"version": "1", "id": cluster}).encode(), makepath=True)
    for t in topics:
        topic_id = base64.urlsafe_b64encode(t["TopicId"]).decode().rstrip("=")
        zk.create("/brokers/topics/" + t["Name"], json.dumps({
            "version": 3, "topic_id": topic_id, "partitions": {str(p["PartitionIndex"]): [0] for p in t["Partitions"]},
            "adding_replicas": {}, "removing_replicas": {}}).encode(), makepath=True)
        configs = {"cleanup.policy": "compact"} if t["Name"].startswith("__") else {}
        zk.create("/config/topics/" + t["Name"], json.dumps({"version": 1, "config": configs}).encode(), makepath=True)
    zk.stop()
    zk.close()


def test_a_directory_of_ours(tmp_path, peer):
    klamm = Broker(tmp_path, PROPERTIES).start()
    klamm.create_topic(TOPIC, PARTITIONS)
    klamm.create_topic(OTHER)
    names = groups.run(group_views.write(klamm.port, "ours", TOPIC, PARTITIONS, OTHER))
    want = group_views.view(klamm, names)
    with Wire(klamm.port) as c:
        topics = c.call("Metadata", 12, Topics=None)["Topics"]
    state = Own(str(tmp_path), topics)
    said = tools(state, klamm.port)
    with open(os.path.join(klamm.data, "meta.properties"), encoding="latin-1") as f:
        cluster = next(line.split("=", 1)[1].strip() for line in f if line.startswith("cluster.id="))
    klamm.kill9()

    os.mkdir(tmp_path / "zk")
    apache = Apache(state)
    try:
        apache.start_zookeeper()
        announce(apache.zk_port, topics, cluster)
        apache.start()
        same(want, group_views.view(apache, names))
        assert tools(state, apache.port) == said
        apache.stop()
    finally:
        apache.end()
    klamm.start()
    same(want, group_views.view(klamm, names))
    assert klamm.stop() == 0
