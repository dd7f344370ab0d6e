#!/usr/bin/python3
"""tests/interop/make_golden.py - data directories of the form of ../shared/golden, made fresh by a broker of Apache Kafka.

    tests/interop/make_golden.py VERSION FOLDER [--seconds N] [--copies N] [--seed N]

Under FOLDER comes one folder for each state, with data/ (log.dirs), zk/ (the ZooKeeper of the same moment) and made.json
(version, properties, topics): copies of a broker that is stopped by SIGSTOP in the midst of load, which is what kill -9
leaves; some at once when a file of a wanted kind (.cleaned, .swap, .deleted) appears; then one that is idle (`running`),
one stopped cleanly, and two that are damaged by a script, from a kill after a clean stop. beside.py holds what Klamm answers on
them against what Apache Kafka answers.
"""
import argparse
import ctypes
import json
import os
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))
from confluent_kafka import Producer, Consumer, TopicPartition, KafkaException  # noqa: E402
from confluent_kafka.admin import AdminClient  # noqa: E402,F401

import golden  # noqa: E402
from apache import Apache, PEER  # noqa: E402
from batches import batch  # noqa: E402
from harness import tool, wait_for  # noqa: E402,F401
from wire import Wire  # noqa: E402

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
LEFTOVERS = [r"\.cleaned$", r"\.swap$", r"\.deleted$", r"\.log\.swap$", r"\.index\.swap$", r"\.txnindex\.(swap|cleaned)$"]
COMPACT = {"cleanup.policy": "compact", "segment.bytes": "12000", "min.cleanable.dirty.ratio": "0.01"}
TOPICS = {
    "plain": (3, {"segment.bytes": "20000"}),
    "codecs": (5, {"segment.bytes": "30000"}),
    "recompressed": (2, {"compression.type": "lz4", "segment.bytes": "16384"}),
    "uncompressed": (1, {"compression.type": "uncompressed"}),
    "idem": (2, {"segment.bytes": "9000"}),
    "txn": (3, {"segment.bytes": "9000"}),
    "txn-open": (1, {"segment.bytes": "6000"}),
    "txn-hanging": (1, {}),
    "compact": (3, dict(COMPACT, **{"delete.retention.ms": "100"})),
    "compact-kept": (2, dict(COMPACT, **{"delete.retention.ms": "31536000000", "file.delete.delay.ms": "1000"})),
    "compact-txn": (2, dict(COMPACT, **{"delete.retention.ms": "0", "file.delete.delay.ms": "300"})),
    "compact-delete": (1, dict(COMPACT, **{"cleanup.policy": "compact,delete", "retention.bytes": "40000"})),
    "rolls": (1, {"segment.ms": "700"}),
    "jitter": (1, {"segment.ms": "2000", "segment.jitter.ms": "1500"}),
    "appended": (2, {"message.timestamp.type": "LogAppendTime", "segment.bytes": "16384"}),
    "retained": (2, {"retention.bytes": "30000", "segment.bytes": "8000", "file.delete.delay.ms": "2000"}),
    "delrec": (2, {"segment.bytes": "8000"}),
    "large": (1, {"segment.bytes": "3000000"}),
    "index-full": (1, {"segment.index.bytes": "160"}),
    "sparse": (1, {"index.interval.bytes": "100000", "segment.bytes": "50000"}),
    "dense": (1, {"index.interval.bytes": "0", "segment.bytes": "20000"}),
    "many": (40, {}),
    "empty": (2, {}),
    "a.b_c-7": (1, {}),
    "n" * 244 + ".name": (1, {"segment.bytes": "9000"}),
}
OLD_TOPICS = {
    "v0": (4, {"message.format.version": "0.9.0", "segment.bytes": "16384"}),
    "v1": (4, {"message.format.version": "0.10.2", "segment.bytes": "16384"}),
    "v0-compact": (1, dict(COMPACT, **{"message.format.version": "0.9.0"})),
    "v1-compact": (1, dict(COMPACT, **{"message.format.version": "0.10.2", "delete.retention.ms": "100"})),
    "v1-appended": (1, {"message.format.version": "0.10.2", "message.timestamp.type": "LogAppendTime"}),
    "upgraded": (1, {"message.format.version": "0.9.0", "segment.bytes": "12000"}),
}


class Made:
    """A state: like golden.State, but nobody has written down what is expected of it."""

    def __init__(self, folder, name, version, properties, topics, dirs=("data",)):
        self.folder, self.name, self.version = os.path.abspath(str(folder)), name, version
        self.topics, self.dirs = topics, list(dirs)
        self.properties, self.seen, self.kind = properties, {}, name

    def save(self):
        with open(os.path.join(self.folder, "made.json"), "w", encoding="utf-8") as f:
            json.dump({k: getattr(self, k) for k in ("name", "version", "properties", "topics", "dirs")}, f)
        return self

    @classmethod
    def load(cls, folder):
        with open(os.path.join(folder, "made.json"), encoding="utf-8") as f:
            return cls(folder, **json.load(f))

    def copy(self, folder):
        os.makedirs(folder)
        subprocess.run(["cp", "-a", "--sparse=always"] + [os.path.join(self.folder, d) for d in ["zk"] + self.dirs] +
                       [str(folder)], check=True)
        topics = {t: (n, dict(c)) for t, (n, c) in self.topics.items()}
        return Made(folder, self.name, self.version, dict(self.properties), topics, self.dirs).save()

    def expected(self, name):
        if name != "topics":
            return []
        return [{"topic": t, "partitions": n, "configs": c} for t, (n, c) in self.topics.items()]

    def partitions(self):
        return [(t, p) for t, (n, _) in self.topics.items() for p in range(n)]

    def described(self):
        path = os.path.join(self.folder, "described.txt")
        with open(path, "w", encoding="utf-8") as f:
            for t, (n, c) in self.topics.items():
                f.write("Topic: %s\tPartitionCount: %d\tReplicationFactor: 1\tConfigs: %s\n" % (
                    t, n, ",".join("%s=%s" % pair for pair in c.items())))
        return path


class Watch:
    """Tells at once when a file whose name matches comes into a partition's directory."""

    def __init__(self, folders):
        self.libc = ctypes.CDLL(None)
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK)
        for folder in folders:
            self.libc.inotify_add_watch(self.fd, folder.encode(), 0x80 | 0x100)     # moved to, created

    def wait(self, pattern, within):
        end = time.monotonic() + within
        while time.monotonic() < end:
            if not select.select([self.fd], [], [], 0.5)[0]:
                continue
            data, pos = os.read(self.fd, 65536), 0
            while pos < len(data):
                _, _, _, size = struct.unpack_from("iIII", data, pos)
                name = data[pos + 16:pos + 16 + size].rstrip(b"\0").decode()
                pos += 16 + size
                if re.search(pattern, name):
                    return name
        return None

    def close(self):
        os.close(self.fd)


class Maker:
    """A broker of Apache Kafka, and everything that is done to it."""

    def __init__(self, version, folder, seed=1, dirs=1, more=None):
        self.random = random.Random(seed)
        old = version < "3"
        properties = dict(golden.properties("2.7.1" if old else "3.9.1"), **{
            "zookeeper.session.timeout.ms": "6000", "log.cleaner.backoff.ms": "50", "log.cleaner.threads": "2",
            "log.cleaner.min.cleanable.ratio": "0.01", "log.retention.check.interval.ms": "300",
            "log.segment.delete.delay.ms": "4000", "log.cleaner.delete.retention.ms": "100",
            "log.flush.offset.checkpoint.interval.ms": "7000", "num.recovery.threads.per.data.dir": "2"})
        if not old:
            properties["inter.broker.protocol.version"] = ".".join(version.split(".")[:2])
            if version < "3.6":
                properties.pop("transaction.partition.verification.enable")
            if version < "3.5":
                properties.pop("log.initial.task.delay.ms")
            if version < "3.4":
                properties.pop("producer.id.expiration.ms")
        properties.update(more or {})
        topics = dict(TOPICS, **(OLD_TOPICS if old else {}))
        names = ["data"] + ["data%d" % i for i in range(2, dirs + 1)]
        self.state = Made(folder, "made", version, properties, topics, names)
        os.makedirs(os.path.join(str(folder), "zk"), exist_ok=True)
        self.apache = Apache(self.state)
        self.stop_load, self.threads, self.faults, self.producers = threading.Event(), [], [], []

    def client(self, **more):
        config = {"bootstrap.servers": "127.0.0.1:%d" % self.apache.port, "linger.ms": 3, "log_level": 0,
                  "message.timeout.ms": 20000}
        config.update({k.replace("_", "."): v for k, v in more.items()})
        return Producer(config)

    def start(self, create=True):
        topics, self.state.topics = self.state.topics, {} if create else self.state.topics
        self.apache.start()
        self.state.topics = topics
        if create:
            with Wire(self.apache.port) as c:
                wait_for(lambda: c.call("Metadata", 8, Topics=[])["Brokers"], 60, "the broker is registered")
                for name, (n, configs) in topics.items():
                    c.create(name, n, configs)
            wait_for(self.apache.serves, 60, "the topics")
        return self

    # ---- load ----

    def word(self, limit=120):
        return bytes(self.random.choices(b"abcdefgh ", k=self.random.randrange(limit)))

    def background(self, what):
        def run():
            try:
                while not self.stop_load.is_set():
                    what()
                    self.stop_load.wait(0.02)
            except (KafkaException, OSError, RuntimeError, BufferError) as fault:
                self.faults.append(str(fault))
        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def targets(self, pattern):
        return [(t, p) for t, p in self.state.partitions() if re.match(pattern, t)]

    def put(self, producer, where, n, keys=30):
        for _ in range(n):
            topic, p = self.random.choice(where)
            old = self.random.random() < 0.1
            value = None if self.random.random() < 0.15 and "compact" in topic else self.word()
            headers = None if topic.startswith("v") or topic == "upgraded" or self.random.random() < 0.8 else [("h", b"x"), ("h", None)]
            producer.produce(topic, value, b"k%d" % self.random.randrange(keys), p, headers=headers,
                             timestamp=int(time.time() * 1000) - (self.random.randrange(100000) if old else 0))
        producer.poll(0)

    def plain(self):
        where = self.targets("plain|codecs|recom|uncom|compact$|compact-[kd]|rolls|jitter|appended|retained|delrec|index|"
                             "sparse|dense|many|a.b|nnn|v0|v1|upg")
        old = [w for w in where if re.match("v0|v1|upg", w[0])] if self.has_producers() else where
        for codec in CODECS:
            # Formats 0 and 1 know no zstd.
            mine = [w for w in where if codec != "zstd" or w not in old]
            mine += [w for w in where if "compact" in w[0]] * 3
            producer = self.client(compression_codec=codec)
            self.background(lambda p=producer, m=mine: self.put(p, m, self.random.choice([5, 20, 60])))

    def idempotent(self):
        producer = self.client(enable_idempotence=True)
        where = self.targets("idem|plain|many|compact$|nnn")
        self.background(lambda: self.put(producer, where, 25))

    def transactional(self, name):
        producer = self.client(transactional_id=name, transaction_timeout_ms=2000000000)
        producer.init_transactions(60)
        where = self.targets("txn$|compact-txn|plain")

        def one():
            producer.begin_transaction()
            for _ in range(self.random.randrange(1, 4)):
                self.put(producer, where, self.random.randrange(1, 30))
                producer.flush(5)
            (producer.commit_transaction if self.random.random() < 0.6 else producer.abort_transaction)(30)
        self.background(one)

    def left_open(self):
        """Transactions that stay open with finished ones around them, one that nobody knows of, groups."""
        config = {"transactional_id": "left-open", "transaction_timeout_ms": 2000000000}
        open_one, other = self.client(**config), self.client(transactional_id="other", transaction_timeout_ms=2000000000)
        for p in (open_one, other):
            p.init_transactions(60)
        for i, p in enumerate((other, open_one, other, other)):
            p.begin_transaction()
            for _ in range(40):
                self.put(p, [("txn-open", 0)], 2)
                p.flush(10)
            if p is other:
                (p.commit_transaction if i == 2 else p.abort_transaction)(30)
        self.producers.append(open_one)
        with Wire(self.apache.port) as c:
            for seq in range(5):
                data = batch([b"hanging"] * 3, timestamp=1700000000000 + seq, attributes=16, producer_id=9000, epoch=1, sequence=3 * seq)
                c.send("Produce", 8, dict(TransactionalId="nobody", Acks=1, TimeoutMs=9000, TopicData=[
                    {"Name": "txn-hanging", "PartitionData": [{"Index": 0, "Records": data}]}]))
                c.receive("Produce", 8)

    def groups(self):
        for group in ("g1", "g2", "g3"):
            consumer = Consumer({"bootstrap.servers": "127.0.0.1:%d" % self.apache.port, "group.id": group, "log_level": 0,
                                 "enable.auto.commit": False})
            for n in range(10):
                consumer.commit(offsets=[TopicPartition("plain", p, n + 1) for p in range(3)], asynchronous=False)
            consumer.close()

    def large(self):
        producer = self.client(message_max_bytes=2000000)
        for codec in range(3):
            producer.produce("large", os.urandom(900000), b"k", 0)
            producer.produce("large", bytes(950000), b"k%d" % codec, 0)
        producer.flush(30)

    def delete_records(self):
        with Wire(self.apache.port) as c:
            for p in range(2):
                out = c.call("ListOffsets", 5, ReplicaId=-1, Topics=[{"Name": "delrec", "Partitions": [
                    {"PartitionIndex": p, "Timestamp": -1}]}])["Topics"][0]["Partitions"][0]
                end = out["Offset"]
                if end > 3:
                    c.call("DeleteRecords", 1, TimeoutMs=9000, Topics=[{"Name": "delrec", "Partitions": [
                        {"PartitionIndex": p, "Offset": end // 2 if p == 0 else end - 1}]}])

    def deleting(self):
        """Topics come and go."""
        name = "gone-%d" % self.random.randrange(1 << 30)
        with Wire(self.apache.port) as c:
            c.create(name, 2)
            wait_for(lambda: c.produce(8, name, 0, batch([b"x"]))["ErrorCode"] == 0, 20, "the topic")
            c.call("DeleteTopics", 3, TopicNames=[name], TimeoutMs=9000)
        self.stop_load.wait(1)

    def upgrade(self, version):
        with Wire(self.apache.port) as c:
            c.call("IncrementalAlterConfigs", 1, Resources=[{"ResourceType": 2, "ResourceName": "upgraded", "Configs": [
                {"Name": "message.format.version", "ConfigOperation": 0, "Value": version}]}])
        self.state.topics["upgraded"][1]["message.format.version"] = version

    def has_producers(self):
        """Idempotence and transactions: not in the old formats."""
        return not self.state.properties.get("log.message.format.version", "2").startswith("0.")

    def begin(self):
        self.stop_load.clear()
        self.plain()
        if self.has_producers():
            self.idempotent()
            self.transactional("t1")
            self.transactional("t2")
        self.background(self.deleting)

        def cut():
            self.delete_records()
            self.stop_load.wait(3)
        self.background(cut)

    def end_load(self):
        self.stop_load.set()
        for t in self.threads:
            t.join(60)
        self.threads = []

    # ---- copies ----

    def data_dirs(self):
        return [os.path.join(self.state.folder, d) for d in self.state.dirs]

    def freeze(self, name, folder, when=None, within=20):
        """What kill -9 would leave: a copy while the process stands still, when a file of that name has come."""
        why = "any moment"
        if when:
            watch = Watch([os.path.join(d, n) for d in self.data_dirs() for n in os.listdir(d) if re.search(r"-\d+$", n)])
            why = watch.wait(when, within) or "nothing like %s came" % when
            threading.Event().wait(0 if "swap" in when else self.random.choice([0, 0.0005, 0.002, 0.01]))
        self.apache.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.apache.process.pid, os.WSTOPPED)
        watch.close() if when else None
        try:
            copy = self.copied(name, folder)
        finally:
            self.apache.process.send_signal(signal.SIGCONT)
        left = sorted({os.path.splitext(f)[1] for d in copy.dirs
                       for _, _, files in os.walk(os.path.join(copy.folder, d)) for f in files} &
                      {".cleaned", ".swap", ".deleted"})
        print("%s: %s; left over: %s" % (name, why, " ".join(left)), flush=True)
        return copy

    def copied(self, name, folder):
        copy = self.state.copy(os.path.join(str(folder), name))
        copy.name = copy.kind = name
        return copy.save()


# ---- damage ----------------------------------------------------------------------------------------------------------

def recovery_points(data):
    try:
        with open(os.path.join(data, "recovery-point-offset-checkpoint"), encoding="ascii") as f:
            return {"%s-%s" % tuple(x.split()[:2]): int(x.split()[2]) for x in f.read().splitlines()[2:]}
    except FileNotFoundError:
        return {}


def damage(state, pattern, rng, note):
    """One piece of damage in each partition of such topics: in a log only above the recovery point, where Apache Kafka looks."""
    data = os.path.join(state.folder, "data")
    points = recovery_points(data)
    for folder in sorted(os.listdir(data)):
        if not re.match(pattern, folder) or not re.search(r"-\d+$", folder):
            continue
        path, point = os.path.join(data, folder), points.get(folder, 0)
        files = sorted(os.listdir(path))
        logs = [f for f in files if f.endswith(".log")]
        fresh = [f for f in logs if int(f[:20]) >= point]
        kinds = {"log": [f for f in fresh if os.path.getsize(os.path.join(path, f))],
                 "index": [f for f in files if f.endswith(".index")], "timeindex": [f for f in files if f.endswith(".timeindex")],
                 "txnindex": [f for f in files if f.endswith(".txnindex")],
                 "snapshot": [f for f in files if f.endswith(".snapshot")],
                 "epochs": [f for f in files if f == "leader-epoch-checkpoint"]}
        kinds = {k: v for k, v in kinds.items() if v}
        kind = rng.choice([k for k in kinds if k != "log"] + ["log"] * 5) if "log" in kinds else rng.choice(list(kinds))
        name = rng.choice(kinds[kind])
        fresh_file = name[:20] + ".log" in fresh or kind in ("snapshot", "epochs")
        note[folder] = "%s: %s" % (name, hurt(os.path.join(path, name), kind, rng, fresh_file))
    with open(os.path.join(state.folder, "damage.json"), "w", encoding="utf-8") as f:
        json.dump(note, f, indent=1)


def last_bytes(data):
    """Indexes of active segments are made large in advance."""
    return len(data.rstrip(b"\0")) or len(data)


def hurt(path, kind, rng, fresh):
    with open(path, "rb") as f:
        data = bytearray(f.read())
    size = last_bytes(data)
    ways = {"log": ["flip", "flip", "zero", "cut", "more zeros", "more garbage", "garbage"], "epochs": ["remove", "empty"],
            "snapshot": ["remove", "flip", "cut", "empty", "garbage"], "txnindex": ["remove", "empty", "cut"]}
    way = rng.choice(ways.get(kind, ["remove", "empty"] + (["flip", "cut", "garbage", "zero"] if fresh else [])))
    at = rng.randrange(size) if size else 0
    n = rng.choice([1, 4, 60, 500])
    if way == "remove":
        os.unlink(path)
        return way
    if way == "flip" and size:
        data[at] ^= 1 << rng.randrange(8)
    elif way == "zero":
        data[at:at + n] = bytes(len(data[at:at + n]))
    elif way == "garbage":
        data[at:at + n] = rng.randbytes(len(data[at:at + n]))
    elif way == "cut":
        del data[at:]
    elif way == "empty":
        del data[:]
    elif way == "more zeros":
        data += bytes(n)
    elif way == "more garbage":
        data += rng.randbytes(n)
    with open(path, "r+b") as f:
        f.write(data)
        f.truncate(len(data))
    return "%s at %d of %d" % (way, at, size)


def hurt_topics(maker, n):
    """Topics that all get the same: idempotent, then transactions of two producers."""
    names = ["d%03d" % i for i in range(n)]
    with Wire(maker.apache.port) as c:
        for name in names:
            c.create(name, 1, {"segment.bytes": "4096"})
            maker.state.topics[name] = (1, {"segment.bytes": "4096"})
    wait_for(maker.apache.serves, 60, "the topics")
    return names


def fill_hurt(maker, names, tag, rounds=6):
    producers = [maker.client(transactional_id="%s-%d" % (tag, i), transaction_timeout_ms=2000000000) for i in range(2)]
    plain = maker.client(enable_idempotence=True)
    for p in producers:
        p.init_transactions(60)
    for i in range(rounds):
        for p in producers:
            p.begin_transaction()
        for k in range(4):
            for j, p in enumerate([plain] + producers):
                for name in names:
                    p.produce(name, b"%d-%d-%d " % (i, k, j) + b"v" * 150, b"k%d" % k)
                p.flush(20)
        for j, p in enumerate(producers):
            if i + 1 < rounds or j == 0:
                (p.abort_transaction if (i + j) % 3 == 0 else p.commit_transaction)(30)
    maker.producers += producers


# ---- everything ------------------------------------------------------------------------------------------------------

def make_all(version, folder, seconds=20, copies=6, seed=1, hurt_count=0, more=None, dirs=1):
    """Gives the states."""
    maker, states = Maker(version, os.path.join(folder, "maker"), seed, dirs, more), []
    try:
        maker.start()
        if maker.has_producers():
            maker.left_open()
        maker.groups()
        maker.large()
        maker.begin()
        for i in range(copies):
            if i == copies // 2 and version < "3":
                maker.upgrade("0.10.2")
            threading.Event().wait(seconds / max(copies, 1))
            states.append(maker.freeze("kill9-%d" % i, folder, (LEFTOVERS + [None])[i % (len(LEFTOVERS) + 1)]))
        if version < "3":
            maker.upgrade(version[:3])
            threading.Event().wait(2)
        maker.end_load()
        states.append(maker.freeze("running", folder))
        if hurt_count:
            names = hurt_topics(maker, hurt_count)
            fill_hurt(maker, names, "h")
            for i in range(2):
                states.append(maker.freeze("damaged-%d" % i, folder))
                damage(states[-1], r"d\d\d\d-", maker.random, {})
        maker.apache.stop()
        states.append(maker.copied("clean", folder))
        if hurt_count:
            maker.start(create=False)
            fill_hurt(maker, names, "i")
            for i in range(2, 4):
                states.append(maker.freeze("damaged-%d" % i, folder))
                damage(states[-1], r"d\d\d\d-", maker.random, {})
        if maker.faults:
            print("faults of the load: %s" % maker.faults[:5], flush=True)
    finally:
        maker.stop_load.set()
        if maker.apache.process is not None:
            maker.apache.process.kill()
            maker.apache.process.wait()
            maker.apache.process = None
        maker.apache.end()
    shutil.rmtree(os.path.join(folder, "maker"), ignore_errors=True)
    return states


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("version")
    p.add_argument("folder")
    p.add_argument("--seconds", type=float, default=20)
    p.add_argument("--copies", type=int, default=6)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--hurt", type=int, default=0, help="how many topics are damaged")
    p.add_argument("--dirs", type=int, default=1)
    p.add_argument("--property", action="append", default=[], help="of the broker, as name=value")
    a = p.parse_args()
    os.makedirs(a.folder, exist_ok=True)
    make_all(a.version, os.path.abspath(a.folder), a.seconds, a.copies, a.seed, a.hurt,
             dict(x.split("=", 1) for x in a.property), a.dirs)


if __name__ == "__main__":
    main()
