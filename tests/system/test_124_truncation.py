"""B11: the two ways to lose or to fork a log of KIP-101; B12: failovers in a row, after each of which a replica knows an epoch that
others never had (KIP-279); B13, one half: a broker that has missed an order of the controller (KAFKA-7164). All by held frames,
not by luck. (min.insync.replicas is 1: below it a leader would not move its high watermark.) A follower goes back to the end of the last epoch that it shares with the leader: not to its high watermark, and not
only when it has a new leader."""
from cluster import NO_LAG
from cluster_load import read_whole
from cluster_rounds import Round, judge, rounds

FETCH, ORDER = "Fetch", "LeaderAndIsr"


def with_controller(clusters):
    """Brokers 1, 2 and 3 hold data; broker 4 is the controller, as the first to come."""
    cluster = clusters(4, replica_lag_time_max_ms=NO_LAG)
    return cluster.start(4).start(1, 2, 3)


def watermark(frame):
    """The highest in an answer to Fetch."""
    return max([p["HighWatermark"] for t in frame.fields()["Responses"] for p in t["Partitions"]], default=-1)


def lagging_watermark(cluster, seed):
    """KIP-101, first scenario: b has a record that is acknowledged, but not yet heard that it is. It follows another leader
    then, cannot fetch from it, and is the only one left."""
    with Round(cluster, seed, writers=0, readers=0, assignment=[order_of(seed)], min_insync_replicas=1) as r:
        a, b, c = cluster.replicas(r.topic)
        writer = r.writer()
        r.put(writer, r.rng.randrange(2, 6))
        end = r.end_at(a)
        unheard = cluster.net.hold(api=FETCH, answer=True, src=b, dst=a, when=lambda f: watermark(f) > end)
        r.put(writer)                   # acknowledged: b has it, for it asks for what follows
        unheard.wait()
        blocked = cluster.net.hold(api=FETCH, src=b, dst=c)
        cluster.move_leader(r.topic, c)
        blocked.wait()                  # b follows c now
        cluster.kill9(a, c)
        cluster.wait_leader(r.topic, besides=c)
        cluster.net.end_rules()
        read_whole(cluster, r.history, r.topic, 0)
        judge(r.history)
        cluster.restart(a, c)
        cluster.wait_full(r.topic)
        r.put(writer)
        writer.drop()


def order_of(seed):
    return [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 3, 2], [2, 1, 3], [3, 2, 1]][seed % 6]


def forked(cluster, seed):
    """KIP-101, second scenario: a leader dies with records that no other has; the next one writes others at these offsets."""
    with Round(cluster, seed, writers=0, readers=0, assignment=[order_of(seed)], min_insync_replicas=1) as r:
        a = cluster.wait_leader(r.topic)
        writer = r.writer()
        r.put(writer, r.rng.randrange(1, 4))
        alone(cluster, r, a, r.rng.randrange(1, 6))
        r.put(writer, r.rng.randrange(1, 6))
        cluster.restart(a)
        cluster.wait_full(r.topic)
        r.put(writer)
        writer.drop()


def alone(cluster, r, number, batches):
    """The leader takes what nobody else gets, and dies."""
    cut = cluster.net.hold(api=FETCH, answer=True, dst=number)
    r.junk(number, batches)
    cluster.kill9(number)
    cut.drop()
    return cluster.wait_leader(r.topic, besides=number)


def scenarios(cluster, seed):
    (forked if seed % 2 else lagging_watermark)(cluster, seed)


def test_kip_101(clusters):
    rounds(scenarios, with_controller(clusters), name="B11")


def failovers(cluster, seed):
    """a dies with records of its own, b then, too; c has never heard of b's epoch, and leads. Twice."""
    with Round(cluster, seed, writers=0, readers=0, assignment=[order_of(seed)], min_insync_replicas=1) as r:
        writer = r.writer()
        for _ in range(2):
            r.put(writer, r.rng.randrange(1, 4))
            a = cluster.wait_leader(r.topic)
            b = alone(cluster, r, a, r.rng.randrange(1, 6))
            c = alone(cluster, r, b, r.rng.randrange(1, 6))
            if r.rng.random() < 0.7:
                r.junk(c, r.rng.randrange(1, 6))        # it is the only one in the ISR: this stays
            for number in r.rng.sample([a, b], 2):
                cluster.restart(number)
                if r.rng.random() < 0.3:
                    cluster.wait(lambda n=number: n in cluster.state(r.topic)["isr"], "%d is in the ISR" % number)
            cluster.wait_full(r.topic)
            r.put(writer)
        writer.drop()


def test_kip_279(clusters):
    rounds(failovers, with_controller(clusters), name="B12")


def swallowed(frame):
    """The answer of a broker that has done all it was told to."""
    asked = frame.fields()
    return {"ErrorCode": 0, "Topics": [
        {"TopicId": t["TopicId"], "PartitionErrors": [
            {"PartitionIndex": p["PartitionIndex"], "ErrorCode": 0} for p in t["PartitionStates"]]}
        for t in asked.get("TopicStates", [])]}


def missed(cluster, seed):
    """c has records of a that b does not have. b leads and writes others, then a leads again. c has heard of none of it but
    the last: for c the leader is who it was."""
    with Round(cluster, seed, writers=0, readers=0, assignment=[order_of(seed)], min_insync_replicas=1) as r:
        a, b, c = cluster.replicas(r.topic)
        writer = r.writer()
        r.put(writer, r.rng.randrange(1, 4))
        before = r.end_at(a)
        behind = cluster.net.hold(api=FETCH, answer=True, src=b, dst=a)
        r.junk(a, r.rng.randrange(1, 6))
        cluster.wait(lambda: r.end_at(c) == r.end_at(a), "c has what a has")
        assert r.end_at(b) == before
        missed_one = cluster.net.reply(swallowed, api=ORDER, dst=c)
        cluster.move_leader(r.topic, b)
        missed_one.wait()
        behind.drop()
        r.junk(b, r.rng.randrange(1, 6))
        cluster.wait(lambda: r.end_at(a) == r.end_at(b), "a has what b has")
        missed_one.end()
        cluster.move_leader(r.topic, a)
        r.put(writer, r.rng.randrange(1, 4))
        writer.drop()


def test_missed_order(clusters):
    rounds(missed, with_controller(clusters), name="B13, a missed order")
