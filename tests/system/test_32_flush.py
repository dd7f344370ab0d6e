"""flush.messages and flush.ms: answers only when the disk has it, appends that wait together share a sync, and a slow or
broken disk is felt by those alone who wait for it."""
import os
import select
import subprocess
import threading

import pytest

from batches import batch, offsets_of
from harness import wait_for
from wire import Wire

NONE, STORAGE_ERROR = 0, 56
HERE = os.path.dirname(os.path.abspath(__file__))


class Hook:
    """What the daemon's syncs meet with."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "order")
        library = os.path.join(folder, "sync_hook.so")
        subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O1", "-Wall", "-o", library,
                        os.path.join(HERE, "sync_hook.c"), "-ldl"], check=True)
        self.env = {"LD_PRELOAD": library, "SYNC_HOOK": self.path,
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}

    def order(self, text):
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(text)
        os.rename(self.path + ".new", self.path)

    def count(self):
        try:
            return os.path.getsize(self.path + ".count")
        except FileNotFoundError:
            return 0


@pytest.fixture
def hook(tmp_path):
    h = Hook(str(tmp_path))
    yield h
    h.order("count nothing")            # whoever waits goes on, so that the broker can stop


def hw(wire, topic):
    return wire.fetch(11, topic, 0, 0, max_bytes=1)["Responses"][0]["Partitions"][0]["HighWatermark"]


@pytest.mark.parametrize("acks", (0, 1, -1))
@pytest.mark.parametrize("setting", ({"flush.messages": "1"}, {"flush.messages": "3"}, {"flush.ms": "0"}))
def test_answers_come(broker, acks, setting):
    with Wire(broker.port) as w:
        w.create("t", configs=setting)
        for i in range(20):
            out = w.produce(9, "t", 0, batch([b"x"]), acks, timeout_ms=0)       # a limit for replicas, not for the disk
            assert acks == 0 or (out["ErrorCode"], out["BaseOffset"]) == (NONE, i)
        wait_for(lambda: hw(w, "t") == 20, what="everything is committed")
        assert offsets_of(w.fetch(11, "t", 0, 0)["Responses"][0]["Partitions"][0]["Records"]) == list(range(20))


def test_the_servers_property(brokers):
    b = brokers({"log.flush.interval.messages": "1"}).start()
    with Wire(b.port) as w:
        w.create("t")
        for i in range(10):
            assert w.produce(9, "t", 0, batch([b"x"]))["ErrorCode"] == NONE
    assert b.stop() == 0
    assert "for which appends had asked 10 times" in b.log()


def test_a_slow_disk(brokers, hook):
    """Sixteen wait, their records are not to be seen, others go on; then two syncs are enough for all."""
    b = brokers(env=hook.env).start()
    with Wire(b.port) as w:
        w.create("t", configs={"flush.messages": "1"})
        w.create("other")
        assert w.produce(9, "t", 0, batch([b"x"]))["ErrorCode"] == NONE
        hook.order("stall /t-0/0")      # of its segments: what else is there of a new partition is synced when it may be
        before = hook.count()
        waiting = [Wire(b.port) for _ in range(16)]
        for i, p in enumerate(waiting):
            p.send("Produce", 9, dict(Acks=1 if i % 2 else -1, TimeoutMs=1, TopicData=[
                {"Name": "t", "PartitionData": [{"Index": 0, "Records": batch([b"y"])}]}]))
        wait_for(lambda: os.path.getsize(os.path.join(b.data, "t-0", "0" * 20 + ".log")) == 17 * len(batch([b"y"])),
                 what="all are in the log")
        for i in range(50):
            assert w.produce(9, "other", 0, batch([b"x"]))["BaseOffset"] == i
        assert len(offsets_of(w.fetch(11, "other", 0, 0)["Responses"][0]["Partitions"][0]["Records"])) == 50
        w.create("fresh")
        assert hw(w, "t") == 1
        assert select.select([p.sock for p in waiting], [], [], 0)[0] == []
        hook.order("count /t-0/0")
        got = [p.receive("Produce", 9)["Responses"][0]["PartitionResponses"][0] for p in waiting]
        assert {g["ErrorCode"] for g in got} == {NONE}
        assert sorted(g["BaseOffset"] for g in got) == list(range(1, 17))
        assert hw(w, "t") == 17
        assert hook.count() - before <= 2
        for p in waiting:
            p.close()


def test_connections_that_die_while_they_wait(brokers, hook):
    b = brokers(env=hook.env).start()
    with Wire(b.port) as w:
        w.create("t", configs={"flush.messages": "1"})
        hook.order("stall /t-0/")
        for i in range(20):
            with Wire(b.port) as p:
                p.send("Produce", 9, dict(Acks=1 if i % 2 else -1, TimeoutMs=1000, TopicData=[
                    {"Name": "t", "PartitionData": [{"Index": 0, "Records": batch([b"y"])}]}]))
                wait_for(lambda: os.path.getsize(os.path.join(b.data, "t-0", "0" * 20 + ".log")) ==
                         (i + 1) * len(batch([b"y"])), what="it is in the log")
        hook.order("count /t-0/")
        wait_for(lambda: hw(w, "t") == 20, what="what nobody waits for any more is committed")
        assert w.produce(9, "t", 0, batch([b"x"]))["BaseOffset"] == 20


def test_a_topic_that_is_deleted_while_they_wait(brokers, hook):
    b = brokers(env=hook.env).start()
    with Wire(b.port) as w, Wire(b.port) as p:
        w.create("t", configs={"flush.messages": "1"})
        hook.order("stall /t-0/")
        p.send("Produce", 9, dict(Acks=1, TimeoutMs=1000, TopicData=[
            {"Name": "t", "PartitionData": [{"Index": 0, "Records": batch([b"y"])}]}]))
        wait_for(lambda: os.path.getsize(os.path.join(b.data, "t-0", "0" * 20 + ".log")), what="it is in the log")
        w.call("DeleteTopics", 3, TopicNames=["t"], TimeoutMs=10000)
        assert p.receive("Produce", 9)["Responses"][0]["PartitionResponses"][0]["ErrorCode"] in (3, 6, STORAGE_ERROR)


def test_a_sync_that_fails(brokers, hook, tmp_path):
    """Nobody is told that all is well, neither now nor later; the other directory goes on."""
    dirs = [str(tmp_path / "one"), str(tmp_path / "two")]
    b = brokers({"log.dirs": ",".join(dirs), "log.flush.interval.messages": "1"}, env=hook.env).start()
    with Wire(b.port) as w:
        w.create("t", 2)
        parts = {i: d for d in dirs for i in (0, 1) if os.path.isdir(os.path.join(d, "t-%d" % i))}
        assert set(parts.values()) == set(dirs), parts
        for i in (0, 1):
            assert w.produce(9, "t", i, batch([b"x"]))["ErrorCode"] == NONE
        hook.order("stall %s/" % parts[0])
        many = [Wire(b.port) for _ in range(8)]
        for i, p in enumerate(many):
            p.send("Produce", 9, dict(Acks=1 if i % 2 else -1, TimeoutMs=1, TopicData=[
                {"Name": "t", "PartitionData": [{"Index": 0, "Records": batch([b"y"])}]}]))
        wait_for(lambda: hook.count() > 0, what="a sync is stalled")
        assert w.produce(9, "t", 1, batch([b"x"]))["ErrorCode"] == NONE
        hook.order("fail %s/" % parts[0])
        for p in many:
            assert p.receive("Produce", 9)["Responses"][0]["PartitionResponses"][0]["ErrorCode"] in (6, STORAGE_ERROR)
            p.close()
        hook.order("count nothing")
        assert w.produce(9, "t", 0, batch([b"z"]))["ErrorCode"] in (6, STORAGE_ERROR)
        for i in range(2, 20):
            assert w.produce(9, "t", 1, batch([b"x"]))["BaseOffset"] == i
        assert b.log().count("the log directory is offline") == 1
    b.stop()


def test_many_partitions_do_not_wait_for_each_other(brokers, hook):
    """One log's sync hangs, the others' go on: several threads for a directory."""
    b = brokers(env=hook.env).start()
    with Wire(b.port) as w, Wire(b.port) as p:
        w.create("t", 4, configs={"flush.messages": "1"})
        for i in range(4):
            assert w.produce(9, "t", i, batch([b"x"]))["ErrorCode"] == NONE
        hook.order("stall /t-0/")
        p.send("Produce", 9, dict(Acks=1, TimeoutMs=1000, TopicData=[
            {"Name": "t", "PartitionData": [{"Index": 0, "Records": batch([b"y"])}]}]))
        wait_for(lambda: hook.count() > 0, what="the sync hangs")
        done = []

        def steady(i):
            with Wire(b.port) as mine:
                for _ in range(50):
                    done.append(mine.produce(9, "t", i, batch([b"x"]))["ErrorCode"])
        threads = [threading.Thread(target=steady, args=(i,)) for i in (1, 2, 3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert done == [NONE] * 150
        hook.order("count /t-0/")
        assert p.receive("Produce", 9)["Responses"][0]["PartitionResponses"][0]["ErrorCode"] == NONE


def test_nobody_waits_for_a_slow_disk_who_need_not(brokers, hook):
    """While every sync hangs: records are taken and read, topics are made, deleted, made again, and grow; the next broker
    finds all of it."""
    b = brokers(env=hook.env).start()
    with Wire(b.port) as w:
        for name in ("t", "gone"):
            w.create(name)
            assert w.produce(9, name, 0, batch([b"x"]))["ErrorCode"] == NONE
        hook.order("stall %s .mdb" % b.data)      # what the controller decides is on the disk before it is done
        for i in range(1, 30):
            assert w.produce(9, "t", 0, batch([b"x"]), acks=-1)["BaseOffset"] == i
        for i in range(5):
            w.call("DeleteTopics", 3, TopicNames=["gone"], TimeoutMs=10000)
            wait_for(lambda: w.call("CreateTopics", 5, TimeoutMs=60000, Topics=[
                {"Name": "gone", "NumPartitions": 1, "ReplicationFactor": 1}])["Topics"][0]["ErrorCode"] == NONE,
                     what="it is gone, and made again")
            for k in range(i):
                assert w.produce(9, "gone", 0, batch([b"x"]))["BaseOffset"] == k
        w.create("fresh", 3)
        assert w.produce(9, "fresh", 2, batch([b"x"]))["ErrorCode"] == NONE
        wait_for(lambda: hook.count() > 0, what="a sync hangs")
        assert offsets_of(w.fetch(11, "t", 0, 0)["Responses"][0]["Partitions"][0]["Records"]) == list(range(30))
    b.kill9()
    hook.order("count nothing")
    b.start()
    with Wire(b.port) as w:
        for name, n in (("t", 30), ("gone", 4)):
            assert offsets_of(w.fetch(11, name, 0, 0)["Responses"][0]["Partitions"][0]["Records"]) == list(range(n))
            assert hw(w, name) == n
