"""kill -9 under load, again and again, checked by clients that are not ours.

What was acknowledged is there after the restart, at the offset that was told; nothing that an idempotent producer sent is there
twice or out of order. Segments are small, so that some kills fall into a roll. KILL_ROUNDS sets the number of kills.
"""
import os
import random
import threading

from confluent_kafka import Consumer, Producer, TopicPartition

from harness import NO_GROUP, SLOW, wait_for

ROUNDS = int(os.environ.get("KILL_ROUNDS", "8"))
PARTITIONS = 4
KINDS = {
    "idempotent": {"enable.idempotence": True, "acks": "all"},
    "plain": {"acks": "1", "retries": 0},
}


class Load(threading.Thread):
    """One producer that writes numbered records round robin until told to end, and keeps what was acknowledged."""

    def __init__(self, broker, topic, config, seed):
        super().__init__(daemon=True)
        self.topic = topic
        self.producer = Producer(dict(config, **{
            "bootstrap.servers": broker.address, "linger.ms": 2, "batch.num.messages": 50,
            "message.timeout.ms": 300000, "socket.timeout.ms": 10000, "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20, "log_level": 0}))
        self.rng = random.Random(seed)
        self.end = threading.Event()
        self.acked = [dict() for _ in range(PARTITIONS)]        # number -> offset
        self.sent = [0] * PARTITIONS
        self.acks = 0
        self.errors = 0

    def run(self):
        while not self.end.is_set():
            p = self.rng.randrange(PARTITIONS)
            number = self.sent[p]
            value = b"%d:" % number + b"x" * self.rng.randrange(10, 400)
            try:
                self.producer.produce(self.topic, value, partition=p, on_delivery=self.told(p, number))
                self.sent[p] += 1
            except BufferError:
                self.producer.poll(0.05)
            if number % 20 == 0:
                self.producer.poll(0)
            if self.sent[p] % 500 == 0:
                self.producer.poll(0.01)

    def told(self, partition, number):
        def delivered(err, msg):
            if err is None:
                self.acked[partition][number] = msg.offset()
                self.acks += 1
            else:
                self.errors += 1
        return delivered

    def finish(self):
        self.end.set()
        self.join()
        return self.producer.flush(60 * SLOW)


def read_all(broker, topic):
    """Every record of every partition: lists of (offset, number)."""
    c = Consumer({"bootstrap.servers": broker.address, **NO_GROUP, "enable.auto.commit": False,
                  "auto.offset.reset": "earliest", "check.crcs": True})
    out = []
    try:
        for p in range(PARTITIONS):
            tp = TopicPartition(topic, p, 0)
            low, high = c.get_watermark_offsets(tp, timeout=30 * SLOW)
            assert low == 0
            c.assign([tp])
            got = []
            at = 0
            while at < high:
                batch = c.consume(min(1000, high - at), timeout=30 * SLOW)      # it waits until it has that many
                assert batch, "%s-%d: nothing after offset %s, end is %d" % (topic, p, got[-1:], high)
                for m in batch:
                    assert m.error() is None, m.error()
                    got.append((m.offset(), int(m.value().split(b":")[0])))
                at = got[-1][0] + 1
            out.append(got)
    finally:
        c.close()
    return out


def check(kind, load, stored):
    for p, records in enumerate(stored):
        offsets = [o for o, _ in records]
        assert offsets == list(range(len(offsets))), "%s-%d: holes in the offsets" % (load.topic, p)
        at = {}
        for offset, number in records:
            at.setdefault(number, []).append(offset)
        missing = [n for n in load.acked[p] if n not in at]
        assert not missing, "%s-%d: acknowledged and gone: %s" % (load.topic, p, missing[:10])
        moved = [(n, o, at[n]) for n, o in load.acked[p].items() if o is not None and o not in at[n]]
        assert not moved, "%s-%d: not at the offset that was told: %s" % (load.topic, p, moved[:10])
        if kind == "idempotent":
            numbers = [n for _, n in records]
            assert len(set(numbers)) == len(numbers), "%s-%d: twice: %s" % (
                load.topic, p, [n for n, where in at.items() if len(where) > 1][:10])
            assert numbers == sorted(numbers), "%s-%d: out of order" % (load.topic, p)


def test_what_was_acknowledged_survives_kill_9(brokers):
    seed = int(os.environ.get("KILL_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    print("seed", seed)
    b = brokers({"log.segment.bytes": "100000", "log.index.interval.bytes": "1024",
                 "log.flush.offset.checkpoint.interval.ms": "200",
                 "replica.high.watermark.checkpoint.interval.ms": "100"}).start()
    for kind in KINDS:
        b.create_topic(kind, partitions=PARTITIONS)
    loads = {kind: Load(b, kind, config, rng.random()) for kind, config in KINDS.items()}
    for load in loads.values():
        load.start()
    try:
        for _ in range(ROUNDS):
            want = {k: load.acks + rng.randrange(200, 3000) for k, load in loads.items()}
            wait_for(lambda want=want: any(loads[k].acks >= n for k, n in want.items()), within=60,
                     what="acknowledgements go on")
            b.kill9()
            b.start()
    finally:
        left = {kind: load.finish() for kind, load in loads.items()}
    assert left == {kind: 0 for kind in KINDS}
    assert all(load.acks > 0 for load in loads.values())
    for kind, load in loads.items():
        check(kind, load, read_all(b, kind))
    print({k: (load.acks, load.errors) for k, load in loads.items()}, "acknowledged, refused;", b.starts - 1, "kills")
