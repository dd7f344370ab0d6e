"""tests/bench/cluster_rows.py - the rows about a cluster: three brokers, RF 3, on this machine, under one ZooKeeper.

The brokers are those of tests/system/cluster.py, with default properties and without the proxy between them; the ZooKeeper
is Debian's, a new one for each kind of broker. CPU is the sum of the three daemons, after a warm-up of 300 MB. A gap is the
longest time between two acknowledgements that a librdkafka producer at its defaults (a record about every 2 ms, acks=all)
gets, from before a broker is killed or told to stop until records are acknowledged again.
"""
import os
import struct
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "system"))

ROW_CPU = "3 brokers: their CPU to take in 1 GB of 1 KB records, acks=all, %s, s"
ROW_RATE = "3 brokers: the same, MB/s"
ROW_ACK = "3 brokers: ack latency at 1,000/s, acks=all, p50 / p99 / p99.9, us"
ROW_KILL = "3 brokers: kill -9 of a leader, gap, median / max, s"
ROW_TERM = "3 brokers: TERM of a leader, gap, median / max, s"
ROW_RETURN = "3 brokers: start of a follower that missed 1 GB until it is in the ISR, s"
ROW_TOPICS = "3 brokers: create 1,000 topics of 10 partitions, 100 a request, s"
ROW_TOPICS_ONE = "3 brokers: create 100 topics of 10 partitions, one a request, s"
ROW_FAILOVER = "3 brokers: %s partitions, from /controller gone to all leaders known / a topic created, s"
ROW_VANISH = "3 brokers: kill -9 of the controller until /controller is gone, s"
ROW_AGAIN = "3 brokers: kill -9 and start until registered, of which since the last start, s"
TARGETS = [
    (ROW_CPU.split("%")[0], "2.5 (large batches), a fifth of Kafka's"), (ROW_ACK, "250 / - / -"),
    (ROW_KILL, "0.5"), (ROW_TERM, "0.2"), (ROW_RETURN, "5"), (ROW_TOPICS, "20"), (ROW_TOPICS_ONE, "2"),
    ("3 brokers: 10,", "1"), (ROW_AGAIN, "- / 0.3"),
]
PARTS = ("throughput", "latency", "gaps", "returns", "again", "topics", "failover", "singly")
NO_LEADER, LEADER_NOT_AVAILABLE, NOT_CONTROLLER = -1, 5, 41


def why_not():
    """None, or why there can be no cluster."""
    from cluster_zk import why_not as no_zookeeper
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        return "python3-confluent-kafka is not there (make setup installs it)"
    return no_zookeeper()


def new_cluster(zk, folder, who, kafka):
    from cluster import Cluster, Node

    class Straight:
        """In place of the network of the tests: nothing lies between two brokers."""
        @staticmethod
        def kafka_listener(_, target_port):
            return target_port()

        zookeeper_listener = kafka_listener

        def up(self, _):
            pass

        down = up

        def close_all(self):
            pass

    class Member(Node):
        properties = {"default.replication.factor": "3", "offsets.topic.replication.factor": "3",
                      "auto.create.topics.enable": "false"}

        def configure(self):
            super().configure()
            where = "PLAINTEXT://127.0.0.1:%d,REPLICATION://127.0.0.1:%d" % (self.port, self.peer_port)
            self.overrides["listeners"] = self.overrides["advertised.listeners"] = where
            self.overrides["zookeeper.session.timeout.ms"] = "18000"

    class Members(Cluster):
        node_class, net_class = Member, Straight

    c = Members(zk, folder)
    for node in c.nodes.values():
        node.kind = who if who == "klamm" else "apache-" + kafka
    return c


class Cell:
    """The measurements of one cluster."""

    def __init__(self, bench, c, who):
        self.bench, self.c, self.who, self.quick = bench, c, who, bench.quick

    def put(self, row, value, form="%.2f"):
        self.bench.put(row, self.who, value, form)

    def addresses(self):
        return ",".join("127.0.0.1:%d" % node.port for node in self.c.nodes.values())

    def cpu(self):
        return sum(node.cpu_seconds() for node in self.c.nodes.values() if node.alive())

    def program(self, name, *args):
        done = subprocess.run([os.path.join(self.bench.build, "tests/bench", name), *map(str, args)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=600)
        if done.returncode != 0:
            raise RuntimeError("%s %s: %s" % (name, args, done.stdout[-2000:]))
        return done.stdout

    def produce(self, topic, megabytes, *more):
        begin = time.monotonic()
        self.program("rdkafka_performance", "-P", "-q", "-b", self.addresses(), "-t", topic, "-p", 0, "-s", 1000, "-c",
                     megabytes * 1000, "-a", -1, "-X", "linger.ms=5", "-X", "queue.buffering.max.kbytes=200000", *more)
        return time.monotonic() - begin

    # ---- rows ----

    def throughput(self):
        megabytes = 300 if self.quick else 1000
        self.c.create("in")
        self.produce("in", 300)
        self.produce("in", 100, "-X", "batch.size=16384")
        for what, more in (("large batches", ()), ("batches of 16 KB", ("-X", "batch.size=16384"))):
            self.c.wait_full("in")
            before = self.cpu()
            wall = self.produce("in", megabytes, *more)
            self.put(ROW_CPU % what, (self.cpu() - before) * 1000 / megabytes)
            self.put(ROW_RATE.replace("the same", what), megabytes / wall, "%.0f")

    def latency(self):
        self.c.create("one")
        port = self.c[self.c.wait_leader("one")].port
        if self.who != "klamm":
            self.program("ack", port, "one", -1, 0, 2000 if self.quick else 20000)
        self.program("ack", port, "one", -1, 1000, 2000)
        got = self.program("ack", port, "one", -1, 1000, 3000 if self.quick else 20000).split()
        self.put(ROW_ACK, "%.0f / %.0f / %.0f" % tuple(float(n) for n in got[:3]))

    def gap(self, strike):
        """strike(leader) ends a leader that is not the controller; seconds without an acknowledgement."""
        self.c.wait_full("gap")
        controller, leader = self.c.wait_controller(), self.c.wait_leader("gap")
        if leader == controller:
            leader = next(n for n in self.c.nodes if n != controller)
            self.c.move_leader("gap", leader)
        with Producing(self.addresses(), "gap") as p:
            self.c.wait(lambda: len(p.acked) > 500, "records are acknowledged")
            begin = time.monotonic()
            strike(leader)
            self.c.wait(lambda: p.acked[-1] > time.monotonic() - 0.05 and p.acked[-1] > begin + 1 and
                        self.c.leader("gap") != leader, "records are acknowledged again")
        self.c.restart(leader)
        return p.gap_since(begin)

    def gaps(self):
        self.c.create("gap")
        for row, strike, ours, theirs in ((ROW_KILL, self.c.kill9, 5, 1), (ROW_TERM, self.c.term, 5, 2)):
            n = 1 if self.quick else ours if self.who == "klamm" else theirs
            found = sorted(self.gap(strike) for _ in range(n))
            self.put(row, "%.2f / %.2f" % (found[n // 2], found[-1]))

    def returns(self):
        """A follower that was away while the others took in 1 GB."""
        self.c.create("away")
        away = next(n for n in self.c.nodes if n not in (self.c.leader("away"), self.c.controller()))
        self.c.kill9(away)
        self.c.wait_out("away", away)
        self.produce("away", 300 if self.quick else 1000)
        if self.c[away].apache:
            self.c.wait_gone(away)
        begin = time.time()
        self.c[away].spawn()
        self.c.wait_isr("away", self.c.replicas("away"))
        _, stat = self.c.znode("/brokers/topics/away/partitions/0/state")
        self.put(ROW_RETURN, stat.mtime / 1000 - begin)

    def again(self):
        number = next(n for n in self.c.nodes if n != self.c.controller())
        begin = time.time()
        before = self.c.wait_registered(number)
        self.c.kill9(number)
        if self.c[number].apache:               # it ends when it finds its own old registration
            self.c.wait_gone(number)
        start = time.time()
        self.c[number].spawn()
        self.c.wait_registered(number, besides=before)
        _, stat = self.c.znode("/brokers/ids/%d" % number)
        self.put(ROW_AGAIN, "%.2f / %.2f" % (stat.ctime / 1000 - begin, stat.ctime / 1000 - start))

    def topics(self):
        self.create_many(ROW_TOPICS, 0, 100 if self.quick else 1000, 100)

    def singly(self):
        self.create_many(ROW_TOPICS_ONE, 1000, 100, 1)

    def create_many(self, row, first, n, at_once):
        with self.c[self.c.wait_controller()].connect(300) as wire:
            begin = time.monotonic()
            for i in range(first, first + n, at_once):
                self.create_topics(wire, range(i, i + at_once))
            for node in self.c.nodes.values():
                self.c.wait(lambda node=node: leaders_known(node, n, (NO_LEADER,)), "all partitions are led")
            self.put(row, time.monotonic() - begin)

    @staticmethod
    def create_topics(wire, numbers):
        out = wire.call("CreateTopics", 5, TimeoutMs=200000, Topics=[
            {"Name": "ten-%d" % i, "NumPartitions": 10, "ReplicationFactor": 3} for i in numbers])
        for t in out["Topics"]:
            if t["ErrorCode"] != 0:
                raise RuntimeError("CreateTopics %s: error %d" % (t["Name"], t["ErrorCode"]))

    def failover(self):
        """kill -9 of the controller, which leads a third of all partitions as well."""
        n = 100 if self.quick else 1000
        old = self.c.wait_controller()
        _, stat = self.c.znode("/controller")
        left = [node for number, node in self.c.nodes.items() if number != old]
        created, vanished = [], []
        creating = threading.Thread(target=self.create_again, args=(old, created))
        self.c.kill9(old)
        begin = time.time()

        def gone():
            _, now = self.c.znode("/controller")
            if now is None or now.czxid != stat.czxid:
                vanished.append(min(time.time(), now.ctime / 1000) if now else time.time())
            return vanished
        while not gone():
            pass
        creating.start()
        for node in left:
            self.c.wait(lambda node=node: leaders_known(node, n, (old, NO_LEADER)), "all partitions are led")
        known = time.time()
        creating.join()
        self.put(ROW_VANISH, vanished[0] - begin)
        self.put(ROW_FAILOVER % format(n * 10, ","), "%.2f / %.2f" % (known - vanished[0], created[0] - vanished[0]))
        self.c.restart(old)

    def create_again(self, old, created):
        self.c.wait_controller(besides=old)
        out = self.c.ask_controller("CreateTopics", 5, TimeoutMs=60000, Topics=[
            {"Name": "afterwards", "NumPartitions": 1, "ReplicationFactor": 2}])["Topics"][0]
        while out["ErrorCode"] == NOT_CONTROLLER:       # it does not know yet
            out = self.c.ask_controller("CreateTopics", 5, TimeoutMs=60000, Topics=[
                {"Name": "afterwards", "NumPartitions": 1, "ReplicationFactor": 2}])["Topics"][0]
        created.append(time.time())

    def run(self):
        for row in PARTS:
            if not self.bench.wants("cluster." + row):
                continue
            try:
                getattr(self, row)()
            except (AssertionError, RuntimeError, OSError) as e:        # what else there is to see is still measured
                self.put("3 brokers: row cluster.%s failed" % row, str(e).splitlines()[0])


def leaders_known(node, topics, leaders):
    """Does the broker know all of `topics` topics of 10 partitions, and none of these that one of `leaders` leads? It looks
    for the bytes (error, index, leader, 3 replicas) in an answer of Metadata: ten thousand partitions are too many to take
    apart every few milliseconds. An index that is a broker's id, too, could be anything."""
    indices = [i for i in range(10) if i not in node.cluster.nodes]
    with node.connect(30) as wire:
        wire.send("Metadata", 1, {"Topics": None})
        body = wire.exactly(struct.unpack(">i", wire.exactly(4))[0])
    return body.count(b"ten-") >= topics and not any(struct.pack(">hiii", error, i, n, 3) in body for n in leaders
                                                     for error in (0, LEADER_NOT_AVAILABLE) for i in indices)


class Producing:
    """A producer at work, in a thread of its own. acked: when records were acknowledged."""

    def __init__(self, addresses, topic):
        from confluent_kafka import Producer
        self.producer = Producer({"bootstrap.servers": addresses, "log_level": 0})
        self.topic, self.acked, self.ends = topic, [], False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ends:
            self.producer.produce(self.topic, b"x" * 100, on_delivery=self.delivered)
            self.producer.poll(0.002)
        self.producer.flush(60)

    def delivered(self, error, _):
        if error is None:
            self.acked.append(time.monotonic())

    def gap_since(self, begin):
        return max(b - a for a, b in zip(self.acked, self.acked[1:]) if b > begin)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        self.thread.join()


def cluster(bench, who, kafka):
    from cluster_zk import ZooKeeper
    folder = os.path.join(bench.folder, "cluster-" + who)
    with ZooKeeper(folder) as zk, new_cluster(zk, folder, who, kafka) as c:
        c.start()
        Cell(bench, c, who).run()
