"""B13: any request of the controller is lost, comes twice, late, or after a later one; B14: requests in epochs that are not the
leader's; B15: orders to an earlier life of a broker, and of an earlier controller, are refused and change nothing."""
from cluster import NO_LAG
from cluster_load import OK
from cluster_rounds import Round, batch_rows, rounds
from proxy import replay

ORDERS = ("LeaderAndIsr", "UpdateMetadata", "StopReplica")
NO_LEADER_YET, STALE_CONTROLLER_EPOCH, NOT_LEADER, FENCED, UNKNOWN, STALE_BROKER_EPOCH = 5, 11, 6, 74, 75, 77


# ---- B13 ----

def twice(cluster, r, target):
    return cluster.net.duplicate(api=ORDERS, dst=target)


def without_answer(cluster, r, target):
    """It arrives, but the controller cannot know."""
    return cluster.net.hold(api=ORDERS, dst=target, answer=True, limit=1)


def lost(cluster, r, target):
    """The connection ends before it arrives."""
    return cluster.net.hold(api=ORDERS, dst=target, limit=1)


def late(cluster, r, target):
    return cluster.net.hold(api=r.rng.choice(ORDERS[:2]), dst=target)


MUTATIONS = [twice, without_answer, lost, late]


def mutated(cluster, seed):
    """While leaders move. An order that was overtaken comes again at the end."""
    mutate = MUTATIONS[seed % len(MUTATIONS)]
    with Round(cluster, seed, partitions=2) as r:
        r.traffic.until(5)
        orders = cluster.net.record(api=("LeaderAndIsr", "StopReplica"))
        for _ in range(3):
            target = r.rng.choice(sorted(set(cluster.nodes) - {cluster.wait_controller()}))
            rule = mutate(cluster, r, target)
            for p in range(2):
                move_away(cluster, r, p)
            if mutate in (lost, without_answer):
                rule.wait()
                rule.drop()
            else:
                if mutate is twice:             # else the new leader may not know
                    r.traffic.until(5)
                rule.end()
            for p in range(2):
                cluster.wait_leader(r.topic, p)
        cluster.wait_full(r.topic)
        before = [cluster.state(r.topic, p) for p in range(2)]
        orders.end()
        for frame in r.rng.sample(orders.frames, min(10, len(orders.frames))):
            replay(frame, cluster[frame.dst].peer_port)
        r.traffic.until(10)
        assert [cluster.state(r.topic, p) for p in range(2)] == before


def move_away(cluster, r, partition):
    """Another one is to lead. Does not wait for it, since what is held may be the order to it."""
    leader = cluster.leader(r.topic, partition)
    to = r.rng.choice([n for n in cluster.replicas(r.topic, partition) if n != leader])
    rest = [n for n in cluster.replicas(r.topic, partition) if n != to]
    cluster.ask_controller("AlterPartitionReassignments", 0, TimeoutMs=30000, Topics=[{"Name": r.topic, "Partitions": [
        {"PartitionIndex": partition, "Replicas": [to] + rest}]}])
    cluster.ask_controller("ElectLeaders", 1, ElectionType=0, TimeoutMs=30000, TopicPartitions=[
        {"Topic": r.topic, "Partitions": [partition]}])


def test_mutated_orders(clusters):
    rounds(mutated, clusters(replica_lag_time_max_ms=NO_LAG).start(), name="B13")


# ---- B14 ----

# What is asked; by the epoch that is named: the answers of the leader and of a follower (Apache Kafka 3.9.1's).
CELLS = {
    "Fetch": {"none": (OK, NOT_LEADER), "same": (OK, NOT_LEADER), "older": (FENCED, FENCED), "newer": (UNKNOWN, UNKNOWN)},
    "ListOffsets": {"none": (OK, NOT_LEADER), "same": (OK, NOT_LEADER), "older": (FENCED, FENCED), "newer": (UNKNOWN, UNKNOWN)},
    "OffsetForLeaderEpoch": {"none": (OK, NOT_LEADER), "same": (OK, NOT_LEADER), "older": (FENCED, FENCED),
                             "newer": (UNKNOWN, UNKNOWN)},
}


def fetch_code(wire, topic, epoch):
    """As a consumer without a rack has asked before it could name one: only of leaders."""
    return wire.fetch(10, topic, 0, 0, CurrentLeaderEpoch=epoch)["Responses"][0]["Partitions"][0]["ErrorCode"]


def list_code(wire, topic, epoch):
    out = wire.call("ListOffsets", 4, ReplicaId=-1, IsolationLevel=0, Topics=[{"Name": topic, "Partitions": [
        {"PartitionIndex": 0, "CurrentLeaderEpoch": epoch, "Timestamp": -1}]}])
    return out["Topics"][0]["Partitions"][0]["ErrorCode"]


def epoch_code(wire, topic, epoch):
    out = wire.call("OffsetForLeaderEpoch", 3, ReplicaId=-1, Topics=[{"Topic": topic, "Partitions": [
        {"Partition": 0, "CurrentLeaderEpoch": epoch, "LeaderEpoch": 0}]}])
    return out["Topics"][0]["Partitions"][0]["ErrorCode"]


ASK = {"Fetch": fetch_code, "ListOffsets": list_code, "OffsetForLeaderEpoch": epoch_code}


def epochs(cluster, seed):
    with Round(cluster, seed) as r:
        r.traffic.until(5)
        for _ in range(r.rng.randrange(1, 4)):
            leader = cluster.wait_leader(r.topic)
            cluster.move_leader(r.topic, r.rng.choice([n for n in cluster.nodes if n != leader]))
        r.traffic.until(5)
        cluster.wait_full(r.topic)
        cluster.wait(lambda: cells_hold(cluster, r), "brokers in one epoch")


def cells_hold(cluster, r):
    """Raises if an answer is wrong; False: another epoch has begun meanwhile, a broker has not heard of this one yet, or its leader
    does not know the high watermark yet."""
    state = cluster.state(r.topic)
    now, leader = state["leader_epoch"], state["leader"]
    named = {"none": -1, "same": now, "older": r.rng.randrange(now), "newer": now + r.rng.choice((1, 2, 1000, 2147483647 - now))}
    if leader < 0 or any(code_of(cluster, n, "ListOffsets", r.topic, now) == UNKNOWN for n in cluster.nodes):
        return False
    for number in cluster.nodes:
        for api, row in CELLS.items():
            for which, epoch in named.items():
                got, want = code_of(cluster, number, api, r.topic, epoch), row[which][number != leader]
                if got != want and (cluster.state(r.topic)["leader_epoch"] != now or (api, got) == ("ListOffsets", NO_LEADER_YET)):
                    return False
                assert got == want, "%s in an epoch that is %s at broker %d (%d leads): %d, not %d" % (
                    api, which, number, leader, got, want)
    return True


def code_of(cluster, number, api, topic, epoch):
    with cluster[number].connect() as wire:
        return ASK[api](wire, topic, epoch)


def test_epochs(clusters):
    rounds(epochs, clusters(replica_lag_time_max_ms=NO_LAG).start(), name="B14")


# ---- B15 ----

def replayed(cluster, seed):
    """Orders to a broker before it died come again; then those of a controller that is none any more."""
    with Round(cluster, seed) as r:
        number = r.rng.choice([n for n in cluster.nodes if n != cluster.wait_controller()])
        orders = cluster.net.record(api=ORDERS, dst=number)
        other = cluster.create("other%d" % seed)
        cluster.move_leader(other, number)
        cluster.delete(other)
        cluster.wait(lambda: {f.api for f in orders.frames} == set(ORDERS), lambda: "each kind of order: %s" % orders.frames)
        r.traffic.until(5)
        epoch = cluster.state(r.topic)["leader_epoch"]
        cluster.kill9(number)
        old, orders = list(orders.frames), orders.end()
        cluster.restart(number)
        cluster.wait(lambda: cluster.state(r.topic)["leader_epoch"] > epoch, "the controller has seen it go")
        cluster.wait_full(r.topic)
        refused(cluster, r, number, old, STALE_BROKER_EPOCH)
        orders = cluster.net.record(api=ORDERS, dst=number, when=lambda f: f.src != number)
        old_controller = cluster.wait_controller()
        for to in r.rng.sample(sorted(cluster.nodes), 3):
            cluster.move_leader(r.topic, to)
        orders.end()
        cluster.zk.client.delete(cluster.chroot + "/controller")
        cluster.wait(lambda: cluster.controller() is not None and all(
            controller_known(cluster, n) == cluster.controller() for n in cluster.nodes), "a controller that all know")
        cluster.move_leader(r.topic, number)            # it has heard of the new one
        refused(cluster, r, number, [f for f in orders.frames if f.src == old_controller], STALE_CONTROLLER_EPOCH)


def controller_known(cluster, number):
    with cluster[number].connect() as wire:
        return wire.call("Metadata", 8, Topics=[])["ControllerId"]


def refused(cluster, r, number, frames, code):
    before = cluster.state(r.topic)
    assert frames
    for frame in r.rng.sample(frames, len(frames)):
        got = replay(frame, cluster[number].peer_port)["ErrorCode"]
        assert got == code, "%s is answered with %d, not %d: %s" % (frame, got, code, frame.fields())
    r.traffic.until(5)
    assert cluster.state(r.topic) == before
    assert batch_rows(cluster.batches(number, r.topic))


def test_replayed_orders(clusters):
    rounds(replayed, clusters(replica_lag_time_max_ms=NO_LAG).start(), name="B15")
