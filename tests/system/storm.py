"""tests/system/storm.py - those who make the storm of test_92_storm.py: each a thread that goes on until told to end, whatever
becomes of the broker meanwhile, and writes into the Truth what was acknowledged and what was read.

What a record holds says where it belongs: TOPIC/PARTITION/PRODUCER/NUMBER:filling.
"""
import contextlib
import errno
import gzip
import os
import random
import socket
import struct
import threading
import zlib

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from alterations import TOPIC, change, resource
from batches import batch, crc32c, heads
from harness import NO_GROUP, SLOW
from wire import Wire

NOT_CONTROLLER, OUT_OF_ORDER, DUPLICATE = 41, 45, 46
# What a client may be told in a storm, and then tries again: the partition moves, loads, is made or deleted, the disk is full.
PASSING = {3, 5, 6, 7, 9, 13, 56, 75, 76, 78, 100}
GONE = (OSError, ConnectionError, EOFError)

TINY = {"segment.bytes": "30000", "index.interval.bytes": "512"}
KEPT = {                                # all that was acknowledged is there at the end, at its offset
    "kept": {"retention.ms": "-1"},
    "kept.synced": {"retention.ms": "-1", "flush.messages": "1"},
    "kept.often": {"retention.ms": "-1", "flush.messages": "7", "flush.ms": "50", "segment.ms": "700"},
}
SHRINKING = {                           # here a rule may take records away
    "cut": {"retention.bytes": "90000"},
    "compacted": {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "flush.messages": "1"},
    "both": {"cleanup.policy": "compact,delete", "min.cleanable.dirty.ratio": "0.01", "retention.bytes": "200000"},
    "flipping": {"min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0"},
}
PARTITIONS = 2
PLACES = [(t, p) for t in list(KEPT) + list(SHRINKING) for p in range(PARTITIONS)]


def settings_of(topic):
    return dict(TINY, **KEPT.get(topic, SHRINKING.get(topic)))


class Truth:
    def __init__(self):
        self.lock = threading.Lock()
        self.acked = {place: {} for place in PLACES}        # offset -> (key, value)
        self.acked_somewhere = {place: set() for place in PLACES}   # values whose offset nobody was told
        self.seen = {place: {} for place in PLACES}         # the same, as it was read
        self.raw = {place: {} for place in PLACES}          # base offset -> checksum of the batch; KEPT only
        self.faults = []
        self.counts = {}
        self.asked_to_stop = False      # once: what was under way was refused, as by a broker that is not the controller

    def fault(self, text, *args):
        with self.lock:
            self.faults.append(text % args)

    def count(self, what, n=1):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + n

    def read(self, place, offset, key, value):
        """What stands at an offset is for ever."""
        known = self.seen[place].setdefault(offset, (key, value))
        if known != (key, value):
            self.fault("%s: offset %d was %r, now %r", place, offset, known, (key, value))
        told = self.acked[place].get(offset)
        if told is not None and told != (key, value):
            self.fault("%s: offset %d: acknowledged %r, read %r", place, offset, told, (key, value))
        if value and not value.startswith(b"%s/%d/" % (place[0].encode(), place[1])):
            self.fault("%s: offset %d holds another partition's record: %r", place, offset, value)


class Actor(threading.Thread):
    """act() again and again. A broker that is not there is no fault."""
    pause = 0.02

    def __init__(self, storm, name):
        super().__init__(daemon=True, name=name)
        self.storm, self.truth, self.broker = storm, storm.truth, storm.broker
        self.rng = random.Random("%s %s" % (storm.seed, name))
        self.end = threading.Event()
        self.wire = None

    def run(self):
        try:
            while not self.end.is_set():
                try:
                    self.act()
                except GONE:
                    self.drop()
                    self.end.wait(0.1)
                self.end.wait(self.pause * self.rng.random() * 2)
            self.finish()
        except Exception as e:                              # pylint: disable=broad-except
            self.truth.fault("%s: %r at %s", self.name, e, e.__traceback__.tb_next and e.__traceback__.tb_next.tb_lineno)
        finally:
            self.drop()

    def connection(self):
        if self.wire is None:
            self.wire = Wire(self.broker.port, timeout=30 * SLOW)
        return self.wire

    def drop(self):
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def act(self):
        raise NotImplementedError

    def finish(self):
        pass

    def expect(self, code, what, *also):
        if code == NOT_CONTROLLER and self.truth.asked_to_stop:
            self.truth.count("error %d" % code)
        elif code not in PASSING and code not in (0,) + also:
            self.truth.fault("%s: error %d (%s)", self.name, code, what)
        elif code != 0:
            self.truth.count("error %d" % code)
        return code == 0


class Client(Actor):
    """librdkafka as producer. It gives up its idempotent ones when, of several requests that are under way, the first is refused
    by a full disk and so the second comes out of order: then another one takes over, with a name of its own."""
    pause = 0.005

    def __init__(self, storm, name, config):
        super().__init__(storm, name)
        self.config, self.number, self.generation = config, 0, 0
        self.producer = None

    def make(self):
        self.generation += 1
        self.producer = Producer(dict({
            "bootstrap.servers": self.broker.address, "linger.ms": 2, "batch.num.messages": 30, "batch.size": 12000,
            "log_level": 0, "error_cb": lambda _: None,         # else poll() raises what produce() will
            "message.timeout.ms": 120000 * SLOW, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200,
            "retry.backoff.ms": 20, "queue.buffering.max.messages": 1000}, **self.config))

    def act(self):
        if self.producer is None:
            self.make()
        topic, partition = place = self.rng.choice(PLACES)
        try:
            for _ in range(self.rng.randrange(1, 30)):
                key = b"k%d" % self.rng.randrange(40)
                value = b"%s/%d/%s-%d/%d:" % (topic.encode(), partition, self.name.encode(), self.generation, self.number) \
                    + b"x" * self.rng.choice((0, 20, 200, 2000))
                self.number += 1
                self.producer.produce(topic, value, key, partition=partition, on_delivery=self.told(place, key, value))
        except BufferError:
            pass
        except KafkaException as e:
            if not e.args[0].fatal() and e.args[0].code() != KafkaError._FATAL:     # pylint: disable=protected-access
                raise
            self.give_up()
            return
        try:
            self.producer.poll(0)
            if len(self.producer) > 800:
                self.producer.poll(0.1)
        except KafkaException:          # what is fatal is raised by poll() and flush() too, whoever comes first
            self.give_up()

    def give_up(self):
        self.truth.count(self.name + ": given up")
        self.producer.purge()
        with contextlib.suppress(KafkaException):
            self.producer.flush(30 * SLOW)
        self.producer = None

    def told(self, place, key, value):
        """A batch whose request failed, but after which the next one was taken, was written: librdkafka's idempotent producer
        then reports its records as delivered, without an offset."""
        def delivered(err, msg):
            if err is None:
                self.truth.count("acked by " + self.name)
                if self.config["acks"] == "0":
                    return
                if msg.offset() is not None:
                    self.truth.acked[place][msg.offset()] = (key, value)
                elif self.config.get("enable.idempotence"):
                    self.truth.count("acked by the next batch")
                    self.truth.acked_somewhere[place].add(value)
                else:
                    self.truth.fault("%s: %s is acknowledged without an offset", self.name, value[:60])
            else:
                self.truth.count("%s: %s" % (self.name, err.name()))
        return delivered

    def finish(self):
        if self.producer is None:
            return
        if not self.broker.alive():
            self.producer.purge()
        try:
            if self.producer.flush(60 * SLOW):
                self.truth.fault("%s: %d records are never answered", self.name, len(self.producer))
        except KafkaException:
            self.give_up()


def old_set(value, key, magic):
    """A message of magic 0 or 1."""
    body = bytes([magic, 0]) + (struct.pack(">q", 1700000000000) if magic else b"")
    body += struct.pack(">i", len(key)) + key + struct.pack(">i", len(value)) + value
    body = struct.pack(">I", zlib.crc32(body)) + body
    return struct.pack(">qi", 0, len(body)) + body


def zipped(plain):
    """The same batch with its records in gzip."""
    summed = struct.pack(">h", struct.unpack_from(">h", plain, 21)[0] | 1) + plain[23:61] + gzip.compress(plain[61:], 1)
    return plain[:8] + struct.pack(">iibI", len(summed) + 9, -1, 2, crc32c(summed)) + summed


class RawProducer(Actor):
    """Requests by hand, one at a time: any version and format, each idempotent batch sometimes twice."""

    def __init__(self, storm, name):
        super().__init__(storm, name)
        self.number = 0
        self.ids = {}                   # place -> [producer id, next sequence]

    def act(self):
        w = self.connection()
        topic, partition = place = self.rng.choice(PLACES)
        key = b"k%d" % self.rng.randrange(40)
        value = b"%s/%d/%s/%d:" % (topic.encode(), partition, self.name.encode(), self.number)
        value += b"y" * self.rng.choice((0, 20, 200, 3000))
        self.number += 1
        kind = self.rng.choice(("old", "plain", "zipped", "once", "once", "bad"))
        if kind == "bad":
            return self.bad(w, topic, partition, batch([value], key))
        if kind == "once":
            return self.once(w, place, key, value)
        if kind == "old":
            magic = self.rng.randrange(2)
            version, data = (0, 2)[magic], old_set(value, key, magic)
        else:
            version, data = self.rng.choice((3, 7, 8, 9, 10)), batch([value], key)
            if kind == "zipped":
                data = zipped(data)
        acks = self.rng.choice((0, 1, -1))
        out = w.produce(version, topic, partition, data, acks=acks)
        if out is not None and self.expect(out["ErrorCode"], "produce %s to %s" % (kind, topic)):
            self.truth.acked[place][out["BaseOffset"]] = (key, value)
            self.truth.count("acked raw")

    def once(self, w, place, key, value):
        if place not in self.ids:
            out = w.call("InitProducerId", 1, TransactionalId=None, TransactionTimeoutMs=60000)
            if not self.expect(out["ErrorCode"], "InitProducerId", 14, 15, 16, -1):
                return
            self.ids[place] = [out["ProducerId"], 0]
        pid, sequence = self.ids[place]
        data = batch([value, value], key, producer_id=pid, epoch=0, sequence=sequence)
        try:
            out = w.produce(9, *place, data, acks=-1)
        except GONE:
            del self.ids[place]         # nobody knows whether it is there
            raise
        if not self.expect(out["ErrorCode"], "sequence %d to %s" % (sequence, place)):
            del self.ids[place]
            return
        self.ids[place][1] += 2
        for i in (0, 1):
            self.truth.acked[place][out["BaseOffset"] + i] = (key, value)
        self.truth.count("acked raw, idempotent")
        if self.rng.random() < 0.3:
            again = w.produce(9, *place, data, acks=-1)
            if self.expect(again["ErrorCode"], "again sequence %d to %s" % (sequence, place)):
                if again["BaseOffset"] != out["BaseOffset"]:
                    self.truth.fault("%s: sequence %d at %d, then again at %d", place, sequence, out["BaseOffset"],
                                     again["BaseOffset"])
                self.truth.count("duplicates")

    def bad(self, w, topic, partition, data):
        data = bytearray(data)
        data[self.rng.randrange(17, len(data))] ^= 1 << self.rng.randrange(8)
        out = w.produce(9, topic, partition, bytes(data), acks=1)
        if self.expect(out["ErrorCode"], "a damaged batch", 2, 32, 42, 43, 44, 45, 47, 48, 53, 59, 65, 76, 87):
            self.truth.fault("a damaged batch was taken: %s", bytes(data).hex())


class Reader(Actor):
    """librdkafka as consumer: one partition from its start to its end."""

    def __init__(self, storm, name, level):
        super().__init__(storm, name)
        self.level = level

    def act(self):
        self.one(self.rng.choice(PLACES), 10)

    def one(self, place, patience):
        """True if it has come to the end."""
        c = Consumer({"bootstrap.servers": self.broker.address, **NO_GROUP, "enable.auto.commit": False, "log_level": 0,
                      "enable.partition.eof": True, "auto.offset.reset": "earliest", "check.crcs": True,
                      "isolation.level": self.level, "reconnect.backoff.max.ms": 200, "fetch.wait.max.ms": 50,
                      "fetch.error.backoff.ms": 50, "fetch.message.max.bytes": self.rng.choice((2000, 50000, 1000000))})
        last = -1
        try:
            c.assign([TopicPartition(*place, 0)])
            while not (self.end.is_set() and patience < 60):
                messages = c.consume(500, 0.05)
                patience -= 0 if messages else 0.05
                if patience < 0:
                    return False
                for m in messages:
                    err = m.error()
                    if err is not None and err.code() == KafkaError._PARTITION_EOF:     # pylint: disable=protected-access
                        self.truth.count("read to the end")
                        return True
                    if err is not None:
                        self.truth.count("consumer: " + err.name())
                        continue
                    if m.offset() <= last or (place[0] in KEPT and m.offset() != last + 1):
                        self.truth.fault("%s %s: offset %d after %d", self.level, place, m.offset(), last)
                    last = m.offset()
                    self.truth.read(place, last, m.key(), m.value())
                    self.truth.count("read")
        finally:
            c.close()
        return False


class RawReader(Actor):
    """Fetches at any place; batches of KEPT topics are the same bytes for ever."""

    def act(self):
        w = self.connection()
        topic, partition = place = self.rng.choice(PLACES)
        offset = self.rng.choice((0, self.rng.randrange(1 + max(self.truth.acked[place], default=0))))
        for _ in range(self.rng.randrange(1, 10)):
            out = w.fetch(self.rng.choice((4, 8, 11, 12)), topic, partition, offset, wait_ms=self.rng.choice((0, 0, 20)),
                          max_bytes=self.rng.choice((1, 1000, 100000)), IsolationLevel=self.rng.randrange(2))
            part = out["Responses"][0]["Partitions"][0]
            if part["ErrorCode"] == 1:
                return
            if not self.expect(part["ErrorCode"], "fetch"):
                return
            hw, stable = part["HighWatermark"], part["LastStableOffset"]
            if not stable <= hw:
                self.truth.fault("%s: stable offset %d, high watermark %d", place, stable, hw)
            data, at = part["Records"] or b"", 0
            got = heads(data)
            for base, last, size in got:
                if last < offset or last >= hw:
                    self.truth.fault("%s: batch %d..%d for offset %d, high watermark %d", place, base, last, offset, hw)
                if topic in KEPT:
                    crc = zlib.crc32(data[at:at + size])
                    if self.truth.raw[place].setdefault(base, crc) != crc:
                        self.truth.fault("%s: the batch at %d has changed", place, base)
                if base > offset and topic in KEPT:
                    self.truth.fault("%s: nothing at %d, next batch is %d", place, offset, base)
                offset = last + 1
                at += size
            self.truth.count("fetches")
            if not got:
                return


class Configs(Actor):
    pause = 0.1
    ANY = [("segment.bytes", ("14000", "30000", "100000")), ("flush.messages", ("1", "3", "1000000")),
           ("flush.ms", ("20", "1000000")), ("index.interval.bytes", ("0", "512", "4096")), ("segment.ms", ("300", "604800000")),
           ("compression.type", ("producer", "producer", "uncompressed", "gzip", "snappy", "lz4", "zstd")),
           ("message.timestamp.type", ("CreateTime", "LogAppendTime")), ("segment.jitter.ms", ("0", "100"))]
    SHRINKING = [("cleanup.policy", ("compact", "delete", "compact,delete")), ("retention.bytes", ("60000", "300000", "-1")),
                 ("min.compaction.lag.ms", ("0", "300")), ("max.compaction.lag.ms", ("500", "9223372036854775807")),
                 ("delete.retention.ms", ("0", "86400000")), ("min.cleanable.dirty.ratio", ("0.0", "0.5"))]

    def act(self):
        topic, _ = self.rng.choice(PLACES)
        table = list(self.ANY)
        if topic in ("both", "flipping"):
            table += self.SHRINKING * 2
        name, values = self.rng.choice(table)
        code, _ = change(self.connection(), resource(TOPIC, topic, (name, 0, self.rng.choice(values))))[0]
        if self.expect(code, name, 40):                     # lags that do not fit each other
            self.truth.count("settings changed")


class Deleter(Actor):
    """DeleteRecords."""
    pause = 0.2

    def act(self):
        topic, partition = self.rng.choice([(t, p) for t, p in PLACES if t in ("cut", "both", "flipping")])
        end = max(self.truth.acked[topic, partition], default=0)
        offset = self.rng.choice((-1, self.rng.randrange(end + 1)))
        if offset < 0 and self.rng.random() < 0.8:
            return
        out = self.connection().call("DeleteRecords", 1, TimeoutMs=5000, Topics=[
            {"Name": topic, "Partitions": [{"PartitionIndex": partition, "Offset": offset}]}])
        part = out["Topics"][0]["Partitions"][0]
        if self.expect(part["ErrorCode"], "DeleteRecords", 1, 44):
            self.truth.count("records deleted")
            if part["LowWatermark"] < offset:
                self.truth.fault("%s-%d: deleted to %d, low watermark %d", topic, partition, offset, part["LowWatermark"])


class Mover(Actor):
    pause = 0.1

    def act(self):
        w, dirs = self.connection(), self.storm.dirs
        places = self.rng.sample(PLACES, self.rng.randrange(1, 5))
        out = w.call("AlterReplicaLogDirs", 2, Dirs=[{"Path": self.rng.choice(dirs), "Topics": [
            {"Name": t, "Partitions": [p]} for t, p in places]}])
        for t in out["Results"]:
            for p in t["Partitions"]:
                if self.expect(p["ErrorCode"], "move", 57):
                    self.truth.count("moves asked")


class Churner(Actor):
    """Topics come, grow and go; some names again and again."""
    pause = 0.1

    def act(self):
        w = self.connection()
        topic = "churn%d" % self.rng.randrange(4)
        deed = self.rng.randrange(4)
        if deed == 0:
            config = [{"Name": k, "Value": v} for k, v in settings_of(self.rng.choice(PLACES)[0]).items()]
            out = w.call("CreateTopics", 5, TimeoutMs=15000, Topics=[
                {"Name": topic, "NumPartitions": self.rng.randrange(1, 4), "ReplicationFactor": 1, "Configs": config}])
            self.expect(out["Topics"][0]["ErrorCode"], "CreateTopics", 36, 38)
        elif deed == 1:
            out = w.call("DeleteTopics", 4, TimeoutMs=15000, TopicNames=[topic])
            if self.expect(out["Responses"][0]["ErrorCode"], "DeleteTopics"):
                self.truth.count("topics deleted")
        elif deed == 2:
            out = w.call("CreatePartitions", 2, TimeoutMs=15000, ValidateOnly=False, Topics=[
                {"Name": topic, "Count": self.rng.randrange(2, 6), "Assignments": None}])
            self.expect(out["Results"][0]["ErrorCode"], "CreatePartitions", 17, 37)     # 17: it is queued for deletion
        else:
            for _ in range(20):
                value = topic.encode() + b"/" + b"z" * self.rng.randrange(3000)
                out = w.produce(9, topic, self.rng.randrange(3), batch([value], b"key"))
                if not self.expect(out["ErrorCode"], "produce to " + topic):
                    return
            part = w.fetch(11, topic, 0, 0)["Responses"][0]["Partitions"][0]
            if self.expect(part["ErrorCode"], "fetch of " + topic, 1) and part["Records"] \
                    and topic.encode() + b"/" not in part["Records"]:
                self.truth.fault("%s holds other records", topic)


class Poller(Actor):
    """Everything that looks, and does not change."""

    def act(self):
        w = self.connection()
        topic, partition = place = self.rng.choice(PLACES)
        deed = self.rng.randrange(5)
        if deed == 0:
            out = w.call("DescribeLogDirs", self.rng.randrange(5), Topics=None)
            for d in out["Results"]:
                self.expect(d["ErrorCode"], "DescribeLogDirs")
                for t in d["Topics"]:
                    for p in t["Partitions"]:
                        if p["PartitionSize"] < 0 or (not p["IsFutureKey"] and p["OffsetLag"] < 0):
                            self.truth.fault("DescribeLogDirs: %s %s", t["Name"], p)
        elif deed == 1:
            lo, hi = (self.offset(w, topic, partition, t) for t in (-2, -1))
            if lo is not None and hi is not None and lo > hi:
                self.truth.fault("%s: starts at %d, ends at %d", place, lo, hi)
        elif deed == 2:
            self.offset(w, topic, partition, self.rng.choice((-3, 1700000000000, 0, 2 ** 62)))
        elif deed == 3:
            out = w.call("DescribeProducers", 0, Topics=[{"Name": topic, "PartitionIndexes": [partition]}])
            self.expect(out["Topics"][0]["Partitions"][0]["ErrorCode"], "DescribeProducers")
        else:
            w.call("Metadata", self.rng.randrange(1, 10), Topics=None)
            w.call("DescribeConfigs", 2, Resources=[{"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": None}])
        self.truth.count("looks")

    def offset(self, w, topic, partition, timestamp):
        out = w.call("ListOffsets", 7, ReplicaId=-1, Topics=[{"Name": topic, "Partitions": [
            {"PartitionIndex": partition, "Timestamp": timestamp}]}])["Topics"][0]["Partitions"][0]
        return out["Offset"] if self.expect(out["ErrorCode"], "ListOffsets") else None


class Hostile(Actor):
    pause = 0.1

    def act(self):
        s = socket.create_connection(("127.0.0.1", self.broker.port), timeout=5)
        try:
            deed = self.rng.randrange(4)
            if deed == 0:
                s.sendall(self.rng.randbytes(self.rng.randrange(200)))
            elif deed == 1:
                s.sendall(struct.pack(">ihhih", 1 << 20, 0, 9, 1, -1) + self.rng.randbytes(self.rng.randrange(60000)))
            elif deed == 2:
                body = self.rng.randbytes(self.rng.randrange(300))
                s.sendall(struct.pack(">ihhih", 10 + len(body), self.rng.randrange(68), self.rng.randrange(8), 1, -1) + body)
            else:                       # asks for much and goes without reading
                topic, partition = self.rng.choice(PLACES)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                with_wire = Wire.__new__(Wire)
                with_wire.sock, with_wire.client_id, with_wire.correlation = s, "mute", 0
                for _ in range(20):
                    with_wire.send("Fetch", 11, dict(MaxWaitMs=0, MinBytes=1, Topics=[{"Topic": topic, "Partitions": [
                        {"Partition": partition, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20}]}]))
            self.truth.count("hostile")
            self.end.wait(0.05)
        finally:
            s.close()


class Filler(Actor):
    """Fills the small disk, waits a little, and makes room again."""
    pause = 1.0

    def act(self):
        path = os.path.join(self.storm.small, "filler")
        try:
            with open(path, "ab", buffering=0) as f:
                for size in (1 << 20, 4096):
                    try:
                        while not self.end.is_set():
                            f.write(bytes(size))
                    except OSError as e:
                        if e.errno != errno.ENOSPC:
                            raise
            self.truth.count("disk full")
            self.end.wait(0.5)
        finally:
            os.unlink(path)
