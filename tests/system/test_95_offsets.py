"""tests/system/test_95_offsets.py - committed offsets: what Apache Kafka 3.9.1 answers, scene by scene; what a restart keeps; and
commits beside whatever deletes them."""
import random
import threading

import pytest

from harness import SANITIZED, wait_for
from offset_scenes import (PROPERTIES, SCENES, a_check_passes, commit, delete, differences, drop, enter, expected, fetch,
                           offsets, ready, state, topic)
from wire import Wire

NONE, UNKNOWN_TOPIC, NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND = 0, 3, 68, 69


# Once every record is synced before it is acknowledged, a commit is parked until that is done.
SYNCED = {"log.flush.interval.messages": "1"}
AT_ONCE_OR_LATER = pytest.mark.parametrize("more", [{}, SYNCED], ids=["at once", "synced"])


@AT_ONCE_OR_LATER
def test_what_apache_kafka_answers(brokers, more):
    """In order, on one broker: the first scene wants it fresh."""
    broker = brokers(dict(PROPERTIES, **more)).start()
    assert differences({name: f(broker.port) for name, f in SCENES}, expected()) == []


@pytest.mark.parametrize("how", ["stop", "kill -9"])
def test_a_restart_brings_back_what_was_there(brokers, how):
    broker = brokers(PROPERTIES).start()
    ready(broker.port)
    with Wire(broker.port) as c:
        t, u = topic(c, "t"), topic(c, "u")
        commit(c, 8, "simple", [(t, [(0, 1), (1, 2)]), (u, [(0, 3)])], "some text")
        commit(c, 2, "simple", [(u, [(1, 4)])], RetentionTimeMs=3600000)
        commit(c, 2, "expired", [(t, [(0, 1)])], RetentionTimeMs=1)
        commit(c, 0, "stored", [(t, [(0, 5)])])
        who = enter(c, "member", [t])
        commit(c, 8, "member", [(t, [(0, 7)]), (u, [(0, 8)])], **who)
        assert delete(c, "simple", [(t, [1])])[0] == delete(c, "member", [(u, [0])])[0] == NONE
        a_check_passes(c, t)
        drop(c, u)
        wait_for(lambda: len(offsets(c, "simple")) == 1, 30, "end of the topic's offsets")
        before = [offsets(c, g) for g in ("simple", "expired", "member")] + [fetch(c, 0, "stored", [(t, [0])])]
        assert before[:3] == [[[t, [[0, 1, "some text", 0]]]], [], [[t, [[0, 7, "", 0]]]]]
    if how == "stop":
        assert broker.stop() == 0
        broker.start()
    else:
        broker.kill9()
        broker.start()
    ready(broker.port)
    with Wire(broker.port) as c:
        assert before == [offsets(c, g) for g in ("simple", "expired", "member")] + [fetch(c, 0, "stored", [(t, [0])])]
        assert [state(c, g)[0] for g in ("simple", "expired", "member")] == ["Empty", "Dead", "Stable"]


# ---- D10: commits beside deletions -----------------------------------------------------------------------------------

GROUPS = ["g-%d" % i for i in range(6)]
ROUNDS = 100 if SANITIZED else 300


def run_all(functions):
    """Each in a thread of its own; the first failure is raised."""
    failures = []

    def guarded(f):
        try:
            f()
        except BaseException as e:      # noqa: B902 - handed to the test's thread
            failures.append(e)
    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


def codes(answer):
    return {code for _, parts in answer for _, code in parts}


def commits(port, seed):
    rng = random.Random(seed)
    with Wire(port) as c:
        for i in range(ROUNDS):
            rows = [(t, [(p, i) for p in rng.sample(range(3), rng.randint(1, 3))]) for t in ("t", "u", "gone")]
            assert codes(commit(c, 8, rng.choice(GROUPS), rows, "m" * rng.choice((0, 5, 50)))) <= {NONE, UNKNOWN_TOPIC}


def deletions(port, seed):
    rng = random.Random(seed)
    with Wire(port) as c:
        for _ in range(ROUNDS // 2):
            group = rng.choice(GROUPS)
            if rng.random() < 0.3:
                got, = c.call("DeleteGroups", 2, GroupsNames=[group])["Results"]
                assert got["ErrorCode"] in (NONE, GROUP_ID_NOT_FOUND)
            else:
                code, answer = delete(c, group, [(t, rng.sample(range(3), 2)) for t in ("t", "u", "gone")])
                assert code in (NONE, GROUP_ID_NOT_FOUND) and codes(answer) <= {NONE, UNKNOWN_TOPIC}


def topic_comes_and_goes(port):
    with Wire(port) as c:
        for _ in range(12):
            drop(c, topic(c, "gone", 3))


def everything(port):
    with Wire(port) as c:
        return {g: offsets(c, g) for g in GROUPS}


@AT_ONCE_OR_LATER
def test_memory_and_log_agree_after_commits_beside_deletions(brokers, more):
    """OffsetDelete, DeleteGroups, expiry and the deletion of a topic, all of the same groups; then the log is replayed."""
    broker = brokers(dict(PROPERTIES, **more)).start()
    ready(broker.port)
    with Wire(broker.port) as c:
        topic(c, "t", 3)
        topic(c, "u", 3)
    for seed in range(2):
        run_all([lambda i=i, s=seed: commits(broker.port, 10 * s + i) for i in range(4)] +
                [lambda s=seed: deletions(broker.port, 10 * s + 5), lambda: topic_comes_and_goes(broker.port)])
        # Of a topic that does not exist none stays; Metadata may be a moment ahead of the groups.
        wait_for(lambda: "gone" not in [t for rows in everything(broker.port).values() for t, _ in rows], what="no offsets of gone")
        before = everything(broker.port)
        broker.kill9()
        broker.start()
        ready(broker.port)
        assert everything(broker.port) == before
