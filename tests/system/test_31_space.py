"""A disk that runs full: below the limit records and topics are refused with an error that clients try again, reading goes
on, retention makes room at once, and the broker starts and stops cleanly on a disk without a single free byte."""
import errno
import os
import subprocess
import threading
import time

import pytest
from confluent_kafka import Producer

from batches import batch, offsets_of
from harness import SLOW, wait_for
from wire import Wire

NONE, LEADER_NOT_AVAILABLE, REQUEST_TIMED_OUT, OUT_OF_ORDER, STORAGE_ERROR = 0, 5, 7, 45, 56
RECORDS = batch([b"x" * 50000])
RESERVE = ".klamm-reserve"


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(tmp_path, request):
    """A file system of 32 MB: the limit is 327 KB, the reserve 128 KB."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(path)]
    if request.param == "ext4":
        image = str(tmp_path / "image")
        with open(image, "wb") as f:
            f.truncate(40 << 20)
        if subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=False, stderr=subprocess.DEVNULL).returncode != 0:
            pytest.skip("no mkfs.ext4 here")
        mount = ["mount", "-o", "loop", image, str(path)]
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("mounting a small %s is not permitted here" % request.param)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path):
    """To the last byte."""
    with open(path, "ab", buffering=0) as f:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    f.write(b"\0" * size)
            except OSError as e:
                assert e.errno == errno.ENOSPC


def fill_with_reserve(path, reserve):
    """So that nothing that the broker gives up makes room again."""
    while True:
        if os.path.exists(reserve):
            os.unlink(reserve)
        fill(path)
        if not os.path.exists(reserve):
            return


def until_refused(w, topic, most=1000):
    """Offsets that were acknowledged."""
    acked = []
    while True:
        out = w.produce(9, topic, 0, RECORDS)
        if out["ErrorCode"] != NONE:
            assert out["ErrorCode"] == STORAGE_ERROR
            return acked
        acked.append(out["BaseOffset"])
        assert len(acked) < most


def read_all(w, topic, n):
    seen = []
    while len(seen) < n:
        part = w.fetch(11, topic, 0, len(seen))["Responses"][0]["Partitions"][0]
        assert part["ErrorCode"] == NONE
        seen += offsets_of(part["Records"])
    assert seen == list(range(n))


def create_code(w, topic):
    return w.call("CreateTopics", 5, TimeoutMs=15000, Topics=[
        {"Name": topic, "NumPartitions": 1, "ReplicationFactor": 1}])["Topics"][0]["ErrorCode"]


def test_full_to_the_last_byte(brokers, small_disk):
    data = str(small_disk / "data")
    filler = str(small_disk / "filler")
    reserve = os.path.join(data, RESERVE)
    with open(filler, "wb") as f:
        f.write(bytes(8000000))
    b = brokers({"log.dirs": data}).start()
    wait_for(lambda: os.path.exists(reserve), what="the reserve is made")
    with Wire(b.port) as w:
        w.create("t", configs={"retention.ms": "-1"})
        n = len(until_refused(w, "t"))
        assert n > 300
        fill(filler)
        wait_for(lambda: "no records and no new topics are taken" in b.log(), what="it is said")
        assert w.produce(9, "t", 0, batch([b"small"]))["ErrorCode"] == STORAGE_ERROR
        assert create_code(w, "other") == STORAGE_ERROR
        grown = w.call("CreatePartitions", 1, TimeoutMs=30000, ValidateOnly=False, Topics=[{"Name": "t", "Count": 2}])
        assert grown["Results"][0]["ErrorCode"] == STORAGE_ERROR
        asked = w.call("Metadata", 9, Topics=[{"Name": "auto"}], AllowAutoTopicCreation=True)
        assert asked["Topics"][0]["ErrorCode"] == LEADER_NOT_AVAILABLE
        read_all(w, "t", n)
        assert b.log().count("no records and no new topics are taken") == 1
    b.kill9()
    fill(filler)
    b.start()                           # after a crash, with the reserve
    with Wire(b.port) as w:
        read_all(w, "t", n)
        assert w.produce(9, "t", 0, batch([b"small"]))["ErrorCode"] == STORAGE_ERROR
        # What the start gave up and did not need; who is faster than the broker leaves it none for its stop.
        wait_for(lambda: os.path.exists(reserve), what="there is a reserve again")
        fill(filler)
    assert b.stop() == 0
    assert os.path.exists(os.path.join(data, ".kafka_cleanshutdown"))
    fill(filler)
    b.start()
    with Wire(b.port) as w:
        read_all(w, "t", n)

        done = []                       # a client that is patient
        p = Producer({"bootstrap.servers": b.address, "message.timeout.ms": 60000 * SLOW, "retry.backoff.ms": 100})
        p.produce("t", b"patient", on_delivery=lambda err, msg: done.append((err, msg.offset())))
        refused = len(b.log())
        for _ in range(20):
            p.poll(0.02)
        assert not done and refused
        os.unlink(filler)
        wait_for(lambda: p.poll(0.05) or done, within=30, what="the record is taken at last")
        assert done == [(None, n)]
        assert create_code(w, "other") == NONE
        wait_for(lambda: os.path.exists(reserve), what="the reserve is made again")
        assert "are free again" in b.log(this_start=True)


def test_a_new_producer_whose_first_batch_found_no_room(brokers, small_disk):
    """What it has sent behind that batch is not taken in its place."""
    filler = str(small_disk / "filler")
    b = brokers({"log.dirs": str(small_disk / "data")}).start()
    with Wire(b.port) as w:
        def send(sequence):
            return w.produce(9, "t", 0, batch([b"v"], producer_id=7, epoch=0, sequence=sequence))["ErrorCode"]

        w.create("t")
        fill(filler)
        wait_for(lambda: "no records and no new topics are taken" in b.log(), what="it is said")
        assert send(0) == STORAGE_ERROR
        os.unlink(filler)
        wait_for(lambda: w.produce(9, "t", 0, batch([b"of nobody"]))["ErrorCode"] == NONE, what="there is room")
        assert [send(s) for s in (1, 2, 0, 1, 2)] == [OUT_OF_ORDER, OUT_OF_ORDER, NONE, NONE, NONE]


def test_retention_makes_room_at_once(brokers, small_disk):
    """Though it would run in ten minutes only."""
    b = brokers({"log.dirs": str(small_disk / "data"), "log.retention.check.interval.ms": "600000",
                 "log.initial.task.delay.ms": "600000", "log.segment.delete.delay.ms": "600000"}).start()
    with Wire(b.port) as w:
        w.create("t", configs={"retention.ms": "-1", "retention.bytes": "3000000", "segment.bytes": "1000000"})
        until_refused(w, "t", 10000)        # room may be made between two records, several times
        wait_for(lambda: "are free again" in b.log(), what="room is made")
        assert w.produce(9, "t", 0, RECORDS)["ErrorCode"] == NONE


def test_deleted_records_make_room(brokers, small_disk):
    b = brokers({"log.dirs": str(small_disk / "data"), "log.retention.check.interval.ms": "200",
                 "log.initial.task.delay.ms": "200"}).start()
    with Wire(b.port) as w:
        w.create("t", configs={"segment.bytes": "1000000", "retention.ms": "-1"})
        n = len(until_refused(w, "t"))
        wait_for(lambda: "no records and no new topics are taken" in b.log(), what="it is said")
        out = w.call("DeleteRecords", 1, TimeoutMs=30000, Topics=[
            {"Name": "t", "Partitions": [{"PartitionIndex": 0, "Offset": n}]}])
        assert out["Topics"][0]["Partitions"][0]["ErrorCode"] == NONE
        wait_for(lambda: w.produce(9, "t", 0, RECORDS)["ErrorCode"] == NONE, within=30, what="records are taken again")
        assert w.call("ListOffsets", 1, ReplicaId=-1, Topics=[
            {"Name": "t", "Partitions": [{"PartitionIndex": 0, "Timestamp": -2}]}])["Topics"][0]["Partitions"][0]["Offset"] == n


def test_deleted_topics_make_room(brokers, small_disk):
    """The metadata store has its place on the disk too."""
    b = brokers({"log.dirs": str(small_disk / "data")}).start()
    with Wire(b.port) as w:
        w.create("keep", configs={"retention.ms": "-1"})
        for i in range(20):
            w.create("small%d" % i)
        w.create("t", configs={"retention.ms": "-1"})
        until_refused(w, "t")
        wait_for(lambda: "no records and no new topics are taken" in b.log(), what="it is said")
        fill(str(small_disk / "filler"))
        for name in ["small%d" % i for i in range(20)] + ["t"]:
            out = w.call("DeleteTopics", 3, TopicNames=[name], TimeoutMs=30000)
            assert out["Responses"][0]["ErrorCode"] == NONE
        wait_for(lambda: w.produce(9, "keep", 0, RECORDS)["ErrorCode"] == NONE, within=30, what="records are taken again")


def test_the_limit_that_was_asked_for(brokers, small_disk):
    b = brokers({"log.dirs": str(small_disk / "data"), "klamm.log.dir.min.free.bytes": "20000000"}).start()
    with Wire(b.port) as w:
        w.create("t", configs={"retention.ms": "-1"})
        gate = threading.Event()
        taken = 0
        while w.produce(9, "t", 0, RECORDS)["ErrorCode"] == NONE:
            taken += 1
            gate.wait(0.1 if taken > 200 else 0)        # it looks once a second
            assert taken < 600
        free = os.statvfs(str(small_disk))
        assert free.f_bavail * free.f_frsize > 1000000
        assert "klamm.log.dir.min.free.bytes=20000000" in b.log()


def test_records_that_find_no_room_above_the_limit_are_told(brokers, small_disk):
    b = brokers({"log.dirs": str(small_disk / "data"), "klamm.log.dir.min.free.bytes": "0"}).start()
    with Wire(b.port) as w:
        w.create("t", configs={"retention.ms": "-1"})
        for _ in range(10):             # or just then the reserve is needed: then the lack of that is told instead
            fill(small_disk / "other")
            until_refused(w, "t")
            if "bytes of records were refused, the disk has no room for them" in b.log():
                break
            os.unlink(small_disk / "other")
            wait_for(lambda: w.produce(9, "t", 0, batch([b"x"]))["ErrorCode"] == NONE, what="records are taken again")
        else:
            raise AssertionError("the log does not say why:\n" + b.log())
        os.unlink(small_disk / "other")


def test_a_replica_is_made_when_there_is_room(clusters, small_disk):
    """In a cluster the other replica leads meanwhile; the one that could not be made comes without a restart."""
    cluster = clusters(brokers=2, default_replication_factor=2, min_insync_replicas=1)
    node = cluster[2]
    node.data = str(small_disk / "data")
    node.dirs = [node.data]
    node.configure()
    cluster.start(1).start(2)           # the controller has room
    filler = str(small_disk / "filler")
    fill(filler)
    cluster.wait(lambda: "no records and no new topics are taken" in node.log(), "it is said")
    fill_with_reserve(filler, os.path.join(node.data, RESERVE))
    with cluster[1].connect() as w:
        for topic, brokers in (("pair", [2, 1]), ("alone", [2])):
            out = w.call("CreateTopics", 5, TimeoutMs=15000, Topics=[{"Name": topic, "NumPartitions": -1, "ReplicationFactor": -1,
                                                                      "Assignments": [{"PartitionIndex": 0, "BrokerIds": brokers}]}])
            assert out["Topics"][0]["ErrorCode"] in (NONE, REQUEST_TIMED_OUT)
        cluster.wait_isr("pair", [1])
        cluster.wait(lambda: cluster.leader("alone") is None, "nobody leads")
        cluster.wait(lambda: [t["Partitions"][0]["OfflineReplicas"] for t in w.call(
            "Metadata", 9, Topics=[{"Name": "pair"}, {"Name": "alone"}])["Topics"]] == [[2], [2]], "both are offline there")
    began = time.monotonic()
    os.unlink(filler)
    cluster.wait_isr("pair", [1, 2])
    assert cluster.wait_leader("alone") == 2
    asked = node.log().count("the controller is asked to speak of them again")
    assert asked >= 1 and 5 * (2 ** (asked - 1) - 1) <= time.monotonic() - began     # again after 5 s, 10 s, 20 s, ...
