"""Partitions that move between log directories while they are written and read."""
import os
import threading

import pytest

from batches import batch, heads, offsets_of
from harness import wait_for
from wire import Wire

NONE, UNKNOWN_TOPIC, REPLICA_NOT_AVAILABLE, INVALID_TOPIC, STORAGE_ERROR, DIR_NOT_FOUND = 0, 3, 9, 17, 56, 57
NOT_LEADER = 6


@pytest.fixture
def two(brokers, tmp_path):
    """A broker with two directories."""
    b = brokers({"log.dirs": "%s,%s" % (tmp_path / "a", tmp_path / "b"), "log.initial.task.delay.ms": "600000",
                 "log.segment.delete.delay.ms": "0"})
    b.dirs = [str(tmp_path / "a"), str(tmp_path / "b")]
    os.makedirs(b.folder, exist_ok=True)
    return b.start()


def move(w, path, *partitions, version=2):
    topics = [{"Name": t, "Partitions": [p]} for t, p in partitions]
    out = w.call("AlterReplicaLogDirs", version, Dirs=[{"Path": path, "Topics": topics}])["Results"]
    return [p["ErrorCode"] for t in out for p in t["Partitions"]]


def where(w, topic, partition=0):
    """[(path, future, lag)]"""
    out = w.call("DescribeLogDirs", 4, Topics=[{"Topic": topic, "Partitions": [partition]}])["Results"]
    return sorted((r["LogDir"], p["IsFutureKey"], p["OffsetLag"]) for r in out for t in r["Topics"] for p in t["Partitions"])


def created(w, topic):
    try:
        w.create(topic)
    except RuntimeError:                # the old one is not gone altogether
        return False
    return True


def put(w, topic, values=(b"x",), partition=0, acks=-1):
    return w.produce(9, topic, partition, batch(list(values)), acks=acks)


def home(b, name):
    return [d for d in b.dirs if os.path.isdir(os.path.join(d, name))]


def everything(w, topic):
    """All batches, read from the beginning."""
    out, offset = b"", 0
    while True:
        part = w.fetch(11, topic, 0, offset, max_bytes=4 << 20)["Responses"][0]["Partitions"][0]
        assert part["ErrorCode"] == 0
        got = heads(part["Records"] or b"")
        if not got:
            return out
        out += part["Records"][:sum(size for _, _, size in got)]
        offset = got[-1][1] + 1


def arrived(b, w, topic, path):
    wait_for(lambda: where(w, topic) == [(path, False, 0)] and home(b, topic + "-0") == [path], 90, "%s in %s" % (topic, path))


def test_there_and_back(two):
    with Wire(two.port) as w:
        w.create("t", configs={"segment.bytes": "100000"})
        for i in range(300):
            assert put(w, "t", [b"%d" % i * 100])["ErrorCode"] == 0
        before = everything(w, "t")
        for version, path in ((0, two.dirs[1]), (1, two.dirs[0]), (2, two.dirs[1])):
            assert move(w, path, ("t", 0), version=version) == [NONE]
            arrived(two, w, "t", path)
            assert everything(w, "t") == before
            wait_for(lambda: not [n for d in two.dirs for n in os.listdir(d) if n.endswith(("-delete", "-future"))], what="tidy")
        assert put(w, "t")["BaseOffset"] == 300
    two.kill9()
    two.start()
    with Wire(two.port) as w:
        assert where(w, "t") == [(two.dirs[1], False, 0)]
        assert everything(w, "t")[:len(before)] == before
    assert two.restart()
    with Wire(two.port) as w:
        assert offsets_of(everything(w, "t")) == list(range(301))


def test_errors(two):
    name = "long" + "g" * 245
    with Wire(two.port) as w:
        w.create("t")
        w.create(name)
        assert move(w, "/nowhere", ("t", 0)) == [DIR_NOT_FOUND]
        assert move(w, two.dirs[1], ("nobody", 0), ("t", 7)) == [UNKNOWN_TOPIC, UNKNOWN_TOPIC]
        assert move(w, two.dirs[0], (name, 0)) in ([INVALID_TOPIC], [NONE])
        assert INVALID_TOPIC in move(w, two.dirs[0], (name, 0)) + move(w, two.dirs[1], (name, 0))
        # Somebody wished it there: there it is made.
        w.create("nobody")
        assert home(two, "nobody-0") == [two.dirs[1]]
        assert move(w, home(two, "t-0")[0], ("t", 0)) == [NONE]
        assert [f for _, f, _ in where(w, "t")] == [False]


def test_producers_and_consumers_go_on(two):
    with Wire(two.port) as w:
        w.create("t", configs={"segment.bytes": "1000000"})
    stop, over = threading.Event(), threading.Event()
    acked, seen, failures = [], [], []

    def produce():
        with Wire(two.port) as w:
            i = 0
            while not stop.is_set():
                out = put(w, "t", [b"%08d" % i * 50])
                if out["ErrorCode"] == 0:
                    acked.append(out["BaseOffset"])
                    i += 1
                else:
                    failures.append(out["ErrorCode"])

    def consume():
        with Wire(two.port) as w:
            while not over.is_set() or len(seen) < len(acked):
                part = w.fetch(11, "t", 0, len(seen), wait_ms=100)["Responses"][0]["Partitions"][0]
                if part["ErrorCode"] != 0:
                    failures.append(part["ErrorCode"])
                    continue
                seen.extend(o for o in offsets_of(part["Records"] or b"") if o >= len(seen))

    threads = [threading.Thread(target=f) for f in (produce, consume)]
    for t in threads:
        t.start()
    try:
        with Wire(two.port) as w:
            for i in range(8):
                wait_for(lambda: len(acked) > i * 200, 120, "records are written")
                now = home(two, "t-0")[0]
                to = two.dirs[1 - two.dirs.index(now)]
                assert move(w, to, ("t", 0)) == [NONE]
                wait_for(lambda: home(two, "t-0") == [to], 90, "moved")
    finally:
        stop.set()
        threads[0].join()
        over.set()
        threads[1].join()
    assert acked == list(range(len(acked)))
    assert seen == acked
    assert not failures, failures[:5]


def test_killed_in_the_midst(two):
    with Wire(two.port) as w:
        w.create("t", configs={"segment.bytes": "4000000"})
    total = 0
    for turn in range(6):
        with Wire(two.port) as w:
            for _ in range(30):
                out = put(w, "t", [os.urandom(200000)])
                assert (out["ErrorCode"], out["BaseOffset"]) == (0, total)
                total += 1
            to = two.dirs[1 - two.dirs.index(home(two, "t-0")[0])]
            assert move(w, to, ("t", 0)) == [NONE]
            for _ in range(turn * 3):           # later each time
                out = put(w, "t", [os.urandom(1000)])
                assert (out["ErrorCode"], out["BaseOffset"]) == (0, total)
                total += 1
        two.kill9()
        two.start()
        with Wire(two.port) as w:
            wait_for(lambda: put(w, "t")["ErrorCode"] == 0, what="writable")
            total += 1
            wait_for(lambda: len(where(w, "t")) == 1 and home(two, "t-0") == [to], 90, "the move is over")
            assert offsets_of(everything(w, "t")) == list(range(total))


def test_stopped_in_the_midst(two):
    with Wire(two.port) as w:
        w.create("t", configs={"segment.bytes": "4000000"})
        for i in range(100):
            assert put(w, "t", [os.urandom(500000)])["BaseOffset"] == i
        now = home(two, "t-0")[0]
        to = two.dirs[1 - two.dirs.index(now)]
        assert move(w, to, ("t", 0)) == [NONE]
    assert two.stop() == 0
    two.start()
    with Wire(two.port) as w:
        assert "not closed cleanly" not in two.log(this_start=True)
        wait_for(lambda: home(two, "t-0") == [to] and len(where(w, "t")) == 1, 90, "the move is over")
        assert offsets_of(everything(w, "t")) == list(range(100))


def test_a_topic_is_deleted_on_its_way(two):
    with Wire(two.port) as w:
        w.create("t", configs={"segment.bytes": "4000000"})
        for i in range(60):
            assert put(w, "t", [os.urandom(500000)])["ErrorCode"] == 0
        now = home(two, "t-0")[0]
        assert move(w, two.dirs[1 - two.dirs.index(now)], ("t", 0)) == [NONE]
        w.call("DeleteTopics", 3, TopicNames=["t"], TimeoutMs=10000)
        wait_for(lambda: not [n for d in two.dirs for n in os.listdir(d) if n.startswith("t-")], what="nothing is left")
        wait_for(lambda: created(w, "t"), what="the name is free again")
        assert put(w, "t")["BaseOffset"] == 0
    assert two.restart()
