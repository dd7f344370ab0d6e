"""tests/interop/test_golden_back.py - the way back: a directory of Apache Kafka that we adopted and wrote to is given back to the
same Apache Kafka, with the ZooKeeper of the same moment. It must read every record that we did, find no fault in any file,
and what it writes then we must read again.
"""
import os
import re
import subprocess

import pytest

import golden
from apache import PEER, Apache
from batches import batch
from harness import Broker
from wire import Wire

LEVELS = [False, True]            # read_committed, too
FAULTS = re.compile(r"Mismatch|isvalid: false|corrupt|Exception|Error|Found timestamp|out of order|not in sorted", re.I)
OLD_FORMAT = re.compile("v0-|v1-|upgrade-")     # what 2.7 calls a mismatch is normal there, says golden/README.md
# Topics that are appended to, where they exist: every kind of log.
WRITTEN = ["plain-v2", "codec-zstd", "compacted-a", "delrec", "empty", "epochs", "idem", "single",
           "ts-switch", "txn", "txn-open", "dotted.name_with-under", "v1-none", "upgrade-v0-v1-v2", "d00-intact",
           "d06-crc-middle", "d25-all-indexes-missing"]


@pytest.fixture(scope="module", params=golden.states() or [None])
def lent(request, tmp_path_factory, peer):
    if request.param is None:
        pytest.skip("no data directories in ../shared/golden beside the checkout")
    state = golden.State(request.param, tmp_path_factory.mktemp(request.param))
    if not os.path.exists(os.path.join(golden.GOLDEN, "zookeeper-%s.tar.xz" % state.name)):
        pytest.skip("no ZooKeeper folder for %s" % state.name)
    had = subprocess.run([os.path.join(PEER, "get"), state.version], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         check=False)
    if had.returncode != 0:
        pytest.skip("Apache Kafka %s cannot be had here: %s" % (state.version, had.stdout.strip()))
    state.seen = {}
    state.klamm = Broker(state.folder, state.properties)
    state.apache = Apache(state)
    yield state
    state.apache.end()
    if state.klamm.process is not None:
        state.klamm.stop()


def topics(state):
    return [w["topic"] for w in state.expected("topics") if w["topic"] in WRITTEN]


def write(port, names, tag):
    """Enough to roll some segments; plain and idempotent, compressible or not."""
    with Wire(port) as c:
        for i, topic in enumerate(names):
            pid = 70000 + 1000 * tag + i
            for n in range(30):
                values = [b"%d-%d-%d " % (tag, n, k) * 20 for k in range(1 + n % 5)]
                idempotent = {"producer_id": pid, "epoch": 0, "sequence": sum(1 + m % 5 for m in range(n))}
                if n >= 20 or topic.startswith("v"):
                    idempotent = {}
                out = c.produce(8, topic, 0, batch(values, key=b"k%d" % n, timestamp=1700000000000 + n, **idempotent))
                assert out["ErrorCode"] == 0, (topic, n, out)


def read_all(state, broker):
    both = {}
    for committed in LEVELS:
        got, faults = golden.read_records(broker, state.partitions(), committed, state.seen)
        assert not faults, faults
        both[committed] = got
    return both


def same_records(state, want, got):
    """Partitions to which a coordinator writes when it is loaded may have more at their end."""
    more = golden.written_at_start(state)
    for committed in LEVELS:
        for key in want[committed]:
            w, g = want[committed][key], got[committed][key]
            if key in more:
                g = g[:len(w)]
            faults = golden.compare_records([dict(r, topic=key[0], partition=key[1]) for r in w], {key: g})
            assert not faults, (committed, faults)


def segment_paths(state):
    return [os.path.join(state.folder, "data", p) for p in golden.segment_files(os.path.join(state.folder, "data"))]


PATH = re.compile(r"\S*/([^/\s]+-\d+)/(\d{20}\.\w+)")


def noted(state):
    """The files of which the tool said something while Apache Kafka's broker had made them: ("topic-0", "0...0.index")."""
    return {m.groups() for n in state.expected("dump-tool-notes") for m in [PATH.search(str(n))] if m}


def dump_faults(state):
    """What Apache Kafka's tool does not like in the files, apart from what it did not like before."""
    paths, out, known = segment_paths(state), [], noted(state)
    for kinds in ((".log", ".index", ".timeindex"), (".txnindex", ".snapshot")):
        mine = [p for p in paths if p.endswith(kinds)]
        tool = subprocess.run([os.path.join(PEER, "tool"), state.version, "kafka-dump-log", "--files", ",".join(mine)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        current = None
        for line in tool.stdout.splitlines():
            named = PATH.search(line)
            if line.startswith("Dumping ") and named:
                current = named.groups()
            place = named.groups() if named else current
            if FAULTS.search(PATH.sub("", line)) and place not in known and not (
                    line.startswith("Mismatches") and OLD_FORMAT.match(place[0]) and state.version < "3"):
                out.append("%s: %s" % ("/".join(place), PATH.sub("(the file)", line)[:200]))
        if tool.returncode != 0:
            out.append("status %d: %s" % (tool.returncode, tool.stdout[-600:]))
    return out


# Of segments with the smallest indexes Apache Kafka's recovery makes more entries than fit ("Attempt to append to a full
# index") when its broker was started in the midst of one: written by us alone, and not before a kill.
ONCE = ["index-full"]


def no_faults(state):
    faults = dump_faults(state)
    assert not faults, "%d faults:\n%s" % (len(faults), "\n".join(faults[:40]))


def test_there_and_back_and_there_again(lent):
    klamm, apache = lent.klamm, lent.apache
    klamm.args = ["--adopt-configs", lent.described()]
    klamm.start()
    klamm.args = []
    faults = golden.compare_configs(klamm, lent.expected("topics"))
    assert not faults, faults
    write(klamm.port, topics(lent) + [t for t in ONCE if (t, 0) in lent.partitions()], 1)
    klamm.create_topic("made-by-klamm", partitions=2)
    write(klamm.port, ["made-by-klamm"], 1)
    want = read_all(lent, klamm)
    assert klamm.stop() == 0
    no_faults(lent)

    apache.start()
    same_records(lent, want, read_all(lent, apache))
    write(apache.port, topics(lent), 2)
    want = read_all(lent, apache)
    apache.stop()

    klamm.start()
    same_records(lent, want, read_all(lent, klamm))
    write(klamm.port, topics(lent) + ["made-by-klamm"], 3)
    want = read_all(lent, klamm)
    klamm.kill9()

    apache.start()
    same_records(lent, want, read_all(lent, apache))
    apache.stop()
    no_faults(lent)

    klamm.start()
    same_records(lent, want, read_all(lent, klamm))
    klamm.kill9()
    klamm.start()
    same_records(lent, want, read_all(lent, klamm))
    assert klamm.stop() == 0


def test_a_later_apache_kafka(tmp_path, peer):
    """From 2.7 to us and from us to 3.9, with the ZooKeeper of 2.7, in which topics have no ids."""
    old = [s for s in golden.states() if s.startswith("2.7") and s.endswith("clean")]
    if not old:
        pytest.skip("no data directory of Apache Kafka 2.7 in ../shared/golden")
    state = golden.State(old[0], tmp_path)
    state.seen = {}
    klamm = Broker(state.folder, state.properties)
    klamm.args = ["--adopt-configs", state.described()]
    klamm.start()
    write(klamm.port, topics(state), 1)
    want = read_all(state, klamm)
    assert klamm.stop() == 0
    apache = Apache(state)
    state.version, state.properties = "3.9.1", golden.properties("3.9.1")
    try:
        same_records(state, want, read_all(state, apache.start()))
    finally:
        apache.end()
