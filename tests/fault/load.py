"""tests/fault/load.py - writers and readers on the raw protocol that put what they were told into a history.

A record is made of its id alone, so that a reader knows the bytes that must be there. Each writer is an idempotent producer
with one batch at a time on its way; a batch without an answer is sent again as it was, to the same broker or the next.
"""
import ctypes
import itertools
import os
import random
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import batches  # noqa: E402
from wire import Wire  # noqa: E402

OK, OUT_OF_ORDER, DUPLICATE = 0, 45, 46
TIMEOUT = float(os.environ.get("FAULT_ANSWER_S", "20"))

try:
    ISAL = ctypes.CDLL("libisal.so.2").crc32_iscsi
    ISAL.argtypes, ISAL.restype = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint], ctypes.c_uint
    batches.crc32c = lambda data: ISAL(bytes(data), len(data), 0xFFFFFFFF) ^ 0xFFFFFFFF
except OSError:
    pass                                    # the one in Python is right, too

IDS = itertools.count(1)


def value_of(id_):
    return b"%d:" % id_ + (b"%08x" % (id_ * 2654435761 & 0xFFFFFFFF)) * (1 + id_ * 7919 % 30)


def id_of(value):
    """(id or None, whether the bytes are those of that id)."""
    head, colon, _ = bytes(value or b"").partition(b":")
    if not colon or not head.isdigit():
        return None, False
    return int(head), value == value_of(int(head))


def key_of(id_, keys):
    return None if keys == 0 else "k%d" % (id_ % keys)


def take_varint(data, at):
    n = shift = 0
    while True:
        b = data[at]
        at += 1
        n |= (b & 0x7F) << shift
        shift += 7
        if b < 0x80:
            return n >> 1 ^ -(n & 1), at


def values_of(data):
    """(offset, value) of each record in whole batches of magic 2; a batch whose CRC is wrong gives a value of None."""
    out, pos = [], 0
    while pos + 61 <= len(data):
        base, size = struct.unpack_from(">qi", data, pos)
        end = pos + 12 + size
        if end > len(data):
            break
        count, = struct.unpack_from(">i", data, pos + 57)
        crc, = struct.unpack_from(">I", data, pos + 17)
        right = batches.crc32c(data[pos + 21:end]) == crc
        at = pos + 61
        for _ in range(count):
            length, at = take_varint(data, at)
            after = at + length
            _, at = take_varint(data, at + 1)
            delta, at = take_varint(data, at)
            key, at = take_varint(data, at)
            n, at = take_varint(data, at + max(key, 0))
            out.append((base + delta, data[at:at + n] if right else None))
            at = after
        pos = end
    return out


class Target:
    """Where to send: which broker, which history, how far its journal is (power cuts are judged by that). Once it is dark
    no answer counts: it cannot be known on which side of the cut it was given."""

    def __init__(self, broker, history, journalled=None):
        self.broker = broker
        self.history = history
        self.journalled = journalled or (lambda: 0)
        self.dark = False

    def connect(self):
        return Wire(self.broker.port, timeout=TIMEOUT)


class Writer:
    """One idempotent producer. keys: how many keys its records have; 0: none."""

    def __init__(self, target, name, topics, seed, keys=None):
        self.target, self.name = target, name
        self.partitions = [(t, p) for t, n in topics.items() for p in range(n)]
        self.keys = keys or {}
        self.rng = random.Random(seed)
        self.wire = None
        self.generation = 0
        self.forget()

    def forget(self):
        """A new producer; what is on its way is left alone. For a broker that lost what it had not synced."""
        self.pid, self.pending, self.sequence = None, {}, {tp: 0 for tp in self.partitions}
        self.drop()

    def drop(self):
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def ready(self):
        if self.wire is None:
            self.wire = self.target.connect()
        if self.pid is None:
            out = self.wire.call("InitProducerId", 1, TransactionalId=None, TransactionTimeoutMs=0)
            if out["ErrorCode"] != OK:
                raise RuntimeError("InitProducerId: error %d" % out["ErrorCode"])
            self.generation += 1
            self.pid, self.epoch = out["ProducerId"], out["ProducerEpoch"]

    def make(self, tp):
        ids = [next(IDS) for _ in range(self.rng.choice((1, 1, 2, 5)))]
        keys = self.keys.get(tp[0], 0)
        made = b""
        if keys:
            ids = ids[:1]                       # batches.batch() has one key for all
        key = key_of(ids[0], keys)
        made = batches.batch([value_of(i) for i in ids], key and key.encode(), int(time.time() * 1000), 0, self.pid,
                             self.epoch, self.sequence[tp])
        self.sequence[tp] += len(ids)
        self.pending[tp] = (ids, made)
        self.target.history.add("invoke", tp="%s-%d" % tp, client="%s.%d" % (self.name, self.generation), ids=ids,
                                keys=[key] * len(ids) if keys else None)

    def send(self, only=None):
        """One request with one batch for some partitions. The error codes; raises OSError if no answer came."""
        self.ready()
        chosen = only or self.rng.sample(self.partitions, self.rng.randrange(1, len(self.partitions) + 1))
        by_topic = {}
        for tp in chosen:
            if tp not in self.pending:
                self.make(tp)
            by_topic.setdefault(tp[0], []).append({"Index": tp[1], "Records": self.pending[tp][1]})
        try:
            out = self.wire.call("Produce", 8, Acks=-1, TimeoutMs=10000, TopicData=[
                {"Name": t, "PartitionData": v} for t, v in by_topic.items()])
        except OSError:
            self.drop()
            raise
        return [self.told((t["Name"], p["Index"]), p) for t in out["Responses"] for p in t["PartitionResponses"]]

    def told(self, tp, answer):
        code, (ids, _) = answer["ErrorCode"], self.pending[tp]
        name = "%s-%d" % tp
        if self.target.dark:
            self.target.history.add("fail", tp=name, ids=ids, code=code)
        elif code in (OK, DUPLICATE):
            self.target.history.add("ok", tp=name, ids=ids, offset=answer["BaseOffset"] if code == OK else -1,
                                    journal=self.target.journalled())
            del self.pending[tp]
        else:
            self.target.history.add("fail", tp=name, ids=ids, code=code)
        return code


class Load(threading.Thread):
    """A writer that writes until it is told to end, over all deaths of its broker."""

    def __init__(self, writer, on_bad=None):
        super().__init__(daemon=True)
        self.writer = writer
        self.on_bad = on_bad                    # called with the first code that nothing but a bug explains
        self.end = threading.Event()
        self.idle = threading.Event()
        self.acks = 0

    def run(self):
        while not self.end.is_set():
            try:
                codes = self.writer.send()
            except (OSError, RuntimeError):
                self.end.wait(0.005)
                continue
            self.acks += codes.count(OK)
            bad = [c for c in codes if c in (OUT_OF_ORDER, 2, 87)]
            if bad and self.on_bad is not None:
                self.on_bad(bad[0])
                self.on_bad = None
            if any(codes):
                self.end.wait(0.01)

    def finish(self):
        self.end.set()
        self.join()
        self.writer.drop()


class Unreadable(Exception):
    """A partition that gave an error; its code."""


def end_of(wire, topic, partition, timestamp):
    out = wire.call("ListOffsets", 4, ReplicaId=-1, IsolationLevel=0, Topics=[{"Name": topic, "Partitions": [
        {"PartitionIndex": partition, "CurrentLeaderEpoch": -1, "Timestamp": timestamp}]}])
    part = out["Topics"][0]["Partitions"][0]
    if part["ErrorCode"] != OK:
        raise Unreadable(part["ErrorCode"])
    return part["Offset"]


def read_whole(target, wire, topic, partition, reader="end", restarts=5):
    """Reads a partition from its start to its HW into the history; gives the number of records."""
    began = len(target.history.events)
    for _ in range(restarts):                   # retention may take the start away meanwhile
        at = first = end_of(wire, topic, partition, -2)
        empty = 0
        records = []
        while True:
            part = wire.fetch(11, topic, partition, at, max_bytes=1 << 16)["Responses"][0]["Partitions"][0]
            if part["ErrorCode"] != OK:
                break
            heads = batches.heads(part["Records"] or b"")
            records += [[o, *id_of(v)] for o, v in values_of(part["Records"] or b"") if o >= at]
            if heads:
                at = heads[-1][1] + 1               # compaction leaves batches without records
            elif at < part["HighWatermark"] and empty < 20:
                empty += 1                          # segments were replaced meanwhile: any client would ask again
            else:
                break
        if part["ErrorCode"] == 1 and first != end_of(wire, topic, partition, -2):
            continue
        if part["ErrorCode"] != OK:
            raise Unreadable(part["ErrorCode"])
        target.history.add("read", **{"from": first}, tp="%s-%d" % (topic, partition), reader=reader, start=first,
                           lso=part["LastStableOffset"], hw=part["HighWatermark"], whole=True, records=records, began=began)
        return len(records)
    raise Unreadable(1)


def read_all(target, topics, reader="end"):
    with target.connect() as wire:
        return sum(read_whole(target, wire, t, p, reader) for t, n in topics.items() for p in range(n))
