"""B24: 20 partitions with three replicas, two of which must have what is acknowledged, move among four brokers under load: as they
are, with a broker that dies and comes back meanwhile, with a throttle, or called off midway. Nothing is lost, nothing comes twice,
and no partition stays on its way."""
import json
import random

from cluster_rounds import Round, rounds

PARTITIONS = 20
NO_REASSIGNMENT = 85            # there was none to call off any more


def assignments(rng, brokers):
    return [rng.sample(brokers, 3) for _ in range(PARTITIONS)]


def ask(cluster, r, targets):
    """targets: by partition a list of replicas, or None to call it off. The codes."""
    out = cluster.ask_controller("AlterPartitionReassignments", 0, TimeoutMs=30000, Topics=[{"Name": r.topic, "Partitions": [
        {"PartitionIndex": p, "Replicas": replicas} for p, replicas in targets.items()]}])
    assert out["ErrorCode"] == 0, out
    return {p["ErrorCode"] for t in out["Responses"] for p in t["Partitions"]}


def on_their_way(cluster, r):
    node = json.loads(cluster.znode("/brokers/topics/" + r.topic)[0])
    return {int(p) for p in list(node.get("adding_replicas", {})) + list(node.get("removing_replicas", {}))}


def throttle(cluster, r, rate):
    """As the tool does it: a rate for brokers, and all replicas of the topic under it."""
    for number in cluster.nodes:
        configs = [{"Name": name, "ConfigOperation": 0 if rate else 1, "Value": rate and str(rate)}
                   for name in ("leader.replication.throttled.rate", "follower.replication.throttled.rate")]
        with cluster[number].connect() as wire:
            out = wire.call("IncrementalAlterConfigs", 0, ValidateOnly=False, Resources=[
                {"ResourceType": 4, "ResourceName": str(number), "Configs": configs}])
        assert out["Responses"][0]["ErrorCode"] == 0, out
    configs = [{"Name": name, "ConfigOperation": 0 if rate else 1, "Value": rate and "*"}
               for name in ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")]
    out = cluster.ask_controller("IncrementalAlterConfigs", 0, ValidateOnly=False, Resources=[
        {"ResourceType": 2, "ResourceName": r.topic, "Configs": configs}])
    assert out["Responses"][0]["ErrorCode"] == 0, out


def moved(cluster, seed):
    how = ("plain", "bounce", "throttle", "cancel", "bounce the controller")[seed % 5]
    brokers = sorted(cluster.nodes)
    with Round(cluster, seed, assignment=assignments(random.Random(seed), brokers)) as r:
        r.traffic.until(60)
        before = {p: cluster.replicas(r.topic, p) for p in range(PARTITIONS)}
        wanted = dict(enumerate(assignments(r.rng, brokers)))
        if how == "throttle":
            throttle(cluster, r, 4000000)
        assert ask(cluster, r, wanted) == {0}
        if how.startswith("bounce"):
            number = cluster.wait_controller() if how != "bounce" else r.rng.choice(brokers)
            cluster.kill9(number)
            r.traffic.until(5)
            cluster.restart(number)
        if how == "cancel":
            assert ask(cluster, r, {p: None for p in wanted}) <= {0, NO_REASSIGNMENT}
        r.traffic.until(20)
        cluster.wait(lambda: not on_their_way(cluster, r), lambda: "all have moved: %s" % on_their_way(cluster, r))
        for p in range(PARTITIONS):
            now = cluster.replicas(r.topic, p)
            assert now == wanted[p] or (how == "cancel" and now == before[p]), (p, before[p], wanted[p], now)
        if how == "throttle":
            throttle(cluster, r, None)
        cluster.wait_full(r.topic)
        for p in range(PARTITIONS):
            for number in set(brokers) - set(cluster.replicas(r.topic, p)):
                cluster.wait(lambda n=number, q=p: not cluster.has_files(n, r.topic, q), "broker %d has no %s-%d any more" % (
                    number, r.topic, p))


def test_moves(clusters):
    rounds(moved, clusters(4).start(), name="B24")
