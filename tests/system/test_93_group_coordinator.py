"""tests/system/test_93_group_coordinator.py - what the coordinator makes of __consumer_offsets when it starts: after a kill, with
records in it that nobody can read, with those of Apache Kafka; and that its end keeps nobody waiting.
"""
import asyncio
import json
import re
import signal
import struct
import time

import pytest

import batches
import golden
from groups import COORDINATOR_NOT_AVAILABLE, LATER, NONE, NOT_COORDINATOR, Link, Member, ready, run, until
from harness import SLOW, Broker, in_time, wait_for
from test_30_disk_full import small_disk  # noqa: F401  (a fixture)
from wire import Wire

QUICK = {"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "3"}
STATES = golden.states()


def commit(wire, group, offsets, topic="t"):
    """offsets: partition -> offset."""
    answer = wire.call("OffsetCommit", 8, GroupId=group, GenerationIdOrMemberEpoch=-1, MemberId="", Topics=[
        {"Name": topic, "Partitions": [{"PartitionIndex": p, "CommittedOffset": o, "CommittedMetadata": ""}
                                       for p, o in offsets.items()]}])
    return [p["ErrorCode"] for p in answer["Topics"][0]["Partitions"]]


def committed(wire, group, topic="t", partitions=(0,)):
    """(code, {partition: offset}); versions below 8 ask for one group."""
    answer = wire.call("OffsetFetch", 5, GroupId=group, Topics=[{"Name": topic, "PartitionIndexes": list(partitions)}])
    if answer["ErrorCode"] != NONE:
        return answer["ErrorCode"], {}
    return NONE, {p["PartitionIndex"]: p["CommittedOffset"] for p in answer["Topics"][0]["Partitions"]}


def first_answer(broker, group, **kw):
    """What is committed, once the coordinator says something else than "later"; nothing else may come before."""
    def asked():
        with Wire(broker.port) as wire:
            code, offsets = committed(wire, group, **kw)
        assert code == NONE or code in LATER, code
        return (offsets,) if code == NONE else None
    return wait_for(asked, 30)[0]


def coordinator(broker, group):
    run(ready(broker.port, group))
    return Wire(broker.port)


def test_groups_and_offsets_are_there_after_a_kill(brokers):
    broker = brokers(QUICK).start()
    broker.create_topic("t", 4)

    async def enter():
        await ready(broker.port, "g")
        m = Member(broker.port, "g", instance="i", session_ms=300000)
        await m.enter({"t": 4})
        return m.member_id, m.generation

    member_id, generation = run(enter())
    for round_ in range(5):
        with coordinator(broker, "simple") as wire:
            assert commit(wire, "simple", {p: 10 * round_ + p for p in range(4)}) == [NONE] * 4
        broker.kill9()
        broker.start()
        assert first_answer(broker, "simple", partitions=range(4)) == {p: 10 * round_ + p for p in range(4)}
        with coordinator(broker, "g") as wire:
            answer = wire.call("Heartbeat", 4, GroupId="g", MemberId=member_id, GenerationId=generation)
            assert answer["ErrorCode"] == NONE, (round_, answer)
            described = wire.call("DescribeGroups", 5, Groups=["g"])["Groups"][0]
        assert described["GroupState"] == "Stable" and len(described["Members"]) == 1


def lines_of(broker, group):
    return [line.split(": ", 1)[1] for line in broker.log().splitlines() if " group %s: " % group in line]


def test_a_rebalance_takes_two_lines_of_the_log_and_a_leave_one(brokers):
    broker = brokers(dict(QUICK, **{"group.min.session.timeout.ms": "1000"})).start()

    async def come_and_go():
        await ready(broker.port, "left")
        m = Member(broker.port, "left", session_ms=60000)
        await m.enter({"t": 1})
        await m.leave()
        lost = Member(broker.port, "lost", session_ms=4000 if SLOW == 1 else 8000)     # long enough to enter at once
        await lost.enter({"t": 1})
        return m.member_id, lost

    left, lost = run(come_and_go())
    begins, stable, ends = lines_of(broker, "left")
    assert begins == "rebalance begins after generation 0 with 1 member: new member " + left
    assert stable.startswith("generation 1 is Stable with 1 member, after ")
    assert ends == "no members are left after generation 1: member %s left" % left
    wait_for(lambda: lines_of(broker, "lost")[-1:] == [
        "no members are left after generation %d: the session ended of member %s" % (lost.generation, lost.member_id)])
    assert len(lines_of(broker, "lost")) == 3 or lost.generation > 1        # it came too late, once


def test_one_line_tells_of_all_groups_that_were_loaded(brokers):
    broker = brokers(dict(QUICK, **{"offsets.topic.num.partitions": "50"})).start()
    broker.create_topic("t", 1)
    for i in range(40):
        with coordinator(broker, "g%d" % i) as wire:
            assert commit(wire, "g%d" % i, {0: i}) == [NONE]

    def told():
        return [[int(n) for n in line] for line in re.findall(
            r"(\d+) groups? with (\d+) committed offsets? loaded from (\d+) records?", broker.log(this_start=True))]
    for _ in range(10):                 # another line, if one partition is ready much later than those before it
        broker.kill9()
        broker.start()
        wait_for(lambda: [sum(n) for n in zip(*told())] == [40, 40, 40], what="all are loaded")
        if len(told()) == 1:
            break
    else:
        raise AssertionError(told())


def test_offsets_of_many_batches_are_all_there_before_the_first_answer(brokers):
    """Read batch by batch, so that it takes a while; clients are told to come later until it is done."""
    broker = brokers(dict(QUICK, **{"offsets.topic.num.partitions": "1", "offsets.load.buffer.size": "1"})).start()
    broker.create_topic("t", 1)

    async def write():
        await ready(broker.port, "g")
        link = await Link.open(broker.port)
        for at in range(0, 3000, 500):
            answers = [link.send("OffsetCommit", 8, dict(
                GroupId="g", GenerationIdOrMemberEpoch=-1, MemberId="", Topics=[{"Name": "t", "Partitions": [
                    {"PartitionIndex": 0, "CommittedOffset": o, "CommittedMetadata": ""}]}])) for o in range(at, at + 500)]
            await asyncio.gather(*answers)

    run(write())
    broker.kill9()
    broker.start()
    assert first_answer(broker, "g") == {0: 2999}
    wait_for(lambda: "1 group with 1 committed offset loaded from 3000 records" in broker.log(this_start=True))


def offset_key(group, topic, partition, version=1):
    return struct.pack(">hh", version, len(group)) + group + struct.pack(">h", len(topic)) + topic + struct.pack(">i", partition)


def test_records_that_nobody_can_read_are_told_and_passed_over(brokers):
    broker = brokers(dict(QUICK, **{"offsets.topic.num.partitions": "1"})).start()
    with coordinator(broker, "g") as wire:
        broker.create_topic("t", 2)
        assert commit(wire, "g", {0: 5}) == [NONE]
    bad = [(struct.pack(">hh", 3, 1) + b"g", b"\0\0"), (b"\0\1\0\7abc", b"x"), (b"", b""),
           (offset_key(b"g", b"t", 1), b"\0\3\0\0"), (offset_key(b"g", b"t", 1), b"\0\x63"),
           (struct.pack(">hh", 2, 1) + b"h", b"\0\3\0\1"), (struct.pack(">hh", 2, 1) + b"h", b"\0\x63")]
    with Wire(broker.port, client_id="__admin_client") as wire:
        for key, value in bad:
            answer = wire.call("Produce", 9, Acks=-1, TimeoutMs=5000, TopicData=[{"Name": "__consumer_offsets", "PartitionData": [
                {"Index": 0, "Records": batches.batch([value], key)}]}])
            code = answer["Responses"][0]["PartitionResponses"][0]["ErrorCode"]
            assert code == NONE, (key, code)
    with Wire(broker.port) as wire:
        assert commit(wire, "g", {1: 6}) == [NONE]
    broker.restart()
    assert first_answer(broker, "g", partitions=(0, 1)) == {0: 5, 1: 6}
    wait_for(lambda: "places passed over" in broker.log(this_start=True), what="the sum, which is told last")
    lines = [line for line in broker.log(this_start=True).splitlines() if "passed over" in line]
    assert len(lines) == len(bad) + 1, lines
    for at, line in enumerate(lines[:-1]):
        assert "__consumer_offsets-0: offset %d passed over: " % (at + 1) in line
    assert "%d places passed over" % len(bad) in lines[-1]


def test_a_stop_answers_who_waits(brokers):
    broker = brokers({"group.initial.rebalance.delay.ms": "60000", "offsets.topic.num.partitions": "1"})

    async def scene():
        await ready(broker.port, "g")
        m = Member(broker.port, "g", session_ms=60000, rebalance_ms=300000)
        waiting = asyncio.ensure_future(m.join())
        link = await Link.open(broker.port)

        async def waits():
            answer = await link.call("DescribeGroups", 5, Groups=["g"])
            return answer["Groups"][0]["GroupState"] == "PreparingRebalance"
        await until(waits)
        began = time.monotonic()
        broker.process.send_signal(signal.SIGTERM)
        assert await waiting == COORDINATOR_NOT_AVAILABLE
        return began

    def stop():
        broker.start()
        began = run(scene())
        assert broker.stop(None) == 0
        return time.monotonic() - began
    in_time(4, stop)


def test_commits_that_wait_for_the_disk(brokers):
    """flush.messages=1 on the topic: a commit is answered when it is on the disk."""
    broker = brokers(QUICK).start()
    broker.create_topic("t", 1)
    with coordinator(broker, "g") as wire:
        broker.tool("kafka-configs.sh", "--alter", "--entity-type", "topics", "--entity-name", "__consumer_offsets",
                    "--add-config", "flush.messages=1")
        for offset in range(50):
            assert commit(wire, "g", {0: offset}) == [NONE]
        assert committed(wire, "g") == (NONE, {0: 49})


def fill(path):
    """Nothing more can be written where path is."""
    with open(path, "wb", buffering=0) as f:
        try:
            while f.write(b"\0" * 65536):
                pass
        except OSError:
            pass


def test_a_full_disk_refuses_commits_and_joins_until_there_is_room(brokers, small_disk):  # noqa: F811
    broker = brokers(dict(QUICK, **{"log.dirs": str(small_disk / "data"), "log.index.size.max.bytes": "10000",
                                    "log.cleaner.dedupe.buffer.size": "4000000"})).start()
    broker.create_topic("t", 1)
    with coordinator(broker, "g") as wire:
        assert commit(wire, "g", {0: 1}) == [NONE]
        fill(small_disk / "filler")
        wait_for(lambda: "no records and no new topics are taken" in broker.log(), what="it is said")
        last, codes = 1, set()
        for offset in range(2, 400):
            code = commit(wire, "g", {0: offset})[0]
            codes.add(code)
            last = offset if code == NONE else last
        assert codes - {NONE} == {NOT_COORDINATOR}, codes
        assert committed(wire, "g") == (NONE, {0: last})

        async def refused():
            m = Member(broker.port, "m")
            assert await m.join() == NONE
            return await m.sync({"t": 1})
        assert run(refused()) == NOT_COORDINATOR
        (small_disk / "filler").unlink()
        wait_for(lambda: commit(wire, "g", {0: 1000}) == [NONE])

        async def enters():
            await Member(broker.port, "n").enter({"t": 1})
        run(enters())
    broker.restart()
    assert first_answer(broker, "g") == {0: 1000}


# ---- Apache Kafka's groups -------------------------------------------------------------------------------------------

def partitions_of(assignment):
    if not assignment:
        return []
    out, pos = [], 6
    topics, = struct.unpack_from(">i", assignment, 2)
    for _ in range(topics):
        n, = struct.unpack_from(">h", assignment, pos)
        topic = assignment[pos + 2:pos + 2 + n].decode()
        count, = struct.unpack_from(">i", assignment, pos + 2 + n)
        pos += 6 + n
        out += ["%s-%d" % (topic, p) for p in struct.unpack_from(">%di" % count, assignment, pos)]
        pos += 4 * count
    return sorted(out)


def as_expected(wire, group):
    """A group as a line of groups.jsonl has it."""
    g = wire.call("DescribeGroups", 5, Groups=[group])["Groups"][0]
    told = {"group": group, "state": g["GroupState"], "assignor": g["ProtocolData"], "members": [
        {"memberId": m["MemberId"], "groupInstanceId": m["GroupInstanceId"], "clientId": m["ClientId"], "host": m["ClientHost"],
         "assignment": partitions_of(m["MemberAssignment"])} for m in g["Members"]]}
    answer = wire.call("OffsetFetch", 7, GroupId=group, Topics=None, RequireStable=True)
    told["requireStable"] = "ok" if answer["ErrorCode"] == NONE else answer["ErrorCode"]
    answer = wire.call("OffsetFetch", 7, GroupId=group, Topics=None, RequireStable=False)
    assert answer["ErrorCode"] == NONE, (group, answer)
    told["offsets"] = [
        {"topic": t["Name"], "partition": p["PartitionIndex"], "offset": p["CommittedOffset"],
         "leaderEpoch": p["CommittedLeaderEpoch"] if p["CommittedLeaderEpoch"] >= 0 else None, "metadata": p["Metadata"]}
        for t in answer["Topics"] for p in t["Partitions"]]
    return told


def sorted_out(told):
    return dict(told, members=sorted(({**m, "assignment": sorted(m["assignment"])} for m in told["members"]),
                                     key=lambda m: m["memberId"]),
                offsets=sorted(told["offsets"], key=lambda o: (o["topic"], o["partition"])))


@pytest.mark.parametrize("name", STATES or [None])
def test_groups_of_apache_kafka_are_taken_up(name, tmp_path):
    if name is None:
        pytest.skip("no data directories in ../shared/golden beside the checkout")
    state = golden.State(name, tmp_path)
    broker = Broker(tmp_path, state.properties).start()
    faults = []
    try:
        for line in state.expected("groups"):
            expected = sorted_out(line)
            with coordinator(broker, line["group"]) as wire:
                got = sorted_out(as_expected(wire, line["group"]))
            if got != expected:
                faults.append("expected %s\n     got %s" % (json.dumps(expected, sort_keys=True), json.dumps(got, sort_keys=True)))
        assert "passed over" not in broker.log()
    finally:
        assert broker.stop() == 0, broker.log()[-4000:]
    assert not faults, "\n".join(faults)
