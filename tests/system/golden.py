"""tests/system/golden.py - the directories that Apache Kafka wrote (../shared/golden), started by adoption and held against
what a broker of Apache Kafka answers on them.

State finds and unpacks one of them; read_records(), list_offsets() and the others ask a broker and give what the
`expected` files have, so that the two can be compared line by line.
"""
import base64
import collections
import ctypes
import functools
import glob
import hashlib
import json
import os
import re
import struct
import tarfile
import zlib

from harness import TOP
from wire import Wire

SHARED = os.path.join(os.environ.get("KLAMM_SHARED", os.path.join(TOP, "..", "shared")))
GOLDEN = os.path.join(SHARED, "golden")
LATEST, MAX_TIMESTAMP = -1, -3
FOR_EVER = 2147483647
UNSUPPORTED_FOR_MESSAGE_FORMAT = 43
SEGMENT_FILE = re.compile(r"^\d{20}\.(log|index|timeindex|txnindex|snapshot)$")

# What the brokers had that made the directories.
PROPERTIES = {
    "num.partitions": 1, "default.replication.factor": 1, "auto.create.topics.enable": "false",
    "auto.leader.rebalance.enable": "false", "group.initial.rebalance.delay.ms": 0,
    "group.max.session.timeout.ms": FOR_EVER, "offsets.topic.num.partitions": 5, "offsets.topic.replication.factor": 1,
    "offsets.topic.segment.bytes": 16384, "offsets.retention.minutes": FOR_EVER,
    "transaction.state.log.num.partitions": 3, "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1, "transaction.state.log.segment.bytes": 16384,
    "transaction.max.timeout.ms": FOR_EVER, "transactional.id.expiration.ms": FOR_EVER, "log.segment.bytes": 32768,
    "log.index.interval.bytes": 512, "log.index.size.max.bytes": 1048576, "log.retention.ms": -1,
    "log.retention.check.interval.ms": 5000, "log.cleaner.backoff.ms": 500, "log.cleaner.min.cleanable.ratio": 1.0,
    "log.cleaner.dedupe.buffer.size": 4194304, "zookeeper.session.timeout.ms": 18000,
}
PROPERTIES_3 = {
    "log.initial.task.delay.ms": 2000, "producer.id.expiration.ms": FOR_EVER,
    "transaction.partition.verification.enable": "false", "inter.broker.protocol.version": "3.9",
}


def states():
    """"3.9.1-clean", ...: whatever is there. Empty without ../shared."""
    found = [os.path.basename(p)[len("datadir-"):-len(".tar.xz")] for p in glob.glob(os.path.join(GOLDEN, "datadir-*.tar.xz"))]
    return sorted(s for s in found if not s.endswith("kraft") and
                  os.path.exists(os.path.join(GOLDEN, "expected-%s.tar.xz" % s.split("-")[0])))


def properties(version):
    out = dict(PROPERTIES, **(PROPERTIES_3 if version.startswith("3") else {}))
    return {k: str(v) for k, v in out.items()}


class State:
    def __init__(self, name, folder):
        """Unpacks into folder: data/, and the expected answers."""
        self.name, self.folder = name, str(folder)
        self.version, self.kind = name.split("-", 1)
        self.properties = properties(self.version)
        os.makedirs(self.folder, exist_ok=True)
        with tarfile.open(os.path.join(GOLDEN, "datadir-%s.tar.xz" % name)) as tar:
            tar.extractall(self.folder)
        with tarfile.open(os.path.join(GOLDEN, "expected-%s.tar.xz" % self.version)) as tar:
            inside = "expected-%s/%s/" % (self.version, self.kind)
            tar.extractall(self.folder, [m for m in tar if m.name.startswith(inside)])
        self.answers = os.path.join(self.folder, "expected-%s" % self.version, self.kind)

    def expected(self, name):
        """The lines of a file; none if there is no such file (empty listings are left out)."""
        path = os.path.join(self.answers, name + ".jsonl")
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def described(self):
        """A file with what `kafka-topics.sh --describe` says of the topics' settings."""
        path = os.path.join(self.folder, "described.txt")
        with open(path, "w", encoding="utf-8") as f:
            for t in self.expected("topics"):
                f.write("Topic: %s\tTopicId: %s\tPartitionCount: %d\tReplicationFactor: 1\tConfigs: %s\n" % (
                    t["topic"], t["topicId"], t["partitions"], ",".join("%s=%s" % pair for pair in t["configs"].items())))
        return path

    def partitions(self):
        return [(t["topic"], p) for t in self.expected("topics") for p in range(t["partitions"])]


# ---- codecs: the libraries that Klamm itself is built with -----------------------------------------------------------

@functools.lru_cache(None)
def library(name):
    return ctypes.CDLL(name)


@functools.lru_cache(None)
def room(size):
    """Memory to decompress into, used again and again."""
    return ctypes.create_string_buffer(size)


def snappy_block(data):
    lib, size = library("libsnappy.so.1"), ctypes.c_size_t()
    assert lib.snappy_uncompressed_length(data, ctypes.c_size_t(len(data)), ctypes.byref(size)) == 0
    out = ctypes.create_string_buffer(size.value + 1)
    assert lib.snappy_uncompress(data, ctypes.c_size_t(len(data)), out, ctypes.byref(size)) == 0
    return out.raw[:size.value]


def snappy(data):
    if not data.startswith(b"\x82SNAPPY\0"):
        return snappy_block(data)
    pos, out = 16, []
    while pos < len(data):
        n, = struct.unpack_from(">i", data, pos)
        out.append(snappy_block(data[pos + 4:pos + 4 + n]))
        pos += 4 + n
    return b"".join(out)


def lz4(data):
    """Blocks of a frame, each by itself: the header's checksum is wrong in magic 0, so the frame decoder is of no use."""
    flags, pos, out = data[4], 7 + (8 if data[4] & 8 else 0), []
    lib, block_max = library("liblz4.so.1"), 4 << 20
    while True:
        size, = struct.unpack_from("<I", data, pos)
        pos += 4
        if size == 0:
            return b"".join(out)
        block = data[pos:pos + (size & 0x7FFFFFFF)]
        pos += len(block) + (4 if flags & 16 else 0)
        if size & 0x80000000:
            out.append(block)
            continue
        n = lib.LZ4_decompress_safe(block, room(block_max), len(block), block_max)
        assert n >= 0, "lz4 block does not decode"
        out.append(ctypes.string_at(room(block_max), n))


def zstd(data):
    lib = library("libzstd.so.1")
    lib.ZSTD_decompress.restype = ctypes.c_size_t
    n = lib.ZSTD_decompress(room(16 << 20), ctypes.c_size_t(16 << 20), data, ctypes.c_size_t(len(data)))
    assert n <= 16 << 20, "zstd frame does not decode"
    return ctypes.string_at(room(16 << 20), n)


CODECS = {0: lambda d: d, 1: lambda d: zlib.decompress(d, 47), 2: snappy, 3: lz4, 4: zstd}


# ---- records ---------------------------------------------------------------------------------------------------------

class Varints:
    def __init__(self, data):
        self.data, self.pos = data, 0

    def number(self):
        n = shift = 0
        while True:
            b = self.data[self.pos]
            self.pos += 1
            n |= (b & 0x7F) << shift
            if b < 0x80:
                return n >> 1 ^ -(n & 1)
            shift += 7

    def text(self):
        n = self.number()
        if n < 0:
            return None
        self.pos += n
        return self.data[self.pos - n:self.pos]


Batch = collections.namedtuple("Batch", "last producer transactional control abort records")


def shown(name, data):
    """As the expected files have keys and values."""
    if data is None:
        return {name: None}
    if len(data) > 200:
        return {name + "Sha256": hashlib.sha256(data).hexdigest(), name + "Len": len(data)}
    return {name: base64.b64encode(data).decode()}


def line(offset, epoch, timestamp, kind, key, value, headers=()):
    out = {"offset": offset, "leaderEpoch": epoch, "timestamp": timestamp, "timestampType": kind}
    out.update(shown("key", key))
    out.update(shown("value", value))
    if headers:
        out["headers"] = [dict({"key": k.decode()}, **shown("value", v)) for k, v in headers]
    return out


def batch_v2(data):
    base, = struct.unpack_from(">q", data)
    epoch, = struct.unpack_from(">i", data, 12)
    attributes, delta, first, last, producer, _, _, count = struct.unpack_from(">hiqqqhii", data, 21)
    payload = CODECS[attributes & 7](data[61:])
    r, records, control, abort = Varints(payload), [], bool(attributes & 32), False
    for _ in range(count):
        r.number()
        r.pos += 1
        timestamp, offset = first + r.number(), base + r.number()
        key, value = r.text(), r.text()
        headers = [(r.text(), r.text()) for _ in range(r.number())]
        if control:
            abort = key[2:4] == b"\0\0"
        elif attributes & 8:
            records.append(line(offset, epoch, last, "LogAppendTime", key, value, headers))
        else:
            records.append(line(offset, epoch, timestamp, "CreateTime", key, value, headers))
    assert r.pos == len(payload)
    return Batch(base + delta, producer, bool(attributes & 16), control, abort, records)


def field(data, pos):
    n, = struct.unpack_from(">i", data, pos)
    return (None, pos + 4) if n < 0 else (data[pos + 4:pos + 4 + n], pos + 4 + n)


def message(data, pos):
    """(offset, magic, attributes, timestamp, key, value, end) of one of magic 0 or 1"""
    offset, size, _, magic, attributes = struct.unpack_from(">qiIbb", data, pos)
    timestamp = struct.unpack_from(">q", data, pos + 18)[0] if magic == 1 else -1
    key, at = field(data, pos + (26 if magic == 1 else 18))
    value, at = field(data, at)
    assert at == pos + 12 + size
    return offset, magic, attributes, timestamp, key, value, at


def batch_v01(data):
    offset, magic, attributes, timestamp, key, value, _ = message(data, 0)
    kind = "NoTimestampType" if magic == 0 else "LogAppendTime" if attributes & 8 else "CreateTime"
    if attributes & 7 == 0:
        return Batch(offset, -1, False, False, False, [line(offset, None, timestamp, kind, key, value)])
    inner, pos, payload = [], 0, CODECS[attributes & 7](value)
    while pos < len(payload):
        inner.append(message(payload, pos))
        pos = inner[-1][-1]
    shift = offset - inner[-1][0] if magic == 1 else 0
    return Batch(offset, -1, False, False, False, [
        line(m[0] + shift, None, timestamp if attributes & 8 else m[3], kind, m[4], m[5]) for m in inner])


def batches_of(data, seen):
    """The whole batches of an answer; `seen` keeps what was decoded before."""
    pos = 0
    while pos + 17 <= len(data):
        size = 12 + struct.unpack_from(">i", data, pos + 8)[0]
        if pos + size > len(data):
            return
        raw = data[pos:pos + size]
        key = hash(raw)
        if key not in seen:
            seen[key] = (batch_v2 if raw[16] == 2 else batch_v01)(raw)
        yield seen[key]
        pos += size


def read_partition(c, topic, partition, committed, start, seen):
    """Everything that a consumer gets: (records, why it ended, or None)."""
    out, offset, aborted = [], start, {}
    while True:
        part = c.fetch(11, topic, partition, offset, max_bytes=32 << 20, MaxBytes=32 << 20,
                       IsolationLevel=int(committed))["Responses"][0]["Partitions"][0]
        if part["ErrorCode"] != 0:
            return out, "error %d at offset %d" % (part["ErrorCode"], offset)
        waiting = sorted((a["FirstOffset"], a["ProducerId"]) for a in part["AbortedTransactions"] or []) if committed else []
        before = offset
        for b in batches_of(part["Records"] or b"", seen):
            while waiting and waiting[0][0] <= b.last:
                aborted[waiting.pop(0)[1]] = True
            if b.control:
                if b.abort:
                    aborted.pop(b.producer, None)
            elif not (b.transactional and b.producer in aborted):
                out += [r for r in b.records if r["offset"] >= offset]
            offset = b.last + 1
        if offset == before:
            end = part["LastStableOffset"] if committed else part["HighWatermark"]
            return out, None if offset >= end else "nothing at offset %d, the end is %d" % (offset, end)


def read_records(broker, partitions, committed, seen):
    """{(topic, partition): records}, and what was wrong."""
    out, faults = {}, []
    with Wire(broker.port) as c:
        for topic, p in partitions:
            start = c.call("ListOffsets", 5, ReplicaId=-1, Topics=[
                {"Name": topic, "Partitions": [{"PartitionIndex": p, "Timestamp": -2}]}])["Topics"][0]["Partitions"][0]
            if start["ErrorCode"] != 0:
                faults.append("%s-%d: error %d for its first offset" % (topic, p, start["ErrorCode"]))
                continue
            out[topic, p], fault = read_partition(c, topic, p, committed, start["Offset"], seen)
            if fault:
                faults.append("%s-%d: %s" % (topic, p, fault))
    return out, faults


def differ(want, got):
    """Two lines, apart from what the first says is volatile and fields that only one of them has for itself."""
    loose = set(want.get("volatile", ())) | {"volatile", "topic", "partition"}
    return {k: (want.get(k), got.get(k)) for k in set(want) | set(got) if k not in loose and want.get(k) != got.get(k)}


def written_at_start(state):
    """The partitions to which the coordinators of transactions write when they are loaded: {(topic, partition): offset}."""
    return {(w["topic"], w["partition"]): w["offset"] for w in state.expected("list-offsets")
            if w["query"] == MAX_TIMESTAMP and w.get("volatile")}


def compare_records(expected, got):
    """Sentences, one for each partition that differs."""
    want = collections.defaultdict(list)
    for record in expected:
        if not record.get("volatile"):              # what a coordinator of transactions writes when it is loaded
            want[record["topic"], record["partition"]].append(record)
    out = []
    for key in sorted(set(want) | set(got)):
        w, g = want[key], got.get(key, [])
        for i, (a, b) in enumerate(zip(w, g)):
            if differ(a, b):
                out.append("%s-%d: record %d of %d: %s, want and got" % (key + (i, len(w), differ(a, b))))
                break
        else:
            if len(w) != len(g):
                more = (w if len(w) > len(g) else g)[min(len(w), len(g))]
                out.append("%s-%d: %d records, should be %d; first %s: offset %d" % (
                    key + (len(g), len(w), "missing" if len(w) > len(g) else "too many", more["offset"])))
    return out


# ---- the rest of what clients see ------------------------------------------------------------------------------------

def answer_of(part):
    code = part["ErrorCode"]
    if code == UNSUPPORTED_FOR_MESSAGE_FORMAT:
        return {"error": "UnsupportedForMessageFormatException"}
    if code != 0:
        return {"error": code}
    epoch = part["LeaderEpoch"]
    return {"offset": part["Offset"], "timestamp": part["Timestamp"], "leaderEpoch": epoch if epoch >= 0 else None}


def compare_offsets(broker, expected, written):
    """ListOffsets of every line. Not compared: what a client of 2.7 cannot ask; that a topic is of format 0, which is
    in the settings of the topic, not in the directories: such a look-up finds nothing; and ends that coordinators move."""
    asked = [w for w in expected if w.get("error") != "UnsupportedVersionException" and
             not ((w["topic"], w["partition"]) in written and w["query"] in (LATEST, MAX_TIMESTAMP))]
    out = []
    with Wire(broker.port) as c:
        for isolation in ("read_uncommitted", "read_committed"):
            mine = [w for w in asked if w["isolation"] == isolation]
            for w in mine:
                part = c.call("ListOffsets", 8, ReplicaId=-1, IsolationLevel=int(isolation == "read_committed"), Topics=[
                    {"Name": w["topic"], "Partitions": [{"PartitionIndex": w["partition"], "Timestamp": w["query"]}]}])
                got = answer_of(part["Topics"][0]["Partitions"][0])
                got.update(isolation=isolation, query=w["query"])
                if w.get("error") == "UnsupportedForMessageFormatException" and got.get("offset") == -1:
                    continue
                if differ(w, got):
                    out.append("%s-%d, query %d, %s: %s, want and got" % (w["topic"], w["partition"], w["query"], isolation,
                                                                         differ(w, got)))
    return out


def compare_topics(broker, expected, made_ids):
    """Ids, internal or not, and how many partitions; made_ids: the directories have no ids."""
    with Wire(broker.port) as c:
        topics = {t["Name"]: t for t in c.call("Metadata", 12, Topics=None)["Topics"]}
    out = ["%s: should not be there" % name for name in sorted(set(topics) - {w["topic"] for w in expected})]
    for w in expected:
        t = topics.get(w["topic"])
        if t is None:
            out.append("%s: is not there" % w["topic"])
            continue
        topic_id = base64.urlsafe_b64encode(t["TopicId"]).decode().rstrip("=")
        got = {"topicId": None if made_ids else topic_id, "internal": t["IsInternal"], "partitions": len(t["Partitions"])}
        if t["ErrorCode"] != 0 or any(p["ErrorCode"] for p in t["Partitions"]):
            out.append("%s: has an error: %s" % (w["topic"], t))
        wrong = {k: (w.get(k), got[k]) for k in got if w.get(k) != got[k]}
        if wrong:
            out.append("%s: %s, want and got" % (w["topic"], wrong))
    return out


def compare_configs(broker, expected):
    """What was set for each topic, adopted with the settings given."""
    out = []
    with Wire(broker.port) as c:
        for w in expected:
            got = c.call("DescribeConfigs", 4, Resources=[{"ResourceType": 2, "ResourceName": w["topic"],
                                                           "ConfigurationKeys": None}])["Results"][0]
            got = {e["Name"]: e["Value"] for e in got["Configs"] or [] if e["ConfigSource"] == 1}
            if got != w["configs"]:
                out.append("%s: settings %s, should be %s" % (w["topic"], got, w["configs"]))
    return out


def compare_producers(broker, partitions, expected):
    want = {(w["topic"], w["partition"], w["producerId"]): w for w in expected}
    got = {}
    with Wire(broker.port) as c:
        for topic, p in partitions:
            part = c.call("DescribeProducers", 0, Topics=[{"Name": topic, "PartitionIndexes": [p]}])
            part = part["Topics"][0]["Partitions"][0]
            if part["ErrorCode"] != 0:
                return ["%s-%d: error %d" % (topic, p, part["ErrorCode"])]
            for a in part["ActiveProducers"]:
                got[topic, p, a["ProducerId"]] = {
                    "producerId": a["ProducerId"], "producerEpoch": a["ProducerEpoch"], "lastSequence": a["LastSequence"],
                    "lastTimestamp": a["LastTimestamp"],
                    "coordinatorEpoch": a["CoordinatorEpoch"] if a["CoordinatorEpoch"] >= 0 else None,
                    "currentTransactionStartOffset":
                        a["CurrentTxnStartOffset"] if a["CurrentTxnStartOffset"] >= 0 else None}
    out = ["%s-%d: producer %d is not there" % k for k in sorted(set(want) - set(got))]
    out += ["%s-%d: producer %d should not be there" % k for k in sorted(set(got) - set(want))]
    return out + ["%s-%d, producer %d: %s, want and got" % (k + (differ(want[k], got[k]),))
                  for k in sorted(set(want) & set(got)) if differ(want[k], got[k])]


# ---- files -----------------------------------------------------------------------------------------------------------

def segment_files(data):
    """{"topic-0/00000000000000000000.log": (size, sha256)} of every segment file."""
    out = {}
    for folder in sorted(os.listdir(data)):
        if not re.search(r"-\d+$", folder):
            continue
        for name in sorted(os.listdir(os.path.join(data, folder))):
            if SEGMENT_FILE.match(name):
                with open(os.path.join(data, folder, name), "rb") as f:
                    content = f.read()
                out["%s/%s" % (folder, name)] = (len(content), hashlib.sha256(content).hexdigest())
    return out


def kept_snapshots(paths):
    """Those of the files that an open keeps: of the snapshots, the segments' own and the newest."""
    for folder in sorted({os.path.dirname(p) for p in paths}):
        mine = sorted(os.path.basename(p) for p in paths if os.path.dirname(p) == folder)
        newest = max((n for n in mine if n.endswith(".snapshot")), default=None)
        for name in mine:
            if not name.endswith(".snapshot") or name == newest or name[:20] + ".log" in mine:
                yield "%s/%s" % (folder, name)


def compare_files(data, expected, ignored=()):
    """Against a listing of files: the segment files must be the same, byte for byte."""
    want = {w["path"]: (w["size"], w["sha256"]) for w in expected
            if re.match(r"^[^/]*-\d+/", w["path"]) and SEGMENT_FILE.match(os.path.basename(w["path"]))}
    want = {path: want[path] for path in kept_snapshots(want)}
    got = segment_files(data)
    keys = [k for k in sorted(set(want) | set(got)) if not any(re.search(i, k) for i in ignored)]
    out = ["%s: is not there, should have %d bytes" % (k, want[k][0]) for k in keys if k not in got]
    out += ["%s: should not be there, has %d bytes" % (k, got[k][0]) for k in keys if k not in want]
    return out + ["%s: %d bytes, should be %d%s" % (k, got[k][0], want[k][0], "" if got[k][0] != want[k][0] else ": others")
                  for k in keys if k in got and k in want and got[k] != want[k]]
