"""D6: committed offsets expire when their group's kind and state say so, and never before. Each situation twenty times, with ages
at random: written into __consumer_offsets, as if the broker had slept; over restarts.
"""
import asyncio
import random
import time

from group_cells import PROPERTIES
from group_log import Log, group_key, group_value, member, offset_key, offset_value, partition_of, replace
from groups import (NONE, ROUNDS, Link, Member, assignment, commit_codes, commit_topics, committed, describe, ready, run,
                    subscription, until)
from harness import SLOW
from wire import Wire

RETENTION = 60000                       # ms; offsets.retention.minutes has no less
PARTITIONS = 4
SETTINGS = dict(PROPERTIES, **{"offsets.retention.minutes": "1", "offsets.retention.check.interval.ms": "100",
                               "offsets.topic.num.partitions": str(PARTITIONS), "group.max.size": "100"})
SPARE = 40000 * SLOW if SLOW == 1 else 3600000          # so much younger than that it does not expire while the test runs
SOON = 1500 if SLOW == 1 else 3000                      # expires so long after the start
STAYS, GOES = "stays", "goes"


def old(rng):
    return RETENTION + rng.randrange(1000, 10 * 86400000)


def young(rng):
    return rng.randrange(0, max(RETENTION - SPARE, 1)) - (SPARE if SLOW > 1 else 0)


class Since:
    """The time from now on. When an offset expires is a time of day, in the records and for the broker; and that clock can be
    set while it runs, as when a virtual machine is stopped for a moment and catches up. So neither clock alone tells that
    something came too early: only both do.
    """

    def __init__(self):
        self.clocks = time.time(), time.monotonic()

    def elapsed_ms(self):
        return [(now - then) * 1000 for now, then in zip((time.time(), time.monotonic()), self.clocks)]

    def passed(self, ms):
        return max(self.elapsed_ms()) >= ms - 1         # of which the broker counts whole ones

    def __str__(self):
        return "%.1f ms of the day, %.1f ms of the steady clock" % tuple(self.elapsed_ms())


class Situation:
    """Records of one group, and which of its offsets are to go."""

    def __init__(self, name, since, rng, shape):
        self.name, self.since, self.now, self.rng = name, since, int(since.clocks[0] * 1000), rng
        self.records, self.want, self.soonest, self.latest = [], {}, {}, {}
        shape(self)

    def group(self, members=(), since=None, version=3, kind="consumer"):
        self.records.append((group_key(self.name), group_value(
            members, kind=kind, version=version, since_ms=-1 if since is None else self.now - since)))

    def offset(self, topic, partition, age, fate, expires=None):
        version = 3 if expires is None else 1
        self.records.append((offset_key(self.name, topic, partition), offset_value(
            7, commit_ms=self.now - age, expire_ms=-1 if expires is None else self.now + expires, version=version)))
        self.want[topic, partition] = fate
        if fate == STAYS and expires is None and age < RETENTION:
            self.stays_until(topic, partition, RETENTION - age)

    def stays_until(self, topic, partition, ms):
        """After that much time this test, on a slow machine, may find it gone."""
        self.latest[topic, partition] = ms

    def must_stay(self, tp):
        return self.want[tp] == STAYS and not self.since.passed(self.latest.get(tp, float("inf")))

    def soon(self, topic, partition):
        """Its time comes while the test looks; never before."""
        self.offset(topic, partition, RETENTION - SOON, GOES)
        self.soonest[topic, partition] = SOON


def simple(s):
    s.offset("t", 0, old(s.rng), GOES)
    s.offset("t", 1, young(s.rng), STAYS)
    s.soon("t", 2)


def simple_all_old(s):
    s.offset("t", 0, old(s.rng), GOES)
    s.offset("u", 1, old(s.rng), GOES)


def empty_long_ago(s):
    s.group(since=old(s.rng))
    s.offset("t", 0, old(s.rng), GOES)
    s.offset("u", 0, old(s.rng), GOES)


def empty_since_now(s):
    """However old the commits are: the time counts from when the last member left (KAFKA-8069)."""
    since = young(s.rng)
    s.group(since=since)
    s.offset("t", 0, old(s.rng), STAYS)
    s.offset("t", 1, young(s.rng), STAYS)
    for p in range(2):
        s.stays_until("t", p, RETENTION - since)


def empty_until_soon(s):
    s.group(since=RETENTION - SOON)
    s.offset("t", 0, old(s.rng), GOES)
    s.soonest["t", 0] = SOON


def empty_of_unknown_time(s):
    s.group(version=s.rng.choice([0, 1]))
    s.offset("t", 0, old(s.rng), GOES)
    s.offset("t", 1, young(s.rng), STAYS)
    s.soon("t", 2)


def one_member(topics):
    return [member("m", subscription(topics), assignment({("t", 0)}))]


def stable(s):
    s.group(one_member(["t"]), since=old(s.rng))
    s.offset("t", 0, old(s.rng), STAYS)
    s.offset("t", 5, old(s.rng), STAYS)
    s.offset("u", 0, old(s.rng), GOES)
    s.offset("u", 1, young(s.rng), STAYS)
    s.soon("u", 2)


def stable_of_unknown_subscription(s):
    s.group([member("m", b"\xff", b"")], since=old(s.rng))
    s.offset("t", 0, old(s.rng), STAYS)
    s.offset("u", 0, old(s.rng), STAYS)


def stable_but_no_consumers(s):
    s.group(one_member(["t"]), since=old(s.rng), kind="connect")
    s.offset("t", 0, old(s.rng), STAYS)
    s.offset("u", 0, old(s.rng), STAYS)


def explicit(s):
    """Commits of versions 2 to 4 said how long."""
    s.offset("t", 0, old(s.rng), STAYS, expires=3600000)
    s.offset("t", 1, young(s.rng), GOES, expires=-s.rng.randrange(1, 100000))
    s.offset("t", 2, young(s.rng), GOES, expires=SOON)
    s.soonest["t", 2] = SOON


def explicit_in_a_stable_group(s):
    s.group(one_member(["t"]), since=old(s.rng))
    s.offset("t", 0, old(s.rng), STAYS, expires=-1000)
    s.offset("u", 0, young(s.rng), GOES, expires=-1000)
    s.offset("u", 1, old(s.rng), STAYS, expires=3600000)


def rebalancing(s):
    """Someone joins before its time has come, and the others do not follow (KAFKA-13636)."""
    s.group([member("m", subscription(["t"]), b"")], since=old(s.rng))
    s.offset("t", 0, old(s.rng), STAYS)
    s.offset("u", 0, RETENTION - 3 * SOON, STAYS)


SHAPES = [simple, simple_all_old, empty_long_ago, empty_since_now, empty_until_soon, empty_of_unknown_time, stable,
          stable_of_unknown_subscription, stable_but_no_consumers, explicit, explicit_in_a_stable_group, rebalancing]


async def look(link, situations):
    return {s.name: await committed(link, s.name, None) for s in situations}


async def everything_goes(port, situations, joined):
    """Watches until all that is to go is gone; nothing goes before its time."""
    link = await Link.open(port)

    async def gone():
        got = await look(link, situations)
        left = 0
        for s in situations:
            for tp, fate in s.want.items():
                there = tp in got[s.name]
                assert there or not s.must_stay(tp), "%s: %s went" % (s.name, tp)
                assert there or s.since.passed(s.soonest.get(tp, 0)), "%s: %s went before its time, after %s" % (s.name, tp, s.since)
                left += there and fate == GOES
        return not left and joined()
    await until(gone, 30, "expiry of what is old")
    link.close()


async def stays_so(port, situations, n):
    """After two more runs of expiry: offsets that are made for it have gone, the others are as they were."""
    link = await Link.open(port)
    for i in range(2):
        group = "sentinel.%d.%d" % (n, i)
        code = await link.call("OffsetCommit", 1, GroupId=group, Topics=[{"Name": "t", "Partitions": [
            {"PartitionIndex": 0, "CommittedOffset": 1, "CommitTimestamp": 1000, "CommittedMetadata": ""}]}])
        assert code["Topics"][0]["Partitions"][0]["ErrorCode"] == 0

        async def went(group=group):
            return not await committed(link, group, None)
        await until(went, 30, "expiry")
    got = await look(link, situations)
    for s in situations:
        there = set(got[s.name])
        assert there <= {tp for tp, fate in s.want.items() if fate == STAYS}, s.name
        assert there >= {tp for tp in s.want if s.must_stay(tp)}, s.name
        if not got[s.name]:
            assert (await describe(link, s.name))["GroupState"] == "Dead", s.name
    link.close()


async def rebalance(port, situations):
    """One more joins each of those groups and waits there; from then on nothing of theirs goes. The joins."""
    link, waiting = await Link.open(port), []
    theirs = [s for s in situations if s.name.startswith("rebalancing")]
    for s in theirs:
        m = Member(port, s.name, era="0.11", session_ms=1800000, rebalance_ms=1800000)
        waiting.append(asyncio.ensure_future(m.join()))
    for s in theirs:
        async def waits(s=s):
            return (await describe(link, s.name))["GroupState"] == "PreparingRebalance"
        await until(waits, 30, "a rebalance of " + s.name)
        if s.must_stay(("u", 0)):
            s.latest.clear()
    link.close()
    return waiting


async def watch(port, situations, since):
    for p in {partition_of(s.name, PARTITIONS): s.name for s in situations}.values():
        await ready(port, p)
    waiting = await rebalance(port, situations)
    await everything_goes(port, situations, lambda: since.passed(4 * SOON))
    assert len(waiting) == ROUNDS and not any(w.done() for w in waiting)
    await stays_so(port, situations, 0)
    for w in waiting:
        w.cancel()


def test_offsets_expire_in_time_and_never_early(brokers):
    b = brokers(SETTINGS).start()
    run(ready(b.port, "any"))
    with Wire(b.port) as c:
        c.create("t", 8)
        c.create("u", 8)
    rng, since = random.Random(11), Since()
    situations = [Situation("%s.%d" % (f.__name__, n), since, rng, f) for f in SHAPES for n in range(ROUNDS)]
    logs = {p: Log() for p in range(PARTITIONS)}
    for s in situations:
        logs[partition_of(s.name, PARTITIONS)].append(s.records)
    replace(b, logs)
    b.start()
    run(watch(b.port, situations, since), 300)
    b.kill9()
    b.start()

    async def after():
        for s in situations:
            await ready(b.port, s.name)
        await stays_so(b.port, [s for s in situations if not s.name.startswith("rebalancing")], 1)
    run(after())


def test_commits_that_say_how_long_they_are_kept(brokers):
    """Versions 2 to 4, in a running broker."""
    b = brokers(SETTINGS).start()
    run(ready(b.port, "any"))
    with Wire(b.port) as c:
        c.create("t", 8)

    async def scene():
        link = await Link.open(b.port)
        groups = {}
        for n in range(ROUNDS):
            short = 200 + 50 * n
            for version in (2, 3, 4):
                for ms in (short, 3600000, -1):
                    group = "kept.%d.%d.%d" % (n, version, ms)
                    sent = Since()
                    answer = await link.call("OffsetCommit", version, GroupId=group, RetentionTimeMs=ms,
                                             Topics=commit_topics({("t", 0): 1}))
                    assert commit_codes(answer) == {("t", 0): NONE}, group
                    groups[group] = sent, ms if ms == short else None

        async def went():
            left = 0
            for group, (sent, ms) in groups.items():
                there = await committed(link, group, None)
                assert there or ms is not None and sent.passed(ms), "%s went early, after %s" % (group, sent)
                left += bool(there) and ms is not None
            return not left
        await until(went, 30, "expiry of the short ones", every=0.05)
        link.close()
    run(scene())
