"""kafka-consumer-groups.sh beside Apache Kafka's own on our broker: equal output to the byte, equal exit status.

Where their output has an order that is not the same twice (entries of one bucket, in the order of addresses), lines are
compared as a set.
"""
import re

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from harness import SLOW, tool, wait_for

LONG = "a-topic-with-a-long-name-of-forty-letters"


@pytest.fixture
def filled(brokers):
    """Topics, six groups without members, and one with four members, one of them static."""
    b = brokers({"group.initial.rebalance.delay.ms": "200"}).start()
    b.create_topic("a", partitions=12, retention_ms="-1")
    b.create_topic("b_c.d", retention_ms="-1")
    b.create_topic(LONG, partitions=3, retention_ms="-1")
    p = Producer({"bootstrap.servers": b.address})
    for i in range(200):
        p.produce("a", b"v", partition=i % 8, timestamp=1600000000000 + i * 1000)
        p.produce("b_c.d", b"x", timestamp=1600000000000 + i * 1000)
        p.produce(LONG, b"y", partition=0)
    assert p.flush(20 * SLOW) == 0
    for g in ("empty", "gruppe-ä", "a group", "x" * 40, "g1", "g2"):
        c = Consumer({"bootstrap.servers": b.address, "group.id": g, "enable.auto.commit": False})
        c.commit(offsets=[TopicPartition("a", i, 3 * i) for i in range(12)] + [TopicPartition("b_c.d", 0, 7)], asynchronous=False)
        c.close()
    b.members = []
    for i, topics in enumerate((["a"], ["a", LONG], ["b_c.d"], ["b_c.d"])):
        more = {"group.instance.id": "inst"} if i == 1 else {}
        b.members.append(Consumer(dict({"bootstrap.servers": b.address, "group.id": "live", "client.id": "c%d" % i,
                                        "enable.auto.commit": False, "heartbeat.interval.ms": 200}, **more)))
        b.members[-1].subscribe(topics)

    def settled():
        for m in b.members:
            m.poll(0.02)
        return sum(len(m.assignment()) for m in b.members) == 16

    wait_for(settled, 30, "the members have all partitions")
    b.members[0].commit(offsets=[TopicPartition("a", 0, 5)], asynchronous=False)
    yield b
    for m in b.members:
        m.close()


def same(peer, at, args, lines=False):
    theirs = peer("kafka-consumer-groups", *at, *args, check=False)
    ours = tool("kafka-consumer-groups.sh", *at, *args, check=False)
    assert ours.returncode == theirs.returncode, (args, ours, theirs)
    if lines:
        assert sorted(ours.stdout.splitlines()) == sorted(theirs.stdout.splitlines()), args
    else:
        assert ours.stdout == theirs.stdout, args
    return ours, theirs


def said(done):
    """The sentences on standard error: without time, logger, prefix of an exception, the help text and stack traces."""
    out = []
    for line in done.stderr.splitlines():
        line = re.sub(r' \(org\.apache[^)]*\)$|^\[[^]]*\] |^Exception in thread "main" joptsimple\.\w+: ', "", line)
        if line.startswith("Option  "):
            break
        if line and not re.match(r"\s+at |java\.|org\.apache|com\.fasterxml|joptsimple|ERROR|WARN \[AdminClient|\t|Caused by", line):
            out.append(line)
    return out


def both(peer, filled, cases, lines=False):
    for args in cases:
        ours, theirs = same(peer, ["--bootstrap-server", filled.address], args, lines)
        assert said(ours) == said(theirs), args


def test_list_and_describe(filled, peer):
    both(peer, filled, (
        ["--list"], ["--list", "--state"], ["--list", "--type", "classic", "--state", "stable, Empty"], ["--list", "--type", "consumer"],
        ["--list", "--state", "bogus"], ["--describe", "--all-groups"], ["--describe", "--group", "live", "--group", "none"],
        ["--describe", "--all-groups", "--members", "--verbose"], ["--describe", "--group", "none", "--members"],
        ["--describe", "--group", "live", "--group", "gruppe-ä", "--state"]))


def test_reset(filled, peer, tmp_path):
    one, many = tmp_path / "one.csv", tmp_path / "many.csv"
    one.write_text('a,0,5\na,1,99\n"b_c.d",0,3\n')
    many.write_text('g1,a,0,5\n"a group",%s,1,99\ng1,b_c.d,0,3\n' % LONG)
    negative = tmp_path / "negative.csv"
    negative.write_text("g2,a,0,-1\n")
    cases = [args.split() for args in (
        "--group g1 --all-topics --to-earliest --execute", "--group g1 --topic a --topic b_c.d --to-latest --export",
        "--group g1 --group g2 --topic %s --topic a:3,1 --to-offset 11 --execute --export" % LONG,
        "--group g2 --topic a --shift-by -2 --dry-run", "--group g2 --topic %s --shift-by -2 --dry-run" % LONG,
        "--group g2 --all-topics --to-datetime 2020-09-13T12:28:00.000", "--group g2 --topic a --by-duration PT1H --dry-run",
        "--group new --topic a --topic b_c.d --to-current --dry-run", "--group new --topic a:1,2,3 --to-current --dry-run",
        "--group live --group g2 --all-topics --to-current --dry-run", "--group g1 --from-file %s --execute" % one,
        "--group g1 --from-file %s --dry-run" % many, "--group g1 --from-file %s --dry-run" % negative, "--group g2 --topic none --to-latest --dry-run",
        "--group g2 --all-topics --dry-run", "--group g2 --to-latest --dry-run", "--group g2 --topic a:x --to-latest --dry-run")]
    cases.append(["--group", "g1", "--group", "a group", "--from-file", str(many), "--dry-run", "--export"])
    both(peer, filled, (["--reset-offsets"] + args for args in cases))


def test_deleting(filled, peer):
    """What is deleted by theirs is not there any more for ours: cases that fail, and some that may be done twice."""
    both(peer, filled, (
        ["--delete-offsets", "--group", "g1", "--topic", "a:0,99", "--topic", "none"],
        ["--delete-offsets", "--group", "g1", "--topic", "a"], ["--delete-offsets", "--group", "live", "--topic", "a:0"],
        ["--delete-offsets", "--group", "none", "--topic", "a:0"]))
    both(peer, filled, (["--delete", "--group", "none", "--group", "live"], ["--delete", "--group", "live"]), lines=True)
    theirs = peer("kafka-consumer-groups", "--bootstrap-server", filled.address, "--delete", "--group", "g1")
    ours = tool("kafka-consumer-groups.sh", "--bootstrap-server", filled.address, "--delete", "--group", "g2")
    assert ours.stdout == theirs.stdout.replace("g1", "g2")


def test_command_lines(peer):
    at = ["--bootstrap-server", "127.0.0.1:1"]
    for args in (["--list"], at + ["--list", "--describe"], at + ["--describe", "--group", "g", "--members", "--offsets"],
                 at + ["--list", "--verbose", "--members"], at + ["--delete", "--all-groups", "--list"],
                 at + ["--reset-offsets", "--group", "g", "--to-current", "--to-earliest", "--shift-by", "2"],
                 at + ["--reset-offsets", "--to-latest"], at + ["--describe", "--all-groups", "--group", "g"],
                 at + ["--delete-offsets"], at + ["--list", "--command-config", "/no/such/file"],
                 at + ["--list", "--timeout", "x"], at + ["--bogus"]):
        ours, theirs = same(peer, [], args)
        assert said(ours) == said(theirs), args
