"""What befalls a follower while it fetches: leaderships that come back before it has said that they were gone, the replication
throttle of either side, its replica moved to another log directory, a log directory that fails; and consumers that wait at it."""
import os
import random

import pytest

from batches import batch, offsets_of
from cluster import NO_LAG, OK
from cluster_rounds import Round, rounds
from disks import Disk
from harness import SLOW, tool
from test_124_truncation import FETCH, watermark, with_controller
from wire import Wire, encode_request

STORAGE_ERROR = 56


def put(cluster, topic, partition=0, values=(b"v",), acks=-1):
    """A batch, until the leader has taken it. Its first offset."""
    def taken():
        leader = cluster.leader(topic, partition)
        if leader not in cluster.live():
            return None
        try:
            with cluster[leader].connect() as wire:
                out = wire.produce(9, topic, partition, batch(list(values)), acks=acks, timeout_ms=15000 * SLOW)
        except OSError:
            return None
        return [out["BaseOffset"]] if out["ErrorCode"] == OK else None
    return cluster.wait(taken, "%s-%d takes a batch" % (topic, partition))[0]


def size_of(cluster, number, topic, partition=0):
    """Of a replica's log, as it tells itself."""
    with cluster[number].connect() as wire:
        out = wire.call("DescribeLogDirs", 4, Topics=[{"Topic": topic, "Partitions": [partition]}])["Results"]
    return sum(p["PartitionSize"] for r in out for t in r["Topics"] for p in t["Partitions"] if not p["IsFutureKey"])


# ---- leaderships that come back ----

def gone_and_back(cluster, seed):
    """b leads both partitions for a moment, then a again: all while b's Fetch waits at a. When it asks again it wants both."""
    with Round(cluster, seed, partitions=2, writers=0, readers=0, assignment=[[1, 2, 3]] * 2, min_insync_replicas=1) as r:
        writer = r.writer()
        for p in range(2):
            r.put(writer, partition=p)
        waiting = cluster.net.hold(api=FETCH, answer=True, src=2, dst=1)
        waiting.wait()
        for to in (2, 1):
            lead_both(cluster, r.topic, to)
        waiting.drop()
        for p in range(2):
            r.put(writer, partition=p)
            cluster.wait(lambda p=p: r.end_at(2, p) == r.end_at(1, p), "2 has what 1 has of partition %d" % p)
        writer.drop()


def lead_both(cluster, topic, to):
    for p in range(2):
        cluster.move_leader(topic, to, p)


def test_leaderships_that_come_back(clusters):
    rounds(gone_and_back, with_controller(clusters), n=3, name="gone and back")


# ---- throttles ----

def configure(cluster, kind, name, *change):
    tool("kafka-configs.sh", "--bootstrap-server", "127.0.0.1:%d" % cluster[1].port, "--alter", "--entity-type", kind,
         "--entity-name", name, *change)


@pytest.mark.parametrize("side,number", [("leader", 1), ("follower", 2)])
def test_a_throttle_holds_until_it_is_lifted(clusters, side, number):
    """A byte a second, over windows that do not end as long as the test does: after the first Fetch nothing more comes."""
    cluster = clusters(2, replica_fetch_max_bytes=65536, replication_quota_window_num=10000, min_insync_replicas=1).start()
    slow, free = (cluster.create(name, assignment=[[1, 2]], retention_ms=-1) for name in ("slow", "free"))
    configure(cluster, "brokers", str(number), "--add-config", "%s.replication.throttled.rate=1" % side)
    configure(cluster, "topics", slow, "--add-config", "%s.replication.throttled.replicas=0:%d" % (side, number))
    put(cluster, slow)
    for topic in (slow, free):          # who is in sync is not throttled
        cluster.wait_full(topic)
    cluster.kill9(2)
    for topic in (slow, free):
        cluster.wait_out(topic, 2)
        for _ in range(32):
            put(cluster, topic, values=[b"x" * 1000] * 32)
    cluster.restart(2)
    cluster.wait_isr(free, [1, 2])
    for _ in range(20):                 # so many Fetches, and more
        put(cluster, free)
    assert cluster.state(slow)["isr"] == [1]
    held = size_of(cluster, 2, slow)
    assert held < size_of(cluster, 1, slow) / 2
    put(cluster, free)
    assert size_of(cluster, 2, slow) == held
    configure(cluster, "brokers", str(number), "--delete-config", "%s.replication.throttled.rate" % side)
    cluster.wait_isr(slow, [1, 2])
    assert size_of(cluster, 2, slow) == size_of(cluster, 1, slow)


# ---- log directories ----

def move(node, topic, path):
    with node.connect() as wire:
        out = wire.call("AlterReplicaLogDirs", 1, Dirs=[{"Path": path, "Topics": [{"Name": topic, "Partitions": [0]}]}])
    assert out["Results"][0]["Partitions"][0]["ErrorCode"] == OK, out


def where(node, topic):
    """The directories that have the replica or a copy of it."""
    with node.connect() as wire:
        out = wire.call("DescribeLogDirs", 4, Topics=[{"Topic": topic, "Partitions": [0]}])["Results"]
    return [(r["LogDir"], p["IsFutureKey"]) for r in out for t in r["Topics"] for p in t["Partitions"]]


def with_another(cluster, number, path):
    """That broker has another log directory besides."""
    node = cluster[number]
    node.extra = dict(node.extra, **{"log.dirs": "%s,%s" % (node.data, path)})
    node.configure()
    return node


def test_a_replica_moves_while_it_fetches(clusters, tmp_path):
    cluster = clusters()
    other = str(tmp_path / "other")
    node = with_another(cluster, 2, other)
    cluster.start()
    with Round(cluster, 1, assignment=[[1, 2, 3]]) as r:
        r.traffic.until(20)
        if where(node, r.topic) == [(other, False)]:
            move(node, r.topic, node.data)
            cluster.wait(lambda: where(node, r.topic) == [(node.data, False)], "the replica is in the first directory")
        for path in (other, node.data) * 2:
            move(node, r.topic, path)
            cluster.wait(lambda path=path: where(node, r.topic) == [(path, False)], lambda: "it moves: %s" % where(node, r.topic))
            r.traffic.until(10)
            cluster.wait_isr(r.topic, [1, 2, 3])
        move(node, r.topic, other)      # and while it must cut what it has
        cluster.move_leader(r.topic, 2)
        cluster.move_leader(r.topic, 1)
        cluster.wait(lambda: where(node, r.topic) == [(other, False)], lambda: "it moves: %s" % where(node, r.topic))
        move(node, r.topic, node.data)
        cluster.wait(lambda: where(node, r.topic) == [(node.data, False)], lambda: "it moves: %s" % where(node, r.topic))


def test_a_log_directory_fails_under_a_fetcher(clusters, disks):
    """Its replicas leave the ISRs, and those that led are led by others; all that is elsewhere goes on."""
    cluster = clusters(replica_lag_time_max_ms=NO_LAG, min_insync_replicas=1)
    disk = disks("disk")
    assert isinstance(disk, Disk)
    bad = os.path.join(disk.path, "logs")
    node = with_another(cluster, 2, bad)
    cluster.start()
    topic = cluster.create("t", assignment=[[1, 2, 3], [2, 3, 1]] * 3, retention_ms=-1)
    on_bad = sorted(p for p in range(6) if os.path.isdir(os.path.join(bad, "%s-%d" % (topic, p))))
    assert on_bad and len(on_bad) < 6
    for p in range(6):
        put(cluster, topic, p)
    disk.fail()
    for p in on_bad:
        if cluster.leader(topic, p) != 2:
            put(cluster, topic, p, acks=1)      # it fails at the follower
    for p in range(6):
        if p in on_bad:
            cluster.wait_out(topic, 2, p)
            cluster.wait_leader(topic, p, besides=2)
        put(cluster, topic, p)
    for p in set(range(6)) - set(on_bad):
        assert sorted(cluster.state(topic, p)["isr"]) == [1, 2, 3]
    with node.connect() as wire:
        out = wire.call("DescribeLogDirs", 4, Topics=None)["Results"]
    assert {r["LogDir"]: r["ErrorCode"] for r in out} == {node.data: OK, bad: STORAGE_ERROR}
    cluster.wait(lambda: {p["PartitionIndex"] for p in metadata(cluster, topic) if 2 in p["OfflineReplicas"]} == set(on_bad),
                 lambda: "%s are offline at broker 2: %s" % (on_bad, metadata(cluster, topic)))
    assert node.stop() != 0             # not all of it was closed cleanly
    node.process = None


def metadata(cluster, topic):
    with cluster[1].connect() as wire:
        return wire.call("Metadata", 8, Topics=[{"Name": topic}])["Topics"][0]["Partitions"]


# ---- consumers at a follower ----

def consume(wire, topic, offset, wait_ms):
    wire.send("Fetch", 11, dict(MaxWaitMs=wait_ms, MinBytes=1, ReplicaId=-1, RackId="r2", SessionEpoch=-1, Topics=[
        {"Topic": topic, "Partitions": [{"Partition": 0, "FetchOffset": offset, "PartitionMaxBytes": 1 << 20}]}]))


def consumed(wire):
    part = wire.receive("Fetch", 11)["Responses"][0]["Partitions"][0]
    assert part["ErrorCode"] == OK, part
    return offsets_of(part["Records"] or b"")


def woken(cluster, topic, rng):
    """A consumer at 2 waits at the high watermark. The records are there before the watermark that lets it have them."""
    end = put(cluster, topic) + 1
    with Wire(cluster[2].port, timeout=60 * SLOW) as parked, cluster[2].connect() as other:
        cluster.wait(lambda: fetched(other, topic, end - 1) == [end - 1], "2 has the watermark %d" % end)
        consume(parked, topic, end, wait_ms=3600000)
        unheard = cluster.net.hold(api=FETCH, answer=True, src=2, dst=1, when=lambda f: watermark(f) > end)
        n = rng.randrange(1, 5)
        assert put(cluster, topic, values=[b"v"] * n) == end    # acknowledged: 2 asks for what follows
        unheard.wait()
        assert fetched(other, topic, end) == []
        unheard.end()
        assert consumed(parked) == list(range(end, end + n))


def fetched(wire, topic, offset):
    consume(wire, topic, offset, wait_ms=0)
    return consumed(wire)


def test_a_consumer_that_waits_at_a_follower_is_woken(clusters):
    cluster = clusters(2, replica_selector_class="org.apache.kafka.common.replica.RackAwareReplicaSelector",
                       replica_lag_time_max_ms=NO_LAG)
    for number, node in cluster.nodes.items():
        node.extra = dict(node.extra, **{"broker.rack": "r%d" % number})
        node.configure()
    cluster.start()
    topic, rng = cluster.create("t", assignment=[[1, 2]], retention_ms=-1), random.Random(1)
    put(cluster, topic)
    with cluster[1].connect() as wire:          # the leader sends it there
        def sent_away():
            consume(wire, topic, 0, wait_ms=0)
            return wire.receive("Fetch", 11)["Responses"][0]["Partitions"][0]["PreferredReadReplica"] == 2
        cluster.wait(sent_away, "1 names 2 as the replica to read")
    for _ in range(5):
        woken(cluster, topic, rng)


# ---- requests that came together ----

def test_what_follows_a_produce_sees_it(clusters):
    """A client sends both at once: the second is not run before the first has been committed."""
    cluster = clusters(2, min_insync_replicas=1).start()
    cluster.create("t", assignment=[[1, 2]])
    records = batch([b"v"])
    with cluster[1].connect() as wire:
        for n in range(1, 51):
            wire.correlation += 1
            both = encode_request("Produce", 9, dict(Acks=-1, TimeoutMs=30000, TopicData=[
                {"Name": "t", "PartitionData": [{"Index": 0, "Records": records}]}]), wire.correlation, wire.client_id)
            both += encode_request("ListOffsets", 5, dict(ReplicaId=-1, IsolationLevel=0, Topics=[
                {"Name": "t", "Partitions": [{"PartitionIndex": 0, "CurrentLeaderEpoch": -1, "Timestamp": -1}]}]),
                wire.correlation + 1, wire.client_id)
            wire.sock.sendall(both)
            assert wire.receive("Produce", 9)["Responses"][0]["PartitionResponses"][0]["ErrorCode"] == OK
            wire.correlation += 1
            assert wire.receive("ListOffsets", 5)["Topics"][0]["Partitions"][0]["Offset"] == n
