"""kafka-console-consumer.sh --zookeeper: the consumer of before Kafka 2.0, whose groups find themselves under /consumers."""
import json
import os
import re
import signal
import subprocess
import threading

import pytest

import harness
from cluster_zk import ZooKeeper, why_not
from harness import BIN, SLOW, wait_for

LONG = 30000                # ms of a session that shall not expire because the machine stands still
WARNING = "Using the ConsoleConsumer with old consumer is deprecated"


@pytest.fixture
def cluster(clusters):
    return clusters(1, default_replication_factor=1, min_insync_replicas=1, offsets_topic_replication_factor=1).start()


def zk_of(cluster):
    return cluster.zk.connect + cluster.chroot


def consume(cluster, *args, status=0):
    run = harness.tool("kafka-console-consumer.sh", "--zookeeper", zk_of(cluster), *args, check=False)
    assert run.returncode == status, (run.returncode, run.stdout, run.stderr)
    return run


def produce(cluster, topic, lines, number=1):
    """`lines` as "key:value"; or values."""
    args = ["--property", "parse.key=true", "--property", "key.separator=:"] if ":" in lines[0] else []
    harness.tool("kafka-console-producer.sh", "--broker-list", "127.0.0.1:%d" % cluster[number].port, "--topic", topic, *args,
                 stdin="".join(line + "\n" for line in lines))


def offset(cluster, group, topic, partition):
    data, _ = cluster.znode("/consumers/%s/offsets/%s/%d" % (group, topic, partition))
    return None if data is None else int(data)


def owner(cluster, group, topic, partition):
    data, _ = cluster.znode("/consumers/%s/owners/%s/%d" % (group, topic, partition))
    return None if data is None else data.decode()


def ids(cluster, group):
    return sorted(cluster.children("/consumers/%s/ids" % group))


class Consumer:
    """In the background, with the lines that it has printed so far."""

    def __init__(self, cluster, *args, session_ms=LONG):
        self.process = subprocess.Popen([BIN + "/kafka-console-consumer.sh", "--zookeeper", zk_of(cluster), "--consumer-property",
                                         "zookeeper.session.timeout.ms=%d" % (session_ms * SLOW), *args],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.said = [], []
        self.threads = [self.gather(self.process.stdout, self.lines), self.gather(self.process.stderr, self.said)]

    @staticmethod
    def gather(stream, to):
        thread = threading.Thread(target=lambda: to.extend(line.rstrip("\n") for line in iter(stream.readline, "")), daemon=True)
        thread.start()
        return thread

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        self.process.kill()
        self.wait()
        if failure is not None:
            print("\n".join(["%d lines, the last:" % len(self.lines)] + self.lines[-20:] + ["said:"] + self.said))
        self.process.stdout.close()
        self.process.stderr.close()

    def wait(self):
        status = self.process.wait(60 * SLOW)
        for thread in self.threads:
            thread.join()
        return status

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.wait() == 128 + signal.SIGTERM, self.said


def test_from_the_beginning(cluster):
    cluster.create("t", partitions=3, replicas=1)
    produce(cluster, "t", ["k%d:v%d" % (i, i) for i in range(20)])
    got = consume(cluster, "--topic", "t", "--from-beginning", "--max-messages", "20", "--property", "print.key=true")
    assert sorted(got.stdout.split()) == sorted(w for i in range(20) for w in ("k%d" % i, "v%d" % i))
    assert WARNING in got.stderr and got.stderr.endswith("Processed a total of 20 messages\n")
    assert cluster.children("/consumers") == []                 # the group was made up
    assert cluster.znode("/brokers/topics/__consumer_offsets")[0] is None
    got = consume(cluster, "--topic", "t", "--timeout-ms", "500")      # only what is new, and that is nothing
    assert got.stdout == "" and "Processed a total of 0 messages" in got.stderr


def test_what_the_tree_says(cluster):
    cluster.create("t", partitions=2, replicas=1)
    with Consumer(cluster, "--whitelist", " t, u", "--group", "g", "--consumer-property", "auto.commit.interval.ms=50") as c:
        wait_for(lambda: all(owner(cluster, "g", "t", p) for p in (0, 1)), what="owners")
        name, = ids(cluster, "g")
        assert re.fullmatch(r"g_[^/]+-\d{13}-[0-9a-f]{8}", name)
        data, stat = cluster.znode("/consumers/g/ids/" + name)
        node = json.loads(data)
        assert list(node) == ["version", "subscription", "pattern", "timestamp"]
        assert (node["version"], node["subscription"], node["pattern"]) == (1, {"t|u": 1}, "white_list")
        assert node["timestamp"].isdigit() and stat.ephemeralOwner != 0
        assert [owner(cluster, "g", "t", p) for p in (0, 1)] == [name + "-0"] * 2
        assert cluster.znode("/consumers/g/owners/t/0")[1].ephemeralOwner == stat.ephemeralOwner
        wait_for(lambda: offset(cluster, "g", "t", 0) == 0, what="the place where it begins")
        produce(cluster, "t", ["k:%d" % i for i in range(10)])
        wait_for(lambda: (offset(cluster, "g", "t", 0) or 0) + (offset(cluster, "g", "t", 1) or 0) == 10, what="offsets")
        cluster.create("u", partitions=1, replicas=1)           # a topic that comes later
        wait_for(lambda: owner(cluster, "g", "u", 0), what="the new topic")
        harness.tool("kafka-topics.sh", "--zookeeper", zk_of(cluster), "--alter", "--topic", "t", "--partitions", "3")
        wait_for(lambda: cluster.known_by(1, "t").get(2, (-1,))[0] == 1, what="a leader, and the broker that tells producers of it")
        produce(cluster, "t", ["k%d:%d" % (i, i) for i in range(10, 30)])
        produce(cluster, "u", ["30"])
        wait_for(lambda: sum(offset(cluster, "g", "t", p) or 0 for p in range(3)) == 30 and len(c.lines) == 31, what="all")
        assert offset(cluster, "g", "t", 2) > 0
        c.stop()
        assert sorted(map(int, c.lines)) == list(range(31))
    assert ids(cluster, "g") == [] and owner(cluster, "g", "t", 0) is None


def test_goes_on_where_it_was(cluster):
    cluster.create("t", replicas=1)
    produce(cluster, "t", [str(i) for i in range(10)])
    assert consume(cluster, "--topic", "t", "--group", "g", "--from-beginning", "--max-messages", "4").stdout == "0\n1\n2\n3\n"
    assert offset(cluster, "g", "t", 0) == 4
    assert consume(cluster, "--topic", "t", "--consumer-property", "group.id=g", "--max-messages", "3").stdout == "4\n5\n6\n"
    got = consume(cluster, "--topic", "t", "--group", "g", "--from-beginning", status=1)
    assert "Found previous offset information for this group g. Please use --delete-consumer-offsets" in got.stderr
    assert offset(cluster, "g", "t", 0) == 7
    got = consume(cluster, "--topic", "t", "--group", "g", "--from-beginning", "--delete-consumer-offsets", "--max-messages", "2",
                  "--consumer-property", "auto.commit.enable=false")
    assert got.stdout == "0\n1\n" and offset(cluster, "g", "t", 0) is None
    # Nothing was read, and yet it is known where to go on. (Not where the machine stands still for so long.)
    wait_for(lambda: consume(cluster, "--topic", "t", "--group", "h", "--timeout-ms", "200") and offset(cluster, "h", "t", 0),
             what="where it began")
    produce(cluster, "t", ["10"])
    assert consume(cluster, "--topic", "t", "--group", "h", "--max-messages", "1").stdout == "10\n"


def test_two_share_and_one_takes_over(cluster):
    cluster.create("t", partitions=4, replicas=1)
    options = ("--topic", "t", "--group", "g", "--property", "print.key=true", "--consumer-property", "rebalance.backoff.ms=200")
    with Consumer(cluster, *options) as a:
        wait_for(lambda: owner(cluster, "g", "t", 3), what="the first has all")
        for p in range(4):
            wait_for(lambda: offset(cluster, "g", "t", p) == 0, what="where it begins")     # before the next one has read
        first, = ids(cluster, "g")
        with Consumer(cluster, *options, session_ms=3000) as b:
            wait_for(lambda: len({owner(cluster, "g", "t", p) for p in range(4)} - {None}) == 2, what="two owners")
            wait_for(lambda: len(ids(cluster, "g")) == 2, what="two members")
            second, = set(ids(cluster, "g")) - {first}
            low, high = sorted((first, second))
            wait_for(lambda: [owner(cluster, "g", "t", p) for p in range(4)] == [low + "-0"] * 2 + [high + "-0"] * 2,
                     what="ranges")
            n = 0
            while n == 0 or (not (a.lines and b.lines) and n < 400):      # its session is short, and it may just be without it
                produce(cluster, "t", ["k%d:%d" % (i, i) for i in range(n, n + 40)])
                n += 40
                wait_for(lambda: len(set(a.lines + b.lines)) == n, what="all records")
            assert a.lines and b.lines
            b.process.kill()
            b.wait()
        wait_for(lambda: [owner(cluster, "g", "t", p) for p in range(4)] == [first + "-0"] * 4, what="one owner of all")
        produce(cluster, "t", ["k%d:%d" % (i, i) for i in range(n, n + 20)])
        wait_for(lambda: {"k%d\t%d" % (i, i) for i in range(n + 20)} <= set(a.lines + b.lines), what="no record is lost")
        a.stop()


def test_a_broker_dies(clusters):
    cluster = clusters(3, zookeeper_session_timeout_ms=10000 * SLOW).start()
    cluster.create("t", replicas=3)
    cluster.create("u", assignment=[[1], [2]])
    one = cluster.leader("t")
    other = next(n for n in (3, 2, 1) if n != one)
    produce(cluster, "t", ["0"], other)
    with Consumer(cluster, "--whitelist", "t", "--group", "g", "--from-beginning") as c:
        wait_for(lambda: c.lines == ["0"], what="a record")
        cluster.kill9(one)
        produce(cluster, "t", ["1"], other)
        wait_for(lambda: c.lines == ["0", "1"], 90, "a record of the next leader")
        c.stop()
        assert offset(cluster, "g", "t", 0) == 2
    cluster.restart(one)
    cluster.wait_full("t")
    cluster.kill9(2)                                            # u-1 has no leader now
    wait_for(lambda: cluster.leader("u", 1) is None, 90, "no leader")
    with Consumer(cluster, "--topic", "u", "--group", "h", "--consumer-property", "auto.commit.interval.ms=50") as c:
        wait_for(lambda: any("where logs begin or end" in s for s in c.said), what="word of it")
        wait_for(lambda: offset(cluster, "h", "u", 0) == 0, what="the other partition is read")
        cluster.restart(2)
        cluster.wait_full("u")
        wait_for(lambda: offset(cluster, "h", "u", 1) == 0, what="and this one when it can be")
        c.stop()


def test_what_is_no_consumers_is_passed_over(cluster):
    cluster.create("t", partitions=3, replicas=1)
    zk, root = cluster.zk.client, cluster.chroot
    texts = [b"", b"{", b"[]", b'{"pattern":"static"}', b'{"subscription":{"t":-1},"pattern":"static"}', b"\xff\x00\n",
             b'{"subscription":{"t":2000000000},"pattern":"static"}', b'{"subscription":{"(":1},"pattern":"white_list"}']
    for i, text in enumerate(texts):
        zk.create("%s/consumers/g/ids/bad%d" % (root, i), text, makepath=True)
    zk.create(root + "/consumers/g/offsets/t/0", b"12x", makepath=True)
    zk.create(root + "/consumers/g/offsets/t/1", b"-7")
    zk.create(root + "/consumers/g/owners/t/2", b"somebody", makepath=True)
    zk.create(root + "/brokers/topics/..%s" % ("x" * 300), b"{}")
    zk.create(root + "/brokers/topics/t2", b'{"version":1,"partitions":{"-1":[1]}}')
    produce(cluster, "t", ["k%d:%d" % (i, i) for i in range(30)])
    with Consumer(cluster, "--whitelist", "t.*", "--group", "g", "--consumer-property", "auto.offset.reset=largest",
                  "--consumer-property", "rebalance.backoff.ms=50") as c:
        wait_for(lambda: owner(cluster, "g", "t", 0) and owner(cluster, "g", "t", 1), what="what is free")
        wait_for(lambda: any("/owners/t/2 is held by somebody, for good: it is not ephemeral" in s for s in c.said), what="word of it")
        for i in range(len(texts)):
            wait_for(lambda: any("/ids/bad%d is no consumer's registration" % i in s for s in c.said), what="word of node %d" % i)
        wait_for(lambda: any("/offsets/t/0: no offset" in s for s in c.said), what="word of the offset")
        zk.delete(root + "/consumers/g/owners/t/2")
        wait_for(lambda: (owner(cluster, "g", "t", 2) or "").startswith("g_"), what="the last one")
        for p in range(3):
            wait_for(lambda: (cluster.znode("/consumers/g/offsets/t/%d" % p)[0] or b"").isdigit(), what="where it begins in %d" % p)
        name = next(n for n in ids(cluster, "g") if n.startswith("g_"))
        zk.delete(root + "/consumers/g/ids/" + name)            # it comes back
        wait_for(lambda: name in ids(cluster, "g"), what="its registration")
        produce(cluster, "t", ["k%d:%d" % (i, i) for i in range(30, 60)])
        wait_for(lambda: len(set(c.lines)) >= 30, what="the records")
        c.stop()
    assert offset(cluster, "g", "t", 0) >= 0


def test_mistakes(cluster):
    def refused(text, *args):
        assert text in consume(cluster, *args, status=1).stderr

    refused("Exactly one of whitelist/blacklist/topic is required.")
    refused("Exactly one of whitelist/blacklist/topic is required.", "--topic", "t", "--blacklist", "u")
    refused("Option [bootstrap-server] is not valid with [zookeeper].", "--topic", "t", "--bootstrap-server", "h:1")
    refused("Partition-offset based consumption is supported in the new consumer only.", "--topic", "t", "--partition", "0")
    refused("Wrong value earliest of auto.offset.reset", "--topic", "t", "--consumer-property", "auto.offset.reset=earliest")
    refused("please remove one option", "--topic", "t", "--from-beginning", "--consumer-property", "auto.offset.reset=largest")
    refused("offsets.storage=kafka", "--topic", "t", "--consumer-property", "offsets.storage=kafka")
    refused("group.id ../brokers is illegal", "--topic", "t", "--group", "../brokers", "--delete-consumer-offsets")
    refused("group.id  is illegal", "--topic", "t", "--group", "", "--delete-consumer-offsets")
    refused("group.id .. is illegal", "--topic", "t", "--group", "..", "--delete-consumer-offsets")
    refused("do not match", "--topic", "t", "--group", "a", "--consumer-property", "group.id=b")
    refused("( is an invalid regex.", "--whitelist", "(")
    cluster.zk.client.ensure_path("/empty")
    got = harness.tool("kafka-console-consumer.sh", "--zookeeper", cluster.zk.connect + "/empty", "--topic", "t", check=False)
    assert got.returncode == 1 and "No brokers found in ZK." in got.stderr
    got = cluster[1].tool("kafka-console-consumer.sh", "--topic", "t", "--blacklist", "u", check=False)
    assert got.returncode == 1 and "blacklist is not a recognized option" in got.stderr


def test_zookeeper_is_away(tmp_path):
    from cluster import Cluster, peer_missing
    if why_not() or peer_missing():
        pytest.skip(why_not() or peer_missing())
    with ZooKeeper(tmp_path / "zk") as zk, Cluster(zk, tmp_path / "cluster", 1, {
            "default.replication.factor": "1", "min.insync.replicas": "1", "zookeeper.session.timeout.ms": "60000"}) as cluster:
        cluster.start()
        cluster.create("t", replicas=1)
        with Consumer(cluster, "--topic", "t", "--group", "g", "--consumer-property", "auto.commit.interval.ms=50",
                      session_ms=6000) as c:
            wait_for(lambda: offset(cluster, "g", "t", 0) == 0, what="it has begun")
            name, = ids(cluster, "g")
            session = cluster.znode("/consumers/g/ids/" + name)[1].ephemeralOwner
            produce(cluster, "t", ["0"])                        # (the broker has ids for producers from now on)
            wait_for(lambda: c.lines == ["0"], what="a record")
            zk.servers[0].send_signal(signal.SIGSTOP)
            produce(cluster, "t", [str(i) for i in range(1, 10)])
            wait_for(lambda: len(c.lines) == 10, what="records without ZooKeeper")
            wait_for(lambda: any("the connection to ZooKeeper" in s for s in c.said), what="word of it")
            zk.servers[0].send_signal(signal.SIGCONT)
            wait_for(lambda: offset(cluster, "g", "t", 0) == 10 and ids(cluster, "g") == [name], what="what was read is committed")
            lived = cluster.znode("/consumers/g/ids/" + name)[1].ephemeralOwner == session      # it may be over all the same
            # A session that is over while it stands still: all is taken again.
            os.kill(c.process.pid, signal.SIGSTOP)
            wait_for(lambda: ids(cluster, "g") == [], what="its session is over")
            os.kill(c.process.pid, signal.SIGCONT)
            wait_for(lambda: ids(cluster, "g") == [name] and owner(cluster, "g", "t", 0) == name + "-0", what="it is back")
            assert cluster.znode("/consumers/g/ids/" + name)[1].ephemeralOwner != session
            produce(cluster, "t", ["10"])
            wait_for(lambda: c.lines[-1] == "10" and offset(cluster, "g", "t", 0) == 11, what="it reads on")
            expected = [str(i) for i in range(11)]
            assert c.lines == expected or (not lived and sorted(set(c.lines), key=int) == expected), c.lines
            zk.servers[0].send_signal(signal.SIGSTOP)           # and it stops without
            c.stop()
            zk.servers[0].send_signal(signal.SIGCONT)
        cluster.finish()
