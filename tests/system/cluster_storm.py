"""tests/system/cluster_storm.py - those who make the storm of test_128_storm.py: threads that change a cluster all the time,
whoever is its controller, and the blows that its brokers, their network and ZooKeeper get meanwhile, one after the other.

An answer that no state of a cluster explains is a fault; so is one that does not come.
"""
import threading

from alterations import BROKER, SET, TOPIC, change, resource
from batches import batch
from cluster import PATIENCE
from harness import SLOW, wait_for
from proxy import ZK
from storm import Actor
from wire import Wire

# What one may be told, and then tries again: it has moved, or moves; a broker is down; no controller; it took too long.
PASSING = {-1, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 41, 56, 75, 76, 78, 79, 80, 85, 95, 100}
CHURNED = ["churn%d" % n for n in range(4)]


class Deed(Actor):
    """Asks the controller, or anybody."""
    to_controller = True

    def connection(self):
        cluster = self.storm.cluster
        if self.wire is None:
            numbers = cluster.live()
            if self.to_controller:
                numbers = [n for n in numbers if n == cluster.controller()]
            if not numbers:
                raise OSError("nobody to ask")
            self.wire = Wire(cluster[self.rng.choice(numbers)].port, timeout=10 * SLOW)
        return self.wire

    def act(self):
        try:
            self.deed()
        except TimeoutError:                        # it stands still, or is cut off: so it may be
            self.truth.count("no answer")
            raise

    def deed(self):
        raise NotImplementedError

    def expect(self, code, what, *also):
        """Whoever says that it is somebody else's affair is not asked again."""
        if code != 0:
            self.drop()
        if code not in PASSING and code not in (0,) + also:
            self.truth.fault("%s: error %d (%s)", self.name, code, what)
        self.truth.count(what if code == 0 else "%s: error %d" % (what, code))
        return code == 0


class Churner(Deed):
    """Topics come, grow and go; some names again and again."""
    pause = 0.15

    def deed(self):
        w, topic = self.connection(), self.rng.choice(CHURNED)
        deed = self.rng.randrange(4)
        if deed == 0:
            out = w.call("CreateTopics", 5, TimeoutMs=5000 * SLOW, Topics=[{
                "Name": topic, "NumPartitions": self.rng.randrange(1, 5), "ReplicationFactor": self.rng.randrange(1, 4),
                "Assignments": [], "Configs": []}])
            self.expect(out["Topics"][0]["ErrorCode"], "create", 36, 38)        # it is there; too few brokers
        elif deed == 1:
            out = w.call("DeleteTopics", 4, TimeoutMs=5000 * SLOW, TopicNames=[topic])
            self.expect(out["Responses"][0]["ErrorCode"], "delete")
        elif deed == 2:
            out = w.call("CreatePartitions", 1, TimeoutMs=5000 * SLOW, ValidateOnly=False, Topics=[
                {"Name": topic, "Count": self.rng.randrange(2, 7), "Assignments": None}])
            self.expect(out["Results"][0]["ErrorCode"], "expand", 17, 37, 38, 60)   # it is being deleted, or moved
        else:
            out = w.produce(8, topic, 0, batch([topic.encode()], b"key"), acks=1)
            self.expect(out["ErrorCode"], "produce")


class Mover(Deed):
    """Replicas move; sometimes it is thought better of."""
    pause = 0.3

    def deed(self):
        topic, partitions, places = self.rng.choice(self.storm.moved)
        ids = self.rng.sample(list(self.storm.cluster.nodes), self.rng.choice(places))
        out = self.connection().call("AlterPartitionReassignments", 0, TimeoutMs=5000 * SLOW, Topics=[
            {"Name": topic, "Partitions": [{"PartitionIndex": self.rng.randrange(partitions),
                                            "Replicas": None if self.rng.random() < 0.2 else ids}]}])
        code = out["Responses"][0]["Partitions"][0]["ErrorCode"] if out["Responses"] else out["ErrorCode"]
        self.expect(code or out["ErrorCode"], "reassign", 39)                   # a broker of it is down


class Elector(Deed):
    pause = 0.3

    def deed(self):
        topic = self.rng.choice(list(self.storm.round.topics) + ["__consumer_offsets"])
        out = self.connection().call("ElectLeaders", 1, ElectionType=0, TimeoutMs=5000 * SLOW, TopicPartitions=[
            {"Topic": topic, "Partitions": list(range(self.rng.randrange(1, 3)))}])
        self.expect(out["ErrorCode"], "elect")
        for t in out["ReplicaElectionResults"]:
            for p in t["PartitionResult"]:
                self.expect(p["ErrorCode"], "elect one", 84)                    # it leads


class Configs(Deed):
    """Of topics, and of brokers."""
    pause = 0.15
    to_controller = False
    OF_TOPICS = [("segment.bytes", ("14000", "100000", "1073741824")), ("flush.messages", ("1", "1000000")),
                 ("index.interval.bytes", ("0", "4096")), ("min.insync.replicas", ("1", "2")), ("segment.ms", ("500", "604800000"))]
    # At most twice as many at once, and not less than half: else it is refused.
    OF_BROKERS = [("num.replica.fetchers", ("1", "2")), ("num.io.threads", ("2", "3")), ("background.threads", ("2", "3"))]

    def deed(self):
        w = self.connection()
        if self.rng.random() < 0.3:
            name, values = self.rng.choice(self.OF_BROKERS)
            of = resource(BROKER, "", (name, SET, self.rng.choice(values)))
        else:
            name, values = self.rng.choice(self.OF_TOPICS)
            of = resource(TOPIC, self.rng.choice(list(self.storm.round.topics) + CHURNED), (name, SET, self.rng.choice(values)))
        if name == "min.insync.replicas" and of["ResourceName"] == self.storm.round.topic:
            return
        self.expect(change(w, of)[0][0], "configure")
        self.drop()


class DirMover(Deed):
    """Replicas move from one directory of their broker to another."""
    pause = 0.3
    to_controller = False

    def deed(self):
        cluster = self.storm.cluster
        number = self.rng.choice(cluster.live())
        topic = self.rng.choice(list(self.storm.round.topics) + ["__consumer_offsets"])
        with Wire(cluster[number].port, timeout=10 * SLOW) as w:
            out = w.call("AlterReplicaLogDirs", 2, Dirs=[{"Path": self.rng.choice(cluster[number].dirs), "Topics": [
                {"Name": topic, "Partitions": [self.rng.randrange(2)]}]}])
        self.expect(out["Results"][0]["Partitions"][0]["ErrorCode"], "move between directories", 57)


DEEDS = (Churner, Mover, Elector, Configs, DirMover)


class Blows:
    """Each is over when its method has ended: everybody lives and is reached."""

    def __init__(self, storm, rng):
        self.storm, self.cluster, self.rng = storm, storm.cluster, rng
        self.pause = threading.Event()
        self.kinds = [self.kill, self.kill, self.kill_two, self.term, self.stand_still, self.cut, self.cut_zookeeper, self.expire,
                      self.restart_zookeeper, self.kill_while_it_starts]

    def strike(self):
        blow = self.rng.choice(self.kinds)
        self.storm.truth.count("blow: " + blow.__name__)
        blow()

    def last(self, seconds):
        """What a blow has done stays so for a while: for nothing in particular."""
        self.pause.wait(seconds * self.rng.random() * SLOW)

    def victim(self):
        """Often one who has something to say."""
        topic = self.storm.round.topic
        return self.rng.choice([self.cluster.controller(), self.cluster.leader(topic), None]) or self.rng.choice(
            list(self.cluster.nodes))

    def kill(self):
        number = self.victim()
        self.cluster.kill9(number)
        self.last(1)
        self.cluster.restart(number)

    def kill_two(self):
        numbers = self.rng.sample(list(self.cluster.nodes), 2)
        self.cluster.kill9(*numbers)
        self.last(1)
        for number in self.rng.sample(numbers, 2):
            self.cluster.restart(number)

    def term(self):
        number = self.victim()
        self.cluster.term(number)
        self.last(1)
        self.cluster.restart(number)

    def kill_while_it_starts(self):
        number = self.victim()
        node = self.cluster[number]
        self.cluster.kill9(number)
        node.spawn()
        lines = self.rng.randrange(6)
        wait_for(lambda: node.log(this_start=True).count("\n") > lines or not node.alive(), PATIENCE, "it begins to start")
        self.cluster.kill9(number)
        self.cluster.restart(number)

    def stand_still(self):
        number = self.victim()
        self.cluster[number].sigstop()
        self.last(3)
        self.cluster[number].sigcont()

    def cut(self):
        """Two brokers, or one from both others; one way or both."""
        net, one = self.cluster.net, self.victim()
        others = [n for n in self.cluster.nodes if n != one]
        for other in self.rng.sample(others, self.rng.choice((1, 2))):
            ends = (one, other) if self.rng.random() < 0.5 else (other, one)
            net.cut(*ends, both=self.rng.random() < 0.5)
        self.last(3)
        net.heal(reset=self.rng.random() < 0.5)

    def cut_zookeeper(self):
        net, one = self.cluster.net, self.victim()
        ends = (one, ZK) if self.rng.random() < 0.5 else (ZK, one)
        net.cut(*ends, both=self.rng.random() < 0.5)
        self.last(4)
        net.heal(reset=self.rng.random() < 0.5)

    def expire(self):
        self.cluster.expire(self.victim())

    def restart_zookeeper(self):
        self.cluster.zk.restart(lambda: self.last(2))


def controlled(cluster, what, undone):
    """undone(): sentences; waits until there are none."""
    left = []

    def none():
        left[:] = undone()
        return not left
    cluster.wait(none, lambda: "%s: %s" % (what, left[:10]))

