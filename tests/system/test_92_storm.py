"""Everything at once: three log directories, one of them on a small disk that fills; tiny segments, compaction, retention,
flush settings and moves; producers, consumers and groups of all kinds; settings, topics and records that change and go; TERM
and kill -9.

At the end everything that was acknowledged and that no rule took away is there, what was read once was read the same ever after,
no commit has regressed, and the broker is as it was. STORM_SECONDS makes it longer, STORM_SEED repeats a choice of deeds.
"""
import contextlib
import os
import random
import re
import struct
import subprocess

import pytest

import storm
import storm_groups
from harness import SANITIZED, SLOW, wait_for
from storm import KEPT, PARTITIONS, PLACES, SHRINKING, settings_of
from wire import Wire

SECONDS = float(os.environ.get("STORM_SECONDS", "6"))
REPORTS = re.compile(r"AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error|lock order|assert")
# What the log may say at ERROR level, and whose doing that is.
EXPECTED = re.compile("|".join((
    r"are free, (less than|not enough)",                    # the small disk is full
    r"bytes of records were refused, the disk has no room",
    r"not closed cleanly: no space left", r"stopped, but not cleanly \(no space left",
    r"moved to .*, which cannot be made durable: (no space left|too many open files)",
    r"no connection can be accepted: too many open files",
    r"its move to .* is broken off: (no space left|too many open files)",
    r"cannot be compacted: (no space left|too many open files)",
    r"bytes of records were refused, the disk has no room for them",
    r"broker 0 cannot host (churn|gone).*: KAFKA_STORAGE_ERROR",   # nor is there room for a new topic
)), re.IGNORECASE)
PROPERTIES = {
    "log.cleaner.backoff.ms": "50", "log.cleaner.threads": "2", "log.segment.delete.delay.ms": "100",
    "log.retention.check.interval.ms": "200", "log.initial.task.delay.ms": "0", "file.delete.delay.ms": "100",
    "log.flush.offset.checkpoint.interval.ms": "300", "replica.high.watermark.checkpoint.interval.ms": "200",
    "log.flush.start.offset.checkpoint.interval.ms": "300", "auto.create.topics.enable": "false",
    "klamm.log.dir.min.free.bytes": "1000000", "log.cleaner.dedupe.buffer.size": "4000000", **storm_groups.PROPERTIES,
}
CLIENTS = {
    "idempotent": {"enable.idempotence": True, "acks": "all", "compression.type": "lz4"},
    "all": {"acks": "all", "compression.type": "zstd"},
    "one": {"acks": "1", "compression.type": "gzip"},
    "none": {"acks": "0", "compression.type": "snappy"},
    "pipeline": {"enable.idempotence": True, "acks": "all", "compression.type": "none"},
}


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(path)]
    mounted = subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode == 0
    yield str(path) if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


class Storm:
    def __init__(self, broker, dirs, small_disk, seed):
        self.broker, self.dirs, self.small, self.seed = broker, dirs, small_disk, seed
        self.truth, self.book, self.told = storm.Truth(), storm_groups.Book(), storm_groups.Told()
        self.actors = []

    def begin(self):
        self.actors = [storm.Client(self, name, config) for name, config in CLIENTS.items()]
        self.actors += [storm.RawProducer(self, "raw%d" % i) for i in range(2)]
        self.actors += [storm.Reader(self, level, level) for level in ("read_committed", "read_uncommitted")]
        for kind in (storm.RawReader, storm.RawReader, storm.Configs, storm.Deleter, storm.Mover, storm.Churner, storm.Poller,
                     storm.Hostile) + ((storm.Filler,) if self.small else ()):
            self.actors.append(kind(self, "%s%d" % (kind.__name__, len(self.actors))))
        self.actors += storm_groups.actors(self)
        for a in self.actors:
            a.start()

    def finish(self):
        for a in reversed(self.actors):
            a.end.set()
        for a in self.actors:
            a.join(90 * SLOW)
            assert not a.is_alive(), a.name

    def no_faults(self):
        assert not self.truth.faults, "%d faults:\n%s\n%s" % (
            len(self.truth.faults), "\n".join(self.truth.faults[:30]), self.broker.log()[-3000:])


def descriptors(broker):
    """Without the files of segments, of which many may stay open; with those that are deleted."""
    folder, names = "/proc/%d/fd" % broker.process.pid, []
    for n in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):        # closed since it was listed
            names.append(os.readlink(os.path.join(folder, n)))
    return [name for name in names if not name.endswith(".log")]


def epoch_of(broker, place, offset):
    """Its producer's epoch, of the batch that holds it."""
    with Wire(broker.port) as w:
        part = w.fetch(11, *place, offset, max_bytes=1)["Responses"][0]["Partitions"][0]
    assert part["ErrorCode"] == 0 and part["Records"], part
    return struct.unpack_from(">h", part["Records"], 51)[0]


def check_kept(s, place):
    """An idempotent producer's records are there once and in order. But for those that it sends again itself, in a later epoch,
    which no broker can tell from new ones: librdkafka begins another epoch, for all partitions, when a full disk has refused the
    first of several batches to one of them; a batch to another one that it has no answer to, since the broker was killed just
    then, is sent again in the new epoch (confluentinc/librdkafka#4953)."""
    truth = s.truth
    seen = truth.seen[place]
    missing = [o for o in truth.acked[place] if o not in seen]
    assert not missing, "%s: acknowledged and gone: %s" % (place, sorted(missing)[:20])
    gone = truth.acked_somewhere[place] - {value for _, value in seen.values()}
    assert not gone, "%s: acknowledged without an offset and gone: %s" % (place, [value[:60] for value in gone][:20])
    assert sorted(seen) == list(range(len(seen))), "%s: holes" % (place,)
    numbers = {}
    for offset in sorted(seen):
        _, _, producer, number = seen[offset][1].split(b":")[0].split(b"/")
        if producer.startswith((b"idempotent", b"pipeline")):
            before, at = numbers.get(producer, (-1, -1))
            assert int(number) > before or epoch_of(s.broker, place, offset) > epoch_of(s.broker, place, at), \
                "%s: offset %d: %s after %d, at %d" % (place, offset, seen[offset][1][:60], before, at)
            numbers[producer] = int(number), offset


def check_shrinking(truth, place, start, now):
    """The last record of each key, if it was acknowledged, is there: unless it lies below the start."""
    last = {}
    for offset in sorted(set(truth.acked[place]) | set(now)):
        last[(now.get(offset) or truth.acked[place][offset])[0]] = offset
    missing = [(k, o) for k, o in last.items() if o >= start and o not in now]
    assert not missing, "%s, start %d: the last of a key is gone: %s" % (place, start, missing[:10])
    if place[0] == "cut":
        gone = [o for o in truth.acked[place] if o >= start and o not in now]
        assert not gone, "%s, start %d: acknowledged and gone: %s" % (place, start, sorted(gone)[:10])


def start_of(broker, place):
    with Wire(broker.port) as w:
        out = w.call("ListOffsets", 7, ReplicaId=-1, Topics=[{"Name": place[0], "Partitions": [
            {"PartitionIndex": place[1], "Timestamp": -2}]}])["Topics"][0]["Partitions"][0]
    assert out["ErrorCode"] == 0, out
    return out["Offset"]


def check_all(s):
    """Reads everything once more, and holds it against what was acknowledged."""
    reader = storm.Reader(s, "last", "read_committed")
    for place in PLACES:
        before = s.truth.seen[place]
        s.truth.seen[place] = {}
        assert reader.one(place, 60 * SLOW), "%s cannot be read to its end" % (place,)
        now = s.truth.seen[place]
        # Retention may have gone on: the start is asked for afterwards.
        if place[0] in KEPT:
            assert set(before) <= set(now), "%s: read before, and gone: %s" % (place, sorted(set(before) - set(now))[:10])
            check_kept(s, place)
        else:
            check_shrinking(s.truth, place, start_of(s.broker, place), now)
        changed = [o for o in now if o in before and before[o] != now[o]]
        assert not changed, "%s: changed: %s" % (place, changed[:10])


def leftovers(s):
    return [os.path.join(p, n) for d in s.dirs for p, folders, files in os.walk(d) for n in folders + files
            if "-delete" not in p and n.endswith((".deleted", ".cleaned", ".swap", "-future"))]


def moving(s):
    with Wire(s.broker.port) as w:
        out = w.call("DescribeLogDirs", 4, Topics=None)["Results"]
    return [p for d in out for t in d["Topics"] for p in t["Partitions"] if p["IsFutureKey"]]


FULL = "stopped, but not cleanly (no space left on the device)"


def asked_to_stop(b, *also):
    """Cleanly, unless the small disk is full and its reserve was needed and taken by others before."""
    status = b.stop()
    assert status in (0,) + also or (status == 1 and FULL in b.log(this_start=True)), b.log()[-4000:]


def interrupt(s, rng):
    """Ends the broker in one of the ways, and starts it again: sometimes with few descriptors, sometimes broken off."""
    b = s.broker
    deed = rng.choice(("TERM", "kill -9", "kill -9", "TERM while it starts", "kill -9 while it starts"))
    s.truth.count(deed)
    if deed.startswith("kill"):
        b.kill9()
    else:
        s.truth.asked_to_stop = True
        asked_to_stop(b)
    b.wrapper = rng.choice(([], ["prlimit", "--nofile=170:170"]))
    if deed.endswith("starts"):
        b.spawn()
        lines = rng.randrange(4)
        wait_for(lambda: b.log(this_start=True).count("\n") > lines, 30, "it begins to start")
        if deed.startswith("kill"):
            b.kill9()
        else:
            asked_to_stop(b, -15)
    b.start()


def test_everything_at_once(brokers, tmp_path, small):
    seed = int(os.environ.get("STORM_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    print("STORM_SEED=%d" % seed)
    dirs = [str(tmp_path / "a"), str(tmp_path / "b")] + ([small + "/c"] if small else [])
    # Asked to stop while it starts it ends at once, without waiting for its threads.
    thread = {"TSAN_OPTIONS": "report_thread_leaks=0:" + os.environ.get("TSAN_OPTIONS", "")}
    b = brokers(dict(PROPERTIES, **{"log.dirs": ",".join(dirs)}), env=thread).start()
    s = Storm(b, dirs, small, seed)
    with Wire(b.port) as w:
        for topic in list(KEPT) + list(SHRINKING):
            w.create(topic, PARTITIONS, settings_of(topic))
        # librdkafka asks for it, and might do so first when the small disk is full.
        wait_for(lambda: w.call("FindCoordinator", 1, Key="g")["ErrorCode"] == 0, 30, "the topic of the groups is made")
    fds = len(descriptors(b))
    s.begin()
    try:
        rounds = max(2, int(SECONDS / 5))
        for i in range(rounds):
            s.actors[0].end.wait(SECONDS / rounds)
            s.no_faults()
            if i < rounds - 1:
                interrupt(s, rng)
    finally:
        s.finish()
        print({k: s.truth.counts[k] for k in sorted(s.truth.counts)})
    s.no_faults()
    check_all(s)
    committed = storm_groups.check_groups(s)
    try:
        wait_for(lambda: not moving(s) and not leftovers(s), 30, "it comes to rest")
    except AssertionError:
        raise AssertionError("%s\n%s\n%s" % (moving(s), leftovers(s), b.log()[-3000:])) from None
    try:
        wait_for(lambda: len(descriptors(b)) <= fds + 10, 30, "descriptors are closed")
    except AssertionError:
        raise AssertionError("%d descriptors, now %s" % (fds, sorted(descriptors(b)))) from None
    print("descriptors %d, then %d; memory %d kB" % (fds, len(descriptors(b)), b.rss_kb()))
    assert SANITIZED or b.rss_kb() < 200000
    assert b.stop() == 0, b.log()[-4000:]
    b.wrapper = []
    b.start()
    check_all(s)
    storm_groups.check_reloaded(s, committed)
    assert b.stop() == 0, b.log()[-4000:]
    s.no_faults()
    lines = b.log().splitlines()
    assert not [line for line in lines if REPORTS.search(line)], b.log()[-8000:]
    strange = [line for line in lines if " ERROR " in line and not EXPECTED.search(line)]
    assert not strange, "\n".join(strange[:30])
