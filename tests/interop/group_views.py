"""tests/interop/group_views.py - everything that a broker tells about its groups, so that two brokers can be held against
each other; groups written to a broker in every shape there is; and comparison with the golden `groups.jsonl`.
"""
import asyncio

import groups
from groups import Link, Member, read_assignment
from harness import wait_for
from wire import Wire

FOR_EVER_MS = 2147483647            # the golden brokers allow it: members stay in their groups while no client is there
UNSTABLE_OFFSET_COMMIT = 88


def listed(broker):
    with Wire(broker.port) as c:
        answer = c.call("ListGroups", 4, StatesFilter=[])
    assert answer["ErrorCode"] == 0, answer
    return {g["GroupId"]: (g["ProtocolType"], g["GroupState"]) for g in answer["Groups"]}


def described(c, group):
    g = c.call("DescribeGroups", 4, Groups=[group])["Groups"][0]
    assert g["ErrorCode"] == 0, (group, g)
    return g


def fetched(c, group, stable=False):
    got = c.call("OffsetFetch", 7, GroupId=group, Topics=None, RequireStable=stable)
    assert got["ErrorCode"] == 0, (group, got)
    return {(t["Name"], p["PartitionIndex"]): (p["CommittedOffset"], p["CommittedLeaderEpoch"], p["Metadata"], p["ErrorCode"])
            for t in got["Topics"] for p in t["Partitions"]}


def loaded(broker, names):
    """Every coordinator of these groups answers."""
    with Wire(broker.port) as c:
        return all(c.call("OffsetFetch", 7, GroupId=g, Topics=None)["ErrorCode"] == 0 for g in names)


def view(broker, names):
    """{group: all that is told of it}, of these and of those in the list."""
    wait_for(lambda: loaded(broker, names), 30, "the groups are loaded")
    there, out = listed(broker), {}
    with Wire(broker.port) as c:
        for group in sorted(set(names) | set(there)):
            g = described(c, group)
            members = sorted((m["MemberId"], m["GroupInstanceId"], m["ClientId"], m["ClientHost"], m["MemberMetadata"].hex(),
                              m["MemberAssignment"].hex()) for m in g["Members"])
            out[group] = {"listed": there.get(group), "state": g["GroupState"], "type": g["ProtocolType"],
                          "protocol": g["ProtocolData"], "members": members, "offsets": fetched(c, group),
                          "stable": fetched(c, group, True)}
    return out


def differences(want, got):
    """Sentences."""
    return ["%s, %s: %r, should be %r" % (group, k, got.get(group, {}).get(k), want.get(group, {}).get(k))
            for group in sorted(set(want) | set(got)) for k in ("listed", "state", "type", "protocol", "members", "offsets", "stable")
            if want.get(group, {}).get(k) != got.get(group, {}).get(k)]


def compare_golden(broker, expected):
    """Sentences: what is not as the lines of groups.jsonl say."""
    wait_for(lambda: loaded(broker, [w["group"] for w in expected]), 30, "the groups are loaded")
    out = []
    with Wire(broker.port) as c:
        for w in expected:
            g, stable = described(c, w["group"]), fetched(c, w["group"], True)
            got = {"state": g["GroupState"], "assignor": g["ProtocolData"] or "",
                   "members": [{"memberId": m["MemberId"], "groupInstanceId": m["GroupInstanceId"], "clientId": m["ClientId"],
                                "host": m["ClientHost"],
                                "assignment": ["%s-%d" % p for p in sorted(read_assignment(m["MemberAssignment"]))]}
                               for m in sorted(g["Members"], key=lambda m: m["MemberId"])],
                   "offsets": [{"topic": t, "partition": p, "offset": o[0], "leaderEpoch": o[1] if o[1] >= 0 else None,
                                "metadata": o[2]} for (t, p), o in sorted(fetched(c, w["group"]).items())],
                   "requireStable": "ok"}
            out += ["%s, %s: %r, should be %r" % (w["group"], k, got[k], w[k]) for k in got if got[k] != w[k]]
            # The reader of the expected files skipped partitions of which a transaction is open.
            waits = sorted(p for p, o in stable.items() if o[3] == UNSTABLE_OFFSET_COMMIT)
            if bool(waits) != (w["group"] == "g-txn-open"):
                out.append("%s: offsets that wait for a transaction: %s" % (w["group"], waits))
    return out


# ---- groups in every shape -------------------------------------------------------------------------------------------

TEXT = "metadata é中"


async def committed_by(port, group, topics, offset, metadata="", version=8):
    """Somebody without a membership."""
    link = await Link.open(port)
    codes = groups.commit_codes(await link.call("OffsetCommit", version, GroupId=group, MemberId="", GenerationIdOrMemberEpoch=-1,
                                                Topics=groups.commit_topics({(t, 0): offset for t in topics}, metadata)))
    assert set(codes.values()) == {0}, codes
    link.close()


async def again(member, partitions):
    """Hears of a rebalance and joins again."""
    async def told():
        return await member.heartbeat() == groups.REBALANCE_IN_PROGRESS
    await groups.until(told, 30, "a rebalance in " + member.group)
    await member.enter(partitions)


async def members(port, group, n, topic, partitions, instance=None, **kw):
    """n of them, who stay, and commit for what they own."""
    all_of_them = []
    for i in range(n):
        new = Member(port, group, topics=[topic], session_ms=FOR_EVER_MS, rebalance_ms=60000, client_id="client-%d" % i,
                     instance=instance and instance + str(i), **kw)
        await asyncio.gather(new.enter({topic: partitions}), *[again(m, {topic: partitions}) for m in all_of_them])
        all_of_them.append(new)
    assert sorted(p for m in all_of_them for p in m.owned) == [(topic, p) for p in range(partitions)]
    for i, m in enumerate(all_of_them):
        assert set((await m.commit({p: 5 + i + p[1] for p in m.owned})).values()) <= {0}
    return all_of_them


async def write(port, tag, topic, partitions, other, era=groups.NEWEST):
    """Groups of the tag: stable with dynamic members, stable with static ones, left by all, offsets only, in old versions
    of the requests, deleted, some offsets deleted, many commits."""
    first = "%s-members" % tag
    await groups.ready(port, first)
    made = await members(port, first, 2, topic, partitions, era=era)
    made += await members(port, tag + "-static", 2, topic, partitions, instance="%s-i" % tag, era=era)
    made += await members(port, tag + "-old", 1, topic, partitions, era="0.10.1")
    for m in await members(port, tag + "-left", 1, topic, partitions, era=era):
        assert await m.leave() == 0
        made.append(m)
    await committed_by(port, tag + "-offsets", [topic, other], 100, TEXT)
    await committed_by(port, tag + "-offsets-2", [topic], 7, "x", version=2)
    for i in range(50):
        await committed_by(port, tag + "-many", [topic], i, "%d" % i)
    for name in ("-deleted", "-partly"):
        await committed_by(port, tag + name, [topic, other], 9)
    link = await Link.open(port)
    gone = await link.call("DeleteGroups", 2, GroupsNames=[tag + "-deleted"])
    assert [r["ErrorCode"] for r in gone["Results"]] == [0], gone
    part = await link.call("OffsetDelete", 0, GroupId=tag + "-partly", Topics=[{"Name": other, "Partitions": [{"PartitionIndex": 0}]}])
    assert part["ErrorCode"] == 0 and part["Topics"][0]["Partitions"][0]["ErrorCode"] == 0, part
    link.close()
    for m in made:
        m.drop()
    return [tag + s for s in ("-members", "-static", "-old", "-left", "-offsets", "-offsets-2", "-many", "-deleted", "-partly")]
