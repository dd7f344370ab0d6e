"""tests/system/cluster.py - N brokers under a real ZooKeeper: start, kill, stop, cut, wipe, wait for states.

    with Cluster(zk, folder) as c:                  # brokers 1, 2, 3, with our own network between them
        c.start()
        c.create("t", partitions=2)
        c.kill9(c.leader("t"))
        c.wait_full("t")

Each broker has a listener for clients, and one for brokers whose advertised port is the proxy's. Nothing here sleeps, and no
time that a test waits is one that it measures: the limits are for machines that stand still now and then.

CLUSTER_BROKERS=apache-3.9.1 (or apache-2.7.1) runs the same tests with Apache Kafka's brokers of ../shared/peer: what holds for
ours must hold for theirs, or the test is wrong.
"""
import json
import os
import shutil
import signal

import harness
from cluster_zk import expire_session
from harness import SLOW, TOP, free_ports, wait_for
from proxy import ZK, Net
from wire import Wire

KIND = os.environ.get("CLUSTER_BROKERS", "klamm")
APACHE = KIND.startswith("apache")
PEER = os.path.join(os.environ.get("KLAMM_SHARED", os.path.join(TOP, "..", "shared")), "peer", "broker")
PATIENCE = 60               # seconds until a state is there; times SLOW
# Apache Kafka waits until a session is over when a broker has died; for ours nothing of it shall depend on that. So a session may
# be longer than a machine stands still.
SESSION_MS = 3000 if APACHE else 60000 if harness.SANITIZED else 30000
NO_LAG = 60000 * SLOW       # replica.lag.time.max.ms where nobody shall leave an ISR because the machine stands still
OK, ALREADY_EXISTS, NONE = 0, 36, -1
UNKNOWN_TOPIC, NOT_CONTROLLER, INVALID_ASSIGNMENT = 3, 41, 39
OFFSET_NOT_AVAILABLE = 78       # a leader whose high watermark has not come to its epoch yet
# Times are short where waiting for them is all that happens, and long where a slow machine could miss them.
PROPERTIES = {
    "zookeeper.session.timeout.ms": str(SESSION_MS), "zookeeper.connection.timeout.ms": "30000",
    "num.network.threads": "1", "num.io.threads": "2", "background.threads": "2", "num.partitions": "1",
    "default.replication.factor": "3", "min.insync.replicas": "2", "unclean.leader.election.enable": "false",
    "offsets.topic.replication.factor": "3", "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "3", "transaction.state.log.num.partitions": "1",
    "auto.create.topics.enable": "false", "auto.leader.rebalance.enable": "false", "group.initial.rebalance.delay.ms": "0",
    "replica.lag.time.max.ms": str(2000 * SLOW), "replica.fetch.wait.max.ms": "200", "replica.fetch.backoff.ms": "50",
    "replica.socket.timeout.ms": str(3000 * SLOW), "controller.socket.timeout.ms": str(3000 * SLOW),
    "replica.high.watermark.checkpoint.interval.ms": "200", "controlled.shutdown.retry.backoff.ms": "200",
    "log.initial.task.delay.ms": "3600000", "log.retention.check.interval.ms": "300000", "log.cleaner.enable": "false",
}


class Node(harness.Broker):
    """One broker of a cluster. What runs it is the environment's affair (KIND), or that of a test which mixes them."""
    properties = PROPERTIES

    def __init__(self, cluster, number, properties, dirs=1):
        super().__init__(os.path.join(cluster.folder, "broker%d" % number))
        self.dirs = [self.data] + ["%s%d" % (self.data, n) for n in range(2, dirs + 1)]
        self.cluster, self.number = cluster, number
        self.kind = KIND                # what runs it, from its next start on: klamm, apache-3.9.1, apache-2.7.1
        self.peer_port = free_ports(1)[0]
        # Not self.peer_port itself: a port that somebody took meanwhile is exchanged.
        self.advertised = cluster.net.kafka_listener(number, lambda: self.peer_port)
        self.zk_port = cluster.net.zookeeper_listener(number, lambda: cluster.zk.servers[0].port)
        self.extra = properties
        self.stopped = False
        self.overrides = {}
        self.configure()

    def configure(self):
        self.overrides = dict(
            self.properties, **{
                "broker.id": str(self.number), "log.dirs": ",".join(self.dirs),
                "listeners": "PLAINTEXT://127.0.0.1:%d,REPLICATION://127.0.0.1:%d" % (self.port, self.peer_port),
                "advertised.listeners": "PLAINTEXT://127.0.0.1:%d,REPLICATION://127.0.0.1:%d" % (self.port, self.advertised),
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,REPLICATION:PLAINTEXT",
                "inter.broker.listener.name": "REPLICATION",
                "zookeeper.connect": "127.0.0.1:%d%s" % (self.zk_port, self.cluster.chroot),
            })
        self.overrides.update(self.extra)

    def argv(self):
        argv = super().argv()
        return [PEER, self.kind.partition("-")[2], argv[-1]] if self.apache else argv

    @property
    def apache(self):
        return self.kind.startswith("apache")

    def start(self, within=PATIENCE):
        """Again if it may."""
        self.stopped = False
        for _ in range(5):
            self.spawn()
            try:
                wait_for(self.is_ready, within, harness.lambda_text("broker %d ready" % self.number, self))
                return self
            except AssertionError:
                if not self.may_start_again():
                    raise
                self.other_ports()
        raise AssertionError("broker %d does not start:\n%s" % (self.number, self.log()[-4000:]))

    def is_ready(self):
        if not self.apache:
            return super().is_ready()
        if self.process.poll() is not None:
            raise AssertionError("Apache Kafka ended with status %s:\n%s" % (self.process.returncode, self.log()[-4000:]))
        try:
            with Wire(self.port, timeout=5) as wire:
                return wire.call("ApiVersions", 0)["ErrorCode"] == OK and self.cluster.is_registered(self.number)
        except OSError:
            return False

    def may_start_again(self):
        """Somebody has one of its ports; or it has ended since its session did while it started."""
        log = self.log(this_start=True)
        ended = "Session expired for" in log if self.apache else "has expired; a new one begins" in log and "FATAL" in log
        return "in use" in log or ended

    def other_ports(self):
        """After an end, if somebody has taken one of its ports."""
        if "in use" in self.log(this_start=True):
            self.port, self.peer_port = free_ports(2)
            self.configure()

    def spawn(self):
        self.cluster.net.up(self.advertised)
        return super().spawn()

    def stop(self, sig=signal.SIGTERM, within=PATIENCE):
        try:
            return super().stop(sig, within)
        finally:
            self.cluster.net.down(self.advertised)

    def kill9(self):
        super().kill9()
        self.cluster.net.down(self.advertised)

    def sigstop(self):
        """Gives back when every thread stands still: on a busy machine that is later than the signal."""
        self.process.send_signal(signal.SIGSTOP)
        wait_for(self.stands_still, PATIENCE, "broker %d stands still" % self.number)
        self.stopped = True

    def stands_still(self):
        folder = "/proc/%d/task" % self.process.pid
        for task in os.listdir(folder):
            try:
                with open(os.path.join(folder, task, "stat"), encoding="ascii") as f:
                    if f.read().rsplit(")", 1)[1].split()[0] != "T":
                        return False
            except OSError:
                return False
        return True

    def sigcont(self):
        self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    def wipe(self):
        """Its disk is empty when it comes back."""
        shutil.rmtree(self.data)

    def connect(self, timeout=None):
        return Wire(self.port, timeout=timeout or 20 * SLOW)

    def end(self):
        if self.process is None:
            return
        if self.stopped and self.process.poll() is None:
            self.sigcont()
        self.process.kill()
        self.process.wait()
        self.process = None


class Cluster:
    """OWNER of its brokers and its network; the ZooKeeper is somebody else's."""
    node_class, net_class = Node, Net

    def __init__(self, zk, folder, brokers=3, properties=None, dirs=1):
        self.zk, self.folder = zk, str(folder)
        self.chroot = zk.chroot()
        self.net = self.net_class()
        self.nodes = {n: self.node_class(self, n, dict(properties or {}), dirs) for n in range(1, brokers + 1)}
        self.created = {}               # topic -> partitions

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def __getitem__(self, number):
        return self.nodes[number]

    def start(self, *numbers):
        """All of them by default, side by side."""
        chosen = [self.nodes[n] for n in numbers or self.nodes]
        for node in chosen:
            node.spawn()
        for node in chosen:
            try:
                wait_for(node.is_ready, PATIENCE, harness.lambda_text("broker %d ready" % node.number, node))
            except AssertionError:
                if not node.may_start_again():
                    raise
                node.end()
                node.other_ports()
                node.start()
        for node in chosen:
            self.wait_registered(node.number)
        self.wait_controller()
        self.wait_known()
        return self

    def end(self):
        for node in self.nodes.values():
            node.end()
        self.net.close_all()

    def finish(self):
        """All brokers stop when told to; a sanitizer's report makes that fail."""
        self.net.end_rules()
        self.net.heal()
        for node in self.nodes.values():
            if node.process is None:
                continue
            if node.stopped:
                node.sigcont()
            assert node.alive(), "broker %d ended with status %s:\n%s" % (node.number, node.process.returncode,
                                                                          node.log()[-6000:])
            status = node.stop(within=PATIENCE)
            assert status in ((0, 143) if node.apache else (0,)), "broker %d stopped with status %s:\n%s" % (
                node.number, status, node.log()[-6000:])

    def logs(self, size=3000):
        return "\n".join("---- broker %d:\n%s" % (n, node.log()[-size:]) for n, node in self.nodes.items()
                         if os.path.exists(node.log_path))

    # ---- what ZooKeeper says ----

    def znode(self, path):
        """(data, stat), or (None, None)."""
        from kazoo.exceptions import NoNodeError
        try:
            return self.zk.client.retry(self.zk.client.get, self.chroot + path)
        except NoNodeError:
            return None, None

    def children(self, path):
        from kazoo.exceptions import NoNodeError
        try:
            return self.zk.client.retry(self.zk.client.get_children, self.chroot + path)
        except NoNodeError:
            return []

    def is_registered(self, number):
        data, stat = self.znode("/brokers/ids/%d" % number)
        return stat.czxid if data else None

    def controller(self):
        """The id, or None."""
        data, _ = self.znode("/controller")
        return json.loads(data)["brokerid"] if data else None

    def state(self, topic, partition=0):
        """Of the partition's state node, with `version`, its own, or None."""
        data, stat = self.znode("/brokers/topics/%s/partitions/%d/state" % (topic, partition))
        return dict(json.loads(data), version=stat.version) if data else None

    def leader(self, topic, partition=0):
        """The id; None while there is none."""
        state = self.state(topic, partition)
        return state["leader"] if state and state["leader"] != NONE else None

    def replicas(self, topic, partition=0):
        data, _ = self.znode("/brokers/topics/" + topic)
        return json.loads(data)["partitions"][str(partition)]

    def live(self):
        return [n for n, node in self.nodes.items() if node.alive() and not node.stopped]

    @staticmethod
    def brokers_known_by(node):
        """The controller tells them; so it knows them, too."""
        try:
            with node.connect() as wire:
                return {b["NodeId"] for b in wire.call("Metadata", 8, Topics=[])["Brokers"]}
        except OSError:
            return set()

    def wait_known(self):
        """Every broker has heard of all that are registered."""
        for node in map(self.nodes.get, self.live()):
            self.wait(lambda n=node: self.brokers_known_by(n) >= {int(x) for x in self.children("/brokers/ids")},
                      lambda n=node: "broker %d knows all others: %s" % (n.number, self.brokers_known_by(n)))

    def known_by(self, number, topic):
        """What that broker tells of it: {partition: (leader, ISR, replicas)}, without those of which it has an error to tell."""
        try:
            with self.nodes[number].connect() as wire:
                told = wire.call("Metadata", 8, Topics=[{"Name": topic}])["Topics"][0]
        except OSError:
            return {}
        return {p["PartitionIndex"]: (p["LeaderId"], sorted(p["IsrNodes"]), p["ReplicaNodes"]) for p in told["Partitions"]
                if p["ErrorCode"] == OK}

    # ---- waiting ----

    def wait(self, condition, what, within=PATIENCE):
        class Text:
            def __str__(text):
                return "%s\n%s" % (what() if callable(what) else what, self.logs())
        return wait_for(condition, within, Text())

    def wait_registered(self, number, besides=None):
        """Gives the broker epoch; another one than `besides`."""
        return self.wait(lambda: (self.is_registered(number) or besides) != besides and self.is_registered(number),
                         "broker %d registers" % number)

    def wait_gone(self, number):
        self.wait(lambda: self.is_registered(number) is None, "broker %d is registered no more" % number)

    def wait_controller(self, besides=None):
        return self.wait(lambda: self.controller() not in (None, besides) and self.controller(),
                         "a controller that is not %s" % besides)

    def wait_leader(self, topic, partition=0, besides=None):
        """Until there is a leader (not `besides`), and it knows."""
        def led():
            leader = self.leader(topic, partition)
            return leader if leader not in (None, besides) and self.leads(leader, topic, partition) else None
        return self.wait(led, lambda: "%s-%d has a leader that is not %s: %s" % (topic, partition, besides,
                                                                                 self.state(topic, partition)))

    def leads(self, number, topic, partition=0):
        """Whether that broker itself answers as the leader."""
        node = self.nodes[number]
        if not node.alive() or node.stopped:
            return False
        try:
            with node.connect() as wire:
                return self.ask_end(wire, topic, partition)["ErrorCode"] in (OK, OFFSET_NOT_AVAILABLE)
        except OSError:
            return False

    @staticmethod
    def ask_end(wire, topic, partition, timestamp=-1, epoch=-1):
        return wire.call("ListOffsets", 5, ReplicaId=-1, IsolationLevel=0, Topics=[{"Name": topic, "Partitions": [
            {"PartitionIndex": partition, "CurrentLeaderEpoch": epoch, "Timestamp": timestamp}]}])["Topics"][0]["Partitions"][0]

    def wait_isr(self, topic, isr, partition=0):
        return self.wait(lambda: sorted((self.state(topic, partition) or {"isr": []})["isr"]) == sorted(isr),
                         lambda: "%s-%d has the ISR %s: %s" % (topic, partition, isr, self.state(topic, partition)))

    def wait_out(self, topic, number, partition=0):
        """Until that broker is not in the ISR."""
        return self.wait(lambda: number not in (self.state(topic, partition) or {"isr": [number]})["isr"],
                         lambda: "%d leaves the ISR of %s-%d: %s" % (number, topic, partition, self.state(topic, partition)))

    def wait_full(self, *topics):
        """Until every partition has all its replicas in the ISR, and a leader that knows."""
        for topic in topics or self.created:
            for p in range(self.created[topic]):
                self.wait_isr(topic, self.replicas(topic, p), p)
                self.wait_leader(topic, p)

    def wait_told(self, topic):
        """Until every broker tells of the topic what ZooKeeper says: who asks one of them, as the tools do, may rely on it."""
        def as_it_is():
            states = [self.state(topic, p) for p in range(self.created[topic])]
            return {p: (s["leader"], sorted(s["isr"]), self.replicas(topic, p)) for p, s in enumerate(states) if s}
        for n in self.live():
            self.wait(lambda n=n: self.known_by(n, topic) == as_it_is(),
                      lambda n=n: "broker %d tells of %s: %s; it is %s" % (n, topic, self.known_by(n, topic), as_it_is()))

    # ---- doing ----

    def any_wire(self):
        for number in self.live():
            try:
                return self.nodes[number].connect()
            except OSError:
                continue
        raise OSError("no broker answers")

    def ask_controller(self, api, version, **fields):
        """Asks whoever is the controller; again while that changes, or it is none yet. The answer."""
        def asked():
            number = self.controller()
            if number is None or number not in self.live():
                return None
            try:
                with self.nodes[number].connect() as wire:
                    out = wire.call(api, version, **fields)
            except OSError:
                return None
            return None if NOT_CONTROLLER in codes_of(out) else out
        return self.wait(asked, "the controller answers " + api)

    def create(self, topic, partitions=1, replicas=3, assignment=None, **configs):
        """Until it is there with all replicas in its ISR. assignment: a list of replicas by partition."""
        row = {"Name": topic, "NumPartitions": -1 if assignment else partitions,
               "ReplicationFactor": -1 if assignment else replicas,
               "Assignments": [{"PartitionIndex": p, "BrokerIds": ids} for p, ids in enumerate(assignment or [])],
               "Configs": [{"Name": k.replace("_", "."), "Value": str(v)} for k, v in configs.items()]}

        def created():
            out = self.ask_controller("CreateTopics", 5, TimeoutMs=30000 * SLOW, Topics=[row])["Topics"][0]
            return out["ErrorCode"] in (OK, ALREADY_EXISTS)
        self.wait(created, "topic %s is created" % topic)
        self.created[topic] = len(assignment) if assignment else partitions
        self.wait_full(topic)
        return topic

    def delete(self, topic):
        def asked():
            """An answer may have been lost, or the controller's end be in sight."""
            out = self.ask_controller("DeleteTopics", 5, TopicNames=[topic], TimeoutMs=15000 * SLOW)
            return out["Responses"][0]["ErrorCode"] == OK or self.znode("/brokers/topics/" + topic)[1] is None \
                or topic in self.children("/admin/delete_topics")
        self.wait(asked, "the deletion of topic %s is asked for" % topic)
        self.created.pop(topic, None)

    def kill9(self, *numbers):
        """All at once."""
        for n in numbers:
            self.nodes[n].process.kill()
        for n in numbers:
            self.nodes[n].kill9()

    def dies(self, number):
        """Its session with it: nobody waits for that."""
        self.kill9(number)
        self.expire(number)

    def term(self, number):
        node = self.nodes[number]
        status = node.stop(within=PATIENCE)
        assert status in ((0, 143) if node.apache else (0,)), "broker %d stopped with status %s:\n%s" % (number, status, node.log()[-4000:])

    def restart(self, *numbers):
        """Apache Kafka's cannot register before the session of the one that was killed has ended; ours must."""
        for n in numbers:
            if self.nodes[n].apache:
                self.wait_gone(n)
            self.nodes[n].spawn()
        for n in numbers:
            node = self.nodes[n]
            try:
                self.wait(node.is_ready, "broker %d ready" % n)
            except AssertionError:
                if not node.may_start_again():
                    raise
                node.end()
                node.other_ports()
                node.start()
            self.wait_registered(n)

    def expire(self, number):
        """Ends the broker's session with ZooKeeper behind its back; True if it had one. Its connection is cut meanwhile: it
        would take the session back."""
        _, stat = self.znode("/brokers/ids/%d" % number)
        if stat is None:
            return False
        with self.net.cut_for_now(number, ZK):
            while expire_session(self.zk.servers[0].port, stat.ephemeralOwner, self.net.passwords[stat.ephemeralOwner]):
                pass
        return True

    def move_leader(self, topic, to, partition=0):
        """Makes that replica lead, by a reassignment to the same replicas in another order."""
        rest = [r for r in self.replicas(topic, partition) if r != to]
        self.reassign(topic, {partition: [to] + rest})

        def led():
            """Asked for again: a controller that has just come may have taken it out of the ISR for a moment."""
            if self.leader(topic, partition) != to:
                self.ask_controller("ElectLeaders", 1, ElectionType=0, TimeoutMs=30000, TopicPartitions=[
                    {"Topic": topic, "Partitions": [partition]}])
            return self.leader(topic, partition) == to and self.leads(to, topic, partition)
        return self.wait(led, lambda: "%d leads %s-%d: %s" % (to, topic, partition, self.state(topic, partition)))

    def reassign(self, topic, targets):
        """targets: partition -> replicas. Asked for again while the controller has not heard of a broker that has just come."""
        def asked():
            out = self.ask_controller("AlterPartitionReassignments", 0, TimeoutMs=30000, Topics=[{"Name": topic, "Partitions": [
                {"PartitionIndex": p, "Replicas": ids} for p, ids in targets.items()]}])
            codes = codes_of(out)
            assert codes <= {OK, INVALID_ASSIGNMENT}, out
            return codes == {OK}
        self.wait(asked, "%s is to move to %s" % (topic, targets))

    # ---- what is on disk ----

    def folder_of(self, number, topic, partition):
        """Where that broker has its log; None if nowhere."""
        paths = [os.path.join(d, "%s-%d" % (topic, partition)) for d in self.nodes[number].dirs]
        return next((path for path in paths if os.path.isdir(path)), None)

    def has_files(self, number, topic, partition):
        return self.folder_of(number, topic, partition) is not None

    def batches(self, number, topic, partition=0):
        """The bytes of a replica's log, all segments one after the other."""
        folder = self.folder_of(number, topic, partition)
        if folder is None:
            raise FileNotFoundError("broker %d has no %s-%d" % (number, topic, partition))
        out = b""
        for name in sorted(os.listdir(folder)):
            if name.endswith(".log"):
                with open(os.path.join(folder, name), "rb") as f:
                    out += f.read()
        return out


def codes_of(answer):
    """All errors that an answer tells of, OK among them."""
    if isinstance(answer, dict):
        own = {answer["ErrorCode"]} if "ErrorCode" in answer else set()
        return own.union(*map(codes_of, answer.values()))
    return set().union(*map(codes_of, answer)) if isinstance(answer, list) else set()


def peer_missing():
    """None, or why the brokers that are asked for cannot run."""
    if APACHE and not os.path.exists(PEER):
        return "no Apache Kafka: there is no folder shared beside the checkout"
    if not APACHE and not os.path.exists(os.path.join(harness.BUILD, "klammd")):
        return "no klammd in %s" % harness.BUILD
    return None
