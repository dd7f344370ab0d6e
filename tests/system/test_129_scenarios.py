"""What users of a cluster do (D6, D10, W1, W6, W8, W10, W12), with our tools: by --bootstrap-server and by --zookeeper."""
import os
import re
import subprocess

import pytest

import scenarios
from cluster import Cluster
from cluster_zk import ZooKeeper
from harness import BIN, tool
from scenarios import Tools

WAYS = pytest.mark.parametrize("way", ["b", "z"])
NO_SESSION_ENDS = {"zookeeper_session_timeout_ms": 120000}      # longer than anybody waits here
COMPLAINT = re.compile(r"^.* (?:ERROR|WARN )(?!.*server.properties:).*(?:topic|partition|log director|cluster|meta\.properties|checkpoint).*$", re.M)


def ours(cluster, way):
    return Tools(cluster, way, lambda name, *args: tool(name + ".sh", *args, check=False))


def test_a_chroot_of_an_ensemble_and_all_of_it_again(zookeeper, tmp_path):      # pylint: disable=unused-argument
    """D6: three brokers, zookeeper.connect=h1:p1,h2:p2,h3:p3/users/kafka, which is not there. D10: all are stopped, data and
    nodes deleted, all started: an empty cluster."""
    with ZooKeeper(tmp_path / "ensemble", servers=3) as zk:
        with Cluster(zk, tmp_path / "cluster") as cluster:
            cluster.chroot = "/users/kafka"
            for node in cluster.nodes.values():
                node.overrides["zookeeper.connect"] = zk.connect + cluster.chroot
            cluster.start()
            first = one_cluster(cluster)
            assert sorted(cluster.children("/brokers/ids")) == ["1", "2", "3"] and zk.client.get_children("/users") == ["kafka"]
            cluster.create("before", 3)
            scenarios.put(cluster, "before", 1)
            for number in cluster.nodes:
                cluster.term(number)
                cluster[number].wipe()
            tool("zookeeper-shell.sh", zk.connect, "deleteall", "/users/kafka")
            zk.client.sync("/users")            # our server may be behind the one that the tool has asked
            assert zk.client.get_children("/users") == []
            cluster.created.clear()
            cluster.start()
            assert one_cluster(cluster) != first
            assert ours(cluster, "b").topics("--list") == "\n"
            assert cluster.children("/brokers/topics") == cluster.children("/config/topics") == []
            for node in cluster.nodes.values():
                assert not [d for d in os.listdir(node.data) if os.path.isdir(os.path.join(node.data, d))]
                assert not COMPLAINT.findall(node.log(this_start=True)), node.log(this_start=True)
            cluster.create("after", 3)
            scenarios.put(cluster, "after", 2)
            cluster.finish()


def one_cluster(cluster):
    """kafka-cluster.sh says the same of each broker, and so do the log directories."""
    told = {tool("kafka-cluster.sh", "cluster-id", "--bootstrap-server", node.address).stdout for node in cluster.nodes.values()}
    assert len(told) == 1, told
    said = re.fullmatch(r"Cluster ID: (\S+)\n", told.pop()).group(1)
    for node in cluster.nodes.values():
        with open(os.path.join(node.data, "meta.properties"), encoding="ascii") as f:
            assert "cluster.id=%s\n" % said in f.read()
    return said


def test_topics(clusters):
    cluster = clusters(3).start()
    for way in ("b", "z"):
        scenarios.topics(cluster, ours(cluster, way))


def test_a_refused_setting_is_not_warned_of(clusters):
    cluster = clusters(1, default_replication_factor=1, min_insync_replicas=1).start()
    tools = ours(cluster, "z")
    tools.topics("--create", "--topic", "t", "--partitions", "1", "--replication-factor", "1")
    assert tools.topics("--alter", "--topic", "t", "--config", "retention.ms=soon", status=1) == (
        scenarios.FAILED + "Invalid value soon for configuration retention.ms: Not a number of type LONG\n")


def test_deletion_disabled(clusters):
    cluster = clusters(3, delete_topic_enable="false").start()
    cluster.create("kept", 1)
    for way in ("b", "z"):
        scenarios.deletion_disabled(cluster, ours(cluster, way))


@WAYS
def test_reassign(clusters, tmp_path, way):
    cluster = clusters(3, **NO_SESSION_ENDS).start()
    print(scenarios.reassign(cluster, ours(cluster, way), tmp_path, 6 + (way == "z")))


def test_replicas_are_verified(clusters):
    """kafka-replica-verification.sh reports the largest lag of all replicas."""
    cluster = clusters(3).start()
    cluster.create("v", 2)
    scenarios.put(cluster, "v", 1)
    with subprocess.Popen([os.path.join(BIN, "kafka-replica-verification.sh"), "--broker-list", cluster[1].address,
                           "--topics-include", "v", "--report-interval-ms", "200"], stdout=subprocess.PIPE, text=True) as run:
        try:
            said = []
            for line in run.stdout:
                said += [line] if "max lag is" in line else []
                if said and (" is 0 " in said[-1] or len(said) == 50):     # not at once where a broker, or the machine, stands still
                    break
        finally:
            run.kill()
    assert said and "max lag is 0 for partition " in said[-1] and "among 2 partitions" in said[-1], said


@WAYS
def test_forced_deletion(clusters, way):
    cluster = clusters(3).start()
    scenarios.forced_deletion(cluster, ours(cluster, way))


@WAYS
def test_brokers_die(clusters, way):
    cluster = clusters(3, **NO_SESSION_ENDS).start()
    print(scenarios.brokers_die(cluster, ours(cluster, way), 10 + (way == "z")))


@WAYS
def test_another_broker(clusters, tmp_path, way):
    cluster = clusters(4).start(1, 2, 3)
    print(scenarios.another_broker(cluster, ours(cluster, way), tmp_path, 12 + (way == "z")))
