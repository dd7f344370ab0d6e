"""tests/system/group_cells_members.py - cells of JoinGroup, SyncGroup, Heartbeat and LeaveGroup (see group_cells.py)."""
import asyncio
import struct

from group_scenes import INT_MAX, INT_MIN, OTHER, PARTITIONS, TOPIC, cell, parked, rebalancing, told
from groups import NONE, assignment, pause, subscription


# ---- JoinGroup -------------------------------------------------------------------------------------------------------

@cell("JoinGroup")
async def join_alone(s):
    m = s.subject()
    await m.join()
    return told(m) + [await s.state()]


@cell("JoinGroup", first=(0,), again=(1,))
async def join_with_an_unknown_member_id(s, others):
    if others:
        await s.stable(s.member())
    m = s.subject()
    m.member_id = "nobody"
    await m.join()
    return told(m) + [m.joined["MemberId"]]


@cell("JoinGroup")
async def join_without_a_group_id(s):
    m = s.subject(group="")
    await m.join()
    return told(m)


@cell("JoinGroup", zero=(0,), minus_one=(-1,), lowest=(INT_MIN,), below=(399,), least=(400,), most=(1800000,),
      above=(1800001,), highest=(INT_MAX,))
async def join_with_session_timeout(s, ms):
    m = s.subject(session_ms=ms)
    await m.join()
    return told(m)


@cell("JoinGroup", since=1, zero=(0,), minus_one=(-1,), lowest=(INT_MIN,), highest=(INT_MAX,))
async def join_with_rebalance_timeout(s, ms):
    m = s.subject(rebalance_ms=ms)
    await m.join()
    return told(m)


@cell("JoinGroup", since=1, short=(1000,))
async def second_joins_and_the_first_does_not(s, ms):
    """Everybody's rebalance timeout is that short: the first is out."""
    first, = await s.stable(s.member(rebalance_ms=10000))
    first.rebalance_ms = ms
    assert await first.join() == NONE and await first.sync(PARTITIONS) == NONE      # it leads: a generation more
    m = s.subject(rebalance_ms=ms)
    await m.join()
    return told(m) + [await first.heartbeat()]


@cell("JoinGroup", nothing=([],), without_name=([("", b"x")],), without_metadata=([("range", b"")],),
      twice_the_same=([("a", b"\0" * 10), ("a", b"\0" * 10)],), not_a_subscription=([("range", b"\xff" * 3)],),
      with_a_megabyte=([("range", b"\0" * 6 + struct.pack(">i", 1 << 20) + b"m" * (1 << 20))],),
      of_a_huge_count=([("range", b"\0\0\x7f\xff\xff\xff")],), ten_thousand=([("p%d" % i, b"") for i in range(10000)],),
      with_a_long_name=([("n" * 32767, b"")],))
async def join_with_protocols(s, protocols):
    m = s.subject(protocols=protocols)
    await m.join()
    got = told(m)
    return got[:3] + [got[3][:20] if got[3] else got[3]] + got[4:] + [[len(x["Metadata"]) for x in m.joined["Members"]]]


@cell("JoinGroup", empty=("",), of_connect=("connect",), of_upper_case=("Consumer",))
async def join_with_protocol_type(s, kind):
    alone = s.subject(protocol_type=kind)
    await alone.join()
    s.group += ".second"
    await s.stable(s.member())
    second = s.subject(protocol_type=kind)
    await second.join()
    return [told(alone), told(second)]


@cell("JoinGroup")
async def join_without_a_common_protocol(s):
    await s.stable(s.member())
    m = s.subject(protocols=[("roundrobin", subscription([TOPIC]))])
    await m.join()
    return told(m)


@cell("JoinGroup", majority=("ab", "ba", "ba", "b"), common=("abc", "cb", "bc", "b"), tie=("ab", "ba", "", "ab"))
async def the_members_vote(s, first, second, third, _):
    members = [s.subject(protocols=[(n, n.encode()) for n in names]) for names in (first, second, third) if names]
    for m in members:
        m.versions["JoinGroup"] = s.version
    await s.stable(*members)
    chosen = members[0].joined["ProtocolName"]
    return [chosen if second != "ba" or third else "either", len(members[0].joined["Members"])]


@cell("JoinGroup", since=4)
async def a_member_id_that_was_given_out(s):
    first = s.subject()
    given = await first.call("JoinGroup", GroupId=s.group, SessionTimeoutMs=10000, RebalanceTimeoutMs=1000,
                             ProtocolType="consumer", Protocols=first.offers())
    first.member_id, first.generation = given["MemberId"], 1
    out = [given["ErrorCode"], given["GenerationId"], given["MemberId"].startswith("raw-"), await first.heartbeat(),
           await first.call_sync(), list((await first.commit({(TOPIC, 0): 1})).values()), await s.state()]
    out += [await first.leave(), await first.join(), await s.state()]
    return out


@cell("JoinGroup", since=4)
async def a_member_id_given_out_expires(s):
    m = s.subject(session_ms=400)
    given = await m.call("JoinGroup", GroupId=s.group, SessionTimeoutMs=400, RebalanceTimeoutMs=1000,
                         ProtocolType="consumer", Protocols=m.offers())
    m.member_id = given["MemberId"]
    await pause(1.5)                    # nearly four times the session
    return [given["ErrorCode"], await m.join()]


@cell("JoinGroup")
async def a_full_group(s):
    await s.stable(*(s.member() for _ in range(4)))
    m = s.subject()
    await m.join()
    return told(m) + [await s.state()]


@cell("JoinGroup")
async def a_full_group_takes_its_own(s):
    members = await s.stable(*(s.member() for _ in range(3)), s.subject())
    again = asyncio.ensure_future(members[0].join())
    await s.becomes("PreparingRebalance", 4)
    codes = await asyncio.gather(again, *(x.join() for x in members[1:]))
    return [codes, told(members[3])]


@cell("JoinGroup")
async def the_leader_joins_again(s):
    m, = await s.stable(s.subject())
    await m.join()
    return told(m) + [await s.state()]


@cell("JoinGroup", same=(False,), changed=(True,))
async def a_follower_joins_again(s, changed):
    first, m = await s.stable(s.member(), s.subject())
    if changed:
        m.topics = [TOPIC, OTHER]
    joining = asyncio.ensure_future(m.join())
    waits = await parked(joining)
    if waits:
        assert await rebalancing(first)
        await first.join()
    await joining
    return [waits] + told(m) + [await s.state()]


@cell("JoinGroup", same=(False,), changed=(True,))
async def a_follower_joins_again_before_the_leader_syncs(s, changed):
    first, m = await s.stable(s.member(), s.subject())
    again = asyncio.ensure_future(first.join())
    await s.becomes("PreparingRebalance", 2)
    assert [await m.join(), await again] == [NONE, NONE]
    generation = m.generation
    if changed:
        m.topics = [TOPIC, OTHER]
    joining = asyncio.ensure_future(m.join())
    waits = await parked(joining)
    if waits:
        await first.join()
    await joining
    return [waits, m.generation - generation] + told(m) + [await s.state()]


@cell("JoinGroup")
async def a_new_member_before_the_leader_syncs(s):
    first = s.member()
    await first.join()
    m = s.subject()
    joining = asyncio.ensure_future(m.join())
    waits = await parked(joining)
    code = await first.sync(PARTITIONS)
    await first.join()
    await joining
    return [waits, code] + told(m) + [await s.state()]


# ---- static members --------------------------------------------------------------------------------------------------

@cell("JoinGroup", since=5)
async def a_static_member(s):
    m = s.subject(instance="i-1", client_id="who")
    await m.join()
    return told(m) + [m.member_id.startswith("i-1-"), m.joined["Members"][0]["GroupInstanceId"]]


@cell("JoinGroup", since=5, empty=("",), of_dots=(".",), with_a_slash=("a/b",), of_250=("i" * 250,), of_249=("i" * 249,),
      in_letters=("é",), with_a_space=("a b",))
async def a_static_member_called(s, instance):
    m = s.subject(instance=instance)
    await m.join()
    return told(m)


@cell("JoinGroup", since=5, same=(False,), changed=(True,))
async def a_static_leader_comes_back(s, changed):
    """Stable: no rebalance unless it says something new."""
    old, other = await s.stable(s.member(instance="i-1"), s.member(instance="i-2"))
    m = s.subject(instance="i-1", topics=[TOPIC, OTHER] if changed else [TOPIC])
    joining = asyncio.ensure_future(m.join())
    waits = await parked(joining)
    if waits:
        await other.join()
    await joining
    got = [waits] + told(m) + [m.joined["Leader"] == old.member_id, m.joined["Leader"] == m.member_id]
    got += [await old.heartbeat(), await old.call_sync(), await old.join(), await old.leave()]
    got += [list((await old.commit({(TOPIC, 0): 1})).values()), await s.state()]
    return got + [await other.heartbeat(), await m.sync(PARTITIONS), sorted(m.owned) == sorted(old.owned)]


@cell("JoinGroup", since=5, same=(False,), changed=(True,))
async def a_static_follower_comes_back(s, changed):
    leader, old = await s.stable(s.member(instance="i-1"), s.member(instance="i-2"))
    m = s.subject(instance="i-2", topics=[TOPIC, OTHER] if changed else [TOPIC])
    joining = asyncio.ensure_future(m.join())
    waits = await parked(joining)
    if waits:
        await leader.join()
    await joining
    got = [waits] + told(m) + [await old.heartbeat(), await leader.heartbeat(), await s.state()]
    return got + ([await m.sync(PARTITIONS), sorted(m.owned) == sorted(old.owned)] if not waits else [])


@cell("JoinGroup", since=5)
async def a_static_member_comes_back_while_its_old_self_waits_in_join(s):
    leader, old, last = await s.stable(s.member(instance="i-1"), s.subject(instance="i-2"), s.member())
    again = asyncio.ensure_future(leader.join())
    await s.becomes("PreparingRebalance", 3)
    rejoin = asyncio.ensure_future(old.join())
    waits = [await parked(rejoin)]
    m = s.subject(instance="i-2")
    fresh = asyncio.ensure_future(m.join())
    waits += [await parked(fresh)]
    out = [await rejoin, await last.join(), await fresh, await again]
    return waits + out + told(m)[:5] + [len(leader.joined["Members"]), await s.state()]


@cell("JoinGroup", since=5)
async def a_static_member_comes_back_while_its_old_self_waits_in_sync(s):
    leader, old = await s.stable(s.member(instance="i-1"), s.member(instance="i-2"))
    again = asyncio.ensure_future(leader.join())
    await s.becomes("PreparingRebalance", 2)
    assert [await old.join(), await again] == [NONE, NONE]
    syncing = asyncio.ensure_future(old.sync(PARTITIONS))
    await parked(syncing)
    m = s.subject(instance="i-2")
    fresh = asyncio.ensure_future(m.join())
    out = [await syncing]
    out += [await leader.heartbeat(), await leader.join(), await fresh]
    return out + told(m) + [await s.state()]


@cell("JoinGroup", since=5)
async def a_static_member_with_its_id_and_another_s_instance(s):
    first, second = await s.stable(s.member(instance="i-1"), s.member(instance="i-2"))
    m = s.subject(instance="i-2")
    m.member_id = first.member_id
    await m.join()
    unknown = s.subject(instance="i-3")
    unknown.member_id = first.member_id
    await unknown.join()
    return [told(m), told(unknown), await first.heartbeat(), await second.heartbeat()]


@cell("JoinGroup", since=5)
async def a_static_member_stays_when_its_connection_ends(s):
    first, second = await s.stable(s.member(instance="i-1"), s.member(instance="i-2"))
    second.drop()
    again = await s.state()
    m = s.subject(instance="i-2")
    await m.join()
    return [again] + told(m) + [await first.heartbeat(), await s.state()]


@cell("JoinGroup", since=5)
async def a_static_member_is_out_after_its_session(s):
    first = s.member(instance="i-1")
    second = s.member(instance="i-2", session_ms=800)
    await s.stable(first, second)
    await s.becomes("PreparingRebalance", 1)
    await first.join()
    await first.sync(PARTITIONS)
    m = s.subject(instance="i-2")
    joining = asyncio.ensure_future(m.join())
    waits = await parked(joining)
    await first.join()
    await joining
    return [waits] + told(m) + [len(first.owned), await second.heartbeat(), await s.state()]


@cell("JoinGroup", since=5)
async def a_static_member_joins_too_late_and_is_kept(s):
    """A rebalance that a static member misses does not put it out: its session does."""
    first, second = await s.stable(s.member(instance="i-1", rebalance_ms=1000), s.member(instance="i-2", rebalance_ms=1000))
    await first.join()
    got = told(first)
    return got + [await s.state(), await second.heartbeat()]


# ---- SyncGroup -------------------------------------------------------------------------------------------------------

@cell("SyncGroup", no_group=("none",), no_group_id=("empty",), no_member=("member",), no_member_id=("blank",))
async def sync_of(s, what):
    m, = await s.stable(s.subject())
    return await m.call_sync(**{"none": {"GroupId": s.group + ".not"}, "empty": {"GroupId": ""},
                                "member": {"MemberId": "nobody"}, "blank": {"MemberId": ""}}[what])


@cell("SyncGroup", next=(2,), last=(0,), minus_one=(-1,), highest=(INT_MAX,), lowest=(INT_MIN,))
async def sync_of_generation(s, generation):
    m, = await s.stable(s.subject())
    return [await m.call_sync(GenerationId=generation), await s.state()]


@cell("SyncGroup", since=3, unknown=("i-9",), another_s=("i-2",), none=(None,))
async def sync_as_instance(s, instance):
    m, _ = await s.stable(s.subject(instance="i-1"), s.member(instance="i-2"))
    return await m.call_sync(GroupInstanceId=instance)


@cell("SyncGroup", other_type=("connect", "range"), other_name=("consumer", "other"), no_type=(None, "range"),
      no_name=("consumer", None), neither=(None, None), empty=("", ""))
async def sync_with_protocol(s, kind, name):
    m, = await s.stable(s.subject())
    return await m.call_sync(ProtocolType=kind, ProtocolName=name)


@cell("SyncGroup")
async def sync_when_stable(s):
    m, = await s.stable(s.subject())
    answer = await m.call("SyncGroup", GroupId=s.group, GenerationId=m.generation, MemberId=m.member_id,
                          ProtocolType="consumer", ProtocolName="range",
                          Assignments=[{"MemberId": m.member_id, "Assignment": b"other"}])
    return [answer["ErrorCode"], answer["Assignment"] == assignment({(TOPIC, p) for p in range(3)}),
            answer.get("ProtocolType"), answer.get("ProtocolName")]


@cell("SyncGroup")
async def sync_while_preparing(s):
    first, m = await s.stable(s.member(), s.subject())
    joining = asyncio.ensure_future(first.join())
    await s.becomes("PreparingRebalance", 2)
    code = await m.call_sync()
    assert [await m.join(), await joining] == [NONE, NONE]
    return code


@cell("SyncGroup", nothing=("nothing",), strangers=("strangers",), twice=("twice",), megabyte=("megabyte",))
async def the_leader_assigns(s, what):
    first, m = await s.stable(s.subject(), s.subject())
    first.topics = [TOPIC, OTHER]
    joining = asyncio.ensure_future(first.join())
    await s.becomes("PreparingRebalance", 2)
    assert [await m.join(), await joining] == [NONE, NONE]
    waiting = asyncio.ensure_future(m.call("SyncGroup", GroupId=s.group, GenerationId=m.generation, MemberId=m.member_id,
                                           ProtocolType="consumer", ProtocolName="range"))
    waits = await parked(waiting)
    shares = {"nothing": [], "strangers": [("nobody", b"x"), (first.member_id, b"1")],
              "twice": [(m.member_id, b"one"), (m.member_id, b"two")], "megabyte": [(m.member_id, b"m" * 900000)]}[what]
    code = await first.call_sync(Assignments=[{"MemberId": i, "Assignment": a} for i, a in shares])
    answer = await waiting
    return [waits, code, answer["ErrorCode"], len(answer["Assignment"]), answer["Assignment"][:3].decode(), await s.state()]


@cell("SyncGroup")
async def a_follower_s_assignments_do_not_count(s):
    first, m = await s.stable(s.member(), s.subject())
    joining = asyncio.ensure_future(first.join())
    await s.becomes("PreparingRebalance", 2)
    assert [await m.join(), await joining] == [NONE, NONE]
    waiting = asyncio.ensure_future(m.call("SyncGroup", GroupId=s.group, GenerationId=m.generation, MemberId=m.member_id,
                                           ProtocolType="consumer", ProtocolName="range",
                                           Assignments=[{"MemberId": m.member_id, "Assignment": b"mine"}]))
    waits = await parked(waiting)
    await first.sync(PARTITIONS)
    answer = await waiting
    return [waits, answer["ErrorCode"], answer["Assignment"] != b"mine", await s.state()]


@cell("SyncGroup")
async def who_does_not_sync_is_out(s):
    first, m = await s.stable(s.member(rebalance_ms=1000), s.subject(rebalance_ms=1000))
    joining = asyncio.ensure_future(first.join())
    await s.becomes("PreparingRebalance", 2)
    assert [await m.join(), await joining] == [NONE, NONE]
    code = await m.call_sync()
    return [code, await first.heartbeat()]


# ---- Heartbeat -------------------------------------------------------------------------------------------------------

@cell("Heartbeat", no_group=({"GroupId": "nowhere"},), no_group_id=({"GroupId": ""},), no_member=({"MemberId": "nobody"},),
      no_member_id=({"MemberId": ""},), next_generation=({"GenerationId": 2},), generation_0=({"GenerationId": 0},),
      generation_minus_one=({"GenerationId": -1},), highest_generation=({"GenerationId": INT_MAX},), good=({},))
async def heartbeat_of(s, over):
    m, = await s.stable(s.subject())
    return [await m.heartbeat(**over), await s.state()]


@cell("Heartbeat", since=3, unknown=("i-9",), another_s=("i-2",), none=(None,), of_its_own=("i-1",))
async def heartbeat_as_instance(s, instance):
    m, _ = await s.stable(s.subject(instance="i-1"), s.member(instance="i-2"))
    return await m.heartbeat(GroupInstanceId=instance)


@cell("Heartbeat")
async def heartbeat_in_each_state(s):
    m = s.subject()
    await m.join()
    out = [await s.state(), await m.heartbeat()]
    await m.sync(PARTITIONS)
    out += [await s.state(), await m.heartbeat()]
    second = s.member()
    joining = asyncio.ensure_future(second.join())
    await s.becomes("PreparingRebalance", 2)
    out += [await m.heartbeat()]
    await asyncio.gather(m.join(), joining)
    out += [await m.heartbeat(), await m.heartbeat(GenerationId=1)]
    await m.leave()
    out += [await m.heartbeat()]
    await second.leave()
    return out + [await m.heartbeat(), await s.state()]


@cell("Heartbeat")
async def heartbeat_after_the_session(s):
    m, = await s.stable(s.subject(session_ms=800))
    await s.becomes("Empty", 0)
    return await m.heartbeat()


# ---- LeaveGroup ------------------------------------------------------------------------------------------------------

@cell("LeaveGroup", until_version=2, no_group=({"GroupId": "nowhere"},), no_group_id=({"GroupId": ""},),
      no_member=({"MemberId": "nobody"},), no_member_id=({"MemberId": ""},), good=({},))
async def leave_of(s, over):
    m, = await s.stable(s.subject())
    return [(await m.call("LeaveGroup", **dict({"GroupId": s.group, "MemberId": m.member_id}, **over)))["ErrorCode"],
            await s.state()]


@cell("LeaveGroup", since=3, nobody=([],), no_group=([("self", None)], "nowhere"), no_group_id=([("self", None)], ""),
      stranger=([("nobody", None)],), no_ids=([("", None)],), itself=([("self", None)],),
      itself_and_a_stranger=([("self", None), ("nobody", None)],), itself_twice=([("self", None), ("self", None)],),
      static_by_instance=([("", "i-2")],), static_by_both=([("second", "i-2")],), static_by_id=([("second", None)],),
      static_by_another_s_id=([("self", "i-2")],), unknown_instance=([("", "i-9")],),
      unknown_instance_and_id=([("self", "i-9")],), all_of_them=([("self", None), ("", "i-2")],),
      empty_instance=([("", "")],))
async def leave_list(s, who, group=None):
    m, second = await s.stable(s.subject(), s.member(instance="i-2"))
    ids = {"self": m.member_id, "second": second.member_id}
    members = [{"MemberId": ids.get(i, i), "GroupInstanceId": instance, "Reason": "a cell"} for i, instance in who]
    answer = await m.call("LeaveGroup", GroupId=s.group if group is None else group, Members=members)
    names = {v: k for k, v in ids.items()}
    return [answer["ErrorCode"], [[names.get(x["MemberId"], x["MemberId"]), x["GroupInstanceId"], x["ErrorCode"]]
                                  for x in answer["Members"]], await s.state()]


@cell("LeaveGroup")
async def the_leader_leaves(s):
    m, second = await s.stable(s.subject(), s.member())
    out = [await m.leave(), await s.state(), await rebalancing(second), await m.heartbeat()]
    await second.join()
    return out + told(second)


@cell("LeaveGroup")
async def the_last_one_leaves(s):
    m, = await s.stable(s.subject())
    out = [await m.leave(), await s.state()]
    m.forget()
    await m.join()
    return out + told(m)


@cell("LeaveGroup")
async def leaving_while_others_wait(s):
    """It was the one the rebalance waited for."""
    m, second = await s.stable(s.subject(), s.member())
    third = s.member()
    waiting = [asyncio.ensure_future(third.join())]
    await s.becomes("PreparingRebalance", 3)
    waiting.append(asyncio.ensure_future(second.join()))
    await parked(waiting[1])
    out = [await m.leave()]
    return out + await asyncio.gather(*waiting) + [await s.state(), second.leads != third.leads]
