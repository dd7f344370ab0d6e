"""Fetch: long polls, limits, sessions, old versions; ListOffsets and DeleteRecords beside it."""
import os
import socket
import threading
import time

import pytest

from batches import batch, decode_sets, offsets_of
from harness import SLOW, in_time, wait_for
from wire import Wire

FULL = 0


@pytest.fixture
def wire(broker):
    with Wire(broker.port) as w:
        yield w


class Parked(threading.Thread):
    """A Fetch on a connection of its own; .answer and .seconds when it is back."""

    def __init__(self, broker, topics, wait_ms=600000, min_bytes=1, version=11, **more):
        super().__init__(daemon=True)
        self.answer = self.error = None
        self.wire = Wire(broker.port)
        self.version = version
        self.began = time.monotonic()
        self.wire.send("Fetch", version, dict(MaxWaitMs=wait_ms, MinBytes=min_bytes, Topics=[
            {"Topic": t, "Partitions": [{"Partition": p, "FetchOffset": o, "PartitionMaxBytes": 1 << 20}
                                        for p, o in parts]} for t, parts in topics.items()], **more))
        self.start()

    def run(self):
        try:
            self.answer = self.wire.receive("Fetch", self.version)
        except (OSError, ValueError) as e:
            self.error = e
        self.seconds = time.monotonic() - self.began

    def back(self, within=50):
        self.join(within * SLOW)
        assert not self.is_alive(), "the fetch is still parked"
        if self.error is not None:
            raise self.error
        return {(t["Topic"], p["PartitionIndex"]): p for t in self.answer["Responses"] for p in t["Partitions"]}


def parked(wire, broker, topic, partition):
    """True when a fetch waits for the partition: it holds its answer back although it has been read. There is no way to
    look inside, so this is the time that a request needs to come in, many times over."""
    for _ in range(50):
        wire.fetch(11, topic, partition, 0)
    return True


def test_a_long_poll_is_answered_when_records_come(broker, wire):
    wire.create("t")
    fetch = Parked(broker, {"t": [(0, 0)]})
    parked(wire, broker, "t", 0)
    assert fetch.is_alive()
    wire.produce(9, "t", 0, batch([b"one", b"two"]))
    part = fetch.back()["t", 0]
    assert (part["ErrorCode"], part["HighWatermark"], offsets_of(part["Records"])) == (0, 2, [0, 1])
    assert fetch.seconds < 60 * SLOW


def test_a_long_poll_ends_with_its_time(broker, wire):
    wire.create("t")
    fetch = Parked(broker, {"t": [(0, 0)]}, wait_ms=300)
    part = fetch.back()["t", 0]
    assert part["Records"] == b""
    assert fetch.seconds >= 0.3


def test_enough_bytes_from_several_partitions_end_it(broker, wire):
    wire.create("t", 3)
    one = batch([b"x" * 400])
    fetch = Parked(broker, {"t": [(0, 0), (1, 0), (2, 0)]}, min_bytes=2 * len(one) + 1)
    for partition in (2, 0):
        wire.produce(9, "t", partition, one)
        parked(wire, broker, "t", 0)
        assert fetch.is_alive()
    wire.produce(9, "t", 1, one)
    got = fetch.back()
    assert [len(got["t", p]["Records"]) for p in (0, 1, 2)] == [len(one)] * 3


def test_what_is_there_already_counts(broker, wire):
    wire.create("t")
    one = batch([b"x" * 400])
    wire.produce(9, "t", 0, one)
    fetch = Parked(broker, {"t": [(0, 0)]}, min_bytes=2 * len(one))
    parked(wire, broker, "t", 0)
    assert fetch.is_alive()
    wire.produce(9, "t", 0, one)
    assert len(fetch.back()["t", 0]["Records"]) == 2 * len(one)


def test_many_wait_for_one_partition(broker, wire):
    wire.create("t")
    fetches = [Parked(broker, {"t": [(0, 0)]}) for _ in range(100)]
    parked(wire, broker, "t", 0)
    wire.produce(9, "t", 0, batch([b"one"]))
    for f in fetches:
        assert offsets_of(f.back()["t", 0]["Records"]) == [0]


def test_closed_connections_leave_nothing_behind(broker, wire):
    wire.create("t")
    for _ in range(50):
        Parked(broker, {"t": [(0, 0)]}).wire.close()
    fetch = Parked(broker, {"t": [(0, 0)]})
    wire.produce(9, "t", 0, batch([b"one"]))
    assert offsets_of(fetch.back()["t", 0]["Records"]) == [0]


def test_deleting_the_topic_ends_it(broker, wire):
    wire.create("t")
    fetch = Parked(broker, {"t": [(0, 0)]})
    parked(wire, broker, "t", 0)
    wire.call("DeleteTopics", 5, TopicNames=["t"], TimeoutMs=10000)
    assert fetch.back()["t", 0]["ErrorCode"] in (3, 6)


def test_stopping_the_broker_does_not_wait_for_it(broker, wire):
    wire.create("t")

    def stop():
        fetches = [Parked(broker, {"t": [(0, 0)]}, wait_ms=600000) for _ in range(5)]
        with Wire(broker.port) as w:
            parked(w, broker, "t", 0)
        began = time.monotonic()
        assert broker.stop() == 0
        took = time.monotonic() - began
        for f in fetches:
            f.join(10 * SLOW)
            assert not f.is_alive()
        broker.start()
        return took
    in_time(5, stop)


def test_an_unknown_partition_does_not_cut_the_wait_short(broker, wire):
    wire.create("t")
    fetch = Parked(broker, {"t": [(0, 0), (7, 0)]})
    parked(wire, broker, "t", 0)
    assert fetch.is_alive()
    wire.produce(9, "t", 0, batch([b"one"]))
    got = fetch.back()
    assert got["t", 7]["ErrorCode"] == 3 and got["t", 0]["ErrorCode"] == 0


def test_a_batch_larger_than_every_limit_comes_whole_and_alone(broker, wire):
    wire.create("t", 2)
    big, small = batch([b"x" * 5000]), batch([b"y"])
    wire.produce(9, "t", 0, big)
    wire.produce(9, "t", 0, small)
    wire.produce(9, "t", 1, big)
    out = wire.call("Fetch", 11, MaxWaitMs=0, MinBytes=1, MaxBytes=100, Topics=[{"Topic": "t", "Partitions": [
        {"Partition": p, "FetchOffset": 0, "PartitionMaxBytes": 50} for p in (0, 1)]}])
    got = out["Responses"][0]["Partitions"]
    assert [len(p["Records"]) for p in got] == [len(big), 0]
    assert len(wire.fetch(2, "t", 0, 0, max_bytes=50)["Responses"][0]["Partitions"][0]["Records"]) <= 50


def test_sessions_answer_changes_only(broker, wire):
    wire.create("t", 2)
    ask = [{"Topic": "t", "Partitions": [{"Partition": p, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20}
                                         for p in (0, 1)]}]
    first = wire.call("Fetch", 11, MaxWaitMs=0, MinBytes=1, SessionEpoch=FULL, Topics=ask)
    session = first["SessionId"]
    assert session > 0 and len(first["Responses"][0]["Partitions"]) == 2

    def step(epoch, topics=(), **more):
        return wire.call("Fetch", 11, MaxWaitMs=0, MinBytes=1, SessionId=session, SessionEpoch=epoch,
                         Topics=list(topics), **more)

    assert step(1)["Responses"] == []
    wire.produce(9, "t", 1, batch([b"one"]))
    changed = step(2)["Responses"]
    assert [p["PartitionIndex"] for p in changed[0]["Partitions"]] == [1]
    ask[0]["Partitions"] = [{"Partition": 1, "FetchOffset": 1, "PartitionMaxBytes": 1 << 20}]
    assert step(3, ask)["Responses"] == []
    assert step(3)["ErrorCode"] == 71                   # INVALID_FETCH_SESSION_EPOCH
    forget = [{"Topic": "t", "Partitions": [0, 1]}]
    assert step(4, ForgottenTopicsData=forget)["SessionId"] == 0
    assert step(5)["ErrorCode"] == 70                   # FETCH_SESSION_ID_NOT_FOUND


def test_a_session_parks_and_wakes(broker, wire):
    wire.create("t", 20)

    def ask(*parts):
        return [{"Topic": "t", "Partitions": [{"Partition": p, "FetchOffset": o, "PartitionMaxBytes": 1 << 20}
                                              for p, o in parts]}]

    session = wire.call("Fetch", 11, MaxWaitMs=0, MinBytes=1, SessionEpoch=FULL,
                        Topics=ask(*((p, 0) for p in range(20))))["SessionId"]
    news = []
    for epoch, partition in enumerate((3, 17, 0), 1):
        fetch = Parked(broker, {"t": news} if news else {}, SessionId=session, SessionEpoch=epoch)
        wire.produce(9, "t", partition, batch([b"one"]))
        got = fetch.back()
        assert list(got) == [("t", partition)] and offsets_of(got["t", partition]["Records"]) == [0]
        news = [(partition, 1)]


@pytest.mark.parametrize("version,magic", [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_old_versions_get_old_formats(broker, wire, version, magic):
    wire.create("t")
    wire.produce(9, "t", 0, batch([b"one", b"two", b"three"]))
    part = wire.fetch(version, "t", 0, 1)["Responses"][0]["Partitions"][0]
    sets = decode_sets(part["Records"])
    assert [(s["magic"], s["offset"], s["value"]) for s in sets] == [(magic, 1, b"two"), (magic, 2, b"three")]


def test_old_clients_get_a_batch_as_large_as_they_can_take(wire):
    wire.create("t", configs={"max.message.bytes": "12000000"})
    value = b"x" * 9500000
    assert wire.produce(9, "t", 0, batch([value]))["ErrorCode"] == 0
    part = wire.fetch(2, "t", 0, 0, max_bytes=11000000)["Responses"][0]["Partitions"][0]
    assert [(s["magic"], s["offset"], len(s["value"])) for s in decode_sets(part["Records"])] == [(1, 0, len(value))]


def test_old_clients_that_do_not_read_cost_little(broker, wire):
    wire.create("t")
    data = batch([b"x" * 900000])
    for _ in range(12):
        assert wire.produce(9, "t", 0, data)["ErrorCode"] == 0
    wire.fetch(2, "t", 0, 0, max_bytes=50 << 20)
    before = broker.rss_kb()
    many = [Wire(broker.port) for _ in range(30)]
    for w in many:
        w.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        w.send("Fetch", 2, dict(MaxWaitMs=0, MinBytes=1, Topics=[
            {"Topic": "t", "Partitions": [{"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 50 << 20}]}]))
    for w in many:
        w.exactly(100)
    grown = broker.rss_kb() - before
    for w in many:
        w.close()
    assert grown < 30 * 3000 * SLOW, "%d KB for 30 clients" % grown


def test_by_topic_id(broker, wire):
    wire.create("t")
    topic_id = wire.call("Metadata", 12, Topics=[{"Name": "t"}])["Topics"][0]["TopicId"]
    wire.produce(9, "t", 0, batch([b"one"]))
    out = wire.fetch(17, None, 0, 0, topic_id=topic_id)["Responses"][0]
    assert out["TopicId"] == topic_id and offsets_of(out["Partitions"][0]["Records"]) == [0]
    assert wire.fetch(17, None, 0, 0, topic_id=os.urandom(16))["Responses"][0]["Partitions"][0]["ErrorCode"] == 100


def test_offsets_and_times(broker, wire):
    wire.create("t")
    for i in range(5):
        wire.produce(9, "t", 0, batch([b"v"], timestamp=1700000000000 + 1000 * i))

    def ask(ts, version=9):
        part = wire.call("ListOffsets", version, ReplicaId=-1, Topics=[{"Name": "t", "Partitions": [
            {"PartitionIndex": 0, "Timestamp": ts}]}])["Topics"][0]["Partitions"][0]
        return part["ErrorCode"], part["Offset"], part["Timestamp"]

    assert ask(-1) == (0, 5, -1)
    assert ask(-2) == (0, 0, -1)
    assert ask(-3) == (0, 4, 1700000004000)
    assert ask(-4) == (0, 0, -1)
    assert ask(-5) == (0, -1, -1)
    assert ask(-6)[0] == 35
    assert ask(-3, 6)[0] == 35
    assert ask(1700000001001) == (0, 2, 1700000002000)
    assert ask(1800000000000) == (0, -1, -1)
    out = wire.call("DeleteRecords", 2, TimeoutMs=30000, Topics=[{"Name": "t", "Partitions": [
        {"PartitionIndex": 0, "Offset": 3}]}])["Topics"][0]["Partitions"][0]
    assert (out["ErrorCode"], out["LowWatermark"]) == (0, 3)
    assert ask(-2) == (0, 3, -1)
    assert wire.fetch(11, "t", 0, 2)["Responses"][0]["Partitions"][0]["ErrorCode"] == 1
    part = wire.fetch(11, "t", 0, 3)["Responses"][0]["Partitions"][0]
    assert part["LogStartOffset"] == 3 and offsets_of(part["Records"]) == [3, 4]


def test_leader_epochs_are_checked(broker, wire):
    wire.create("t")
    wire.produce(9, "t", 0, batch([b"one"]))
    end = wire.call("OffsetForLeaderEpoch", 4, ReplicaId=-1, Topics=[{"Topic": "t", "Partitions": [
        {"Partition": 0, "LeaderEpoch": 0, "CurrentLeaderEpoch": -1}]}])["Topics"][0]["Partitions"][0]
    assert (end["ErrorCode"], end["LeaderEpoch"], end["EndOffset"]) == (0, 0, 1)
    part = wire.fetch(12, "t", 0, 0, CurrentLeaderEpoch=99)["Responses"][0]["Partitions"][0]
    assert part["ErrorCode"] == 75                      # UNKNOWN_LEADER_EPOCH
    assert wire.fetch(12, "t", 0, 0, CurrentLeaderEpoch=0)["Responses"][0]["Partitions"][0]["ErrorCode"] == 0


def test_waiting_costs_nothing(broker, wire):
    wire.create("t")
    fetches = [Parked(broker, {"t": [(0, 0)]}, wait_ms=60000) for _ in range(200)]
    parked(wire, broker, "t", 0)

    def share():
        """Of a second, or what the machine makes of it; at first some of the fetches may still come in."""
        before, began = broker.cpu_seconds(), time.monotonic()
        wait_for(lambda: time.monotonic() - began > 1)
        return (broker.cpu_seconds() - before) / (time.monotonic() - began)
    in_time(0.1, share)
    for f in fetches:
        f.wire.close()


def test_none_aborted_is_not_the_same_as_not_looked_for(broker, wire):
    wire.create("aborts", 2)
    for p in (0, 1):
        wire.produce(9, "aborts", p, batch([b"x" * 400]))

    def aborted(offset=0, isolation=1, limit=1 << 20):
        fetch = Parked(broker, {"aborts": [(0, offset), (1, 0)]}, wait_ms=0, IsolationLevel=isolation, MaxBytes=limit)
        parts = fetch.back()
        return [(len(parts["aborts", p]["Records"] or b"") > 0, parts["aborts", p]["AbortedTransactions"]) for p in (0, 1)]

    assert aborted() == [(True, []), (True, [])]
    assert aborted(isolation=0) == [(True, None), (True, None)]
    assert aborted(offset=1) == [(False, []), (True, [])]
    assert aborted(offset=9) == [(False, None), (True, [])]
    assert aborted(limit=600) == [(True, []), (False, None)]       # a first batch that is too large was left out
    assert aborted(limit=100) == [(True, []), (False, [])]         # nothing was to be read there
