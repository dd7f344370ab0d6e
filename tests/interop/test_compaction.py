"""tests/interop/test_compaction.py - one directory of Apache Kafka's, compacted by it and by us: the same segments with the
same batches and records are left, and its tool finds no fault in what we wrote.

Sizes, positions and checksums may differ: compression libraries do, and so do the times at which tombstones may go, which
count from the moment of the cleaning.
"""
import os
import re
import shutil
import subprocess

import pytest

import golden
from apache import PEER
from harness import BIN, Broker, wait_for
from apache import Apache
from test_golden_back import dump_faults

STATE = "3.9.1-clean"
OFTEN = {"log.cleaner.backoff.ms": "100", "log.cleaner.threads": "2", "log.segment.delete.delay.ms": "0"}
COMPACT = "cleanup.policy=compact,min.cleanable.dirty.ratio=0"
VARIES = re.compile(r"(crc|size|position|deleteHorizonMs|deleteHorizon|file|BaseTimestamp|baseTimestamp)[:=] ?\S+", re.I)


@pytest.fixture(scope="module")
def compacted(tmp_path_factory, peer):
    """The state, compacted by Apache Kafka in one folder and by us in another."""
    if STATE not in golden.states() or not os.path.exists(os.path.join(golden.GOLDEN, "zookeeper-%s.tar.xz" % STATE)):
        pytest.skip("no data directory %s with its ZooKeeper in ../shared/golden" % STATE)
    ours = golden.State(STATE, tmp_path_factory.mktemp("ours"))
    theirs = golden.State(STATE, tmp_path_factory.mktemp("theirs"))
    for state in (ours, theirs):
        state.properties.update(OFTEN)
    ours.topics = [t["topic"] for t in ours.expected("topics") if not t["topic"].startswith("__")]
    apache = Apache(theirs)
    try:
        compact(apache.start(), theirs, ours.topics)
        apache.stop()
    finally:
        apache.end()
    broker = Broker(ours.folder, ours.properties)
    broker.args = ["--adopt-configs", ours.described()]
    broker.start()
    try:
        compact(broker, ours, ours.topics)
    finally:
        assert broker.stop() == 0, broker.log()[-4000:]
    return ours, theirs


def compact(broker, state, topics):
    for topic in topics:
        subprocess.run([os.path.join(BIN, "kafka-configs.sh"), "--bootstrap-server", "127.0.0.1:%d" % broker.port, "--alter",
                        "--topic", topic, "--add-config", COMPACT], check=True, stdout=subprocess.DEVNULL)
    wait_for(lambda: not left(state, topics), 60, lambda: "compacted: %s" % left(state, topics))


def segments(state, partition):
    folder = os.path.join(state.folder, "data", partition)
    return sorted(int(n[:20]) for n in os.listdir(folder) if n.endswith(".log"))


def cleaned(state):
    try:
        with open(os.path.join(state.folder, "data", "cleaner-offset-checkpoint"), encoding="ascii") as f:
            return {"%s-%s" % tuple(line.split()[:2]): int(line.split()[2]) for line in f.read().splitlines()[2:]}
    except FileNotFoundError:
        return {}


def partitions(state, topics):
    """Those of which something can be compacted; not where a transaction is open, which holds some of it back."""
    names = [d for d in os.listdir(os.path.join(state.folder, "data")) if d.rsplit("-", 1)[0] in topics and "." not in d[-3:]]
    return sorted(d for d in names if not re.match("txn-(open|hanging)", d) and segments(state, d)[-1] > segments(state, d)[0])


def left(state, topics):
    done = cleaned(state)
    return [d for d in partitions(state, topics) if done.get(d, -1) < segments(state, d)[-1]]


def dumped(state, partition):
    out = []
    for base in segments(state, partition):
        path = os.path.join(state.folder, "data", partition, "%020d.log" % base)
        text = subprocess.run([os.path.join(BIN, "kafka-dump-log.sh"), "--files", path, "--deep-iteration", "--print-data-log"],
                              stdout=subprocess.PIPE, text=True, errors="replace", check=True).stdout
        out.append("segment %d" % base)
        out += [VARIES.sub(r"\1", line) for line in text.splitlines() if not line.startswith("Dumping")]
    return out


def test_the_same_records_are_left(compacted):
    ours, theirs = compacted
    names = partitions(theirs, ours.topics)
    assert len(names) > 20
    faults = []
    for name in names:
        got, want = dumped(ours, name), dumped(theirs, name)
        if got != want:
            first = next((i for i, pair in enumerate(zip(got, want)) if pair[0] != pair[1]), min(len(got), len(want)))
            faults.append("%s, line %d of %d (%d)\n   %s\n   %s" % (name, first, len(got), len(want), got[first:first + 1],
                                                                   want[first:first + 1]))
    assert not faults, "\n".join(faults)


def test_aborted_transactions_are_the_same(compacted):
    ours, theirs = compacted
    for name in partitions(theirs, ours.topics):
        files = [sorted(n for n in os.listdir(os.path.join(s.folder, "data", name)) if n.endswith(".txnindex") and
                        os.path.getsize(os.path.join(s.folder, "data", name, n))) for s in (ours, theirs)]
        assert files[0] == files[1], name
        for n in files[0]:
            with open(os.path.join(ours.folder, "data", name, n), "rb") as a, \
                    open(os.path.join(theirs.folder, "data", name, n), "rb") as b:
                assert a.read() == b.read(), (name, n)


def test_apache_kafkas_tool_finds_no_fault(compacted):
    """But what it finds in Apache Kafka's own: a time index's entry may be that of a batch of which only the header is left."""
    ours, theirs = (set(dump_faults(state)) for state in compacted)
    assert ours - theirs == set()
