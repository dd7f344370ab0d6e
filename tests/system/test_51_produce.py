"""Produce: versions, acks, the topic's settings, idempotent producers, who leads; InitProducerId and DescribeProducers."""
import os
import threading

import pytest

from batches import batch, offsets_of
from harness import wait_for
from wire import Wire

NONE, UNKNOWN_TOPIC, NOT_LEADER, TOO_LARGE, INVALID_TOPIC = 0, 3, 6, 10, 17
NOT_ENOUGH_REPLICAS, INVALID_ACKS, INVALID_TIMESTAMP, OUT_OF_ORDER, OLD_EPOCH = 19, 21, 32, 45, 47
TXN_STATE, TXN_ID_AUTH, INVALID_RECORD = 48, 53, 87


@pytest.fixture
def wire(broker):
    with Wire(broker.port) as w:
        yield w


@pytest.mark.parametrize("version", range(3, 12))
@pytest.mark.parametrize("acks", (1, -1))
def test_every_version(wire, version, acks):
    wire.create("t")
    for i in range(3):
        out = wire.produce(version, "t", 0, batch([b"a", b"b"]), acks)
        assert (out["ErrorCode"], out["BaseOffset"], out["LogAppendTimeMs"]) == (NONE, 2 * i, -1)
    assert offsets_of(wire.fetch(11, "t", 0, 0)["Responses"][0]["Partitions"][0]["Records"]) == list(range(6))


def test_acks_0_is_silent_and_closes_when_it_fails(broker, wire):
    wire.create("t")
    wire.produce(9, "t", 0, batch([b"a"]), acks=0)
    assert wire.produce(9, "t", 0, batch([b"b"]))["BaseOffset"] == 1
    wire.produce(9, "nosuch", 0, batch([b"a"]), acks=0)
    with pytest.raises(ConnectionError):
        wire.call("ApiVersions", 0)
    assert "Produce" in broker.log()


@pytest.mark.parametrize("acks", (2, -2, 100))
def test_other_acks_are_refused(wire, acks):
    wire.create("t")
    assert wire.produce(9, "t", 0, batch([b"a"]), acks)["ErrorCode"] == INVALID_ACKS
    assert wire.produce(9, "nosuch", 0, batch([b"a"]), acks)["ErrorCode"] == UNKNOWN_TOPIC


def test_one_bad_partition_does_not_harm_the_others(wire):
    wire.create("t", 3)
    out = wire.call("Produce", 9, Acks=-1, TimeoutMs=1000, TopicData=[
        {"Name": "t", "PartitionData": [{"Index": 0, "Records": batch([b"a"])},
                                        {"Index": 1, "Records": batch([b"a"])[:-1] + b"x"},
                                        {"Index": 9, "Records": batch([b"a"])},
                                        {"Index": 2, "Records": batch([b"a"])}]},
        {"Name": "nosuch", "PartitionData": [{"Index": 0, "Records": batch([b"a"])}]}])
    codes = [(t["Name"], p["Index"], p["ErrorCode"]) for t in out["Responses"] for p in t["PartitionResponses"]]
    assert codes == [("t", 0, NONE), ("t", 1, 2), ("t", 9, UNKNOWN_TOPIC), ("t", 2, NONE), ("nosuch", 0, UNKNOWN_TOPIC)]


def test_settings_of_the_topic(wire):
    def code(topic, data, acks=1):
        return wire.produce(9, topic, 0, data, acks)["ErrorCode"]

    wire.create("small", configs={"max.message.bytes": "200"})
    assert code("small", batch([b"x" * 300])) == TOO_LARGE
    wire.create("compact", configs={"cleanup.policy": "compact"})
    out = wire.produce(9, "compact", 0, batch([b"x", b"y"]))
    assert out["ErrorCode"] == INVALID_RECORD and [e["BatchIndex"] for e in out["RecordErrors"]] == [0, 1]
    assert code("compact", batch([b"x"], key=b"k")) == NONE
    wire.create("isr", configs={"min.insync.replicas": "2"})
    assert (code("isr", batch([b"x"]), 1), code("isr", batch([b"x"]), -1)) == (NONE, NONE)    # there is one replica only
    wire.create("late", configs={"message.timestamp.before.max.ms": "1000"})
    assert code("late", batch([b"x"])) == INVALID_TIMESTAMP
    wire.create("now", configs={"message.timestamp.type": "LogAppendTime"})
    assert wire.produce(9, "now", 0, batch([b"x"]))["LogAppendTimeMs"] > 1700000000000


def test_transactions_are_refused(wire):
    wire.create("t")
    txn = batch([b"x"], attributes=0x10, producer_id=5, epoch=0, sequence=0)
    assert wire.produce(9, "t", 0, txn)["ErrorCode"] == TXN_ID_AUTH
    out = wire.call("Produce", 9, TransactionalId="me", Acks=1, TimeoutMs=1000, TopicData=[
        {"Name": "t", "PartitionData": [{"Index": 0, "Records": txn}]}])
    assert out["Responses"][0]["PartitionResponses"][0]["ErrorCode"] == TXN_STATE
    assert wire.call("InitProducerId", 4, TransactionalId="me", TransactionTimeoutMs=1000)["ErrorCode"] == 35


def test_idempotent_producers(wire):
    wire.create("t")

    def send(sequence, n=1, epoch=0, pid=7):
        out = wire.produce(9, "t", 0, batch([b"v"] * n, producer_id=pid, epoch=epoch, sequence=sequence))
        return out["ErrorCode"], out["BaseOffset"]

    assert send(0) == (NONE, 0)
    assert send(0) == (NONE, 0)
    assert send(1, 3) == (NONE, 1)
    assert send(1, 3) == (NONE, 1)
    assert send(1, 1) == (OUT_OF_ORDER, -1)
    assert send(9) == (OUT_OF_ORDER, -1)
    for i in range(4, 10):
        assert send(i) == (NONE, i)
    assert send(5) == (NONE, 5)
    assert send(4) == (OUT_OF_ORDER, -1)
    assert send(5, epoch=1) == (OUT_OF_ORDER, -1)
    assert send(0, epoch=1) == (NONE, 10)
    assert send(10) == (OLD_EPOCH, -1)
    assert send(2**31 - 1, pid=8) == (NONE, 11)
    assert send(0, pid=8) == (NONE, 12)
    found = wire.call("DescribeProducers", 0, Topics=[{"Name": "t", "PartitionIndexes": [0, 1]}])["Topics"][0]["Partitions"]
    assert sorted((p["ProducerId"], p["ProducerEpoch"], p["LastSequence"]) for p in found[0]["ActiveProducers"]) == [
        (7, 1, 0), (8, 0, 0)]
    assert found[1]["ErrorCode"] == UNKNOWN_TOPIC


def test_what_follows_a_refused_batch_of_a_new_producer_is_out_of_order(wire):
    """Else a client would conclude that the refused one is there: librdkafka reports it as delivered."""
    def send(sequence, pid=7):
        out = wire.produce(9, "t", 0, batch([b"%d" % sequence], producer_id=pid, epoch=0, sequence=sequence))
        return out["ErrorCode"], out["BaseOffset"]

    assert send(0) == (UNKNOWN_TOPIC, -1)
    wire.create("t")
    assert send(1) == (OUT_OF_ORDER, -1)
    assert send(5, pid=8) == (NONE, 0)                  # of this one nothing was refused
    assert send(0) == (NONE, 1)
    assert send(1) == (NONE, 2)
    assert send(0) == (NONE, 1)


def test_producer_ids_are_never_given_twice(broker, wire):
    def take():
        out = wire.call("InitProducerId", 4, TransactionalId=None, TransactionTimeoutMs=1000)
        assert (out["ErrorCode"], out["ProducerEpoch"]) == (NONE, 0)
        return out["ProducerId"]

    first = [take() for _ in range(1100)]
    assert first == list(range(1100))
    broker.restart()
    with Wire(broker.port) as again:
        out = again.call("InitProducerId", 4, TransactionalId=None, TransactionTimeoutMs=1000)
    assert out["ProducerId"] == 2000


def test_internal_topics_are_not_for_clients(wire):
    wire.create("__consumer_offsets")
    assert wire.produce(9, "__consumer_offsets", 0, batch([b"x"], key=b"k"))["ErrorCode"] == INVALID_TOPIC


def test_many_producers_and_a_tail(broker, wire):
    """Every record once, in order, although eight connections write and one reads all the time."""
    wire.create("t")
    each, writers = 200, 8

    def write(me):
        with Wire(broker.port) as w:
            for i in range(each):
                out = w.produce(9, "t", 0, batch([b"%d" % i], producer_id=100 + me, epoch=0, sequence=i), acks=-1)
                assert out["ErrorCode"] == NONE

    threads = [threading.Thread(target=write, args=(i,), daemon=True) for i in range(writers)]
    for t in threads:
        t.start()
    seen = []

    def tail():
        part = wire.fetch(11, "t", 0, len(seen), wait_ms=1000)["Responses"][0]["Partitions"][0]
        seen.extend(o for o in offsets_of(part["Records"]) if o >= len(seen))
        return len(seen) >= each * writers

    wait_for(tail, within=120)
    assert seen == list(range(each * writers))


def test_an_answer_that_nobody_reads_does_not_stop_the_others(broker, wire):
    wire.create("t")
    wire.produce(9, "t", 0, batch([os.urandom(900000)]))
    with Wire(broker.port) as lazy:
        for _ in range(30):
            lazy.send("Fetch", 11, dict(MaxWaitMs=0, MinBytes=1, Topics=[{"Topic": "t", "Partitions": [
                {"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20}]}]))
        for _ in range(20):
            assert wire.produce(9, "t", 0, batch([b"x"]))["ErrorCode"] == NONE
