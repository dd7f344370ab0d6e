"""Three brokers from the files that guides give to their readers (../shared/users): only ids, ports, directories and ZooKeeper's
address are one's own. D4, D5, D6, D9; and the settings that such a broker tells are those that Apache Kafka's tells of the
same file."""
import os
import re

import pytest
from confluent_kafka import Consumer, Producer

from alterations import BROKER
from cluster import Cluster, Node
from cluster_fixtures import zookeeper  # noqa: F401
from harness import SLOW, TOP

USERS = os.path.join(os.environ.get("KLAMM_SHARED", os.path.join(TOP, "..", "shared")), "users")
LARGE, ANNOTATED = "cluster-large.properties", "cluster-large-annotated.properties"
NOTE = re.compile(r"(=[^#\n]*?)\s+#.*")
BIG = 3 << 20               # above the million bytes that every limit of Apache Kafka's defaults allows
AT_HOME = ["broker.id", "listeners", "advertised.listeners", "log.dirs", "zookeeper.connect"]


class Guided(Node):
    """Its file is a guide's: values are exchanged in their lines, everything else is as it stands there."""

    @property
    def guide(self):
        return self.cluster.guides[self.number]

    def configure(self):
        super().configure()
        at = "127.0.0.1:%d" % self.cluster.zk.servers[0].port
        self.overrides = {
            "broker.id": str(self.number), "log.dirs": self.data, "zookeeper.connect": ",".join([at] * 3) + self.cluster.chroot,
            "listeners": "PLAINTEXT://0.0.0.0:%d" % self.port, "advertised.listeners": "PLAINTEXT://127.0.0.1:%d" % self.port}

    def text(self):
        with open(os.path.join(USERS, self.guide), encoding="latin-1") as f:
            text = f.read()
        for key, value in self.overrides.items():
            text, n = re.subn(r"(?m)^%s=[^\s#]*" % re.escape(key), lambda _, k=key, v=value: "%s=%s" % (k, v), text)
            assert n == 1, "%s says %s %d times" % (self.guide, key, n)
        return text if self.cluster.noted else NOTE.sub(r"\1", text)

    def argv(self):
        argv = super().argv()
        with open(argv[-1], "w", encoding="latin-1") as f:
            f.write(self.text())
        return argv


class GuidedCluster(Cluster):
    node_class = Guided

    def __init__(self, zookeeper, folder, guides, noted=False):     # noqa: F811
        self.guides, self.noted = dict(enumerate(guides, 1)), noted
        super().__init__(zookeeper, folder, len(guides))


@pytest.fixture
def guided(zookeeper, tmp_path):                                    # noqa: F811
    if not os.path.exists(os.path.join(USERS, LARGE)):
        pytest.skip("no ../shared/users beside the checkout")
    made = []

    def make(*guides, **kw):
        made.append(GuidedCluster(zookeeper, tmp_path / ("cluster%d" % len(made)), guides, **kw))
        return made[-1]
    try:
        yield make
    finally:
        for cluster in made:
            cluster.end()


def servers(cluster):
    return ",".join(node.address for node in cluster.nodes.values())


def produce(cluster, first, n, big=None):
    """Records first..first+n-1 to the topic t, keys their numbers; one of them may be big."""
    faults = []
    p = Producer({"bootstrap.servers": servers(cluster), "acks": "all", "partitioner": "murmur2_random",
                  "enable.idempotence": True, "message.max.bytes": 2 * BIG, "allow.auto.create.topics": True,
                  "topic.metadata.refresh.interval.ms": 1000})
    for i in range(first, first + n):
        value = b"%d " % i + (b"x" * BIG if i == big else b"")
        p.produce("t", value, b"k%d" % i, on_delivery=lambda error, _: error and faults.append(str(error)))
        p.poll(0)
    assert p.flush(60 * SLOW) == 0 and not faults, faults[:3]


def consume(cluster, group, n):
    """The numbers of the next n records for that group, which commits them."""
    c = Consumer({"bootstrap.servers": servers(cluster), "group.id": group, "auto.offset.reset": "earliest",
                  "enable.auto.commit": False, "fetch.message.max.bytes": 2 * BIG})
    got = []

    def more():
        for m in c.consume(500, 0.1):
            assert m.error() is None, m.error()
            got.append(int(m.value()[:12].split()[0]))
        return len(got) >= n
    try:
        c.subscribe(["t"])
        cluster.wait(more, lambda: "%d of %d records" % (len(got), n))
        c.commit(asynchronous=False)
    finally:
        c.close()
    return sorted(got)


def told(node, keys):
    """What that broker tells of settings: {key: (value, source, default, sensitive, [synonyms])}."""
    with node.connect() as wire:
        row, = wire.call("DescribeConfigs", 4, Resources=[
            {"ResourceType": BROKER, "ResourceName": str(node.number), "ConfigurationKeys": keys}], IncludeSynonyms=True)["Results"]
    assert row["ErrorCode"] == 0, row
    return {c["Name"]: (c["Value"], c["ConfigSource"], c["IsSensitive"], c["ReadOnly"],
                        [(s["Name"], s["Value"], s["Source"]) for s in c["Synonyms"]]) for c in row["Configs"]}


def lines(name):
    """What the file says: {key: value}."""
    with open(os.path.join(USERS, name), encoding="latin-1") as f:
        return dict(NOTE.sub(r"\1", line).rstrip("\n").split("=", 1) for line in f if "=" in line)


def is_well(cluster):
    """The topic has the file's 48 partitions, each with two replicas in its ISR."""
    cluster.created.update({"t": 48, "__consumer_offsets": 50})
    assert sorted(int(p) for p in cluster.children("/brokers/topics/t/partitions")) == list(range(48))
    assert all(len(set(cluster.replicas("t", p))) == 2 for p in range(48))
    cluster.wait_full()


def test_three_brokers_from_a_guides_file(guided):
    """A topic that nobody created; a record larger than any default allows; each broker is stopped in its turn, one is killed,
    and at last all stop and come again: everything is read once, by a group that goes on from its commits."""
    cluster = guided(LARGE, LARGE, LARGE).start()
    assert sorted(cluster.children("/brokers/ids")) == ["1", "2", "3"]
    for node in cluster.nodes.values():
        assert "max.partition.fetch.bytes" in node.log(), "no warning of a key that is not the broker's"
    produce(cluster, 0, 1000, big=500)
    cluster.wait(lambda: len(cluster.children("/brokers/topics/t/partitions")) == 48, "48 partitions")
    assert consume(cluster, "g", 1000) == list(range(1000))
    is_well(cluster)
    own = lines(LARGE)
    for node in cluster.nodes.values():
        got = told(node, None)
        for key, value in dict(own, **node.overrides).items():
            if key == "max.partition.fetch.bytes":      # a value of unknown kind might be a secret
                value = None
            assert got[key][0] == value, (node.number, key, got[key])
    written = 1000
    for number in cluster.nodes:
        cluster.term(number)
        produce(cluster, written, 100)
        cluster.restart(number)
        is_well(cluster)
        written += 100
    cluster.kill9(1)
    produce(cluster, written, 100)
    cluster.restart(1)
    is_well(cluster)
    written += 100
    for number in cluster.nodes:
        cluster.term(number)
    cluster.start()
    is_well(cluster)
    assert consume(cluster, "g", written - 1000) == list(range(1000, written))
    assert consume(cluster, "all", written) == list(range(written))
    cluster.finish()


def test_a_guides_notes_after_the_values(guided):
    """As it was pasted it starts nothing, and every such line is told; without its notes it is a cluster."""
    broken = guided(ANNOTATED, noted=True)
    node = broken[1].spawn()
    status = node.process.wait(60 * SLOW)
    faults = [line for line in node.log().splitlines() if "no end-of-line comments" in line]
    assert status != 0 and len(faults) == 4, node.log()
    for key, line in zip(("broker.id", "advertised.listeners", "log.dirs", "zookeeper.connect"), faults):
        assert key in line and "server.properties" in line
    assert broken.zk.client.exists(broken.chroot) is None and not os.path.exists(node.data)
    cluster = guided(ANNOTATED, ANNOTATED, ANNOTATED).start()
    assert sorted(cluster.children("/brokers/ids")) == ["1", "2", "3"]
    cluster.create("t", 3)
    produce(cluster, 0, 300)
    assert consume(cluster, "g", 300) == list(range(300))
    cluster.kill9(2)
    cluster.restart(2)
    cluster.created["__consumer_offsets"] = 50
    cluster.wait_full()
    produce(cluster, 300, 300)
    assert consume(cluster, "g", 300) == list(range(300, 600))
    cluster.finish()


@pytest.mark.parametrize("version", ["3.9.1"])
def test_settings_are_told_as_by_apache_kafka(guided, peer, version):
    """Of every key in the large file, besides those that are one's own."""
    keys = [key for key in lines(LARGE) if key not in AT_HOME] + ["min.insync.replicas", "num.replica.fetchers"]
    ours, theirs = guided(LARGE), guided(LARGE)
    theirs[1].kind = "apache-" + version
    ours.start()
    theirs.start()
    a, b = told(ours[1], None), told(theirs[1], None)
    assert {key: a.get(key) for key in keys} == {key: b.get(key) for key in keys}
    for key in AT_HOME:
        assert a[key][1:4] == b[key][1:4], key
    theirs.end()
    ours.finish()
