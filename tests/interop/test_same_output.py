"""Our commands beside Apache Kafka's own, on the same broker and the same files: equal output, equal exit status.

What Apache Kafka 3.9.1 prints as Optional[x] is compared as x; its stack traces on standard error are not compared.
"""
import glob
import os
import re

import pytest
from confluent_kafka import Producer

from harness import SLOW, tool

RETENTION = {"retention_ms": "-1"}


@pytest.fixture
def filled(broker):
    broker.create_topic("a", partitions=12, **RETENTION)
    broker.create_topic("b_c.d", segment_bytes="3000", min_insync_replicas="1", **RETENTION)
    p = Producer({"bootstrap.servers": broker.address, "batch.num.messages": 5, "enable.idempotence": True})
    for i in range(60):
        p.produce("b_c.d", None if i % 7 == 3 else "wörd %d" % i, key=None if i % 5 == 2 else b"k%d" % i,
                  headers=[] if i % 3 else [("h", b"x"), ("n", None)], timestamp=1600000000000 + i)
        p.produce("a", b"v", partition=i % 4)
        p.poll(0)
    assert p.flush(20 * SLOW) == 0
    return broker


def lines_of(text, in_order):
    text = re.sub(r"Optional\[([^\]]*)\]", r"\1", text)
    return text if in_order else sorted(text.splitlines())


def same(peer, name, args, in_order=True, errors=False):
    theirs = peer(name, *args, check=False)
    ours = tool(name + ".sh", *args, check=False)
    assert ours.returncode == theirs.returncode, (args, ours, theirs)
    assert lines_of(ours.stdout, in_order) == lines_of(theirs.stdout, in_order), args
    if errors:
        assert ours.stderr.splitlines()[:1] == theirs.stderr.splitlines()[:1], args
    return ours


def test_topics(filled, peer):
    at = ["--bootstrap-server", filled.address]
    for args in (["--list"], ["--list", "--topic", "b.*"], ["--list", "--topic", "none"], ["--describe", "--topic", "a"],
                 ["--describe", "--topic", "b_c\\.d"], ["--describe", "--topic", "none"],
                 ["--describe", "--topics-with-overrides", "--topic", "a"], ["--describe", "--at-min-isr-partitions", "--topic", "a"],
                 ["--describe", "--under-replicated-partitions"], ["--describe", "--unavailable-partitions"],
                 ["--create", "--topic", "a"], ["--create", "--topic", "a", "--if-not-exists"],
                 ["--create", "--topic", "c", "--partitions", "0"], ["--create", "--topic", "c", "--partitions", "many"],
                 ["--create", "--topic", "c", "--replication-factor", "40000"], ["--create", "--topic", "c", "--config", "x"],
                 ["--create", "--topic", "c", "--replication-factor", "3"], ["--create", "--topic", "no/such"],
                 ["--create", "--topic", "c", "--config", "no.such=1"],
                 ["--create", "--topic", "c", "--config", "retention.ms=soon"],
                 ["--create", "--topic", "c", "--replica-assignment", "0:0"], ["--alter", "--topic", "a", "--partitions", "1"],
                 ["--alter", "--topic", "none", "--partitions", "1"], ["--delete", "--topic", "none"]):
        same(peer, "kafka-topics", at + args)


def test_log_dirs(filled, peer):
    at = ["--bootstrap-server", filled.address, "--describe"]
    for args in (["--topic-list", "b_c.d"], ["--broker-list", "0", "--topic-list", "b_c.d,none"], ["--topic-list", "none"],
                 ["--broker-list", "7"]):
        same(peer, "kafka-log-dirs", at + args, errors=True)


def test_command_lines(peer):
    for args in ([], ["--list"], ["--bogus"], ["--list", "--create"], ["--bootstrap-server"], ["--bootstrap-server", "h:1"],
                 ["--bootstrap-server", "h:1", "--create"], ["--bootstrap-server", "h:1", "--list", "--config", "a=b"],
                 ["--bootstrap-server", "h:1", "--create", "--topic", "t", "--partitions", "1", "--replica-assignment", "0"]):
        if args:                                        # the help text is in our own words
            same(peer, "kafka-topics", args, errors=True)
    for args in (["--topic", "t"], ["--bootstrap-server", "h", "--topic", "t"], ["--bootstrap-server", "h:1"]):
        same(peer, "kafka-console-producer", args, errors=True)
    for args in (["--topic", "t"], ["--bootstrap-server", "h:1"], ["--bootstrap-server", "h:1", "--topic", "t", "--offset", "1"],
                 ["--bootstrap-server", "h:1", "--topic", "t", "--partition", "0", "--offset", "x"]):
        same(peer, "kafka-console-consumer", args, errors=True)
    for args in (["--topic", "t"], ["--bogus"], ["--bootstrap-server", "h:1", "--time", "x"]):
        same(peer, "kafka-get-offsets", args, errors=True)
    same(peer, "kafka-delete-records", ["--bootstrap-server", "h:1"], errors=True)
    same(peer, "kafka-dump-log", ["--deep-iteration"], errors=True)


def test_configs(filled, peer):
    """Each change is made twice: by theirs, then by ours."""
    at = ["--bootstrap-server", filled.address]
    for args in (["--describe", "--topic", "b_c.d"], ["--describe", "--all", "--topic", "b_c.d"],
                 ["--describe", "--topic", "none"], ["--describe", "--entity-type", "brokers"],
                 ["--describe", "--entity-type", "brokers", "--entity-default"],
                 ["--alter", "--topic", "a", "--add-config", "cleanup.policy=[compact,delete], segment.ms = 9,"],
                 ["--describe", "--topic", "a"], ["--alter", "--topic", "a", "--add-config", "message.format.version=2.7"],
                 ["--alter", "--topic", "a", "--add-config", "no.such=1"],
                 ["--alter", "--topic", "a", "--add-config", "segment.ms=x"],
                 ["--alter", "--topic", "none", "--add-config", "segment.ms=1"],
                 ["--alter", "--topic", "a", "--delete-config", "flush.ms,no.such"],
                 ["--alter", "--topic", "a", "--add-config", "a=b=c"], ["--alter", "--topic", "a", "--add-config", "a b=c"],
                 ["--alter", "--broker", "0", "--add-config", "broker.id=7"]):
        same(peer, "kafka-configs", at + args, errors=True)


def test_configs_command_lines(peer):
    at = ["--bootstrap-server", "h:1"]
    for args in (["--alter"], ["--describe"], at + ["--describe"], at + ["--alter", "--describe", "--topic", "t"],
                 ["--describe", "--topic", "t"], ["--describe", "--entity-type", "users"],
                 at + ["--describe", "--entity-type", "things"], at + ["--describe", "--topic", "t", "--broker", "0"],
                 at + ["--describe", "--entity-type", "topics", "--topic", "t"],
                 at + ["--describe", "--entity-type", "topics", "--entity-type", "topics"],
                 at + ["--describe", "--topic", "t", "--delete-config", "a"], at + ["--alter", "--topic", "t"],
                 at + ["--alter", "--entity-type", "topics", "--add-config", "a=b"],
                 at + ["--alter", "--entity-type", "brokers", "--add-config", "a=b"],
                 at + ["--alter", "--topic", "t", "--add-config", "a=b", "--add-config-file", "f"],
                 at + ["--describe", "--broker", "x"], at + ["--describe", "--entity-type", "broker-loggers"]):
        same(peer, "kafka-configs", args, errors=True)


def test_offsets(filled, peer):
    at = ["--bootstrap-server", filled.address]
    for args in ([], ["--topic", "a"], ["--topic-partitions", "a:1-3,b_c.d"], ["--topic-partitions", ":-2"],
                 ["--time", "earliest"], ["--time", "max-timestamp"], ["--time", "1600000000030"], ["--time", "-5"],
                 ["--topic", "a", "--partitions", "0,11"], ["--topic", "none"], ["--topic", "a", "--topic-partitions", "a"]):
        same(peer, "kafka-get-offsets", at + args, errors=True)


def test_api_versions(filled, peer):
    same(peer, "kafka-broker-api-versions", ["--bootstrap-server", filled.address])


def test_consumer(filled, peer):
    at = ["--bootstrap-server", filled.address, "--topic", "b_c.d", "--partition", "0", "--max-messages", "50"]
    everything = [word for name in ("timestamp", "key", "offset", "partition", "headers")
                  for word in ("--property", "print.%s=true" % name)]
    for args in (["--offset", "earliest"], ["--offset", "7"] + everything,
                 ["--from-beginning", "--property", "print.value=false"] + everything,
                 ["--offset", "3", "--property", "print.key=true", "--property", "key.separator=<>", "--property",
                  "line.separator=;", "--property", "null.literal=-"],
                 ["--offset", "3", "--formatter", "org.apache.kafka.tools.consumer.NoOpMessageFormatter"]):
        same(peer, "kafka-console-consumer", at + args)


def test_dump_log(filled, peer):
    assert filled.stop() == 0
    files = sorted(f for suffix in ("log", "index", "timeindex", "snapshot")
                   for f in glob.glob(os.path.join(filled.data, "*", "*." + suffix)))
    assert len(files) > 40
    for args in ([], ["--deep-iteration"], ["--print-data-log"], ["--print-data-log", "--skip-record-metadata"],
                 ["--verify-index-only"], ["--max-bytes", "200"]):
        same(peer, "kafka-dump-log", ["--files", ",".join(files)] + args)
