#!/usr/bin/python3
"""tests/interop/beside.py - a state that make_golden.py made: what Apache Kafka answers on one copy of it, and Klamm on another.

    tests/interop/beside.py STATE_FOLDER...        prints every difference; status 1 if there is one

compare(state, scratch) gives the sentences. Compared are the topics, the records at both isolation levels, ListOffsets by
every kind of query, producers (DescribeProducers, 2.8 and later), and the files after the recovery and a clean stop. Then
Apache Kafka starts on what Klamm has written to, and its tool looks through the files.
"""
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))
import golden  # noqa: E402
from apache import PEER, Apache  # noqa: E402
from batches import batch  # noqa: E402
from harness import Broker, wait_for  # noqa: E402
from make_golden import Made  # noqa: E402
from test_golden_back import FAULTS, PATH  # noqa: E402
from wire import Wire  # noqa: E402

EARLIEST, LATEST = -2, -1
FILES_AT_ONCE = 1000            # an argument has at most 128 kB
# Nothing but the opening itself changes files.
STILL = {"log.cleaner.enable": "false", "log.retention.check.interval.ms": "3600000", "log.initial.task.delay.ms": "3600000",
         "log.segment.delete.delay.ms": "3600000"}
CHECKPOINTS = ["replication-offset-checkpoint", "log-start-offset-checkpoint", "recovery-point-offset-checkpoint"]


def partitions_of(broker):
    with Wire(broker.port) as c:
        topics = c.call("Metadata", 8, Topics=None)["Topics"]
    return sorted((t["Name"], p["PartitionIndex"]) for t in topics for p in t["Partitions"])


def all_loaded(broker):
    """Klamm serves before all its logs are open: of the others it says that they have no leader yet."""
    topics = collections.defaultdict(list)
    for topic, p in partitions_of(broker):
        topics[topic].append({"PartitionIndex": p, "Timestamp": LATEST})
    with Wire(broker.port) as c:
        answer = c.call("ListOffsets", 5, ReplicaId=-1, Topics=[{"Name": t, "Partitions": ps} for t, ps in topics.items()])
    return all(p["ErrorCode"] not in (5, 6) for t in answer["Topics"] for p in t["Partitions"])


class Answers:
    """What a broker says on everything."""

    def __init__(self, state, broker, partitions, times=None):
        self.version = state.version
        self.records, self.faults = {}, []
        for committed in (False, True):
            self.records[committed], faults = golden.read_records(broker, partitions, committed, state.seen)
            self.faults += ["%s: %s" % ("read_committed" if committed else "read_uncommitted", f) for f in faults]
        self.times = times or self.choose(partitions)
        self.offsets = self.list_offsets(broker)
        self.producers = self.list_producers(broker, partitions) if self.version >= "2.8" else {}

    def choose(self, partitions):
        """The queries of each partition. Before 3.9 the largest timestamp came with the last offset of its batch."""
        rng, out = random.Random(1), {}
        kinds = [LATEST, EARLIEST] + ([-3] if self.version >= "3.9" else []) + ([-4] if self.version >= "3.6" else [])
        for key in partitions:
            seen = sorted({r["timestamp"] for r in self.records[False].get(key, [])})
            near = [t + d for t in rng.sample(seen, min(8, len(seen))) + seen[:1] + seen[-1:] for d in (-1, 0, 1)]
            out[key] = kinds + [0, 9999999999999] + [t for t in near if t >= 0]
        return out

    def list_offsets(self, broker):
        out, version = {}, 8 if self.version >= "3.6" else 7 if self.version >= "3" else 5
        with Wire(broker.port) as c:
            for committed in (0, 1):
                for i in range(max(len(v) for v in self.times.values())):
                    topics = collections.defaultdict(list)
                    for (topic, p), queries in self.times.items():
                        if i < len(queries):
                            topics[topic].append({"PartitionIndex": p, "Timestamp": queries[i]})
                    answer = c.call("ListOffsets", version, ReplicaId=-1, IsolationLevel=committed, Topics=[
                        {"Name": t, "Partitions": ps} for t, ps in topics.items()])
                    for t in answer["Topics"]:
                        for p in t["Partitions"]:
                            key = t["Name"], p["PartitionIndex"]
                            out[key + (self.times[key][i], committed)] = tuple(p[k] for k in (
                                "ErrorCode", "Offset", "Timestamp", "LeaderEpoch"))
        return out

    @staticmethod
    def list_producers(broker, partitions):
        topics = collections.defaultdict(list)
        for topic, p in partitions:
            topics[topic].append(p)
        with Wire(broker.port) as c:
            answer = c.call("DescribeProducers", 0, Topics=[{"Name": t, "PartitionIndexes": ps} for t, ps in topics.items()])
        return {(t["Name"], p["PartitionIndex"], a["ProducerId"]): a for t in answer["Topics"] for p in t["Partitions"]
                for a in p["ActiveProducers"]}

    def end(self, key):
        return self.offsets.get(key + (LATEST, 0), (None, None))[1]


def compare_answers(theirs, ours, partitions):
    """Sentences; and the partitions to which a coordinator of Apache Kafka wrote when it was loaded (markers)."""
    out = ["Apache Kafka: " + f for f in theirs.faults] + ["Klamm: " + f for f in ours.faults]
    written = {k for k in partitions if theirs.end(k) is not None and ours.end(k) is not None and theirs.end(k) > ours.end(k)}
    told = {k for k in partitions if any("%s-%d:" % k in f for f in out)}
    for key in partitions:
        want, got = theirs.records[False].get(key, []), ours.records[False].get(key, [])
        if key in written and not key[0].startswith("__") and len(want) != len(got):
            out.append("%s-%d: its end is %s, should be %s" % (key + (ours.end(key), theirs.end(key))))
            told.add(key)
    for committed in (False, True):
        for key in [k for k in partitions if k not in told]:
            want, got = theirs.records[committed].get(key, []), ours.records[committed].get(key, [])
            if key in written:                      # more can be read when a transaction has been ended
                want = want[:len(got)]
            found = golden.compare_records([dict(r, topic=key[0], partition=key[1]) for r in want], {key: got})
            out += [("read_committed: " if committed else "") + f for f in found]
            if found:
                told.add(key)
    for key, want in theirs.offsets.items():
        if key[:2] in told or key[:2] in written:
            continue
        if ours.offsets.get(key) != want:
            out.append("%s-%d, query %d, isolation %d: want %s, got %s" % (key + (want, ours.offsets.get(key))))
    for key in sorted(set(theirs.producers) | set(ours.producers)):
        if key[:2] not in told and key[:2] not in written and theirs.producers.get(key) != ours.producers.get(key):
            out.append("%s-%d, producer %d: want %s, got %s" % (key + (theirs.producers.get(key), ours.producers.get(key))))
    return out, written


def files(state):
    """{"topic-0/name": content} of everything in the partitions' directories, whichever log directory they are in."""
    out = {}
    for d in state.dirs:
        data = os.path.join(state.folder, d)
        for folder in os.listdir(data):
            if re.search(r"-\d+$", folder):
                for name in os.listdir(os.path.join(data, folder)):
                    with open(os.path.join(data, folder, name), "rb") as f:
                        out["%s/%s" % (folder, name)] = f.read()
    return out


def checkpoints(state):
    out = {}
    for d in state.dirs:
        for name in CHECKPOINTS:
            path = os.path.join(state.folder, d, name)
            if os.path.exists(path):
                with open(path, encoding="ascii") as f:
                    out.update({"%s of %s-%s" % ((name,) + tuple(x.split()[:2])): x.split()[2] for x in f.read().splitlines()[2:]})
    return out


def compare_files(theirs, ours, skip):
    """skip: partitions as "topic-0" that are not compared."""
    want, got, out = files(theirs), files(ours), []
    for path in sorted(set(want) | set(got)):
        folder = path.split("/")[0]
        if folder in skip or path.endswith(".deleted"):
            continue
        if path not in got:
            out.append("%s: is not there, should have %d bytes" % (path, len(want[path])))
        elif path not in want:
            if theirs.version < "2.8" and re.search(r"partition.metadata$|\.snapshot$|^(v[01]|upgraded).*epoch-checkpoint$", path):
                continue                # 2.7 has no topic ids, keeps the newest snapshots only, no epochs of old formats
            out.append("%s: should not be there, has %d bytes" % (path, len(got[path])))
        elif path.endswith("partition.metadata") or want[path] == got[path]:
            continue
        else:
            at = next((i for i, pair in enumerate(zip(want[path], got[path])) if pair[0] != pair[1]), "the end")
            out.append("%s: %d bytes, should be %d, differ from %s" % (path, len(got[path]), len(want[path]), at))
    want, got = checkpoints(theirs), checkpoints(ours)
    for key in sorted(set(want) | set(got)):
        if key.split(" of ")[1] not in skip and want.get(key) != got.get(key):
            out.append("%s: %s, should be %s" % (key, got.get(key), want.get(key)))
    return out


def write(port, partitions, tag):
    """To every topic that takes it."""
    refused = []
    with Wire(port) as c:
        for topic, p in partitions:
            for n in range(3):
                out = c.produce(8, topic, p, batch([b"%d-%d" % (tag, n)] * 3, key=b"k%d" % n, timestamp=1795226757000 + n))
                if out["ErrorCode"] != 0:
                    refused.append("%s-%d: a record is refused with error %d" % (topic, p, out["ErrorCode"]))
                    break
    return refused


def dump_faults(state):
    """What Apache Kafka's tool finds in the files."""
    out, paths = set(), [os.path.join(d, p) for d in state.dirs for p in golden.segment_files(os.path.join(state.folder, d))]
    for kinds in ((".log", ".index", ".timeindex"), (".txnindex", ".snapshot")):
        mine = [p for p in paths if p.endswith(kinds)]
        for i in range(0, len(mine), FILES_AT_ONCE):
            out |= dump_some(state, mine[i:i + FILES_AT_ONCE])
    return out


def dump_some(state, paths):
    out, current = set(), None
    tool = subprocess.run([os.path.join(PEER, "tool"), state.version, "kafka-dump-log", "--files", ",".join(paths)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                          cwd=state.folder)
    for line in tool.stdout.splitlines():
        named = PATH.search(line)
        if line.startswith("Dumping ") and named:
            current = named.groups()
        if FAULTS.search(PATH.sub("", line)):
            out.add("%s: %s" % ("/".join((named.groups() if named else current) or ("?",)), PATH.sub("(the file)", line)[:200]))
    if tool.returncode != 0:
        out.add("status %d: %s" % (tool.returncode, tool.stdout[-600:]))
    return out


def klamm_on(state, **more):
    properties = dict(state.properties, **STILL)
    properties.setdefault("inter.broker.protocol.version", ".".join(state.version.split(".")[:2]))
    broker = Broker(state.folder, dict(properties, **more))
    broker.overrides["log.dirs"] = ",".join(os.path.join(state.folder, d) for d in state.dirs)
    return broker


def apache_on(state):
    state.properties = dict(state.properties, **{k: v for k, v in STILL.items() if k in state.properties or "initial" not in k})
    apache = Apache(state)
    return apache


CULPRIT = re.compile(r"(?:ERROR|FATAL).*?(?:partition=|topicPartition=|dir=\S*/|/)(d\d\d\d-0)\b")


def start_or_leave_out(made, scratch, left_out):
    """Apache Kafka on a copy, without the partitions whose damage keeps it from starting: they come into left_out, by what
    it said. Each time on a new copy: a start that failed leaves other files and checkpoints."""
    while True:
        theirs = made.copy(os.path.join(scratch, "theirs%d" % len(left_out)))
        leave_out(theirs, left_out)
        apache = apache_on(theirs)
        try:
            return theirs, apache.start()
        except AssertionError:
            found = CULPRIT.search(apache.log())
            ended = apache.process is None or apache.process.poll() is not None
            apache.end()
            if not ended or not found or found.group(1) in left_out:
                raise
            left_out[found.group(1)] = found.group(0)[:200]
            shutil.rmtree(theirs.folder)


def leave_out(state, names):
    for name in names:
        for d in state.dirs:
            shutil.rmtree(os.path.join(state.folder, d, name), ignore_errors=True)


def compare(made, scratch, back=True, count=None):
    """Sentences. count: a Counter of what was compared."""
    count = collections.Counter() if count is None else count
    left_out, out = {}, []
    theirs, apache = start_or_leave_out(made, scratch, left_out)
    ours = made.copy(os.path.join(scratch, "ours"))
    leave_out(ours, left_out)
    klamm = klamm_on(ours)
    try:
        partitions = [k for k in partitions_of(apache) if "%s-%d" % k not in left_out]
        want = Answers(made, apache, partitions)
        apache.stop()
        klamm.args = ["--adopt-configs", ours.described()]
        klamm.start()
        klamm.args = []
        wait_for(lambda: all_loaded(klamm), 60, "all logs are open")
        extra = set(partitions_of(klamm)) ^ set(partitions)
        got = Answers(made, klamm, partitions, want.times)
        faults, written = compare_answers(want, got, partitions)
        out += faults
        if klamm.stop() != 0:
            out.append("klammd ended badly: %s" % klamm.log()[-2000:])
        skip = {"%s-%d" % k for k in written | extra} | {"%s-%d" % k for k in partitions if k[0].startswith("__")}
        skip |= set(left_out)
        out += compare_files(theirs, ours, skip)
        out += ["%s-%d: in one only" % k for k in sorted(extra) if not k[0].startswith("gone-") and "%s-%d" % k not in left_out]
        count["damages that Apache Kafka does not start on"] += len(left_out)
        count["partitions"] += len(partitions)
        count["records"] += sum(len(r) for level in want.records.values() for r in level.values())
        count["offset queries"] += len(want.offsets)
        count["producers"] += len(want.producers)
        count["files"] += len(files(theirs))
        if back:
            mine = [k for k in partitions if not k[0].startswith("__")]
            out += ["the way back: " + f for f in way_back(ours, theirs, klamm, mine, written | extra)]
    finally:
        apache.end()
        if klamm.process is not None:
            klamm.kill9()
    return out


LATER = ("damaged-2", "damaged-3")        # killed some time after a clean stop
# What is not as in Apache Kafka, and stays so: (versions, what the sentence says, why).
KNOWN = [
    ("2", r"leader-epoch-checkpoint: should not|query -2, .*want .*, -1\), got .*, 0\)",
     "topics of old formats have no epochs in Apache Kafka; here they do"),
    ("2", r"\.snapshot: is not there, should have 10 bytes", "empty snapshots, which 2.7 makes when it opens a log of an old format"),
    ("2", r"index: (\d+) bytes, should be \1, differ", "old formats: recovery in the midst of a segment leaves the entries before it, "
     "which may be those of appends of several messages"),
    (".", r"delrec-\d, query (\d+|-3), .*(want|got) \(0, -1, ",
     "while retention has not yet removed all segments before the log start, Apache Kafka finds nothing for times in them"),
    (".", r"\.txnindex: is not there, should have 0 bytes", "an index of aborted transactions that lost its last entry is removed"),
    ("2", r"the tool: .*index: Mismatches", "the index of an append of several messages of an old format: golden/README.md"),
    ("2", r"\.txnindex: \d+ bytes, should be", "2.7 has entries for aborted transactions without a record; 3.9 has none, either"),
]


def is_known(sentence, state):
    """Damage to what lies below the recovery point, too: Apache Kafka serves records of aborted transactions then. With a
    recovery point in the midst of a segment it makes the segment's indexes, epochs and snapshots anew from its beginning; here
    what is below the point stays."""
    hurt = damages(state.folder)
    if state.name in LATER and re.search(r"(index|snapshot|leader-epoch-checkpoint): ", sentence):
        return True
    named = [d for p, d in hurt.items() if re.search(r"\b%s\b" % p, sentence)]
    return any(re.match(v, state.version) and re.search(what, sentence) for v, what, _ in KNOWN) or any(
        ".txnindex" in d and state.name in LATER for d in named)


def damages(folder):
    if not os.path.exists(os.path.join(folder, "damage.json")):
        return {}
    with open(os.path.join(folder, "damage.json"), encoding="utf-8") as f:
        return json.load(f)


def way_back(ours, theirs, klamm, partitions, loose):
    """Klamm writes, and Apache Kafka of the same version goes on."""
    klamm.start()
    wait_for(lambda: all_loaded(klamm), 60, "all logs are open")
    out = write(klamm.port, partitions, 1)
    want = Answers(ours, klamm, partitions)
    if klamm.stop() != 0:
        out.append("klammd ended badly: %s" % klamm.log()[-2000:])
    apache = apache_on(ours)
    try:
        apache.start()
        got = Answers(ours, apache, partitions, want.times)
        faults, _ = compare_answers(want, got, [k for k in partitions if k not in loose])
        out += [f for f in faults if not any(f.startswith("%s-%d" % k) for k in loose)]
        refused = write(apache.port, partitions, 2)
        apache.stop()
    finally:
        apache.end()
    found, known = dump_faults(ours), dump_faults(theirs)
    return out + refused + sorted("the tool: " + f for f in found - known)


def main():
    import tempfile
    status, count = 0, collections.Counter()
    for folder in sys.argv[1:]:
        made = Made.load(folder)
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
            found = compare(made, scratch, "BESIDE_ONLY" not in os.environ, count)
        hurt = damages(folder)
        print("%s %s: %d differences" % (made.version, made.name, len(found)))
        for f in found:
            print("    %s%s%s" % ("(known) " if is_known(f, made) else "", f[:500], next(("   [%s]" % d for p, d in hurt.items() if re.search(r"\b%s\b" % p, f)), "")))
        sys.stdout.flush()
        status = status or any(not is_known(f, made) for f in found)
    print("compared: " + ", ".join("%d %s" % (n, what) for what, n in count.items()))
    sys.exit(int(status))


if __name__ == "__main__":
    main()
