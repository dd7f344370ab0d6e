"""Clusters in which Apache Kafka's brokers and ours are neighbours: every one in every role, under load, with nothing lost; and a
cluster that changes from one to the other, broker by broker, on the directories that are there, and back."""
import contextlib
import json
import os

import pytest

from alterations import set_topic, settings
from cluster import Cluster
from cluster_fixtures import zookeeper  # noqa: F401
from cluster_groups import Commits, Grouped
from cluster_rounds import Round

NEW, OLD, OURS = "apache-3.9.1", "apache-2.7.1", "klamm"
PATIENCE_LIKE_APACHES = {"zookeeper.session.timeout.ms": "6000", "offsets.topic.num.partitions": "3",
                         "transaction.state.log.num.partitions": "3"}
OK, NO_REASSIGNMENT = 0, 85


def make(zookeeper, folder, kinds, **properties):       # noqa: F811
    cluster = Cluster(zookeeper, folder, len(kinds), dict(PATIENCE_LIKE_APACHES, **properties))
    for number, kind in enumerate(kinds, 1):
        cluster[number].kind = kind
    return cluster


def be_controller(cluster, number):
    """/controller is deleted until the right one is elected."""
    from kazoo.exceptions import NoNodeError
    for _ in range(60):
        holder = cluster.wait_controller()
        if holder == number:
            return
        version = cluster.znode("/controller_epoch")[1].version
        try:
            cluster.zk.client.delete(cluster.chroot + "/controller")
        except NoNodeError:
            pass
        cluster.wait(lambda: cluster.znode("/controller_epoch")[1].version > version, "an election")
    raise AssertionError("broker %d never became controller" % number)


def forgive_apache(cluster, r):
    """Apache Kafka's brokers may answer with records that lie above the high watermark of the same answer: it has moved
    between the two. (They are committed; that is checked all the same.)"""
    add = r.history.add

    def added(event, **e):
        if event == "read" and cluster[e["broker"]].apache and e["records"]:
            e["hw"] = max(e["hw"], e["records"][-1][0] + 1)
        return add(event, **e)
    r.history.add = added
    return r


@contextlib.contextmanager
def groups(cluster, r, said):
    """Groups go on meanwhile; at the end nothing that they committed is lost. said: gets the figures."""
    commits, grouped = Commits(cluster, "c%d" % r.seed, r.topic), Grouped(cluster, "g%d" % r.seed, r.topic)
    commits.start()
    grouped.start()
    try:
        yield commits
    finally:
        commits.stop.set()
        grouped.stop.set()
    commits.end()
    grouped.end()
    said.update(commits=commits.check(), lives=grouped.lives, consumed=grouped.records)
    assert grouped.records > 0 and commits.acked


def transactions_are_kept(cluster):
    """A transactional id makes __transaction_state, which one of Apache Kafka's brokers leads; ours have its replicas."""
    node = next(n for n in cluster.nodes.values() if n.apache)

    def made():
        with node.connect() as wire:
            wire.call("FindCoordinator", 1, Key="t", KeyType=1)
        return cluster.children("/brokers/topics/__transaction_state/partitions")
    cluster.wait(made, "__transaction_state is there")
    cluster.created["__transaction_state"] = 3
    cluster.wait_full("__transaction_state")


def moves_are_over(cluster, topic):
    z = json.loads(cluster.znode("/brokers/topics/" + topic)[0])
    return not z.get("adding_replicas") and not z.get("removing_replicas")


def deeds(cluster, topic):
    """All that a controller does for those who ask it; the others follow."""
    cluster.create(topic, assignment=[[1, 2], [2, 3], [3, 1]], min_insync_replicas=1)
    out = cluster.ask_controller("CreatePartitions", 1, TimeoutMs=30000, ValidateOnly=False, Topics=[
        {"Name": topic, "Count": 5, "Assignments": [{"BrokerIds": [1, 3]}, {"BrokerIds": [3, 2]}]}])["Results"][0]
    assert out["ErrorCode"] == OK, out
    cluster.created[topic] = 5
    cluster.wait_full(topic)
    for number in cluster.nodes:
        with cluster[number].connect() as wire:
            set_topic(wire, topic, retention_ms=str(1000000 + number))
        for other in cluster.nodes.values():
            def told():
                with other.connect() as wire:
                    return settings(wire, topic, version=2).get("retention.ms") == str(1000000 + number)
            cluster.wait(told, "broker %d knows the topic's settings" % other.number)
    for p, ids in enumerate([[2, 3], [3, 1, 2], [1], [2, 1], [1, 2, 3]]):
        out = cluster.ask_controller("AlterPartitionReassignments", 0, TimeoutMs=30000, Topics=[
            {"Name": topic, "Partitions": [{"PartitionIndex": p, "Replicas": ids}]}])
        assert out["Responses"][0]["Partitions"][0]["ErrorCode"] == OK, out
    cluster.wait(lambda: moves_are_over(cluster, topic), "the moves of %s end" % topic)
    cluster.wait_full(topic)
    for p in range(5):
        cluster.move_leader(topic, cluster.replicas(topic, p)[0], p)
    out = cluster.ask_controller("AlterPartitionReassignments", 0, TimeoutMs=30000, Topics=[
        {"Name": topic, "Partitions": [{"PartitionIndex": 0, "Replicas": None}]}])
    assert out["Responses"][0]["Partitions"][0]["ErrorCode"] == NO_REASSIGNMENT, out
    cluster.delete(topic)
    cluster.wait(lambda: cluster.znode("/brokers/topics/" + topic)[0] is None, "%s is deleted" % topic)
    cluster.wait(lambda: not any(cluster.has_files(n, topic, p) for n in cluster.nodes for p in range(5)), "%s has no logs" % topic)


def bounce(cluster, number, hard):
    if hard:
        cluster.kill9(number)
    else:
        cluster.term(number)
    cluster.restart(number)


@pytest.mark.parametrize("ours", [1, 2, 3])
def test_every_role(zookeeper, tmp_path, peer, ours):                # noqa: F811
    """3.9.1, 2.7.1 and ours lead a partition each and follow the others; each is controller once; each is stopped and killed
    while it leads, and while it is the controller."""
    kinds = [NEW, OLD]
    kinds.insert(ours - 1, OURS)
    with make(zookeeper, tmp_path, kinds, **{"inter.broker.protocol.version": "2.7"}) as cluster:
        cluster.start()
        said = {}
        with forgive_apache(cluster, Round(cluster, ours, assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])) as r:
            r.traffic.until(20)
            transactions_are_kept(cluster)
            with groups(cluster, r, said):
                for controller in (1, 2, 3):
                    play(cluster, r, controller)
                cluster.wait_full(r.topic, "__transaction_state")
        print("mixed, ours is %d: %s %s" % (ours, dict(r.counts), said))


def play(cluster, r, controller):
    be_controller(cluster, controller)
    r.traffic.until(10)
    deeds(cluster, "d%d" % controller)
    for victim, hard in [(n, h) for h in (False, True) for n in (1, 2, 3)]:
        if cluster.wait_controller() != controller:     # the controller was the last victim
            be_controller(cluster, controller)
        # Each leads a partition, follows in the others, and coordinates some groups.
        for p in range(3):
            cluster.move_leader(r.topic, p + 1, p)
        bounce(cluster, victim, hard)
        r.traffic.until(10)
        cluster.wait_full(r.topic)
    for p in range(3):                                  # leaderships back to where they were, by an election
        cluster.move_leader(r.topic, p + 1, p)
    r.traffic.until(10)


def swap(cluster, number, kind, hard):
    """hard: as after a crash, where the other kind finds what has not been closed."""
    if hard:
        cluster.kill9(number)
        cluster.wait_gone(number)
    else:
        cluster.term(number)
    cluster[number].kind = kind
    cluster.restart(number)


@pytest.mark.parametrize("version", [NEW, OLD])
def test_rolling_swap_and_back(zookeeper, tmp_path, peer, version):  # noqa: F811
    """Three brokers of Apache Kafka; one after the other is stopped and ours started on its directory, with its file; then the
    same backwards."""
    properties = {} if version == NEW else {"inter.broker.protocol.version": "2.7"}
    with make(zookeeper, tmp_path, [version] * 3, **properties) as cluster:
        cluster.start()
        said = {}
        with forgive_apache(cluster, Round(cluster, 7, assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])) as r:
            r.traffic.until(20)
            transactions_are_kept(cluster)
            with groups(cluster, r, said) as commits:
                for kind, hard in ((OURS, False), (version, True)):
                    for number in (1, 2, 3):
                        swap(cluster, number, kind, hard)
                        cluster.wait_full(r.topic, "__transaction_state")
                        r.traffic.until(10)
                        deeds(cluster, "d-%s-%d" % (kind, number))
                    for p in range(3):
                        cluster.move_leader(r.topic, p + 1, p)
                    commits.check()
            cluster.wait(lambda: all(n.alive() for n in cluster.nodes.values()), "all brokers live")
        print("swap of %s and back: %s %s" % (version, dict(r.counts), said))
        assert os.path.exists(os.path.join(cluster[1].data, "meta.properties"))
