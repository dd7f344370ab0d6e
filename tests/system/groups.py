"""tests/system/groups.py - members of consumer groups, byte by byte: hundreds of them in one thread, in any version, and a
model that holds what they saw against what a coordinator promises.

    async def scene(port):
        m = Member(port, "g", topics=["t"], era="2.4")
        await m.enter({"t": 4})             # join, sync: m.owned
        await m.commit({("t", 0): 5})
    run(scene(broker.port))

Link is one connection, Member what a client does on one, Model checks I10 of the reliability rules: a committed offset never
regresses, one owner for each generation and partition, fenced members cannot commit. Nothing here sleeps: until() polls.

GROUP_ROUNDS is how often each test of groups does its thing; 20 if it is not set.
"""
import asyncio
import collections
import os
import socket
import struct
import time

from harness import SLOW
from wire import decode_response, encode_request

ROUNDS = int(os.environ.get("GROUP_ROUNDS", "20"))

NONE = 0
COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR = 14, 15, 16
ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS = 22, 25, 27
NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND, MEMBER_ID_REQUIRED, GROUP_MAX_SIZE_REACHED, FENCED_INSTANCE_ID = 68, 69, 79, 81, 82
LATER = (COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR)
LOST = (ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID)

# Which versions a client of these days sends.
APIS_OF_MEMBERS = ("FindCoordinator", "JoinGroup", "SyncGroup", "Heartbeat", "LeaveGroup", "OffsetCommit", "OffsetFetch")
ERAS = {era: dict(zip(APIS_OF_MEMBERS, versions)) for era, versions in {
    "0.9": (0, 0, 0, 0, 0, 2, 1), "0.10.1": (0, 1, 0, 0, 0, 2, 1), "0.11": (1, 2, 1, 1, 1, 3, 3), "2.0": (2, 3, 2, 2, 2, 4, 4),
    "2.2": (2, 4, 2, 2, 2, 6, 5), "2.3": (2, 5, 3, 3, 2, 7, 5), "2.4": (3, 6, 4, 4, 4, 8, 6), "2.7": (3, 7, 5, 4, 4, 8, 7),
    "3.2": (4, 9, 5, 4, 5, 8, 8), "3.9": (5, 9, 5, 4, 5, 9, 9)}.items()}
NEWEST = "3.9"


def run(scene, within=300):
    """Runs a coroutine to its end; a test that hangs fails."""
    async def timed():
        return await asyncio.wait_for(scene, within * SLOW)
    return asyncio.run(timed())


async def pause(seconds):
    """Gives the others a turn: for polling and for heartbeats, not for hoping."""
    woken = asyncio.get_running_loop().create_future()
    handle = asyncio.get_running_loop().call_later(seconds, lambda: woken.done() or woken.set_result(None))
    try:
        await woken
    finally:
        handle.cancel()


async def until(condition, within=30.0, what=None, every=0.01):
    """Polls a coroutine function until it gives something true."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within * SLOW
    while True:
        got = await condition()
        if got:
            return got
        assert loop.time() < end, "not within %.1f s: %s" % (within * SLOW, what or condition)
        await pause(every)


async def tried(attempt, numbers):
    """attempt(number, name) for each number, and what they gave; again, with a new name, where it was None: this machine stood
    still for so long that nobody can tell."""
    late, out = list(numbers), []
    for again in range(5):
        told = await asyncio.gather(*(attempt(n, "%d.%d" % (n, again)) for n in late))
        out += [x for x in told if x is not None]
        late = [n for n, x in zip(late, told) if x is None]
    assert not late, "this machine is too slow to tell: %s" % late
    return out


class Stills:
    """async with Stills() as still: still.longest is for how many seconds this program, or its machine, stood still meanwhile."""

    async def __aenter__(self):
        self.longest, self.looked = 0.0, time.monotonic()
        self.task = asyncio.ensure_future(self.watch())
        return self

    def look(self):
        self.longest, self.looked = max(self.longest, time.monotonic() - self.looked), time.monotonic()

    async def watch(self):
        while True:
            await pause(0.01)
            self.look()

    async def __aexit__(self, *_):
        self.look()
        self.task.cancel()


class Link(asyncio.Protocol):
    """One connection; answers come in the order of the requests."""

    def __init__(self, client_id):
        self.client_id, self.buffer, self.waiting = client_id, bytearray(), collections.deque()
        self.correlation, self.transport, self.closed = 0, None, False

    @classmethod
    async def open(cls, port, client_id="raw", host="127.0.0.1"):
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: cls(client_id), host, port)
        return link

    def connection_made(self, transport):
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = transport

    def connection_lost(self, exc):
        self.closed = True
        while self.waiting:
            future = self.waiting.popleft()[3]
            if not future.done():
                future.set_exception(ConnectionError("closed by the broker"))

    def data_received(self, data):
        self.buffer += data
        while len(self.buffer) >= 4:
            size, = struct.unpack_from(">i", self.buffer)
            if len(self.buffer) < 4 + size:
                break
            frame = bytes(self.buffer[4:4 + size])
            del self.buffer[:4 + size]
            correlation, name, version, future = self.waiting.popleft()
            got, answer = decode_response(name, version, frame)
            assert got == correlation
            if not future.done():
                future.set_result(answer)

    def send(self, name, version, fields):
        """The answer's future."""
        future = asyncio.get_running_loop().create_future()
        if self.closed:
            future.set_exception(ConnectionError("closed by the broker"))
            return future
        self.correlation += 1
        data = encode_request(name, version, fields, self.correlation, self.client_id)
        self.waiting.append((self.correlation, name, version, future))
        self.transport.write(data)
        return future

    async def call(self, name, version, /, **fields):
        return await self.send(name, version, fields)

    def close(self):
        if self.transport is not None:
            self.transport.close()


async def ready(port, group):
    """Waits until the group's coordinator serves it; the first time this makes __consumer_offsets."""
    async def served():
        try:
            link = await Link.open(port)
        except OSError:
            return False
        try:
            if (await link.call("FindCoordinator", 0, Key=group))["ErrorCode"] != NONE:
                return False
            return (await link.call("OffsetFetch", 2, GroupId=group, Topics=[]))["ErrorCode"] == NONE
        except ConnectionError:
            return False
        finally:
            link.close()
    await until(served, 30, "coordinator of " + group)


# ---- what consumers put into the opaque bytes ------------------------------------------------------------------------

def text(s):
    data = s.encode()
    return struct.pack(">h", len(data)) + data


def by_topic(partitions):
    out = collections.defaultdict(list)
    for topic, p in sorted(partitions):
        out[topic].append(p)
    return struct.pack(">i", len(out)) + b"".join(
        text(t) + struct.pack(">i%di" % len(ps), len(ps), *ps) for t, ps in out.items())


def subscription(topics, owned=None, generation=-1):
    """Version 0, or 2 with partitions that are owned."""
    out = struct.pack(">hi", 0 if owned is None else 2, len(topics)) + b"".join(text(t) for t in topics)
    out += struct.pack(">i", -1)
    return out if owned is None else out + by_topic(owned) + struct.pack(">i", generation)


def assignment(partitions):
    return struct.pack(">h", 0) + by_topic(partitions) + struct.pack(">i", -1)


class Blob:
    def __init__(self, data):
        self.data, self.pos = data, 0

    def number(self, fmt):
        n, = struct.unpack_from(">" + fmt, self.data, self.pos)
        self.pos += struct.calcsize(fmt)
        return n

    def text(self):
        n = self.number("h")
        self.pos += n
        return self.data[self.pos - n:self.pos].decode()

    def partitions(self):
        """Of several topics."""
        out = set()
        for _ in range(self.number("i")):
            topic = self.text()
            out |= {(topic, self.number("i")) for _ in range(self.number("i"))}
        return out


def read_subscription(data):
    """(topics, owned partitions, the generation they are of)"""
    b = Blob(data)
    version = b.number("h")
    topics = [b.text() for _ in range(b.number("i"))]
    user_data = b.number("i")
    b.pos += max(user_data, 0)
    owned = b.partitions() if version >= 1 else set()
    return topics, owned, b.number("i") if version >= 2 else -1


def read_assignment(data):
    if not data:
        return set()
    b = Blob(data)
    b.number("h")
    return b.partitions()


def deal(members, partitions):
    """Eager: everything is dealt out anew. members: id -> subscription; partitions: topic -> how many."""
    out = {m: set() for m in members}
    for topic, n in partitions.items():
        takers = sorted(m for m, data in members.items() if topic in read_subscription(data)[0])
        for p in range(n if takers else 0):
            out[takers[p % len(takers)]].add((topic, p))
    return out


def deal_cooperative(members, partitions):
    """Sticky and incremental (KIP-429): who owns keeps what is fair; what changes hands is given to nobody until its owner
    has let go and joined again. Of two who claim a partition the one of the later generation is believed."""
    told = {m: read_subscription(data) for m, data in members.items()}
    everything = {(t, p) for t, n in partitions.items() for p in range(n)}
    newest, owner = {}, {}
    for m in sorted(told):
        for tp in told[m][1] & everything:
            if told[m][2] > newest.get(tp, -2):
                newest[tp], owner[tp] = told[m][2], m
    low, extra = divmod(len(everything), len(members))
    kept = {m: sorted(tp for tp, o in owner.items() if o == m) for m in members}
    share = {}
    for i, m in enumerate(sorted(members, key=lambda m: (-len(kept[m]), m))):
        share[m] = low + (i < extra)
    out = {m: set(kept[m][:share[m]]) for m in members}
    claimed = set(owner)
    free = sorted(everything - claimed)
    for m in sorted(members):
        while len(out[m]) < share[m] and free:
            out[m].add(free.pop())
    return out


# ---- members ---------------------------------------------------------------------------------------------------------

class Member:
    """What a client of one era does, on a connection of its own."""

    def __init__(self, port, group, topics=("t",), era=NEWEST, instance=None, session_ms=10000, rebalance_ms=10000,
                 protocols=None, protocol_type="consumer", client_id="raw", cooperative=False):
        self.port, self.group, self.topics, self.versions = port, group, list(topics), ERAS[era]
        self.instance, self.session_ms, self.rebalance_ms = instance, session_ms, rebalance_ms
        self.protocols, self.protocol_type, self.client_id = protocols, protocol_type, client_id
        self.cooperative = cooperative
        self.link, self.member_id, self.generation, self.owned = None, "", -1, set()
        self.joined = None                  # the last answer to a join

    async def connected(self):
        if self.link is None or self.link.closed:
            self.link = await Link.open(self.port, self.client_id)
        return self.link

    async def call(self, name, /, **fields):
        link = await self.connected()
        return await link.call(name, self.versions[name], **fields)

    def offers(self):
        if self.protocols is not None:
            return [{"Name": n, "Metadata": d} for n, d in self.protocols]
        if self.cooperative:
            return [{"Name": "cooperative-sticky", "Metadata": subscription(self.topics, self.owned, self.generation)}]
        return [{"Name": "range", "Metadata": subscription(self.topics)}]

    async def join(self, **over):
        """One JoinGroup, or two where the first only gives the member id. Its code."""
        fields = dict(GroupId=self.group, SessionTimeoutMs=self.session_ms, RebalanceTimeoutMs=self.rebalance_ms,
                      MemberId=self.member_id, GroupInstanceId=self.instance, ProtocolType=self.protocol_type,
                      Protocols=self.offers())
        answer = await self.call("JoinGroup", **dict(fields, **over))
        if answer["ErrorCode"] == MEMBER_ID_REQUIRED:
            self.member_id = answer["MemberId"]
            answer = await self.call("JoinGroup", **dict(fields, MemberId=self.member_id, **over))
        self.joined = answer
        if answer["ErrorCode"] == NONE:
            self.member_id, self.generation = answer["MemberId"], answer["GenerationId"]
        return answer["ErrorCode"]

    @property
    def leads(self):
        return self.joined["Leader"] == self.member_id and not self.joined.get("SkipAssignment")

    async def sync(self, partitions, **over):
        """partitions: topic -> how many; used if this is the leader. The code; what was given is in `owned`."""
        shares = []
        if self.leads and "Assignments" not in over:
            members = {m["MemberId"]: m["Metadata"] for m in self.joined["Members"]}
            dealt = (deal_cooperative if self.cooperative else deal)(members, partitions)
            shares = [{"MemberId": m, "Assignment": assignment(ps)} for m, ps in dealt.items()]
        fields = dict(GroupId=self.group, GenerationId=self.generation, MemberId=self.member_id, Assignments=shares,
                      GroupInstanceId=self.instance, ProtocolType=self.protocol_type,
                      ProtocolName=self.joined["ProtocolName"])
        answer = await self.call("SyncGroup", **dict(fields, **over))
        if answer["ErrorCode"] == NONE:
            self.owned = read_assignment(answer["Assignment"])
        return answer["ErrorCode"]

    async def call_sync(self, **over):
        """A SyncGroup that assigns nothing; its code."""
        fields = dict(GroupId=self.group, GenerationId=self.generation, MemberId=self.member_id,
                      GroupInstanceId=self.instance, ProtocolType=self.protocol_type,
                      ProtocolName=self.joined["ProtocolName"] if self.joined else self.offers()[0]["Name"])
        return (await self.call("SyncGroup", **dict(fields, **over)))["ErrorCode"]

    async def enter(self, partitions, within=30):
        """Joins and syncs until it is in a stable generation."""
        async def once():
            try:
                code = await self.join()
                if code == NONE:
                    code = await self.sync(partitions)
            except OSError:
                return False
            if code in LOST:
                self.forget()
            assert code in (NONE, REBALANCE_IN_PROGRESS) + LATER + LOST, code
            return code == NONE
        await until(once, within, "%s in %s" % (self.client_id, self.group))
        return self

    def forget(self):
        """Out of the group: owns nothing, and comes back as a new member."""
        self.member_id, self.generation, self.owned = "", -1, set()

    async def heartbeat(self, **over):
        fields = dict(GroupId=self.group, GenerationId=self.generation, MemberId=self.member_id,
                      GroupInstanceId=self.instance)
        return (await self.call("Heartbeat", **dict(fields, **over)))["ErrorCode"]

    async def leave(self, **over):
        who = {"MemberId": self.member_id, "GroupInstanceId": self.instance}
        fields = dict(GroupId=self.group, MemberId=self.member_id, Members=[who])
        answer = await self.call("LeaveGroup", **dict(fields, **over))
        return answer["ErrorCode"] or next((m["ErrorCode"] for m in answer.get("Members", [])), NONE)

    async def commit(self, offsets, **over):
        """offsets: (topic, partition) -> offset. The codes by partition."""
        fields = dict(GroupId=self.group, GenerationIdOrMemberEpoch=self.generation, MemberId=self.member_id,
                      GroupInstanceId=self.instance, Topics=commit_topics(offsets))
        return commit_codes(await self.call("OffsetCommit", **dict(fields, **over)))

    async def fetch(self, partitions):
        return await committed(await self.connected(), self.group, partitions, self.versions["OffsetFetch"])

    def drop(self):
        """Goes without a word, as a killed process does."""
        if self.link is not None:
            self.link.close()
            self.link = None


def commit_topics(offsets, metadata=""):
    out = collections.defaultdict(list)
    for (topic, p), offset in offsets.items():
        out[topic].append({"PartitionIndex": p, "CommittedOffset": offset, "CommittedMetadata": metadata})
    return [{"Name": t, "Partitions": ps} for t, ps in out.items()]


def commit_codes(answer):
    return {(t["Name"], p["PartitionIndex"]): p["ErrorCode"] for t in answer["Topics"] for p in t["Partitions"]}


class Refused(Exception):
    """A code for a whole request."""

    def __init__(self, code):
        super().__init__("error %d" % code)
        self.code = code


async def committed(link, group, partitions, version=9):
    """(topic, partition) -> offset, -1 where there is none; partitions None: of all that are there. Refused."""
    topics = None
    if partitions is not None:
        names = collections.defaultdict(list)
        for topic, p in sorted(partitions):
            names[topic].append(p)
        topics = [{"Name": t, "PartitionIndexes": ps} for t, ps in names.items()]
    if version >= 8:
        answer = (await link.call("OffsetFetch", version, Groups=[{"GroupId": group, "Topics": topics}]))["Groups"][0]
    else:
        answer = await link.call("OffsetFetch", version, GroupId=group, Topics=topics)
    if answer.get("ErrorCode", NONE) != NONE:
        raise Refused(answer["ErrorCode"])
    out = {}
    for t in answer["Topics"]:
        for p in t["Partitions"]:
            if p["ErrorCode"] != NONE:
                raise Refused(p["ErrorCode"])
            out[t["Name"], p["PartitionIndex"]] = p["CommittedOffset"]
    return out


async def describe(link, group, version=5):
    return (await link.call("DescribeGroups", version, Groups=[group]))["Groups"][0]


# ---- the model -------------------------------------------------------------------------------------------------------

class Model:
    """What a coordinator may have done, from what its clients saw. Raises AssertionError at the first breach of I10.

    Of one partition offsets are committed upwards only, each once; so a commit is told apart by its offset.
    """

    def __init__(self):
        self.owners = {}                                # (group, generation, topic, partition) -> member
        self.sent = collections.defaultdict(int)        # (group, topic, partition) -> largest ever sent; 0: none
        self.acked = collections.defaultdict(lambda: -1)
        self.fenced = set()                             # (group, member, generation)
        self.holders = {}       # (group, topic, partition) -> (member that works on it now, may its session have ended?)
        self.acks = self.reads = self.owned = self.refusals = 0

    def own(self, group, generation, member, partitions):
        for topic, p in partitions:
            other = self.owners.setdefault((group, generation, topic, p), member)
            assert other == member, "%s, generation %d: %s-%d has two owners, %s and %s" % (
                group, generation, topic, p, other, member)
            self.owned += 1

    def take(self, group, member, partitions, may_be_out=lambda: False):
        """It begins to work on them: who did has let go before, unless its session may have ended. may_be_out: has this one been
        silent for so long?"""
        for topic, p in partitions:
            other, other_may_be_out = self.holders.get((group, topic, p), (member, None))
            assert other == member or other_may_be_out(), "%s: %s takes %s-%d, on which %s still works" % (
                group, member, topic, p, other)
            self.holders[group, topic, p] = member, may_be_out

    def give(self, group, member, partitions):
        for topic, p in partitions:
            if self.holders.get((group, topic, p), (None, None))[0] == member:
                del self.holders[group, topic, p]

    def lost(self, group, member, code, may_be_out):
        """It was told that it is no member any more."""
        assert may_be_out(), "%s: %s was put out (error %d) within its session" % (group, member, code)

    def fence(self, group, member, generation):
        """From now on no commit that this member sends with this generation may be acknowledged."""
        self.fenced.add((group, member, generation))

    def begin(self, group, offsets):
        """Before a commit is sent."""
        for (topic, p), offset in offsets.items():
            self.sent[group, topic, p] = max(self.sent[group, topic, p], offset)

    def end(self, group, member, generation, offsets, codes, fenced_before=False):
        """With its answer. fenced_before: was the member fenced when the commit was sent?"""
        for tp, offset in offsets.items():
            if codes[tp] != NONE:
                self.refusals += 1
                continue
            assert not fenced_before, "%s: %s of generation %d is fenced and committed %s" % (group, member, generation, tp)
            self.acks += 1
            self.acked[(group, *tp)] = max(self.acked[(group, *tp)], offset)

    def is_fenced(self, group, member, generation):
        return (group, member, generation) in self.fenced

    def floor(self, group, partitions):
        """What a fetch that begins now may not fall below."""
        return {tp: self.acked[(group, *tp)] for tp in partitions}

    def read(self, group, got, floor):
        for tp, offset in got.items():
            self.reads += 1
            assert offset >= floor[tp], "%s: %s-%d regressed to %d, acknowledged was %d" % (group, *tp, offset, floor[tp])
            assert offset <= self.sent[(group, *tp)], "%s: %s-%d is at %d, which nobody has sent" % (group, *tp, offset)

    async def commit(self, member, offsets):
        """Commits for the member and checks; the codes. ConnectionError as it comes: nothing is known of the outcome."""
        fenced = self.is_fenced(member.group, member.member_id, member.generation)
        who = member.member_id, member.generation
        self.begin(member.group, offsets)
        codes = await member.commit(offsets)
        self.end(member.group, *who, offsets, codes, fenced)
        return codes

    async def check(self, link, group, partitions, version=9):
        """Fetches and checks; what was committed. Refused where the coordinator refuses."""
        floor = self.floor(group, partitions)
        got = await committed(link, group, partitions, version)
        self.read(group, got, floor)
        return got


# ---- a member that lives by itself -----------------------------------------------------------------------------------

class Life:
    """Joins, heartbeats, gives up and takes partitions as a consumer does, until it is told to leave or dies.

    What it holds is told to the model when it changes: an eager member gives up all before it joins again, a cooperative one
    only what its new share lacks, and joins once more after that.

    A member is put out when its session ends, and that can be of no fault of the broker: this machine may stand still for a
    moment. `heard` says when the last request was sent that the broker has answered well, so before that and the session's
    length it is put out wrongly.
    """

    def __init__(self, member, model, partitions, beat=0.03):
        self.member, self.model, self.partitions, self.beat = member, model, partitions, beat
        self.held, self.settled, self.leaving = set(), False, False
        self.heard = time.monotonic()
        self.task = asyncio.ensure_future(self.run())

    async def run(self):
        while not self.leaving:
            if not self.settled:
                await self.settle()
                continue
            code = await self.ask(self.member.heartbeat)
            if code == REBALANCE_IN_PROGRESS:
                self.settled = False
            elif code in LOST:
                self.lose(code)
            elif code == NONE:
                await pause(self.beat)
            else:
                assert code in LATER, code
                await pause(self.beat)
        self.give(self.held)            # before: the others may have it before the answer is here
        if self.member.member_id:
            code = await self.ask(self.member.leave)
            if code in LOST:
                self.lose(code)
        self.member.drop()

    async def ask(self, what, *args):
        """Its code; while the broker is away, as if it were loading."""
        sent = time.monotonic()
        try:
            code = await what(*args)
        except OSError:
            self.member.drop()
            return COORDINATOR_NOT_AVAILABLE
        if code == NONE:
            self.heard = sent
        return code

    def may_be_out(self):
        """Has it been silent for as long as its session, or a rebalance, lasts? The broker's clock counts whole milliseconds."""
        return (time.monotonic() - self.heard) * 1000 >= min(self.member.session_ms, self.member.rebalance_ms) - 5

    async def settle(self):
        m = self.member
        if not m.cooperative:
            self.give(self.held)
        if not m.member_id:
            self.heard = time.monotonic()       # an id that is promised now
        code = await self.ask(m.join)
        if code == NONE:
            code = await self.ask(m.sync, self.partitions)
        if code in LOST:
            self.lose(code)
        elif code != NONE:
            assert code in LATER + (REBALANCE_IN_PROGRESS,), code
            await pause(self.beat if code in LATER else 0)
        else:
            self.model.own(m.group, m.generation, m.member_id, m.owned)
            lost = self.held - m.owned
            self.give(lost)
            self.model.take(m.group, m.member_id, m.owned - self.held, self.may_be_out)
            self.held = set(m.owned)
            self.settled = not (lost and m.cooperative)

    def give(self, partitions):
        self.model.give(self.member.group, self.member.member_id, partitions)
        self.held = self.held - partitions

    def lose(self, code):
        self.model.lost(self.member.group, self.member.member_id, code, self.may_be_out)
        self.give(self.held)
        self.member.forget()
        self.settled = False

    async def leave(self):
        self.leaving = True
        await self.task

    def kill(self):
        self.task.cancel()
        self.give(self.held)
        self.member.drop()


async def converged(lives, partitions, within=90):
    """Waits until they are in one generation and share all that there is."""
    everything = {(t, p) for t, n in partitions.items() for p in range(n)}

    async def together():
        for life in lives:
            if life.task.done():
                life.task.result()
        held = [tp for life in lives for tp in life.held]
        return all(x.settled for x in lives) and len({x.member.generation for x in lives}) == 1 and \
            len(held) == len(everything) and set(held) == everything
    await until(together, within, "one generation for all")
