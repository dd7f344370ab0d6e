"""B2: a broker stands still until another took over, and goes on; B18: so does a controller; B19: ZooKeeper ends the session of a
broker that is alive. A zombie acknowledges nothing, writes nothing to ZooKeeper, and is a member again by itself."""
import re
import signal

from cluster import codes_of
from cluster_load import ClusterWriter
from cluster_rounds import Round, rounds
from load import OK


class Letter:
    """A produce request with acks=all that the broker will find when it goes on. It must not be acknowledged."""

    def __init__(self, cluster, r, number):
        self.wire = cluster[number].connect()
        self.writer = ClusterWriter(cluster, r.history, "letter", r.topics, r.seed)
        cluster.wait(self.has_id, "a producer id")
        self.writer.make((r.topic, 0))
        self.topic = r.topic

    def has_id(self):
        try:
            self.writer.ready()
        except OSError:
            return False
        return True

    def send(self):
        made = self.writer.pending[self.topic, 0][1]
        self.wire.send("Produce", 8, dict(Acks=-1, TimeoutMs=2000, TopicData=[
            {"Name": self.topic, "PartitionData": [{"Index": 0, "Records": made}]}]))

    def answer(self):
        """The code; None: the connection ended."""
        try:
            return self.wire.receive("Produce", 8)["Responses"][0]["PartitionResponses"][0]["ErrorCode"]
        except OSError:
            return None
        finally:
            self.wire.close()
            self.writer.drop()


def test_a_whole_cluster_is_stopped(clusters):
    """Nobody waits for brokers that are stopping as well: the back-off is longer than any patience."""
    cluster = clusters(controlled_shutdown_retry_backoff_ms=3600000).start()
    cluster.create("pairs", assignment=[[1, 2], [2, 3], [3, 1], [2, 1], [3, 2], [1, 3]])
    cluster.create("all", partitions=3)
    for node in cluster.nodes.values():
        node.process.send_signal(signal.SIGTERM)
    for number, node in cluster.nodes.items():     # a second signal would end it at once
        cluster.wait(lambda: node.process.poll() is not None, "broker %d stops" % number)
        assert node.process.returncode == 0, node.log()[-4000:]
        if not re.search(r"is the controller: epoch \d+, .* 1 brokers", node.log()):      # all others had gone before
            assert "no replica in sync is alive" not in node.log()
        node.end()


def registrations(cluster, besides):
    return {n: cluster.is_registered(n) for n in cluster.nodes if n != besides}


def zombie(cluster, seed):
    role = ("leader", "follower", "controller")[seed % 3]
    with Round(cluster, seed) as r:
        r.traffic.until(10)
        cluster.wait_full(r.topic)              # somebody can take over
        leader = cluster.wait_leader(r.topic)
        number = {"leader": leader, "controller": cluster.wait_controller(),
                  "follower": r.rng.choice([n for n in cluster.nodes if n != leader])}[role]
        letter = Letter(cluster, r, number) if number == leader else None
        cluster[number].sigstop()
        if letter is not None:
            letter.send()
        cluster.expire(number)
        cluster.wait_gone(number)
        if number == leader:
            cluster.wait_leader(r.topic, besides=number)
        cluster.wait_out(r.topic, number)
        r.traffic.until(10)
        before, lives = cluster.state(r.topic), registrations(cluster, number)
        cluster[number].sigcont()
        if letter is not None:
            code = letter.answer()
            assert code != OK, "the zombie has acknowledged"
        back = cluster.wait_registered(number)
        cluster.wait_full(r.topic)
        after = cluster.state(r.topic)
        # A machine that stood still may have ended other sessions.
        if registrations(cluster, number) == lives and cluster.is_registered(number) == back:
            assert (after["leader_epoch"], after["leader"]) == (before["leader_epoch"], before["leader"]), (before, after)


def test_zombie_brokers(clusters):
    rounds(zombie, clusters().start(), name="B2")


def epoch_of(cluster):
    data, stat = cluster.znode("/controller_epoch")
    return int(data), stat.version


def zombie_controller(cluster, seed):
    """It has work to do when it goes on: what it was asked while it stood still, and the brokers that have come and gone."""
    with Round(cluster, seed) as r:
        r.traffic.until(10)
        old = cluster.wait_controller()
        epoch, version = epoch_of(cluster)
        cluster.wait_full(r.topic)
        lives = registrations(cluster, old)     # which a machine that stands still may end; then there are more elections
        cluster[old].sigstop()
        asked = cluster[old].connect()
        asked.send("ElectLeaders", 1, dict(ElectionType=0, TimeoutMs=5000, TopicPartitions=None))
        if seed % 2:                            # its session lives on: only the epoch keeps it from writing
            cluster.zk.client.delete(cluster.chroot + "/controller")
            new = cluster.wait_controller()
        else:
            cluster.expire(old)
            new = cluster.wait_controller(besides=old)
            cluster.wait_leader(r.topic, besides=old)
            other = next(n for n in cluster.nodes if n not in (old, new))
            if r.rng.random() < 0.5 and registrations(cluster, old) == lives:   # one more change, of which the old one does not know
                cluster.kill9(other)
                cluster.restart(other)
                lives[other] = cluster.is_registered(other)
            r.traffic.until(10)
        assert epoch_of(cluster) == (epoch + 1, version + 1) or registrations(cluster, old) != lives
        cluster[old].sigcont()
        asked.close()
        cluster.wait_registered(old)
        r.traffic.until(10)
        cluster.wait_full(r.topic)
        if registrations(cluster, old) != lives:
            return
        assert cluster.controller() == new
        assert epoch_of(cluster) == (epoch + 1, version + 1), "somebody was elected while there was a controller"


def test_zombie_controllers(clusters):
    rounds(zombie_controller, clusters().start(), name="B18")


def expired(cluster, seed):
    """One to three sessions at once; afterwards each broker hears of changes as before."""
    with Round(cluster, seed) as r:
        r.traffic.until(5)
        chosen = r.rng.sample(sorted(cluster.nodes), r.rng.randrange(1, 4))
        before = {n: cluster.wait_registered(n) for n in chosen}
        for n in chosen:
            cluster.expire(n)
        for n in chosen:
            cluster.wait_registered(n, besides=before[n])
        cluster.wait_controller()
        r.traffic.until(5)
        cluster.wait_full(r.topic)
        heard(cluster, r)
        if seed % 5 == 4:
            lingering(cluster, r)


def heard(cluster, r):
    """A change of a topic's settings comes to every broker: their watches are there again."""
    value = str(100000 + r.seed % 100000)

    def altered():
        return codes_of(cluster.ask_controller("AlterConfigs", 1, ValidateOnly=False, Resources=[
            {"ResourceType": 2, "ResourceName": r.topic, "Configs": [{"Name": "retention.ms", "Value": value * 3}]}])) == {OK}
    cluster.wait(altered, "the new retention.ms")
    for node in cluster.nodes.values():
        def told():
            with node.connect() as wire:
                out = wire.call("DescribeConfigs", 1, Resources=[
                    {"ResourceType": 2, "ResourceName": r.topic, "ConfigurationKeys": ["retention.ms"]}])
            return out["Results"][0]["Configs"][0]["Value"] == value * 3
        cluster.wait(told, "broker %d hears of the new retention.ms" % node.number)


def lingering(cluster, r):
    """It dies and is back while its old node is still there."""
    number = r.rng.choice(sorted(cluster.nodes))
    cluster.kill9(number)
    cluster.restart(number)
    cluster.wait_full(r.topic)


def test_expired_sessions(clusters):
    rounds(expired, clusters().start(), name="B19")


