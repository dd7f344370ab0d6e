"""tests/system/scenarios.py - what users of a cluster do by hand, line by line, and what they see: W1, W6, W8, W10, W12.

Played with our tools by test_129_scenarios.py, with Apache Kafka's own of 2.7.1 and 3.9.1 by tests/interop. The texts were
taken from Apache Kafka's tools on Apache Kafka's brokers.

    tools = Tools(cluster, "z", run)            # run(name, *args) -> a completed process; "z": --zookeeper, "b": brokers
    tools("kafka-topics", "--list").stdout
"""
import json
import os
import re
import shutil

from cluster_load import ClusterWriter
from cluster_rounds import Round, sent
from checker import History  # cluster_load has put its folder into the path

DEPRECATED = re.compile(r"^(Warning: .*(deprecated|zookeeper).*|Use --bootstrap-server instead.*)\n", re.M)
# What is not told twice in the same words: ids, and who of the brokers comes first.
ANY = [(re.compile(r"Optional\[(\S*)\]"), r"\1"), (re.compile(r"\tTopicId: \S+"), ""), (re.compile(r"\tElr: \S*\tLastKnownElr: \S*"), ""),
       (re.compile(r"(Leader: )\d+"), r"\1N"), (re.compile(r"((?:Replicas|Isr): )(\d+(?:,\d+)*)"),
                                                lambda m: m.group(1) + str(m.group(2).count(",") + 1)),
       (re.compile(r"Configs: \S*"), "Configs:"), (re.compile(r" \n"), "\n")]
WARNING = ("WARNING: If partitions are increased for a topic that has a key, the partition logic or ordering of the messages "
           "will be affected\n")
FAILED = "Error while executing topic command : "


class Tools:
    def __init__(self, cluster, way, run):
        self.cluster, self.way, self.run = cluster, way, run

    @property
    def at(self):
        if self.way == "z":
            return ["--zookeeper", self.cluster.zk.connect + self.cluster.chroot]
        return ["--bootstrap-server", ",".join(self.cluster[n].address for n in self.cluster.live())]

    def __call__(self, name, *args, status=0):
        done = self.run(name, *self.at, *args)
        assert done.returncode == status, "%s %s: status %d\n%s%s" % (name, args, done.returncode, done.stdout, done.stderr)
        return done

    def topics(self, *args, status=0):
        """The text, without what differs each time."""
        text = self("kafka-topics", *args, status=status).stdout
        for pattern, to in ANY:
            text = pattern.sub(to, text)
        return text

    def reassign(self, *args, status=0):
        return DEPRECATED.sub("", self("kafka-reassign-partitions", *args, status=status).stdout)


def rows(topic, partitions, replicas):
    return "Topic: %s\tPartitionCount: %d\tReplicationFactor: %d\tConfigs:\n" % (topic, partitions, replicas) + "".join(
        "\tTopic: %s\tPartition: %d\tLeader: N\tReplicas: %d\tIsr: %d\n" % (topic, p, replicas, replicas) for p in range(partitions))


# ---- W1 ----

def topics(cluster, tools):
    """--create, --list, --describe, --alter, --delete; partitions only grow."""
    t = "t" + tools.way
    create = ("--create", "--replication-factor", "2", "--partitions", "3", "--topic", t)
    assert tools.topics(*create) == "Created topic %s.\n" % t
    cluster.created[t] = 3
    cluster.wait_full(t)
    cluster.wait_told(t)
    assert tools.topics(*create, status=1) == FAILED + "Topic '%s' already exists.\n" % t
    larger = tools.topics("--create", "--replication-factor", "4", "--partitions", "1", "--topic", "u", status=1)
    assert larger.lower() == (FAILED + "Replication factor: 4 larger than available brokers: 3.\n").lower()
    assert tools.topics("--list") == t + "\n"
    assert tools.topics("--describe", "--topic", t) == rows(t, 3, 2)
    assert tools.topics("--describe", "--topic", "u", status=1) == FAILED + "Topic 'u' does not exist as expected\n"
    grown = tools.topics("--alter", "--topic", t, "--partitions", "6")
    assert grown == ("" if tools.way == "b" else WARNING + "Adding partitions succeeded!\n"), grown
    cluster.created[t] = 6
    cluster.wait(lambda: all(cluster.state(t, p) for p in range(6)), "the new partitions")
    cluster.wait_full(t)
    cluster.wait_told(t)
    fewer = tools.topics("--alter", "--topic", t, "--partitions", "3", status=1)
    assert fewer.startswith(FAILED if tools.way == "b" else WARNING + FAILED) and "6 partitions" in fewer, fewer
    assert tools.topics("--describe", "--topic", t) == rows(t, 6, 2)
    deleted = tools.topics("--delete", "--topic", t)
    assert deleted == ("" if tools.way == "b" else "Topic %s is marked for deletion.\nNote: This will have no impact if "
                       "delete.topic.enable is not set to true.\n" % t), deleted
    cluster.wait(lambda: not cluster.children("/brokers/topics") and not cluster.children("/admin/delete_topics"), "it goes")
    cluster.created.pop(t)
    for number in cluster.nodes:
        cluster.wait(lambda n=number: not cluster.has_files(n, t, 0), "broker %d has no log of it" % number)
    assert tools.topics("--list") in ("", "\n")
    assert tools.topics("--delete", "--topic", t, status=1) == FAILED + "Topic '%s' does not exist as expected\n" % t


def spoken(cluster, number):
    """The topics that a broker tells clients of."""
    with cluster[number].connect() as wire:
        return [t["Name"] for t in wire.call("Metadata", 1, Topics=None)["Topics"]]


def deletion_disabled(cluster, tools):
    """delete.topic.enable=false: the topic stays."""
    for number in cluster.nodes:
        cluster.wait(lambda n=number: spoken(cluster, n) == ["kept"], "broker %d knows the topic" % number)
    told = tools.topics("--delete", "--topic", "kept", status=0 if tools.way == "z" else 1)
    if tools.way == "z":
        assert told.startswith("Topic kept is marked for deletion.\n"), told
        cluster.wait(lambda: cluster.children("/admin/delete_topics") == [], "the controller takes the mark away")
    else:
        assert told == FAILED + "Topic deletion is disabled.\n", told
    assert tools.topics("--list") == "kept\n"
    assert tools.topics("--describe", "--topic", "kept") == rows("kept", 1, 3)


# ---- W6, W12 ----

def write(folder, name, what):
    path = os.path.join(str(folder), name)
    with open(path, "w", encoding="ascii") as f:
        json.dump(dict(what, version=1), f)
    return path


def plan(folder, topic, targets):
    return write(folder, "reassign.json", {"partitions": [
        {"topic": topic, "partition": p, "replicas": ids} for p, ids in targets.items()]})


def moving(cluster, topic):
    node = json.loads(cluster.znode("/brokers/topics/" + topic)[0])
    return node.get("adding_replicas") or node.get("removing_replicas")


def throttles(cluster, topic):
    """All that the tools leave under /config while they move replicas."""
    nodes = [cluster.znode("/config/topics/" + topic)[0]] + [cluster.znode("/config/brokers/%d" % n)[0] for n in cluster.nodes]
    return [node for node in nodes if node and b"throttled" in node]


def execute(cluster, tools, path, topic, targets, *more):
    """--execute, then --verify until all is done and the throttles are gone."""
    told = tools.reassign("--reassignment-json-file", path, "--execute", *more)
    assert "Current partition replica assignment\n\n{" in told, told
    assert "Successfully started partition reassignments for " + ",".join("%s-%d" % (topic, p) for p in targets) in told, told
    cluster.wait(lambda: not moving(cluster, topic), "%s has moved" % topic)
    cluster.wait(lambda: "reassign_partitions" not in cluster.children("/admin"), "the list of moves goes")
    cluster.wait_told(topic)
    told = tools.reassign("--reassignment-json-file", path, "--verify")
    assert [line for line in told.splitlines() if "Reassignment of" in line] == [
        "Reassignment of partition %s-%d is complete%s." % (topic, p, "d" if tools.way == "b" and "completed" in told else "")
        for p in targets], told
    assert {p: cluster.replicas(topic, p) for p in targets} == targets
    cluster.wait(lambda: not throttles(cluster, topic), lambda: "no throttles: %s" % throttles(cluster, topic))


def proposed(told):
    """What --generate proposes: {partition: replicas}."""
    text = told.split("Proposed partition reassignment configuration\n", 1)[1]
    return {p["partition"]: p["replicas"] for p in json.loads(text)["partitions"]}


def reassign(cluster, tools, folder, seed):
    """Up from one replica to two, with a throttle; to other brokers, as generated; called off: under load, with nothing lost."""
    spare = next(n for n in (2, 1, 3) if n != cluster.wait_controller())
    rest = [n for n in (1, 2, 3) if n != spare]
    with Round(cluster, seed, assignment=[[1], [2], [3]], min_insync_replicas=1) as r:
        r.traffic.until(20)
        path = plan(folder, r.topic, {0: [1, 2], 1: [2, 3], 2: [3, 1]})
        execute(cluster, tools, path, r.topic, {0: [1, 2], 1: [2, 3], 2: [3, 1]}, "--throttle", "50000000")
        r.traffic.until(20)
        which = write(folder, "topics.json", {"topics": [{"topic": r.topic}]})
        told = tools.reassign("--topics-to-move-json-file", which, "--broker-list", "%d,%d" % tuple(rest), "--generate")
        targets = proposed(told)
        assert sorted(targets) == [0, 1, 2] and all(sorted(ids) == rest for ids in targets.values()), told
        execute(cluster, tools, plan(folder, r.topic, targets), r.topic, targets)
        r.traffic.until(20)
        cluster.wait(lambda: not any(cluster.has_files(spare, r.topic, p) for p in targets), "broker %d has nothing of it" % spare)
        wrong = tools.reassign("--reassignment-json-file", plan(folder, r.topic, {0: [1, 9]}), "--execute", status=1)
        assert " 9" in wrong and wrong.startswith("Error: "), wrong
        if tools.way == "b":
            called_off(cluster, tools, folder, r, spare)
        replicas_are_equal(cluster, tools, r)
    return r.counts


def called_off(cluster, tools, folder, r, spare):
    """A move to a broker that stands still does not end; it is listed, and called off. (Not the controller. And
    one goes for one that comes: the tool of 3.9 calls off nothing that is only added.)"""
    before = cluster.replicas(r.topic, 0)
    cluster[spare].sigstop()
    path = plan(folder, r.topic, {0: [before[0], spare]})
    tools.reassign("--reassignment-json-file", path, "--execute")
    listed = tools.reassign("--list")
    assert "%s-0: replicas: " % r.topic in listed and "adding: %d." % spare in listed, listed
    told = tools.reassign("--reassignment-json-file", path, "--cancel", "--preserve-throttles")
    assert "Successfully cancelled partition reassignment for: %s-0\n" % r.topic in told, told
    cluster[spare].sigcont()
    assert tools.reassign("--list") == "No partition reassignments found.\n"
    assert cluster.replicas(r.topic, 0) == before
    r.traffic.until(10)


def replicas_are_equal(cluster, tools, r):
    """kafka-log-dirs.sh, when nobody writes any more: all replicas are as large."""
    r.traffic.quiet()
    r.traffic.writings = []
    cluster.wait_full(r.topic)

    def sizes():
        text = tools.run("kafka-log-dirs", "--describe", "--topic-list", r.topic, "--bootstrap-server", cluster[1].address).stdout
        found = {}
        for broker in json.loads(text[text.index("{"):])["brokers"]:
            for p in (p for d in broker["logDirs"] for p in d["partitions"]):
                found.setdefault(p["partition"], []).append(p["size"])
        return found
    cluster.wait(lambda: all(len(set(s)) == 1 and len(s) > 1 and s[0] > 0 for s in sizes().values()),
                 lambda: "all replicas are as large: %s" % sizes())


def another_broker(cluster, tools, folder, seed):
    """Broker 4 comes to a running cluster of three, and partitions move to it; the others are not restarted."""
    lives = {n: cluster[n].process.pid for n in (1, 2, 3)}
    with Round(cluster, seed, assignment=[[1, 2], [2, 3], [3, 1], [1, 3]]) as r:
        r.traffic.until(10)
        cluster.start(4)
        r.traffic.until(10)
        which = write(folder, "topics.json", {"topics": [{"topic": r.topic}]})
        told = tools.reassign("--topics-to-move-json-file", which, "--broker-list", "1,2,3,4", "--generate")
        targets = proposed(told)
        assert sorted(p for p, ids in targets.items() if 4 in ids), told
        execute(cluster, tools, plan(folder, r.topic, targets), r.topic, targets)
        for p, ids in targets.items():
            cluster.wait(lambda q=p, to=ids: all(cluster.has_files(n, r.topic, q) == (n in to) for n in cluster.nodes),
                         "partition %d lies on %s" % (p, ids))
        r.traffic.until(20)
    assert lives == {n: cluster[n].process.pid for n in (1, 2, 3)} and all(cluster[n].alive() for n in lives)
    return r.counts


# ---- W8 ----

def elect(cluster):
    """/controller is deleted by hand."""
    epoch = cluster.znode("/controller_epoch")[0]
    cluster.zk.client.delete(cluster.chroot + "/controller")
    cluster.wait(lambda: cluster.znode("/controller_epoch")[0] != epoch, "an election")
    return cluster.wait_controller()


def remove_directories(cluster, topic):
    """Again where a broker that is alive has put a file there meanwhile."""
    def removed(path):
        shutil.rmtree(path, ignore_errors=True)
        return not os.path.exists(path)
    for node in cluster.nodes.values():
        for name in os.listdir(node.data):
            if re.match(re.escape(topic) + r"-\d+(\.|$)", name):
                path = os.path.join(node.data, name)
                cluster.wait(lambda path=path: removed(path), path + " is removed")


def put(cluster, topic, seed):
    """A record with acks=all to each partition."""
    writer = ClusterWriter(cluster, History(), "put%d" % seed, {topic: cluster.created[topic]}, seed)
    for p in range(cluster.created[topic]):
        cluster.wait(lambda q=p: sent(writer, (topic, q)), "%s-%d takes a batch" % (topic, p))
    writer.drop()


def forced_deletion(cluster, tools):
    """A deletion that is stuck, since a broker is down, is ended by hand: first of the mark alone, then of all of it."""
    cluster.create("stuck", 2)
    put(cluster, "stuck", 1)
    cluster.kill9(3)
    cluster.wait(lambda: 3 not in cluster.state("stuck")["isr"], "the dead one leaves the ISR")
    tools.topics("--delete", "--topic", "stuck")
    cluster.wait(lambda: all((cluster.state("stuck", p) or {"leader": 0})["leader"] == -1 for p in (0, 1)), "it is being deleted")
    # The mark goes: what is in the tree lives again.
    cluster.zk.client.delete(cluster.chroot + "/admin/delete_topics/stuck")
    elect(cluster)
    for p in (0, 1):
        cluster.wait_leader("stuck", p)
    cluster.wait_told("stuck")
    assert "MarkedForDeletion" not in tools.topics("--describe", "--topic", "stuck")
    # The nodes and the directories go.
    cluster.zk.client.delete(cluster.chroot + "/brokers/topics/stuck", recursive=True)
    cluster.zk.client.delete(cluster.chroot + "/config/topics/stuck", recursive=True)
    remove_directories(cluster, "stuck")
    elect(cluster)
    cluster.restart(3)
    brokers_only(cluster, tools, "stuck")
    # The name is free.
    cluster.wait_known()
    assert tools.topics("--create", "--topic", "stuck", "--partitions", "2", "--replication-factor", "3") == "Created topic stuck.\n"
    cluster.wait_full("stuck")
    put(cluster, "stuck", 2)
    for number in cluster.nodes:
        for p in (0, 1):
            cluster.wait(lambda n=number, q=p: cluster.has_files(n, "stuck", q), "broker %d has stuck-%d" % (number, p))
    cluster.delete("stuck")
    cluster.wait(lambda: not cluster.children("/brokers/topics"), "it goes as others do")


def brokers_only(cluster, tools, gone):
    """No broker speaks of it."""
    for number in cluster.nodes:
        cluster.wait(lambda n=number: gone not in spoken(cluster, n), "broker %d has forgotten %s" % (number, gone))
    assert tools.topics("--list") in ("", "\n")


# ---- W10 ----

def under_replicated(tools):
    """Waited for: where a machine stands still somebody leaves an ISR for a moment."""
    return lambda: tools.topics("--describe", "--under-replicated-partitions")


def brokers_die(cluster, tools, seed):
    """Three replicas: two brokers may fail; a slow one leaves the ISR and returns. Nothing waits for a session to end."""
    with Round(cluster, seed, assignment=[[1, 2, 3], [2, 3, 1]], min_insync_replicas=1) as r:
        r.traffic.until(20)
        slow = next(n for n in (3, 2, 1) if n != cluster.wait_controller())     # that one is the session's affair
        cluster[slow].sigstop()
        followed = [p for p in (0, 1) if cluster.state(r.topic, p)["leader"] != slow]
        for p in followed:
            cluster.wait_out(r.topic, slow, p)
        cluster.wait_told(r.topic)
        under = under_replicated(tools)
        cluster.wait(lambda: under().count("Replicas: 3\tIsr: 2") == len(followed), under)
        cluster[slow].sigcont()
        cluster.wait_full(r.topic)
        r.traffic.until(10)
        for victim, rest in ((1, [2, 3]), (2, [3])):
            cluster.kill9(victim)
            r.traffic.until(10)
            for p in (0, 1):
                cluster.wait_isr(r.topic, rest, p)      # where a machine stands still, somebody else may have left it
        for p in (0, 1):
            assert cluster.wait_leader(r.topic, p) == 3
        cluster.wait_told(r.topic)
        assert tools.topics("--describe", "--topic", r.topic).count("Replicas: 3\tIsr: 1\n") == 2
        assert tools.topics("--describe", "--unavailable-partitions") in ("", "\n")
        cluster.restart(1, 2)
        cluster.wait_full(r.topic)
        cluster.wait_told(r.topic)
        cluster.wait(lambda: under() in ("", "\n"), under)
        r.traffic.until(10)
        name = "kafka-preferred-replica-election" if tools.way == "z" else "kafka-leader-election"
        how = [] if tools.way == "z" else ["--election-type", "preferred", "--all-topic-partitions"]
        tools(name, *how)
        for p, first in ((0, 1), (1, 2)):
            cluster.wait(lambda q=p, n=first: cluster.leader(r.topic, q) == n, "%s-%d is led by %d" % (r.topic, p, first))
        r.traffic.until(10)
    return r.counts
