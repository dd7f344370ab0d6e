"""B3: a leader that ZooKeeper cannot reach; B4: a leader that its followers cannot reach; B5: one way of a connection is cut, each in
turn. Nothing acknowledged is lost, nothing is acknowledged by fewer than min.insync.replicas, and all is well after the cut."""
import itertools

from cluster import NO_LAG
from cluster_load import OK, ClusterWriter
from cluster_rounds import Round, rounds
from harness import SLOW
from proxy import ZK

NOT_ENOUGH = (19, 20)           # NOT_ENOUGH_REPLICAS, and the same after the append


def others(cluster, number):
    return [n for n in cluster.nodes if n != number]


def led_by(cluster, number):
    """An assignment by which that broker leads."""
    return [[number] + others(cluster, number)]


def away_from_zookeeper(cluster, seed):
    """The session is so long that it lives through it. A stable ISR needs no ZooKeeper."""
    controller = cluster.wait_controller()
    number = controller if seed % 2 else next(n for n in cluster.nodes if n != controller)
    with Round(cluster, seed, assignment=led_by(cluster, number)) as r:
        r.traffic.until(10)
        before = cluster.state(r.topic)
        cluster.net.cut(number, ZK, both=True)
        r.traffic.until(30)
        assert cluster.state(r.topic) == before
        if number == controller:
            follower = r.rng.choice(others(cluster, number))
            cluster[follower].sigstop()         # the ISR cannot shrink: no acknowledgement without the follower
            r.traffic.until(0)
            silent(cluster, r)
            assert cluster.state(r.topic)["isr"] == before["isr"]
            cluster[follower].sigcont()
            r.traffic.until(10)
        cluster.net.heal(reset=r.rng.random() < 0.5)


def silent(cluster, r):
    """A batch with acks=all is not acknowledged, within a time that it names."""
    with_one = ClusterWriter(cluster, r.history, "one", r.topics, r.seed, timeout_ms=300)
    try:
        code = with_one.send((r.topic, 0))
    except OSError:
        code = None
    with_one.drop()
    assert code != OK, "a batch was acknowledged without its followers"
    return code


def test_leader_away_from_zookeeper(clusters):
    rounds(away_from_zookeeper, clusters(zookeeper_session_timeout_ms=60000 * SLOW, replica_lag_time_max_ms=NO_LAG).start(), name="B3")


def away_from_followers(cluster, seed):
    """The leader is the controller, so that it can shrink the ISR, or it is not, and cannot."""
    controller = cluster.wait_controller()
    number = controller if seed % 5 < 3 else next(n for n in cluster.nodes if n != controller)
    with Round(cluster, seed, assignment=led_by(cluster, number)) as r:
        r.traffic.until(10)
        cluster.net.isolate(number, others(cluster, number))
        if number == controller:
            cluster.wait_isr(r.topic, [number])
            cluster.wait(lambda: silent(cluster, r) in NOT_ENOUGH, "the leader knows that its ISR is too small")
        else:
            silent(cluster, r)
        cluster.net.heal(reset=r.rng.random() < 0.5)


def test_leader_away_from_followers(clusters):
    rounds(away_from_followers, clusters(replica_lag_time_max_ms=600 * SLOW, replica_fetch_wait_max_ms=100).start(), name="B4")


def one_way(cluster, seed):
    """Three partitions, each led by another broker: whatever is cut, some can be written."""
    pairs = list(itertools.permutations(list(cluster.nodes) + [ZK], 2))
    src, dst = pairs[seed * 5 % len(pairs)]
    turns = [[1, 2, 3], [2, 3, 1], [3, 1, 2]]
    with Round(cluster, seed, assignment=turns, timeout_ms=500 * SLOW) as r:
        r.traffic.until(10)
        cluster.net.cut(src, dst)
        r.traffic.until(20, what="acknowledgements go on while %s to %s is cut" % (src, dst))
        cluster.net.heal(reset=r.rng.random() < 0.5)


def test_one_way_cuts(clusters):
    rounds(one_way, clusters(replica_lag_time_max_ms=600 * SLOW, replica_fetch_wait_max_ms=100,
                             zookeeper_session_timeout_ms=1500 * SLOW).start(), name="B5")
