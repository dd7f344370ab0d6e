"""tests/system/group_log.py - partitions of __consumer_offsets written by hand: any record, any hole, any damage; and what a
coordinator has to make of them.
"""
import os
import struct
import time

from batches import crc32c, field, varint

TOPIC = "__consumer_offsets"
CONTROL, TRANSACTIONAL = 32, 16


def partition_of(group, n):
    """Java's String.hashCode, as Kafka makes a partition of it."""
    units, h = group.encode("utf-16-be"), 0
    for hi, lo in zip(units[::2], units[1::2]):
        h = (31 * h + (hi << 8 | lo)) & 0xFFFFFFFF
    h = h - (1 << 32) if h >> 31 else h
    return (0 if h == -(1 << 31) else abs(h)) % n


def text(s):
    if s is None:
        return struct.pack(">h", -1)
    data = s.encode()
    return struct.pack(">h", len(data)) + data


def blob(data):
    return struct.pack(">i", len(data)) + data


def offset_key(group, topic, partition, version=1):
    return struct.pack(">h", version) + text(group) + text(topic) + struct.pack(">i", partition)


def offset_value(offset, metadata="", commit_ms=None, expire_ms=-1, epoch=-1, version=3):
    now = int(time.time() * 1000) if commit_ms is None else commit_ms
    out = struct.pack(">hq", version, offset) + (struct.pack(">i", epoch) if version >= 3 else b"")
    return out + text(metadata) + struct.pack(">q", now) + (struct.pack(">q", expire_ms) if version == 1 else b"")


def group_key(group):
    return struct.pack(">h", 2) + text(group)


def member(member_id, subscription=b"", assignment=b"", session_ms=1800000, instance=None):
    return {"id": member_id, "subscription": subscription, "assignment": assignment, "session": session_ms, "instance": instance}


def group_value(members=(), generation=1, kind="consumer", protocol="range", since_ms=None, version=3):
    since = int(time.time() * 1000) if since_ms is None else since_ms
    out = struct.pack(">h", version) + text(kind) + struct.pack(">i", generation)
    out += text(protocol if members else None) + text(members[0]["id"] if members else None)
    out += struct.pack(">q", since) if version >= 2 else b""
    out += struct.pack(">i", len(members))
    for m in members:
        out += text(m["id"]) + (text(m["instance"]) if version >= 3 else b"") + text("client") + text("/127.0.0.1")
        out += (struct.pack(">i", 60000) if version >= 1 else b"") + struct.pack(">i", m["session"])
        out += blob(m["subscription"]) + blob(m["assignment"])
    return out


def batch(base, records, last_delta=None, attributes=0, producer_id=-1, timestamp=None):
    """records: (offset delta, key, value), with holes as compaction leaves them; none: an empty batch."""
    now = int(time.time() * 1000) if timestamp is None else timestamp
    body = b""
    for delta, key, value in records:
        one = b"\0" + varint(0) + varint(delta) + field(key) + field(value) + varint(0)
        body += varint(len(one)) + one
    last = last_delta if last_delta is not None else records[-1][0]
    epoch, sequence = (0, 0) if producer_id >= 0 else (-1, -1)
    summed = struct.pack(">hiqqqhii", attributes, last, now, now, producer_id, epoch, sequence, len(records)) + body
    return struct.pack(">qiibI", base, len(summed) + 9, 0, 2, crc32c(summed)) + summed


def marker(base, producer_id, commit):
    return batch(base, [(0, struct.pack(">hh", 0, 1 if commit else 0), struct.pack(">hi", 0, 0))],
                 attributes=CONTROL | TRANSACTIONAL, producer_id=producer_id)


class Log:
    """What is appended to one partition, in segments."""

    def __init__(self):
        self.next, self.segments = 0, [(0, [])]

    def append(self, records, **kw):
        """(key, value) pairs, one offset after the other."""
        self.add([(i, k, v) for i, (k, v) in enumerate(records)], len(records) - 1, **kw)

    def add(self, records, last_delta, **kw):
        self.segments[-1][1].append(batch(self.next, records, last_delta, **kw))
        self.next += last_delta + 1

    def end_transaction(self, producer_id, commit):
        self.segments[-1][1].append(marker(self.next, producer_id, commit))
        self.next += 1

    def hole(self, n):
        self.next += n

    def roll(self):
        if self.segments[-1][1]:
            self.segments.append((self.next, []))

    def write(self, folder):
        """In place of what is in the partition's directory; its broker does not run."""
        for name in os.listdir(folder):
            if name.endswith((".log", ".index", ".timeindex", ".snapshot", ".txnindex")):
                os.unlink(os.path.join(folder, name))
        for base, batches in self.segments:
            with open(os.path.join(folder, "%020d.log" % base), "wb") as f:
                f.write(b"".join(batches))


def replace(broker, logs):
    """Kills the broker, and gives it these partitions (number -> Log); it is not started."""
    broker.kill9()
    for p, log in logs.items():
        log.write(os.path.join(broker.data, "%s-%d" % (TOPIC, p)))
