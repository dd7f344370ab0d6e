"""B1: brokers that are stopped, killed, bounced, be they leader or controller, while clients write and read; B10: two of three are
killed and come back in any order. Nothing acknowledged is lost, nothing comes twice or in another order, and at the end all
replicas are in the ISR again and hold the same bytes."""
import itertools

from cluster_rounds import Round, rounds
from harness import SLOW

MODES = list(itertools.product(("clean shutdown", "hard shutdown", "clean bounce", "hard bounce"), ("leader", "controller")))
BOUNCES = 5
SHORT = 600 * SLOW + 2400       # for a controller that stays away only the end of its session makes way


def victim(cluster, r, role):
    return cluster.wait_leader(r.topic) if role == "leader" else cluster.wait_controller()


def down(cluster, number, hard):
    if hard:
        cluster.kill9(number)
    else:
        cluster.term(number)


def failure(cluster, seed):
    how, role = MODES[seed % len(MODES)]
    hard, kind = how.split()[0] == "hard", how.split()[1]
    with Round(cluster, seed) as r:
        r.traffic.until(20)
        if kind == "shutdown":
            cluster.wait_full(r.topic)          # somebody can take over
            number = victim(cluster, r, role)
            down(cluster, number, hard)
            cluster.wait_leader(r.topic, besides=number)
            r.traffic.until(20)
            cluster.restart(number)
            return
        for _ in range(BOUNCES):                # whoever leads now
            number = victim(cluster, r, role)
            down(cluster, number, hard)
            cluster.restart(number)
            r.traffic.until(5)


def test_failures(clusters):
    rounds(failure, clusters(zookeeper_session_timeout_ms=SHORT).start(), name="B1")


def two_of_three(cluster, seed):
    """36 ways: who dies first, who second, whether the first is back before, and who comes back first."""
    order = list(itertools.permutations(cluster.nodes))[seed % 6]
    first, second = order[:2]
    back = [(first, second), (second, first)][seed // 6 % 2]
    together = seed // 12 % 3 == 2
    with Round(cluster, seed) as r:
        r.traffic.until(10 + r.rng.randrange(20))
        cluster.wait_full(r.topic)
        if together:
            cluster.kill9(first, second)
        else:
            cluster.kill9(first)
            if seed // 12 % 3:
                cluster.wait_out(r.topic, first)
                r.traffic.until(5)
                cluster.wait_isr(r.topic, [n for n in cluster.nodes if n != first])
            cluster.kill9(second)
        for number in back:
            cluster.restart(number)
            if r.rng.random() < 0.5:
                cluster.wait_leader(r.topic)


def test_two_of_three(clusters):
    rounds(two_of_three, clusters(zookeeper_session_timeout_ms=SHORT).start(), name="B10")
