"""W6 and B17: replicas move under load, by the tools and while controllers are killed; leaders go home; a topic's deletion
waits for a broker that is down."""
import json
import os

from cluster_rounds import Round, rounds
from harness import tool


def node(cluster, topic):
    """The topic's node, or None."""
    data, _ = cluster.znode("/brokers/topics/" + topic)
    return json.loads(data) if data else None


def settled(cluster, topic, targets):
    """Whether every partition is where it shall be and no move is under way. targets: partition -> replicas."""
    z = node(cluster, topic)
    return (not z["adding_replicas"] and not z["removing_replicas"] and
            all(z["partitions"][str(p)] == ids for p, ids in targets.items()))


def wait_settled(cluster, topic, targets):
    cluster.wait(lambda: settled(cluster, topic, targets), lambda: "%s moves to %s: %s" % (topic, targets, node(cluster, topic)))
    cluster.wait_full(topic)


def wait_deleted(cluster, number, topic, partition):
    """Until the broker has no log of it any more."""
    folder = os.path.join(cluster[number].data, "%s-%d" % (topic, partition))
    cluster.wait(lambda: not os.path.exists(folder), "%s goes" % folder)


def plan(tmp_path, topic, targets):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"version": 1, "partitions": [
        {"topic": topic, "partition": p, "replicas": ids} for p, ids in targets.items()]}))
    return str(path)


def ask_to_move(cluster, topic, targets):
    return cluster.ask_controller("AlterPartitionReassignments", 0, TimeoutMs=30000, Topics=[{"Name": topic, "Partitions": [
        {"PartitionIndex": p, "Replicas": ids} for p, ids in targets.items()]}])


def moved_while_the_controller_dies(cluster, seed):
    old = {p: ids for p, ids in enumerate([[1, 2], [2, 3]])}
    with Round(cluster, seed, assignment=list(old.values()), min_insync_replicas=1) as r:
        r.traffic.until(10)
        targets = {p: r.rng.sample([1, 2, 3, 4], 2) for p in old}
        ask_to_move(cluster, r.topic, targets)
        when = seed % 3
        if when > 0:
            cluster.wait(lambda: settled(cluster, r.topic, {}) or
                         any(set(node(cluster, r.topic)["adding_replicas"].get(str(p), [])) & set(cluster.state(r.topic, p)["isr"])
                             for p in old), "the move goes on")
        victim = cluster.wait_controller()
        cluster.kill9(victim)
        cluster.wait_controller(besides=victim)
        if when == 2:
            ask_to_move(cluster, r.topic, targets)      # the same again: nobody minds
        cluster.restart(victim)
        # Not asked in vain: the answer may have been lost with the controller, but then the node knows nothing of it.
        if settled(cluster, r.topic, old):
            ask_to_move(cluster, r.topic, targets)
        wait_settled(cluster, r.topic, targets)
        # That the replicas which were taken away are deleted is not asked for: who was down then keeps the log, and one
        # whose deletion was on its way from the controller that died may keep it too.
        r.traffic.until(10)


def test_moves_outlive_their_controllers(clusters):
    rounds(moved_while_the_controller_dies, clusters(brokers=4).start(), n=3, name="B17, moves")


def test_the_tools_move_replicas_under_load(clusters, tmp_path):
    cluster = clusters().start()
    ways = (["--bootstrap-server", "127.0.0.1:%d" % cluster[1].port],
            ["--zookeeper", "127.0.0.1:%d%s" % (cluster.zk.servers[0].port, cluster.chroot)])
    with Round(cluster, 1, assignment=[[1], [2]], min_insync_replicas=1) as r:
        r.traffic.until(10)
        for way, targets in zip(ways * 2, ({0: [1, 2], 1: [2, 3]}, {0: [2, 3], 1: [2]}, {0: [3], 1: [1, 2, 3]}, {0: [1, 3], 1: [2, 1]})):
            path = plan(tmp_path, r.topic, targets)
            out = tool("kafka-reassign-partitions.sh", *way, "--execute", "--reassignment-json-file", path,
                       "--throttle", "100000000").stdout
            assert "Successfully started partition reassignments for %s-0,%s-1\n" % (r.topic, r.topic) in out
            wait_settled(cluster, r.topic, targets)
            cluster.wait(lambda: not cluster.children("/admin/reassign_partitions") and
                         cluster.znode("/admin/reassign_partitions")[0] is None, "the list goes")
            out = tool("kafka-reassign-partitions.sh", *way, "--verify", "--reassignment-json-file", path).stdout
            assert "Reassignment of partition %s-0 is complete" % r.topic in out, out
            assert "Clearing topic-level throttles on topic %s\n" % r.topic in out, out
            r.traffic.until(5)
        assert tool("kafka-reassign-partitions.sh", *ways[0], "--list").stdout == "No partition reassignments found.\n"


def test_leaders_go_home_by_the_tools(clusters):
    cluster = clusters().start()
    topic = cluster.create("t", assignment=[[1, 2, 3]])
    server = ["--bootstrap-server", "127.0.0.1:%d" % cluster[1].port]
    for way in (["kafka-leader-election.sh", "--election-type", "preferred", "--topic", topic, "--partition", "0"] + server,
                ["kafka-preferred-replica-election.sh"] + server,
                ["kafka-preferred-replica-election.sh", "--zookeeper",
                 "127.0.0.1:%d%s" % (cluster.zk.servers[0].port, cluster.chroot)]):
        cluster.term(1)
        cluster.wait_leader(topic, besides=1)
        cluster.restart(1)
        cluster.wait_isr(topic, [1, 2, 3])
        out = tool(*way).stdout
        cluster.wait(lambda: cluster.leader(topic) == 1, lambda: "broker 1 leads again, after\n" + out)


def test_a_deletion_waits_for_a_broker_that_is_down(clusters):
    cluster = clusters().start()
    topic = cluster.create("t", partitions=2)
    cluster.kill9(3)
    cluster.wait_gone(3)
    cluster.delete(topic)
    for number in (1, 2):
        for p in range(2):
            wait_deleted(cluster, number, topic, p)
    assert cluster.children("/admin/delete_topics") == [topic]
    cluster.restart(3)
    cluster.wait(lambda: cluster.children("/admin/delete_topics") == [] and node(cluster, topic) is None, "the topic goes")
    for p in range(2):
        wait_deleted(cluster, 3, topic, p)
