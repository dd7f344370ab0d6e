"""tests/system/storm_consumer.py - librdkafka in a group: short lives with automatic or manual commits, one after the other.

As a program of its own, which can be killed, it prints a line of JSON for each commit of which it is told:

    python3 tests/system/storm_consumer.py GROUP SEED CONFIG TOPIC...       CONFIG is JSON; until its input ends
"""
import contextlib
import json
import random
import sys
import threading

from confluent_kafka import Consumer, KafkaException


def live(config, topics, rng, end, told):
    """One life. told(error or None, [(topic, partition, offset, whether it was acknowledged)])"""
    def on_commit(err, partitions):
        told(err and err.name(), [(p.topic, p.partition, p.offset, err is None and p.error is None and p.offset >= 0)
                                  for p in partitions or ()])
    auto = rng.random() < 0.5
    c = Consumer({"enable.auto.commit": auto, "auto.commit.interval.ms": 50, "log_level": 0,
                  "error_cb": lambda _: None, "on_commit": on_commit, "fetch.wait.max.ms": 50, "fetch.error.backoff.ms": 50, **config})
    try:
        c.subscribe(topics)
        for _ in range(rng.randrange(10, 80)):
            if end.is_set():
                break
            messages = [m for m in c.consume(50, 0.03) if m.error() is None]
            if messages and not auto:
                with contextlib.suppress(KafkaException):       # a rebalance, or the broker is away: the next one does it
                    c.commit(message=messages[-1], asynchronous=rng.random() < 0.8)
    finally:
        c.close()


def main(group, seed, config, *topics):
    end, rng = threading.Event(), random.Random(seed)
    threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
    while not end.is_set():
        live(dict(json.loads(config), **{"group.id": group}), list(topics), rng, end,
             lambda *said: print(json.dumps(said), flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
