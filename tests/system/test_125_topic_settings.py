"""What a topic's own settings say holds wherever it is asked: at a controller that has no replica of the topic, and at a broker
from which some of the topic's partitions have moved away."""
import pytest

from alterations import BROKER, SET, change, resource, set_topic
from batches import batch
from harness import SLOW

NO_LEADER, TOO_LARGE = -1, 10


def last_in_sync_dies(cluster, topic, a, b):
    """The ISR is a alone; then a is dead, and b is back."""
    cluster.dies(b)
    cluster.wait_out(topic, b)
    cluster.wait_leader(topic)
    with cluster[a].connect() as wire:
        assert wire.produce(9, topic, 0, batch([b"only here"]), acks=-1, timeout_ms=20000 * SLOW)["ErrorCode"] == 0
    cluster.dies(a)
    cluster.wait(lambda: cluster.state(topic)["leader"] == NO_LEADER, "%s has no leader" % topic)
    cluster.restart(b)


def has_come_back(cluster, number, name):
    """The controller has done all that the broker's return means: what is asked later is done."""
    cluster.create(name, assignment=[[number]], min_insync_replicas=1)


@pytest.mark.parametrize("server,topic", [("false", "true"), ("true", "false")])
@pytest.mark.parametrize("later", [False, True])
def test_unclean_elections_by_a_controller_without_a_replica(clusters, server, topic, later):
    """The topic says something else than the server's default. later: it is a topic of an earlier name whose settings the
    controller has seen."""
    cluster = clusters(3, unclean_leader_election_enable=server, min_insync_replicas=1).start()
    a, b = sorted(set(cluster.nodes) - {cluster.wait_controller()})
    if later:
        cluster.create("t", assignment=[[a, b]], unclean_leader_election_enable=server)
        with cluster[cluster.controller()].connect() as wire:
            set_topic(wire, "t", retention_ms="1000000")
        cluster.delete("t")
        cluster.wait(lambda: cluster.znode("/brokers/topics/t")[0] is None, "t is deleted")
    cluster.create("t", assignment=[[a, b]], unclean_leader_election_enable=topic)
    last_in_sync_dies(cluster, "t", a, b)
    has_come_back(cluster, b, "after")
    if topic == "true":
        assert cluster.wait_leader("t") == b
    else:
        assert cluster.state("t")["leader"] == NO_LEADER
    cluster.restart(a)
    cluster.wait_full("t")
    assert (b"only here" in cluster.batches(a, "t")) == (topic == "false")


def test_settings_stay_with_the_partitions_that_stay(clusters):
    """One of two partitions moves away; then the server's defaults change: the other one keeps what its topic says."""
    cluster = clusters(3, min_insync_replicas=1).start()
    cluster.create("t", assignment=[[1, 2], [1, 2]], max_message_bytes=1000)
    cluster.create("other", assignment=[[1]])
    out = cluster.ask_controller("AlterPartitionReassignments", 0, TimeoutMs=30000, Topics=[
        {"Name": "t", "Partitions": [{"PartitionIndex": 0, "Replicas": [2, 3]}]}])
    assert out["Responses"][0]["Partitions"][0]["ErrorCode"] == 0
    cluster.wait(lambda: not cluster.has_files(1, "t", 0), "broker 1 has no t-0")
    with cluster[1].connect() as wire:
        def taken(topic, partition, size):
            return wire.produce(9, topic, partition, batch([b"x" * size]), acks=1, timeout_ms=20000 * SLOW)["ErrorCode"]
        assert taken("t", 1, 1500) == TOO_LARGE and taken("other", 0, 5000) == 0
        assert change(wire, resource(BROKER, "", ("message.max.bytes", SET, "3000"))) == [(0, None)]
        cluster.wait(lambda: taken("other", 0, 5000) == TOO_LARGE, "the new default holds")
        for _ in range(20):
            assert taken("t", 1, 1500) == TOO_LARGE
