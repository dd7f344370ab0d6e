"""tests/system/storm_groups.py - consumer groups in the storm of test_92_storm.py: raw members, simple committers and those who
delete, look and move, all in one thread; consumers of librdkafka, each in its own, some in processes that are killed.

Of raw groups every commit is known, and only upwards ones are sent, so that each read is judged at once (Book). What consumers
of librdkafka commit is theirs to choose: what they were told of it is judged when all is over (Told).
"""
import asyncio
import collections
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading

from groups import (COORDINATOR_NOT_AVAILABLE, ERAS, FENCED_INSTANCE_ID, GROUP_ID_NOT_FOUND, ILLEGAL_GENERATION, LATER, LOST,
                    NON_EMPTY_GROUP, NONE, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID, Life, Link, Member, Model, Refused,
                    commit_codes, commit_topics, committed, pause, run, until)
from harness import SLOW, wait_for
from storm import GONE, KEPT, PARTITIONS, Actor
from wire import Wire

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "storm_consumer.py")
OFFSETS_TOPIC, OFFSETS_PARTITIONS = "__consumer_offsets", 5
PROPERTIES = {"offsets.topic.num.partitions": str(OFFSETS_PARTITIONS), "offsets.topic.segment.bytes": "60000",
              "group.min.session.timeout.ms": "400"}
SESSION_MS = 1500 * SLOW
ANSWER_S = 30 * SLOW                    # a request that takes longer hangs
GOING = ("gone0", "gone1")              # topics that come and go while groups use them
SHARED = {**{t: PARTITIONS for t in KEPT}, GOING[0]: PARTITIONS}
SHARED_PLACES = [(t, p) for t in list(KEPT) + list(GOING) for p in range(PARTITIONS)]
MEMBERS = {                             # group -> what its members are like
    "m.eager": {"era": "0.11"}, "m.cooperative": {"era": "3.9", "cooperative": True}, "m.static": {"era": "2.4"}}
UNDELETED = "m.eager"
SIMPLE = {"s.old": 1, "s.many": 5, "s.new": 9}      # group -> version of its commits
STORED = "s.stored"                     # its offsets are in the metadata store
CLIENTS = {                             # of librdkafka
    "c.eager": {"partition.assignment.strategy": "range,roundrobin"},
    "c.cooperative": {"partition.assignment.strategy": "cooperative-sticky"},
    "c.static": {"partition.assignment.strategy": "range"},
}
QUICK = {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 100, "reconnect.backoff.ms": 20,
         "reconnect.backoff.max.ms": 100, "auto.offset.reset": "earliest", "topic.metadata.refresh.interval.ms": 500}
STATES = {"Empty", "Dead", "Stable", "PreparingRebalance", "CompletingRebalance"}
NO_TOPIC, TIMED_OUT, SUBSCRIBED = 3, 7, 86


class Book(Model):
    """Model, for groups in which sessions end, offsets are deleted and topics go."""

    def __init__(self):
        super().__init__()
        self.clock = itertools.count(1)
        self.began = collections.defaultdict(int)   # when the last acknowledged commit of an offset was sent
        self.deleted = collections.defaultdict(int) # the same key, or a group: when the last deletion of it was answered
        self.pending = collections.Counter()        # deletions of which no answer has come

    def own(self, group, generation, member, partitions):
        """A static member's newcomer has its share in the same generation; a group that is deleted begins again with the first."""
        if group == UNDELETED:
            super().own(group, generation, member, partitions)

    def take(self, group, member, partitions, may_be_out=None):
        """Another one may not know yet that its session has ended."""

    def lost(self, group, member, code, may_be_out):
        """Its group was deleted, or it was replaced, or killed with the broker before it was written down."""

    async def commit_as(self, group, offsets, send, member="", generation=-1):
        """send(): the codes."""
        at = next(self.clock)
        self.begin(group, offsets)
        codes = await send()
        self.end(group, member, generation, offsets, codes)
        for (t, p), code in codes.items():
            if code == NONE:
                self.began[group, t, p] = at
        return codes

    def next_of(self, group, places):
        """An offset for each that is larger than all that were ever sent."""
        return {(t, p): self.sent[group, t, p] + 1 for t, p in places}

    async def delete(self, key, send):
        """send(): its code. Nobody knows what has become of a request whose connection was lost."""
        self.pending[key] += 1
        code = await send()
        self.pending[key] -= 1
        if code == NONE:
            self.deleted[key] = next(self.clock)
        return code

    def stored_places(self):
        """What version 0 finds; it answers an error for others."""
        return [tp for tp in SHARED_PLACES if self.acked[(STORED, *tp)] >= 0]

    async def look(self, link, group, places, version):
        floor, began = self.floor(group, places), {tp: self.began[(group, *tp)] for tp in places}
        got = await committed(link, group, places, version)
        for tp, offset in got.items():
            if offset == -1 and (tp[0] in GOING or any(
                    self.pending[k] or self.deleted[k] > began[tp] for k in (group, (group, *tp)))):
                floor[tp] = -1
        self.read(group, got, floor)


class Told:
    """What consumers of librdkafka were told of their commits, and what others read of them."""

    def __init__(self):
        self.lock, self.clock = threading.Lock(), itertools.count(1)
        self.commits = collections.defaultdict(list)    # (group, topic, partition) -> [(when, offset)], refused ones too
        self.top = {}                                   # the same -> (offset, when): the largest that was acknowledged
        self.deaths = {}                                # group -> when one of its clients last died
        self.seen, self.doubts, self.vanished = set(), [], []

    def commit(self, group, partitions):
        with self.lock:
            for topic, p, offset, acked in partitions:
                at, key = next(self.clock), (group, topic, p)
                self.commits[key].append((at, offset))
                if acked and topic not in GOING:
                    self.top[key] = max(self.top.get(key, (-1, 0)), (offset, at))

    def died(self, group):
        """Nobody knows what it has sent last."""
        with self.lock:
            self.deaths[group] = next(self.clock)

    def floors(self, group, places):
        with self.lock:
            return {tp: self.top.get((group, *tp), (-1, 0)) for tp in places}, {k for k in self.seen if k[0] == group}

    def read(self, group, got, floors):
        top, seen = floors
        with self.lock:
            for tp, offset in got.items():
                key = (group, *tp)
                if tp[0] in GOING:
                    continue
                if offset == -1 and (key in seen or top[tp][0] >= 0):
                    self.vanished.append("%s: %s-%d has no offset any more, acknowledged was %d" % (*key, top[tp][0]))
                elif offset < top[tp][0]:
                    self.doubts.append((key, offset, top[tp]))
                if offset >= 0:
                    self.seen.add(key)

    def faults(self):
        """A lower offset that a client has sent itself, late, or may have sent before it died, is its own affair."""
        return self.vanished + ["%s: %s-%d regressed to %d, acknowledged was %d" % (*key, offset, top)
                                for key, offset, (top, when) in self.doubts
                                if self.deaths.get(key[0], 0) < when
                                and not any(o == offset and at > when for at, o in self.commits[key])]


class Answered(Link):
    """Knows whether it was ever answered: before, it may wait until the broker has a descriptor for it."""
    answered = False

    async def call(self, name, version, /, **fields):
        future = self.send(name, version, fields)
        future.add_done_callback(lambda f: f.cancelled() or f.exception())      # who asked may have been killed
        done, _ = await asyncio.wait([future], timeout=ANSWER_S)
        if not done:
            self.close()
            assert not self.answered, "%s %d is not answered: %s" % (name, version, fields)
            raise ConnectionError("not accepted")
        self.answered = True
        return future.result()          # or raises: closed by the broker


class StormMember(Member):
    async def connected(self):
        if self.link is None or self.link.closed:
            self.link = await Answered.open(self.port, self.client_id)
        return self.link


class RawGroups(Actor):
    """All that is written by hand, as coroutines of one thread."""

    def __init__(self, storm, name):
        super().__init__(storm, name)
        self.book, self.told = storm.book, storm.told
        self.link_of = {}

    def run(self):
        try:
            asyncio.run(self.all())
        except Exception as e:                              # pylint: disable=broad-except
            at = e.__traceback__
            while at.tb_next is not None:
                at = at.tb_next
            self.truth.fault("%s: %r at %s:%d", self.name, e, at.tb_frame.f_code.co_filename, at.tb_lineno)

    async def all(self):
        deeds = [self.simple, self.simple, self.stored, self.reads, self.reads, self.deletes, self.looks, self.moves, self.goes]
        tasks = [asyncio.ensure_future(self.again(f, i)) for i, f in enumerate(deeds)]
        tasks += [asyncio.ensure_future(self.host(g)) for g in MEMBERS]
        await asyncio.gather(*tasks)

    async def again(self, deed, i):
        link = None
        while not self.end.is_set():
            try:
                if link is None or link.closed:
                    link = await Answered.open(self.broker.port)
                await deed(link, i)
                await pause(0.04 * self.rng.random())
            except GONE:
                await pause(0.05)
            except Refused as e:
                self.may_be(e.code, deed.__name__, *LATER)
                await pause(0.02)
        if link is not None:
            link.close()

    def may_be(self, code, what, *also):
        assert code in (NONE, *also), "error %d (%s)" % (code, what)
        self.truth.count("groups: %s%s" % (what, ", error %d" % code if code else ""))
        return code == NONE

    # ---- members ----

    async def host(self, group):
        """Keeps some members in a group, of which now and then one leaves, dies or comes."""
        lives, made = [], 0
        while not self.end.is_set():
            for _ in range(3 - len(lives)):
                kind = dict(MEMBERS[group])
                if group == "m.static":     # three names, of which each may be had by a newcomer
                    kind["instance"] = "i%d" % (made % 3)
                made += 1
                m = StormMember(self.broker.port, group, SHARED, session_ms=SESSION_MS, rebalance_ms=SESSION_MS, **kind)
                life = Life(m, self.book, SHARED)
                lives.append((life, asyncio.ensure_future(self.commits(life))))
            await pause(0.3 + self.rng.random())
            for pair in lives:
                if pair[0].task.done():
                    pair[0].task.result()
                if pair[1].done():
                    pair[1].result()
            life, task = lives.pop(self.rng.randrange(len(lives)))
            if self.rng.random() < 0.5:
                await asyncio.wait_for(life.leave(), 2 * ANSWER_S)
            else:
                life.kill()
                life.leaving = True
            await task
            self.truth.count("groups: members gone")
        for life, task in lives:
            life.leaving = True
        for life, task in lives:
            await asyncio.wait_for(life.leave(), 2 * ANSWER_S)
            await task

    async def commits(self, life):
        m = life.member
        while not life.leaving and not life.task.done():
            await pause(0.02 * self.rng.random())
            held = [tp for tp in life.held if tp in SHARED_PLACES]
            if not held or life.leaving or m.link is None or m.link.closed:
                continue
            offsets = self.book.next_of(m.group, self.rng.sample(held, self.rng.randrange(1, len(held) + 1)))
            try:
                codes = await self.book.commit_as(m.group, offsets, lambda o=offsets: m.commit(o), m.member_id, m.generation)
            except GONE:
                continue
            for code in set(codes.values()):
                self.may_be(code, "commit of a member", NO_TOPIC, TIMED_OUT, REBALANCE_IN_PROGRESS, *LOST, *LATER)

    # ---- others ----

    async def simple(self, link, i):
        """Commits without members; each group has one who does, so that its commits have one order."""
        group = self.rng.choice([g for n, g in enumerate(SIMPLE) if n % 2 == i % 2])
        version = SIMPLE[group]
        offsets = self.book.next_of(group, self.rng.sample(SHARED_PLACES, self.rng.randrange(1, len(SHARED_PLACES))))

        async def send():
            return commit_codes(await link.call("OffsetCommit", version, GroupId=group, GenerationIdOrMemberEpoch=-1, MemberId="",
                                                GroupInstanceId=None, RetentionTimeMs=-1, Topics=commit_topics(offsets)))
        for code in set((await self.book.commit_as(group, offsets, send)).values()):
            self.may_be(code, "simple commit", NO_TOPIC, TIMED_OUT, *LATER)

    async def stored(self, link, _):
        offsets = self.book.next_of(STORED, [(self.rng.choice(list(KEPT)), self.rng.randrange(PARTITIONS))])

        async def send():
            return commit_codes(await link.call("OffsetCommit", 0, GroupId=STORED, Topics=commit_topics(offsets)))
        for code in set((await self.book.commit_as(STORED, offsets, send)).values()):
            self.may_be(code, "stored commit", NO_TOPIC, *LATER)

    async def reads(self, link, _):
        group = self.rng.choice([*MEMBERS, *SIMPLE, STORED, *CLIENTS])
        places = self.rng.sample(SHARED_PLACES, self.rng.randrange(1, len(SHARED_PLACES)))
        version = self.rng.randrange(1, 10)
        if group == STORED:
            await self.book.look(link, group, self.book.stored_places(), 0)
        elif group in CLIENTS:
            floors = self.told.floors(group, places)
            self.told.read(group, await committed(link, group, places, version), floors)
        else:
            await self.book.look(link, group, places, version)
        self.truth.count("groups: reads")

    async def deletes(self, link, _):
        await pause(0.1 * self.rng.random())
        group = self.rng.choice([g for g in [*MEMBERS, *SIMPLE] if g != UNDELETED])
        if self.rng.random() < 0.3:
            async def send():
                return (await link.call("DeleteGroups", self.rng.randrange(3), GroupsNames=[group]))["Results"][0]["ErrorCode"]
            self.may_be(await self.book.delete(group, send), "group deleted", GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, *LATER)
            return
        t, p = self.rng.choice(SHARED_PLACES)

        async def send_offset():
            out = await link.call("OffsetDelete", 0, GroupId=group, Topics=[{"Name": t, "Partitions": [{"PartitionIndex": p}]}])
            return out["ErrorCode"] or out["Topics"][0]["Partitions"][0]["ErrorCode"]
        self.may_be(await self.book.delete((group, t, p), send_offset), "offset deleted", NO_TOPIC, SUBSCRIBED,
                    GROUP_ID_NOT_FOUND, *LATER)

    async def looks(self, link, _):
        out = await link.call("ListGroups", self.rng.randrange(6))
        if self.may_be(out["ErrorCode"], "list", *LATER):
            names = [g["GroupId"] for g in out["Groups"]]
            assert len(names) == len(set(names)), names
        names = self.rng.sample([*MEMBERS, *SIMPLE, *CLIENTS, "nobody"], 3)
        for g in (await link.call("DescribeGroups", self.rng.randrange(6), Groups=names))["Groups"]:
            if self.may_be(g["ErrorCode"], "describe", *LATER):
                assert g["GroupState"] in STATES, g
        out = await link.call("FindCoordinator", self.rng.randrange(4), Key=names[0], KeyType=0)
        self.may_be(out["ErrorCode"], "find coordinator", *LATER)

    async def moves(self, link, _):
        await pause(0.2 * self.rng.random())
        out = await link.call("AlterReplicaLogDirs", 2, Dirs=[{"Path": self.rng.choice(self.storm.dirs), "Topics": [
            {"Name": OFFSETS_TOPIC, "Partitions": [self.rng.randrange(OFFSETS_PARTITIONS)]}]}])
        for t in out["Results"]:
            for p in t["Partitions"]:
                if self.expect(p["ErrorCode"], "move of " + OFFSETS_TOPIC, 57):
                    self.truth.count("groups: moves of their offsets")

    async def goes(self, link, _):
        """Topics come and go."""
        await pause(0.3 * self.rng.random())
        topic = self.rng.choice(GOING)
        if self.rng.random() < 0.5:
            out = await link.call("DeleteTopics", 4, TimeoutMs=15000, TopicNames=[topic])
            if self.expect(out["Responses"][0]["ErrorCode"], "DeleteTopics"):
                self.truth.count("groups: topics deleted")
        else:
            out = await link.call("CreateTopics", 5, TimeoutMs=15000, Topics=[
                {"Name": topic, "NumPartitions": PARTITIONS, "ReplicationFactor": 1, "Configs": []}])
            self.expect(out["Topics"][0]["ErrorCode"], "CreateTopics", 36, 38)


class Grouped(Actor):
    """librdkafka in a group, in a process of its own that is killed in the midst. It may also end by itself: its sticky assignor
    fails an assertion when its consumer is closed at the wrong moment, and its close() may wait for long."""

    def __init__(self, storm, name, group, number):
        super().__init__(storm, name)
        self.group, self.told = group, storm.told
        self.config = {"bootstrap.servers": self.broker.address, **QUICK, **CLIENTS[group]}
        if group == "c.static":
            self.config["group.instance.id"] = "static%d" % number

    def on_commit(self, error, partitions):
        self.told.commit(self.group, partitions)
        self.truth.count("groups: commits of consumers" + (", " + error if error else ""))

    def act(self):
        argv = [sys.executable, PROGRAM, self.group, str(self.rng.random()), json.dumps(self.config), *KEPT, GOING[0]]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True) as process:
            reader = threading.Thread(target=self.follow, args=(process.stdout,), daemon=True)
            reader.start()
            self.end.wait(1 + 3 * self.rng.random())
            if not self.end.is_set():
                process.kill()
            process.stdin.close()
            try:
                process.wait(3 * SLOW)
            except subprocess.TimeoutExpired:
                process.kill()
                self.truth.count("groups: consumers closed too slowly")
            process.wait()
            reader.join()
        if process.returncode != 0:
            self.told.died(self.group)
            self.truth.count("groups: consumers died, status %d" % process.returncode)

    def follow(self, lines):
        for line in lines:
            with contextlib.suppress(ValueError):           # killed while it wrote it
                self.on_commit(*json.loads(line))


def actors(storm):
    return [RawGroups(storm, "groups")] + [Grouped(storm, "%s.%d" % (g, i), g, i) for g in CLIENTS for i in range(2)]


# ---- when all is over ------------------------------------------------------------------------------------------------

def at_rest(broker):
    """Every group is without members, so nobody waits in one."""
    with Wire(broker.port) as w:
        names = [g["GroupId"] for g in w.call("ListGroups", 4, StatesFilter=[])["Groups"]]
        groups = w.call("DescribeGroups", 5, Groups=names)["Groups"]
    return all(g["ErrorCode"] == NONE and g["GroupState"] in ("Empty", "Dead") and not g["Members"] for g in groups)


def offsets_of_groups(broker):
    """(group, topic, partition) -> what is committed, but for topics that go."""
    out = {}
    with Wire(broker.port) as w:
        for g in w.call("ListGroups", 4, StatesFilter=[])["Groups"]:
            answer = w.call("OffsetFetch", 8, Groups=[{"GroupId": g["GroupId"], "Topics": None}])["Groups"][0]
            assert answer["ErrorCode"] == NONE, answer
            out.update({(g["GroupId"], t["Name"], p["PartitionIndex"]): p["CommittedOffset"]
                        for t in answer["Topics"] if t["Name"] not in GOING for p in t["Partitions"]})
    return out


def check_groups(s):
    """Reads all that was committed, and holds it against what was acknowledged; gives it."""
    async def read():
        async def served():
            link = await Link.open(s.broker.port)
            try:
                for g in [*MEMBERS, *SIMPLE]:
                    await s.book.look(link, g, SHARED_PLACES, 9)
                await s.book.look(link, STORED, s.book.stored_places(), 0)
                for g in CLIENTS:
                    floors = s.told.floors(g, SHARED_PLACES)
                    s.told.read(g, await committed(link, g, SHARED_PLACES), floors)
                return True
            except Refused as e:
                assert e.code in LATER, e.code
                return False
            finally:
                link.close()
        await until(served, 30, "all groups are served")
    run(read())
    assert not s.told.faults(), "\n".join(s.told.faults()[:20])
    wait_for(lambda: at_rest(s.broker), 30, "nobody waits in a group")
    return offsets_of_groups(s.broker)


def check_reloaded(s, before):
    """After a restart: the same. A deletion for which there was no room in the log is undone by it, as the log has warned."""
    now = check_groups(s)
    if "may come back when it is loaded" in s.broker.log():
        now = {k: v for k, v in now.items() if k in before}
    assert now == before, sorted(set(now.items()) ^ set(before.items()))[:20]
