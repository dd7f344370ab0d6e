"""D1, D2: the broker is killed and restarted under groups at work. No acknowledged commit regresses, nobody is put out, nothing
is consumed twice or left out.
"""
import asyncio
import random
import struct

from batches import batch, offsets_of
from group_cells import PROPERTIES
from groups import (COORDINATOR_LOAD_IN_PROGRESS, LATER, NONE, ROUNDS, Life, Link, Member, Model, Refused, committed,
                    converged, pause, ready, run, until)
from wire import Wire

GROUPS, MEMBERS = 4, 4
PARTITIONS = {"t": 32}
SETTINGS = dict(PROPERTIES, **{"group.max.size": "100"})
AWAY = (ConnectionError, OSError)


def started(brokers, partitions):
    b = brokers(SETTINGS).start()
    run(ready(b.port, "any"))
    with Wire(b.port) as c:
        c.create("t", partitions)
    return b


# ---- D1 --------------------------------------------------------------------------------------------------------------

class Committer:
    """A member that commits all it owns, again and again; after each loss of the connection it reads what is there first."""

    def __init__(self, member, model):
        self.member, self.model, self.loads, self.acks = member, model, 0, 0
        self.task = asyncio.ensure_future(self.run())

    async def run(self):
        m, offset = self.member, 0
        while True:
            try:
                offset += 1
                codes = set((await self.model.commit(m, {tp: offset for tp in m.owned})).values())
                self.acks += codes == {NONE}
                if codes != {NONE}:
                    assert codes <= set(LATER), codes
                    await pause(0.005)
            except AWAY:
                m.drop()
                await self.look()

    async def look(self):
        while True:
            try:
                got = await self.model.check(await self.member.connected(), self.member.group, self.member.owned)
                assert min(got.values()) > 0 or not self.acks
                return
            except AWAY:
                self.member.drop()
                await pause(0.01)
            except Refused as e:
                assert e.code in LATER, e.code
                self.loads += e.code == COORDINATOR_LOAD_IN_PROGRESS
                await pause(0.002)


async def enter_all(members, partitions):
    model = Model()
    lives = [Life(m, model, partitions) for m in members]
    await converged(lives, partitions)
    for life in lives:
        life.task.cancel()


async def kills(b, rng):
    model, committers = Model(), []
    for n in range(GROUPS):
        members = [Member(b.port, "kill.%d" % n, session_ms=60000, era="0.11" if n % 2 else "3.9") for _ in range(MEMBERS)]
        await enter_all(members, PARTITIONS)
        committers += [Committer(m, model) for m in members]
    generations = [c.member.generation for c in committers]
    for _ in range(ROUNDS):
        goal = model.acks + rng.randrange(500, 20000)

        async def reached(goal=goal):
            return await all_commit(committers, [0] * len(committers)) and model.acks >= goal
        await until(reached, 120, "%d acknowledgements" % goal)
        b.kill9()
        await asyncio.to_thread(b.start)
    before = [c.acks for c in committers]
    await until(lambda: all_commit(committers, before), 90, "all commit again")
    for c in committers:
        c.task.cancel()
        assert await c.member.heartbeat() == NONE
        c.member.drop()
    assert generations == [c.member.generation for c in committers]
    link = await Link.open(b.port)
    for n in range(GROUPS):
        await model.check(link, "kill.%d" % n, [("t", p) for p in range(PARTITIONS["t"])])
    return model, sum(c.loads for c in committers)


async def all_commit(committers, before):
    for c in committers:
        if c.task.done():
            c.task.result()
    return all(c.acks > n for c, n in zip(committers, before))


def test_no_acknowledged_commit_regresses_over_kills(brokers):
    b = started(brokers, PARTITIONS["t"])
    model, loads = run(kills(b, random.Random()), 300 + 20 * ROUNDS)
    print(model.acks, "commits acknowledged,", model.reads, "read back,", loads, "times loading,", b.starts - 1, "kills")
    assert b.starts == ROUNDS + 1 and model.reads >= ROUNDS * GROUPS * MEMBERS


# ---- D2 --------------------------------------------------------------------------------------------------------------

class Consumer:
    """Fetches what it owns from its position, commits the position, heartbeats."""

    def __init__(self, member, seen):
        self.member, self.seen, self.told = member, seen, []
        self.position = {tp: 0 for tp in member.owned}
        self.task = asyncio.ensure_future(self.run())

    async def run(self):
        m = self.member
        while True:
            try:
                await self.consume()
                codes = set((await m.commit(self.position)).values())
                assert codes == {NONE} or codes <= set(LATER), codes
                code = await m.heartbeat()
                assert code in (NONE, *LATER), "a rebalance: %d" % code
            except AWAY:
                m.drop()
                await pause(0.01)

    async def consume(self):
        link = await self.member.connected()
        answer = await link.call("Fetch", 11, ReplicaId=-1, MaxWaitMs=20, MinBytes=1, MaxBytes=1 << 20, Topics=[
            {"Topic": "t", "Partitions": [{"Partition": p, "FetchOffset": at, "CurrentLeaderEpoch": -1, "PartitionMaxBytes": 1 << 18}
                                          for (_, p), at in self.position.items()]}])
        for part in (p for t in answer["Responses"] for p in t["Partitions"]):
            if part["ErrorCode"] == NONE and part["Records"]:
                tp = "t", part["PartitionIndex"]
                for offset in offsets_of(part["Records"]):
                    if offset >= self.position[tp]:
                        self.seen[self.member.group, tp].append(offset)
                        self.position[tp] = offset + 1


class Producer:
    """One record to each partition, over and over; counts what was acknowledged."""

    def __init__(self, port, partitions):
        self.port, self.partitions, self.acked, self.over = port, partitions, 0, False
        self.ends = {p: 0 for p in range(partitions)}
        self.task = asyncio.ensure_future(self.run())

    async def run(self):
        link = None
        while not self.over:
            try:
                link = link or await Link.open(self.port)
                answer = await link.call("Produce", 8, Acks=-1, TimeoutMs=5000, TopicData=[{"Name": "t", "PartitionData": [
                    {"Index": p, "Records": batch([struct.pack(">q", self.acked)])} for p in self.ends]}])
                for p in answer["Responses"][0]["PartitionResponses"]:
                    if p["ErrorCode"] == NONE:
                        self.acked += 1
                        self.ends[p["Index"]] = p["BaseOffset"] + 1
            except AWAY:
                link = None
            await pause(0.01)


async def bounces(b, partitions):
    consumers, seen = [], {}
    for n in range(3):
        members = [Member(b.port, "bounce.%d" % n, session_ms=60000, era=("0.10.1", "2.4", "3.9")[n]) for _ in range(3)]
        await enter_all(members, {"t": partitions})
        seen.update({("bounce.%d" % n, ("t", p)): [] for p in range(partitions)})
        consumers += [Consumer(m, seen) for m in members]
    generations = [c.member.generation for c in consumers]
    producer = Producer(b.port, partitions)
    for _ in range(ROUNDS):
        goal = producer.acked + 2 * partitions

        async def reached(goal=goal):
            for x in consumers + [producer]:
                if x.task.done():
                    x.task.result()
            return producer.acked >= goal
        await until(reached, 120, "%d records" % goal)
        await asyncio.to_thread(b.restart)
    producer.over = True                    # with the answer to its last request: nothing is on its way any more
    await producer.task
    ends = {("t", p): high_end(b.port, p) for p in range(partitions)}

    async def caught_up():
        for c in consumers:
            if c.task.done():
                c.task.result()
        return all(c.position[tp] == ends[tp] for c in consumers for tp in c.position)
    await until(caught_up, 90, "the end of the topic")

    for c in consumers:
        await until(lambda c=c: committed_all(c), 90, "position = committed")
        c.task.cancel()
        c.member.drop()
    assert generations == [c.member.generation for c in consumers], "a rebalance that nobody needed"
    for (group, tp), offsets in seen.items():
        assert offsets == list(range(ends[tp])), "%s: %s was not consumed once and in order" % (group, tp)
    return producer.acked, sum(map(len, seen.values()))


async def committed_all(c):
    link = await Link.open(c.member.port)
    try:
        return await committed(link, c.member.group, c.position) == c.position
    finally:
        link.close()


def high_end(port, partition):
    with Wire(port) as c:
        answer = c.call("ListOffsets", 1, ReplicaId=-1, Topics=[
            {"Name": "t", "Partitions": [{"PartitionIndex": partition, "Timestamp": -1}]}])
        return answer["Topics"][0]["Partitions"][0]["Offset"]


def test_clean_restarts_cause_no_rebalance(brokers):
    b = started(brokers, 6)
    print(run(bounces(b, 6), 300 + 20 * ROUNDS), "records written, consumed by three groups;", b.starts - 1, "restarts")
    assert b.starts == ROUNDS + 1
