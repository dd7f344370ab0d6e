"""Clusters in which Apache Kafka's brokers and ours are neighbours: every one in every role, under load, with nothing lost; and a
cluster that changes from one to the other, broker by broker, on the directories that are there, and back."""
import os

import pytest

from cluster import Cluster
from cluster_fixtures import zookeeper  # noqa: F401
from cluster_rounds import Round

NEW, OLD, OURS = "apache-3.9.1", "apache-2.7.1", "klamm"
PATIENCE_LIKE_APACHES = {"zookeeper.session.timeout.ms": "6000"}


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
        with forgive_apache(cluster, Round(cluster, ours, assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])) as r:
            r.traffic.until(20)
            for controller in (1, 2, 3):
                be_controller(cluster, controller)
                r.traffic.until(10)
                for victim in (1, 2, 3):
                    bounce(cluster, victim, hard=(controller + victim) % 2 == 0)
                    r.traffic.until(10)
                    cluster.wait_full(r.topic)
                for p in range(3):                      # leaderships back to where they were, by an election
                    cluster.move_leader(r.topic, p + 1, p)
                r.traffic.until(10)
        print("mixed, ours is %d: %s" % (ours, r.counts))


@pytest.mark.parametrize("version", [NEW, OLD])
def test_rolling_swap_and_back(zookeeper, tmp_path, peer, version):  # noqa: F811
    """Three brokers of Apache Kafka; one after the other is stopped and ours started on its directory, with its file; then the
    same backwards."""
    properties = {} if version == NEW else {"inter.broker.protocol.version": "2.7"}
    with make(zookeeper, tmp_path, [version] * 3, **properties) as cluster:
        cluster.start()
        with forgive_apache(cluster, Round(cluster, 7, assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])) as r:
            r.traffic.until(20)
            for kind in (OURS, version):
                for number in (1, 2, 3):
                    cluster.term(number)
                    cluster[number].kind = kind
                    cluster.restart(number)
                    cluster.wait_full(r.topic)
                    r.traffic.until(10)
            cluster.wait(lambda: all(n.alive() for n in cluster.nodes.values()), "all brokers live")
        print("swap of %s and back: %s" % (version, r.counts))
        assert os.path.exists(os.path.join(cluster[1].data, "meta.properties"))
