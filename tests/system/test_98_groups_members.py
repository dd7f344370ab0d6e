"""D3, D4, D5: members that stop, come back, are replaced, come and go: one owner, fenced ones are refused, all settle."""
import asyncio
import random
import time

from group_cells import PROPERTIES
from groups import (FENCED_INSTANCE_ID, LOST, NONE, REBALANCE_IN_PROGRESS, ROUNDS, UNKNOWN_MEMBER_ID, Life, Link, Member,
                    Model, converged, describe, pause, ready, run, tried, until)
from harness import SLOW
from wire import Wire

PARTITIONS = {"t": 12}
ALL = [("t", p) for p in range(12)]
SHORT_SESSION = 600 if SLOW == 1 else 1500      # ms
ERAS_OF_DYNAMIC = ["0.10.1", "0.11", "2.0", "2.2", "2.3", "2.4", "3.2", "3.9"]
ERAS_OF_STATIC = ["2.3", "2.4", "2.7", "3.2", "3.9"]
SETTINGS = dict(PROPERTIES, **{"group.max.size": "2147483647"})


def started(brokers):
    b = brokers(SETTINGS).start()
    prepare(b.port)
    return b


def prepare(port):
    run(ready(port, "any"))
    with Wire(port) as c:
        if "t" not in {t["Name"] for t in c.call("Metadata", 5, Topics=None)["Topics"]}:
            c.create("t", 12)


async def beats(member, code):
    return await member.heartbeat() == code


# ---- D3 --------------------------------------------------------------------------------------------------------------

async def a_sleeper(port, model, n, name):
    """One of two stops for longer than its session while the other takes over; then it commits. None: its session may have
    ended before it slept."""
    group, era = "sleeper." + name, ERAS_OF_DYNAMIC[n % len(ERAS_OF_DYNAMIC)]
    other = Member(port, group, era=era, client_id="awake", session_ms=60000)
    await other.enter(PARTITIONS)
    sleeper = Member(port, group, era=era, client_id="sleeper", session_ms=2500)        # time enough to enter and commit
    began = time.monotonic()
    entering = asyncio.ensure_future(sleeper.enter(PARTITIONS))
    while not entering.done():
        if await other.heartbeat() == REBALANCE_IN_PROGRESS:
            await other.enter(PARTITIONS)
        await pause(0.01)
    await entering
    if sleeper.generation != other.generation and time.monotonic() - began >= 2.5:
        return None
    old, generation = sleeper.member_id, sleeper.generation
    for m in (sleeper, other):
        model.own(group, m.generation, m.member_id, m.owned)
    codes = await model.commit(sleeper, {tp: 1 for tp in sleeper.owned})
    if set(codes.values()) != {NONE} and time.monotonic() - began >= 2.5:
        return None
    assert set(codes.values()) == {NONE}, codes
    await until(lambda: beats(other, REBALANCE_IN_PROGRESS), 30, "the end of the sleeper's session")
    model.fence(group, old, generation)
    early = n % 2 == 0                              # half of them wake up before the other has joined again
    if early:
        await refused(sleeper, model, old, generation)
    await other.enter(PARTITIONS)
    model.own(group, other.generation, other.member_id, other.owned)
    assert len(other.owned) == 12
    codes = await model.commit(other, {tp: 5 for tp in ALL})
    assert set(codes.values()) == {NONE}, codes
    await refused(sleeper, model, old, generation)
    link = await other.connected()
    assert set((await model.check(link, group, ALL)).values()) == {5}
    sleeper.drop()
    other.drop()
    return True


async def refused(sleeper, model, member_id, generation):
    for as_generation in (generation, generation + 1, -1):
        sleeper.member_id, sleeper.generation = member_id, as_generation
        model.fence(sleeper.group, member_id, as_generation)
        codes = await model.commit(sleeper, {("t", 0): 3})
        assert set(codes.values()) == {UNKNOWN_MEMBER_ID}, codes
        assert await sleeper.heartbeat() == UNKNOWN_MEMBER_ID
        assert await sleeper.call_sync() == UNKNOWN_MEMBER_ID
    sleeper.member_id, sleeper.generation = "", -1      # as one who is in no group: the group has members
    assert set((await sleeper.commit({("t", 0): 3})).values()) == {UNKNOWN_MEMBER_ID}


def sleepers(port):
    async def scene():
        model = Model()
        await tried(lambda n, name: a_sleeper(port, model, n, name), range(ROUNDS))
        return model
    model = run(scene())
    assert model.acks >= ROUNDS * 12 and model.refusals >= ROUNDS * 3


def test_a_consumer_that_slept_through_its_session_cannot_commit(brokers):
    sleepers(started(brokers).port)


async def awake(port, n, name):
    """Heartbeats, or commits, keep a member in for much longer than its session. None: one came too late."""
    session = 500 if SLOW == 1 else 2000
    m = Member(port, "awake." + name, era=ERAS_OF_DYNAMIC[n % len(ERAS_OF_DYNAMIC)], session_ms=session)
    loop = asyncio.get_running_loop()
    sent = loop.time()
    await m.enter(PARTITIONS)
    end = loop.time() + 3 * session / 1000
    while loop.time() < end:
        before, sent = sent, loop.time()
        code = await m.heartbeat() if n % 2 else set((await m.commit({("t", 0): 1})).values()).pop()
        if code != NONE and loop.time() - before >= session / 1000 - 0.005:     # the broker counts whole milliseconds
            m.drop()
            return None
        assert code == NONE, (code, loop.time() - before)
        await pause(session / 10000)
    m.drop()
    return True


def awakes(port):
    run(tried(lambda n, name: awake(port, n, name), range(ROUNDS)))


def test_heartbeats_and_commits_keep_a_member_in(brokers):
    awakes(started(brokers).port)


# ---- D4 --------------------------------------------------------------------------------------------------------------

async def static_restarts(port, model, era, rng):
    """Three static members of which one after the other is killed and comes back within its session: nothing moves."""
    group = "static.%s" % era
    members = {}
    for name in "abc":
        members[name] = Life(Member(port, group, era=era, instance=name, client_id=name, session_ms=60000), model, PARTITIONS)
    await converged(members.values(), PARTITIONS)
    generation = members["a"].member.generation
    for n in range(1, ROUNDS + 1):
        name = rng.choice("abc")
        old = members.pop(name)
        held = set(old.held)
        old.kill()
        again = Member(port, group, era=era, instance=name, client_id=name, session_ms=60000)
        code = await again.join()
        assert (code, again.generation) == (NONE, generation), (era, code, again.generation, generation)
        assert not again.leads, "it would assign anew"
        model.fence(group, old.member.member_id, generation)
        assert await again.sync(PARTITIONS) == NONE and again.owned == held
        assert await old.member.heartbeat() == FENCED_INSTANCE_ID
        codes = await model.commit(old.member, {tp: n for tp in held})
        assert set(codes.values()) == {FENCED_INSTANCE_ID}
        old.member.drop()
        codes = await model.commit(again, {tp: n for tp in held})
        assert set(codes.values()) == {NONE}, codes
        members[name] = Life(again, model, PARTITIONS)
        members[name].held, members[name].settled = held, True
    link = await Link.open(port)
    assert len((await describe(link, group))["Members"]) == 3
    await model.check(link, group, ALL)
    assert all(x.member.generation == generation for x in members.values())
    # beyond the session: it is out, and what it had goes to the others
    gone = members.pop("b")
    gone.kill()
    answer = await link.call("LeaveGroup", 4, GroupId=group, Members=[{"MemberId": "", "GroupInstanceId": "b"}])
    assert answer["Members"][0]["ErrorCode"] == NONE
    await converged(members.values(), PARTITIONS)
    assert await gone.member.heartbeat() in LOST
    gone.member.drop()
    for x in members.values():
        x.kill()
    link.close()


def static_members(port):
    async def scene():
        model, rng = Model(), random.Random(5)
        await asyncio.gather(*(static_restarts(port, model, era, rng) for era in ERAS_OF_STATIC))
        return model
    assert run(scene(), 300 + 10 * ROUNDS).acks >= ROUNDS


def test_static_members_restart_without_a_rebalance(brokers):
    static_members(started(brokers).port)


# ---- D5 --------------------------------------------------------------------------------------------------------------

async def churn(port, model, group, eras, cooperative, rng):
    lives = []
    for n in range(ROUNDS):
        go = [x for x in lives if len(lives) > 2 and rng.random() < 0.35][:2]
        for life in go:
            lives.remove(life)
        come = [Member(port, group, era=rng.choice(eras), client_id="%s-%d" % (group, n), cooperative=cooperative)
                for _ in range(rng.randrange(1, 3) if len(lives) < 7 else 0)]
        if rng.random() < 0.5:
            lives += [Life(m, model, PARTITIONS) for m in come]
            await asyncio.gather(*(x.leave() for x in go))
        else:
            await asyncio.gather(*(x.leave() for x in go))
            lives += [Life(m, model, PARTITIONS) for m in come]
        await converged(lives, PARTITIONS)
    for life in lives:
        life.kill()


async def churn_with_deaths(port, model, group, eras, rng):
    """Members that die are found by their sessions' end."""
    lives = [Life(Member(port, group, era=rng.choice(eras), client_id=group, session_ms=SHORT_SESSION), model, PARTITIONS)
             for _ in range(3)]
    for _ in range(max(ROUNDS // 5, 4)):
        await converged(lives, PARTITIONS)
        lives.pop(rng.randrange(len(lives))).kill()
        lives.append(Life(Member(port, group, era=rng.choice(eras), client_id=group, session_ms=SHORT_SESSION), model,
                          PARTITIONS))
    await converged(lives, PARTITIONS)
    for life in lives:
        life.kill()


def churning(port):
    async def scene():
        model, rng = Model(), random.Random(7)
        new, old = ["2.4", "2.7", "3.2", "3.9"], ["0.9", "0.10.1", "0.11", "2.0", "2.2"]
        await asyncio.gather(
            churn(port, model, "eager.old", old, False, rng), churn(port, model, "eager.new", new, False, rng),
            churn(port, model, "eager.mixed", old + new, False, rng), churn(port, model, "cooperative", new, True, rng),
            churn(port, model, "cooperative.mixed", old + new, True, rng),
            *(churn_with_deaths(port, model, "deaths.%d" % i, old + new, rng) for i in range(5)))
        return model
    model = run(scene(), 300 + 10 * ROUNDS)
    print(model.owned, "shares,", len({k[:2] for k in model.owners}), "generations")


def test_members_come_and_go(brokers):
    churning(started(brokers).port)
