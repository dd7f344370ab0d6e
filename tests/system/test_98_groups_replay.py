"""D7: __consumer_offsets is read back whatever is in it. Each of twenty partitions has another history, made at random: holes
as compaction leaves them, empty batches, an empty last segment, records that are damaged or of unknown versions, transactions.
What is sound counts; what is not is skipped. And a log of a million records.

GROUP_SEED repeats a history that was printed; GROUP_BIG_LOG is the number of records of the big log.
"""
import asyncio
import os
import random
import re
import time

from group_cells import PROPERTIES
from group_log import (TRANSACTIONAL, Log, group_key, group_value, member, offset_key, offset_value, partition_of,
                       replace)
from groups import (COORDINATOR_LOAD_IN_PROGRESS, NONE, NOT_COORDINATOR, REBALANCE_IN_PROGRESS, ROUNDS, Link, Refused, assignment, commit_topics, committed,
                    describe, ready, run, subscription, until)
from harness import SLOW, wait_for
from wire import Wire, encode_request

SEED = int(os.environ.get("GROUP_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
BIG = int(os.environ.get("GROUP_BIG_LOG", "1000000" if SLOW == 1 else "100000"))
GROUPS = 4


def names_of(partition):
    """Groups whose records are in that partition."""
    found, n = [], 0
    while len(found) < GROUPS:
        name = "replay.%d" % n
        if partition_of(name, ROUNDS) == partition:
            found.append(name)
        n += 1
    return found


class History:
    """A log at random, and what it comes to."""

    def __init__(self, partition, rng):
        self.rng, self.log, self.groups = rng, Log(), names_of(partition)
        self.offsets = {}                       # (group, topic, partition) -> (offset, metadata)
        self.metadata = {}                      # group -> members
        self.pending = {}                       # producer -> {(group, topic, partition): ((offset, metadata), its batch)}
        self.written = {}                       # (group, topic, partition) -> the batch it is of
        self.bad = 0
        for _ in range(rng.randrange(60, 200)):
            rng.choices([self.commits, self.tombstones, self.group, self.group_tombstone, self.nonsense, self.nothing, self.gap,
                         self.begin, self.end, self.roll], [30, 8, 8, 3, 10, 4, 4, 6, 6, 2])[0]()
        if rng.random() < 0.5:
            self.log.roll()                     # an empty active segment

    def place(self):
        return self.rng.choice(self.groups), "t%d" % self.rng.randrange(3), self.rng.randrange(4)

    def value(self):
        return self.rng.randrange(1 << 40), "m" * self.rng.randrange(20)

    def commits(self):
        records = []
        for _ in range(self.rng.randrange(1, 6)):
            place, value = self.place(), self.value()
            self.offsets[place], self.written[place] = value, self.log.next
            records.append((offset_key(*place, version=self.rng.choice([0, 1, 1, 1])),
                            offset_value(*value, version=self.rng.choice([0, 1, 2, 3, 3, 3]))))
        self.append(records)

    def append(self, records, **kw):
        """With holes where compaction took out records that came before or between."""
        if self.rng.random() < 0.3:
            deltas = sorted(self.rng.sample(range(len(records) + 8), len(records)))
            self.log.add([(d, k, v) for d, (k, v) in zip(deltas, records)], deltas[-1] + self.rng.randrange(3), **kw)
        else:
            self.log.append(records, **kw)

    def tombstones(self):
        place = self.place()
        if any(place in p for p in self.pending.values()):
            return                              # coordinators do not delete what a transaction is about to commit
        self.offsets.pop(place, None)
        self.written.pop(place, None)
        self.append([(offset_key(*place), None)])

    def group(self):
        name = self.rng.choice(self.groups)
        ids = ["m%d" % i for i in range(self.rng.randrange(4))]
        members = [member(i, subscription(["t0"]), assignment({("t0", 1)})) for i in ids]
        self.metadata[name] = ids
        self.append([(group_key(name), group_value(members, version=self.rng.randrange(4)))])

    def group_tombstone(self):
        name = self.rng.choice(self.groups)
        self.metadata.pop(name, None)
        self.append([(group_key(name), None)])

    def nonsense(self):
        """Under keys of their own, so that compaction does not keep it in place of what is sound."""
        whole, known = offset_value(*self.value()), offset_key(self.rng.choice(self.groups), "bad", self.rng.randrange(9))
        group, metadata = group_key("bad.%d" % self.rng.randrange(9)), group_value([member("x")])
        self.bad += 1
        self.append([self.rng.choice([
            (b"\0\x63" + known[2:], whole),                                 # a key of version 99
            (b"\xff\xff" + known[2:], whole), (known[:-2], whole), (b"", b""), (b"\0", whole), (None, whole),
            (known, b"\0\x63" + whole[2:]), (known, b"\xff\xff" + whole[2:]), (known, whole[:-3]), (known, b""),
            (known, whole[:14] + b"\x7f\xff" + whole[16:]),                 # its metadata is longer than the record
            (group, metadata[:-5]), (group, b"\0\x63" + metadata[2:]), (group[:-1], metadata), (group, b"\0"),
            (group, metadata[:34] + b"\x7f\xff\xff\xff" + metadata[38:])])])  # 2^31 - 1 members

    def nothing(self):
        self.log.add([], self.rng.randrange(5))                             # a batch all of whose records were compacted away

    def gap(self):
        self.log.hole(self.rng.randrange(1, 1000))

    def begin(self):
        place, value, producer = self.place(), self.value(), self.rng.randrange(100, 103)
        self.pending.setdefault(producer, {})[place] = value, self.log.next
        self.log.append([(offset_key(*place), offset_value(*value))], attributes=TRANSACTIONAL, producer_id=producer)

    def end(self):
        producer, commit = self.rng.randrange(100, 103), self.rng.random() < 0.6
        for place, (value, written) in self.pending.pop(producer, {}).items():
            if commit and self.written.get(place, -1) < written:
                self.offsets[place], self.written[place] = value, written
        self.log.end_transaction(producer, commit)

    def roll(self):
        self.log.roll()


async def same(port, h):
    link = await Link.open(port)
    for name in h.groups:
        await ready(port, name)
        answer = await link.call("OffsetFetch", 5, GroupId=name, Topics=None)
        got = {(name, t["Name"], p["PartitionIndex"]): (p["CommittedOffset"], p["Metadata"])
               for t in answer["Topics"] for p in t["Partitions"]}
        want = {place: value for place, value in h.offsets.items() if place[0] == name}
        assert got == want, "%s: %s" % (name, {k: (got.get(k), want.get(k)) for k in got | want if got.get(k) != want.get(k)})
        d = await describe(link, name)
        ids = h.metadata.get(name)
        state = "Stable" if ids else "Empty" if ids is not None or want else "Dead"
        if d["GroupState"] != "Dead" or state != "Dead":
            assert (d["GroupState"], sorted(m["MemberId"] for m in d["Members"])) == (state, ids or []), name
    link.close()


def test_any_history_is_read_back(brokers):
    print("seed", SEED)
    b = brokers(dict(PROPERTIES, **{"offsets.topic.num.partitions": str(ROUNDS), "group.max.size": "100",
                             "log.cleaner.enable": "false", "log.cleaner.backoff.ms": "50"})).start()
    run(ready(b.port, "any"))
    histories = {p: History(p, random.Random(SEED + p)) for p in range(ROUNDS)}
    replace(b, {p: h.log for p, h in histories.items()})
    b.start()

    async def all_same():
        await asyncio.gather(*(same(b.port, h) for h in histories.values()))
    run(all_same())
    bad = sum(h.bad for h in histories.values())

    def told():
        return sum(int(n) for n in re.findall(r"(\d+) places passed over", b.log(this_start=True)))
    wait_for(lambda: told() >= bad, 30, "the log tells of %d records that are no good" % bad)
    assert told() == bad, "%d records are no good; the log tells of %d" % (bad, told())
    b.overrides["log.cleaner.enable"] = "true"      # not before: compaction leaves fewer, should it be there before the reader
    b.restart()
    run(all_same())
    wait_for(lambda: len(re.findall(r"__consumer_offsets-\d+: compacted", b.log(this_start=True))) >= ROUNDS // 4, 30, "compaction")
    b.restart()                                 # and the same once more
    run(all_same())


# Heartbeats are answered as if all were well, so that nobody leaves for that; who syncs is to join again.
LOADING_CODES = {"Heartbeat": NONE, "SyncGroup": REBALANCE_IN_PROGRESS, **dict.fromkeys(
    ["JoinGroup", "LeaveGroup", "OffsetCommit", "OffsetDelete", "DescribeGroups", "DeleteGroups", "ListGroups"],
    COORDINATOR_LOAD_IN_PROGRESS)}


async def while_loading(link):
    """Of a group in the same partition: should loading just have ended, nothing is done to the big one."""
    member = {"GroupId": "other", "MemberId": "m", "GenerationId": 1}
    topics = [{"Name": "t", "Partitions": [{"PartitionIndex": 0}]}]
    out = {"Heartbeat": await link.call("Heartbeat", 2, **member), "SyncGroup": await link.call("SyncGroup", 2, **member),
           "JoinGroup": await link.call("JoinGroup", 3, GroupId="other", SessionTimeoutMs=10000, RebalanceTimeoutMs=1000,
                                        ProtocolType="consumer", Protocols=[{"Name": "range", "Metadata": b""}]),
           "LeaveGroup": await link.call("LeaveGroup", 2, GroupId="other", MemberId="m"),
           "OffsetDelete": await link.call("OffsetDelete", 0, GroupId="other", Topics=topics),
           "ListGroups": await link.call("ListGroups", 2)}
    codes = {name: answer["ErrorCode"] for name, answer in out.items()}
    commit = await link.call("OffsetCommit", 5, GroupId="other", Topics=commit_topics({("t", 0): -5}))
    codes["OffsetCommit"] = commit["Topics"][0]["Partitions"][0]["ErrorCode"]
    codes["DescribeGroups"] = (await describe(link, "other"))["ErrorCode"]
    codes["DeleteGroups"] = (await link.call("DeleteGroups", 1, GroupsNames=["other"]))["Results"][0]["ErrorCode"]
    return codes


async def still_loads(link):
    try:
        await committed(link, "big", [])
    except Refused as e:
        return e.code == COORDINATOR_LOAD_IN_PROGRESS
    return False


def test_a_million_records_are_replayed(brokers):
    """While they are, requests are refused; then the newest of each is there."""
    b = brokers(dict(PROPERTIES, **{"offsets.topic.num.partitions": "1", "log.cleaner.enable": "false"})).start()
    run(ready(b.port, "big"))
    with Wire(b.port) as c:
        c.create("t", 2000)
        rounds = BIG // 2000
        for n in range(rounds):
            request = encode_request("OffsetCommit", 5, {
                "GroupId": "big", "Topics": commit_topics({("t", p): n for p in range(2000)})}, 1, "wire") if n in (0, rounds - 1) \
                else request
            c.sock.sendall(request)
            c.exactly(int.from_bytes(c.exactly(4), "big"))

    async def loaded():
        refusals = rounds_of_all = 0

        async def answers():
            nonlocal refusals, rounds_of_all
            try:
                link = await Link.open(b.port)
            except OSError:
                return None
            try:
                return await committed(link, "big", None)
            except Refused as e:
                if e.code == NOT_COORDINATOR:       # the partition's log is not open yet: it is recovered after a kill -9
                    return None
                assert e.code == COORDINATOR_LOAD_IN_PROGRESS, e.code
                refusals += 1
                codes = await while_loading(link)
                if await still_loads(link):
                    rounds_of_all += 1
                    assert codes == LOADING_CODES, codes
            except ConnectionError:
                pass
            finally:
                link.close()
            return None
        return await until(answers, 240), refusals, rounds_of_all

    for _ in range(5):                          # a machine that stands still for a moment misses it, not several times
        b.kill9()
        began = time.monotonic()
        b.spawn()
        got, refusals, of_all = run(loaded())
        took = time.monotonic() - began
        wait_for(b.is_ready, 30)
        assert got == {("t", p): rounds - 1 for p in range(2000)}
        print("%d records in %.2f s with the start; refused %d times meanwhile" % (rounds * 2000, took, refusals))
        if of_all or SLOW > 1:
            break
    else:
        raise AssertionError("nobody was told that it loads")
    b.kill9()                                   # a clean end would bring it all to the disk
