"""tests/interop/test_groups.py - consumers of every make in one group: they share the partitions, take over from one that
is killed, and go on from what was committed after a kill -9 of the broker.
"""
import os
import subprocess

import pytest

import consumers
from apache import PEER
from consumers import Group
from harness import wait_for
from wire import Wire

TOPIC, PARTITIONS = "shared", 12
DELAY = {"group.initial.rebalance.delay.ms": "500"}


@pytest.fixture(scope="module", autouse=True)
def old_tools():
    had = subprocess.run([os.path.join(PEER, "get"), "2.7.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         check=False)
    if had.returncode != 0:
        pytest.skip("Apache Kafka 2.7.1 cannot be had here: %s" % had.stdout.strip())


@pytest.fixture
def group(request, brokers, peer, tmp_path):
    broker = brokers(dict(DELAY)).start()
    broker.create_topic(TOPIC, PARTITIONS)
    made = Group(broker, "mixed", TOPIC, PARTITIONS, tmp_path, getattr(request, "param", "eager") == "cooperative")
    yield made
    made.end()


def kinds(group):
    return consumers.NEWER if group.cooperative else list(consumers.KINDS)


both = pytest.mark.parametrize("group", ["eager", "cooperative"], indirect=True)


@both
def test_all_makes_share_and_take_over(group):
    """They join one after the other and are killed one after the other, in another order."""
    for kind in kinds(group):
        group.join(kind)
    group.all_here()
    group.see(group.produce(20))
    silent = [c.kind for c in group.consumers if not c.seen()]
    assert not silent, "has partitions and sees nothing: %s" % silent
    group.committed()
    for consumer in sorted(group.consumers, key=lambda c: c.kind[::-1])[:-1]:
        group.kill(consumer)
        made = group.produce(3)
        group.all_here()
        group.see(made)
    group.committed()


@both
def test_they_resume_after_kill_9_of_the_broker(group):
    for kind in kinds(group):
        group.join(kind)
    group.all_here()
    for _ in range(3):
        group.see(group.produce(10))
        group.committed()
        before = consumers.offsets(group.broker, group.group)
        group.broker.kill9()
        group.broker.start()
        wait_for(lambda: consumers.offsets(group.broker, group.group) is not None, 20, "the offsets are loaded")
        assert consumers.offsets(group.broker, group.group) == before
        made = group.produce(10)
        group.see(made)
        group.all_here()
        once(group, made.start)


def once(group, end):
    """What was committed is not read again, by nobody."""
    seen = sorted(n for n in group.seen() if n < end)
    assert seen == list(range(end)), "not once: %s" % sorted({n for n in range(end) if seen.count(n) != 1})


def test_each_goes_on_where_another_ended(group):
    """One after the other, each alone in the group: each sees only what came after the one before."""
    for kind in consumers.KINDS:
        group.join(kind)
        group.all_here()
        group.see(group.produce(5))
        group.committed()
        once(group, group.made)
        group.leave(group.consumers[0])
        wait_for(lambda: not consumers.describe(group.broker, group.group)[1], 20, "%s left" % kind)


@both
def test_a_static_member_that_is_killed_and_comes_back_changes_nothing(group):
    for i, kind in enumerate(consumers.NEWER):
        group.join(kind, "instance-%d" % i)
    group.all_here()
    group.see(group.produce(5))
    group.committed()
    owned, generations = by_instance(group), rebalances(group)
    for i, kind in enumerate(consumers.NEWER):
        group.kill(group.consumers[0])
        back = group.join(kind, "instance-%d" % i)
        made = group.produce(3)
        group.see(made)
        assert set(back.seen()) <= set(made) and back.seen(), kind
        assert by_instance(group) == owned and rebalances(group) == generations, kind
        group.committed()


def by_instance(group):
    with Wire(group.broker.port) as c:
        g = c.call("DescribeGroups", 4, Groups=[group.group])["Groups"][0]
    return {m["GroupInstanceId"]: m["MemberAssignment"] for m in g["Members"]}


def rebalances(group):
    return group.broker.log().count("group %s: rebalance begins" % group.group)
