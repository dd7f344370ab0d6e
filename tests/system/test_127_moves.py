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
            cluster.reassign(r.topic, targets)
        wait_settled(cluster, r.topic, targets)
        for p in old:
            for number in set(old[p]) - set(targets[p]) - {victim}:     # who was down when its replica went keeps the log
                wait_deleted(cluster, number, r.topic, p)
        r.traffic.until(10)


def test_moves_outlive_their_controllers(clusters):
    rounds(moved_while_the_controller_dies, clusters(brokers=4).start(), name="B17, moves")


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
            cluster.wait_told(r.topic)
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


def test_a_leader_that_is_not_assigned_stops(clusters):
    """As a controller leaves it that ends between the two writes of a cancelled move: the next one has another lead, and tells it,
    or it would take records from clients that know nothing else. Its log stays."""
    cluster = clusters().start()
    topic = cluster.create("t", assignment=[[1, 2]])
    cluster.wait_full(topic)
    z = node(cluster, topic)
    z["partitions"]["0"] = [2, 3]
    cluster.zk.client.set(cluster.chroot + "/brokers/topics/" + topic, json.dumps(z).encode())
    cluster.zk.client.delete(cluster.chroot + "/controller")
    cluster.wait_controller()
    assert cluster.wait_leader(topic, besides=1) in (2, 3)
    cluster.wait(lambda: not cluster.leads(1, topic), "broker 1 does not lead any more")
    cluster.wait_isr(topic, [2, 3])
    assert cluster.has_files(1, topic, 0)


def test_what_elections_and_moves_are_asked_for(clusters):
    """An election of no known kind is none; what is named twice is answered once."""
    cluster = clusters(brokers=1).start()
    topic = cluster.create("t", partitions=2, replicas=1)
    named = [{"Topic": topic, "Partitions": [1, 0, 1]}, {"Topic": "u", "Partitions": []}, {"Topic": topic, "Partitions": [0]}]
    for kind, error in ((0, 84), (1, 84), (2, -1), (-1, -1)):
        out = cluster.ask_controller("ElectLeaders", 1, ElectionType=kind, TimeoutMs=30000, TopicPartitions=named)
        assert out["ErrorCode"] == min(error, 0)
        got = [(t["Topic"], p["PartitionId"], p["ErrorCode"]) for t in out["ReplicaElectionResults"] for p in t["PartitionResult"]]
        assert set(got) == {(topic, 0, error), (topic, 1, error)}, got
        assert error < 0 or len(got) == 2, got
    out = cluster.ask_controller("AlterPartitionReassignments", 0, TimeoutMs=30000, Topics=[
        {"Name": name, "Partitions": [{"PartitionIndex": p, "Replicas": ids} for p, ids in moves]}
        for name, moves in ((topic, [(0, []), (1, [9]), (0, [1])]), ("u", []), (topic, [(1, [1, 1])]))])
    assert [(t["Name"], p["PartitionIndex"], p["ErrorCode"]) for t in out["Responses"] for p in t["Partitions"]] == [
        (topic, 0, 0), (topic, 1, 39)]


def test_an_empty_list_does_not_mean_all(clusters):
    """Only a null list does: else an unclean election that nobody asked for would lose records. Nor does it call off a move."""
    cluster = clusters(brokers=2).start(1).start(2)     # a controller that sees it go says that nobody leads
    topic = cluster.create("t", assignment=[[1], [2]])
    cluster.dies(2)
    cluster.wait_gone(2)
    cluster.wait(lambda: cluster.state(topic, 1)["leader"] == -1, "partition 1 has no leader")
    for named, answered in (([], 0), (None, 1)):
        out = cluster.ask_controller("ElectLeaders", 1, ElectionType=1, TimeoutMs=30000, TopicPartitions=named)
        assert out["ErrorCode"] == 0, out
        assert sum(len(t["PartitionResult"]) for t in out["ReplicaElectionResults"]) == answered, (named, out)
    out = ask_to_move(cluster, topic, {1: [1]})
    assert [p["ErrorCode"] for t in out["Responses"] for p in t["Partitions"]] == [0], out
    for replicas, error, moving in (([], 39, 1), (None, 0, 0)):
        out = ask_to_move(cluster, topic, {1: replicas})
        assert [p["ErrorCode"] for t in out["Responses"] for p in t["Partitions"]] == [error], (replicas, out)
        for named, listed in (([], 0), (None, moving)):
            out = cluster.ask_controller("ListPartitionReassignments", 0, TimeoutMs=30000, Topics=named)
            assert out["ErrorCode"] == 0 and len(out["Topics"]) == listed, (replicas, named, out)


def test_a_deletion_waits_for_a_broker_that_is_down(clusters):
    cluster = clusters().start()
    topic = cluster.create("t", partitions=2)
    cluster.dies(3)
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
