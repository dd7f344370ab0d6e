"""The model that the other tests of groups use finds each breach of I10 when it is shown one, and a hang is a failure."""
import asyncio

import pytest

from groups import (ILLEGAL_GENERATION, NONE, UNKNOWN_MEMBER_ID, Model, assignment, deal, deal_cooperative, read_assignment,
                    read_subscription, run, subscription, until)

TP = ("t", 0)


def committed_model():
    m = Model()
    m.begin("g", {TP: 5})
    m.end("g", "a", 1, {TP: 5}, {TP: NONE})
    return m


def test_two_owners():
    m = Model()
    m.own("g", 1, "a", [TP])
    m.own("g", 2, "b", [TP])
    m.own("other", 1, "b", [TP])
    with pytest.raises(AssertionError, match="two owners"):
        m.own("g", 2, "a", [TP])


def test_two_that_work_at_the_same_time():
    m = Model()
    m.take("g", "a", [TP])
    with pytest.raises(AssertionError, match="still works"):
        m.take("g", "b", [TP])
    m.give("g", "b", [TP])              # not its own
    with pytest.raises(AssertionError, match="still works"):
        m.take("g", "b", [TP])
    m.give("g", "a", [TP])
    m.take("g", "b", [TP])


def test_one_whose_session_may_have_ended():
    m, silent = Model(), []
    m.take("g", "a", [TP], lambda: bool(silent))
    with pytest.raises(AssertionError, match="still works"):
        m.take("g", "b", [TP])
    with pytest.raises(AssertionError, match="put out"):
        m.lost("g", "a", UNKNOWN_MEMBER_ID, lambda: bool(silent))
    silent.append(True)
    m.take("g", "b", [TP])
    m.lost("g", "a", UNKNOWN_MEMBER_ID, lambda: bool(silent))
    m.give("g", "a", [TP])              # what it held is another's by now
    with pytest.raises(AssertionError, match="still works"):
        m.take("g", "c", [TP])


def test_a_regression():
    m = committed_model()
    m.read("g", {TP: 5}, m.floor("g", [TP]))
    for lower in (4, 0, -1):
        with pytest.raises(AssertionError, match="regressed"):
            m.read("g", {TP: lower}, m.floor("g", [TP]))


def test_an_offset_out_of_nowhere():
    m = committed_model()
    with pytest.raises(AssertionError, match="nobody has sent"):
        m.read("g", {TP: 6}, m.floor("g", [TP]))


def test_what_is_not_acknowledged_may_or_may_not_be_there():
    m = committed_model()
    floor = m.floor("g", [TP])
    m.begin("g", {TP: 6})
    m.read("g", {TP: 5}, floor)
    m.read("g", {TP: 6}, floor)
    m.end("g", "a", 1, {TP: 6}, {TP: NONE})
    with pytest.raises(AssertionError, match="regressed"):
        m.read("g", {TP: 5}, m.floor("g", [TP]))


def test_a_fenced_member_that_commits():
    m = committed_model()
    m.fence("g", "a", 1)
    m.begin("g", {TP: 6})
    m.end("g", "a", 1, {TP: 6}, {TP: ILLEGAL_GENERATION}, m.is_fenced("g", "a", 1))
    with pytest.raises(AssertionError, match="is fenced"):
        m.end("g", "a", 1, {TP: 6}, {TP: NONE}, m.is_fenced("g", "a", 1))


def test_a_scene_that_hangs():
    async def never():
        return False
    with pytest.raises(AssertionError, match="not within"):
        run(until(never, 0.05))

    async def hangs():
        await asyncio.get_running_loop().create_future()
    with pytest.raises(asyncio.TimeoutError):
        run(hangs(), 0.05)


def test_the_shares_that_the_kit_deals():
    members = {m: subscription(["t"]) for m in "abc"}
    dealt = deal(members, {"t": 7})
    assert sorted(map(len, dealt.values())) == [2, 2, 3] and len(set().union(*dealt.values())) == 7
    assert read_assignment(assignment(dealt["a"])) == dealt["a"]
    owned = {("t", p) for p in range(7)}
    members = {"a": subscription(["t"], owned, 3), "b": subscription(["t"], set(), -1), "c": subscription(["t"], {TP}, 2)}
    assert read_subscription(members["a"]) == (["t"], owned, 3)
    first = deal_cooperative(members, {"t": 7})
    assert len(first["a"]) == 3 and not first["b"] and not first["c"]     # the rest is given up first
    members["a"] = subscription(["t"], first["a"], 4)
    second = deal_cooperative(dict(members, c=subscription(["t"], set(), 4)), {"t": 7})
    assert second["a"] == first["a"] and sorted(map(len, second.values())) == [2, 2, 3]
