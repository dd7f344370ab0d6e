"""tests/system/group_cells_offsets.py - cells of OffsetCommit, OffsetFetch, FindCoordinator and of what administrators ask
(see group_cells.py)."""
import asyncio
import collections

from group_scenes import INT_MAX, INT_MIN, LONG_MAX, LONG_MIN, OTHER, PARTITIONS, TOPIC, cell
from groups import commit_topics, committed, describe


# ---- OffsetCommit ----------------------------------------------------------------------------------------------------

@cell("OffsetCommit", since=1, zero=(0,), one=(1,), minus_one=(-1,), minus_two=(-2,), highest=(LONG_MAX,), lowest=(LONG_MIN,))
async def commit_offset(s, offset):
    m = s.subject()
    codes = await m.commit({(TOPIC, 0): offset})
    return [sorted(codes.values()), (await m.fetch([(TOPIC, 0)]))[TOPIC, 0], await s.state()]


@cell("OffsetCommit", since=1, known=(TOPIC, 2), beyond=(TOPIC, 3), negative=(TOPIC, -1), highest=(TOPIC, INT_MAX),
      unknown=("cells.nowhere", 0), deleted=("cells.deleted", 0), empty=("", 0), dots=("..", 0), long=("t" * 300, 0),
      of_the_group_topic=("__consumer_offsets", 0))
async def commit_to_partition(s, topic, p):
    m = s.subject()
    codes = await m.commit({(topic, p): 5, (TOPIC, 1): 6})
    return [codes[topic, p], codes[TOPIC, 1], list((await m.fetch([(topic, p)])).values()), await s.state()]


@cell("OffsetCommit", since=1, of_4096=(4096,), of_4097=(4097,), of_32767=(32767,), none=(0,), null=(None,))
async def commit_metadata(s, size):
    m = s.subject()
    metadata = None if size is None else "m" * size
    link = await m.connected()
    topics = commit_topics({(TOPIC, 0): 7}, metadata) + commit_topics({(OTHER, 0): 8}, "small")
    codes = [p["ErrorCode"] for t in (await link.call("OffsetCommit", s.version, GroupId=s.group, Topics=topics))["Topics"]
             for p in t["Partitions"]]
    got = await link.call("OffsetFetch", 5, GroupId=s.group, Topics=[{"Name": TOPIC, "PartitionIndexes": [0]}])
    part = got["Topics"][0]["Partitions"][0]
    return [codes, part["CommittedOffset"], part["Metadata"] and len(part["Metadata"])]


@cell("OffsetCommit", since=1, of_two_bytes=("é" * 2048,), of_three_bytes=("€" * 4096,), of_four_bytes=("\U0001F600" * 2049,))
async def commit_metadata_in_letters(s, metadata):
    """Characters or bytes?"""
    link = await s.subject().connected()
    topics = commit_topics({(TOPIC, 0): 7}, metadata)
    return commit_code(await link.call("OffsetCommit", s.version, GroupId=s.group, Topics=topics))


def commit_code(answer):
    return [p["ErrorCode"] for t in answer["Topics"] for p in t["Partitions"]]


@cell("OffsetCommit", since=6, minus_one=(-1,), zero=(0,), minus_two=(-2,), far=(1000,), highest=(INT_MAX,))
async def commit_leader_epoch(s, epoch):
    link = await s.subject().connected()
    topics = [{"Name": TOPIC, "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 1, "CommittedLeaderEpoch": epoch,
                                              "CommittedMetadata": ""}]}]
    code = commit_code(await link.call("OffsetCommit", s.version, GroupId=s.group, Topics=topics))
    got = await link.call("OffsetFetch", 5, GroupId=s.group, Topics=[{"Name": TOPIC, "PartitionIndexes": [0]}])
    return code + [got["Topics"][0]["Partitions"][0]["CommittedLeaderEpoch"]]


@cell("OffsetCommit", since=2, until_version=4, minus_one=(-1,), minus_two=(-2,), day=(86400000,), highest=(LONG_MAX,))
async def commit_retention(s, ms):
    link = await s.subject().connected()
    code = commit_code(await link.call("OffsetCommit", s.version, GroupId=s.group, RetentionTimeMs=ms,
                                       Topics=commit_topics({(TOPIC, 0): 3})))
    return code + [list((await committed(link, s.group, [(TOPIC, 0)])).values())]


@cell("OffsetCommit", since=1, member_of_nothing=({"MemberId": "nobody"},),
      generation_of_nothing=({"GenerationIdOrMemberEpoch": 1},), generation_0=({"GenerationIdOrMemberEpoch": 0},),
      lowest_generation=({"GenerationIdOrMemberEpoch": INT_MIN},),
      both_of_nothing=({"MemberId": "nobody", "GenerationIdOrMemberEpoch": 1},),
      instance_of_nothing=({"GroupInstanceId": "i-1"},))
async def commit_of(s, over):
    m = s.subject()
    m.generation, m.member_id = -1, ""
    return [sorted((await m.commit({(TOPIC, 0): 1, (TOPIC, 1): 2}, **over)).values()), await s.state()]


@cell("OffsetCommit", since=1, good=({},), next_generation=({"GenerationIdOrMemberEpoch": 2},),
      no_generation=({"GenerationIdOrMemberEpoch": -1},), generation_0=({"GenerationIdOrMemberEpoch": 0},),
      stranger=({"MemberId": "nobody"},), no_id=({"MemberId": ""},),
      neither=({"MemberId": "", "GenerationIdOrMemberEpoch": -1},),
      id_only=({"GenerationIdOrMemberEpoch": -1},), unknown_instance=({"GroupInstanceId": "i-9"},))
async def commit_into_a_stable_group(s, over):
    m, = await s.stable(s.subject())
    return [list((await m.commit({(TOPIC, 0): 1}, **over)).values()), await s.state()]


@cell("OffsetCommit", since=1)
async def commit_in_each_state(s):
    m = s.subject()
    await m.join()
    out = [list((await m.commit({(TOPIC, 0): 1})).values())]
    await m.sync(PARTITIONS)
    out += [list((await m.commit({(TOPIC, 0): 2})).values())]
    second = s.member()
    joining = asyncio.ensure_future(second.join())
    await s.becomes("PreparingRebalance", 2)
    out += [list((await m.commit({(TOPIC, 0): 3})).values())]
    await asyncio.gather(m.join(), joining)
    out += [list((await m.commit({(TOPIC, 0): 4}, GenerationIdOrMemberEpoch=1)).values())]
    out += [list((await m.commit({(TOPIC, 0): 5})).values())]
    await m.leave()
    out += [list((await m.commit({(TOPIC, 0): 6})).values())]
    await second.leave()
    out += [list((await m.commit({(TOPIC, 0): 7})).values())]
    m.forget()
    out += [list((await m.commit({(TOPIC, 0): 8})).values())]
    return out + [await m.fetch([(TOPIC, 0)]) == {(TOPIC, 0): 8}]


@cell("OffsetCommit", since=1, nothing=([],), no_partitions=([{"Name": TOPIC, "Partitions": []}],),
      twice=(commit_topics({(TOPIC, 0): 1}) + commit_topics({(TOPIC, 0): 2}),),
      twice_in_one=([{"Name": TOPIC, "Partitions": [
          {"PartitionIndex": 0, "CommittedOffset": o, "CommittedMetadata": ""} for o in (4, 5)]}],),
      many=(commit_topics({(TOPIC, p): p for p in range(300)}),))
async def commit_lists(s, topics):
    link = await s.subject().connected()
    answer = await link.call("OffsetCommit", s.version, GroupId=s.group, Topics=topics)
    codes = collections.Counter(commit_code(answer))
    got = await committed(link, s.group, None)
    return [sorted(codes.items()), sorted([t, p, o] for (t, p), o in got.items()), await s.state()]


# ---- OffsetFetch -----------------------------------------------------------------------------------------------------

async def fetch_answer(s, group, topics, **more):
    if s.version >= 8:
        answer = (await s.call(Groups=[{"GroupId": group, "Topics": topics}], **more))["Groups"][0]
    else:
        answer = await s.call(GroupId=group, Topics=topics, **more)
    return [answer.get("ErrorCode"), sorted(
        [t["Name"], p["PartitionIndex"], p["CommittedOffset"], p["Metadata"], p["ErrorCode"]]
        for t in answer["Topics"] for p in t["Partitions"])]


@cell("OffsetFetch", since=1)
async def fetch_of_no_group(s):
    return await fetch_answer(s, "nowhere", [{"Name": TOPIC, "PartitionIndexes": [0, 1]}])


@cell("OffsetFetch", since=1, some=([(TOPIC, [0, 1])],), beyond=([(TOPIC, [3, -1, INT_MAX])],), unknown=([("cells.not", [0])],),
      none=([],), no_partitions=([(TOPIC, [])],), twice=([(TOPIC, [0, 0])],))
async def fetch_list(s, topics):
    await s.member().commit({(TOPIC, 0): 9, (OTHER, 0): 4})
    return await fetch_answer(s, s.group, [{"Name": t, "PartitionIndexes": ps} for t, ps in topics])


@cell("OffsetFetch", since=2)
async def fetch_all(s):
    await s.member().commit({(TOPIC, 0): 9, (TOPIC, 2): 1, (OTHER, 0): 4})
    return await fetch_answer(s, s.group, None)


@cell("OffsetFetch", since=2)
async def fetch_all_of_nothing(s):
    return await fetch_answer(s, s.group, None)


@cell("OffsetFetch", since=7)
async def fetch_stable_only(s):
    await s.member().commit({(TOPIC, 0): 9})
    return await fetch_answer(s, s.group, [{"Name": TOPIC, "PartitionIndexes": [0, 1]}], RequireStable=True)


@cell("OffsetFetch", since=8)
async def fetch_of_several_groups(s):
    await s.member().commit({(TOPIC, 0): 9})
    answer = await s.call(Groups=[{"GroupId": g, "Topics": t} for g, t in (
        (s.group, None), ("nowhere", [{"Name": TOPIC, "PartitionIndexes": [0]}]), (s.group, []))])
    return [[g["GroupId"].replace(s.group, "own"), g["ErrorCode"], sum(len(t["Partitions"]) for t in g["Topics"])]
            for g in answer["Groups"]]


@cell("OffsetFetch", since=9, as_a_member=("m", 1), without=(None, -1), of_an_epoch=("", 3))
async def fetch_with_member_epoch(s, member, epoch):
    await s.member().commit({(TOPIC, 0): 9})
    answer = await s.call(Groups=[{"GroupId": s.group, "MemberId": member, "MemberEpoch": epoch, "Topics": None}])
    return answer["Groups"][0]["ErrorCode"]


# ---- FindCoordinator -------------------------------------------------------------------------------------------------

@cell("FindCoordinator", group=(0, "g"), empty=(0, ""),
      share=(2, "g:AAAAAAAAAAAAAAAAAAAAAA:0"), kind_3=(3, "g"), kind_minus_one=(-1, "g"), long=(0, "g" * 32767))
async def find(s, kind, key):
    if s.version >= 4:
        answer = await s.call(KeyType=kind, CoordinatorKeys=[key])
        return [[c["ErrorCode"], c["NodeId"], bool(c["Port"] > 0), c["Key"] == key] for c in answer["Coordinators"]]
    answer = await s.call(KeyType=kind, Key=key)
    return [answer["ErrorCode"], answer["NodeId"], answer["Port"] > 0, bool(answer.get("ErrorMessage"))]


@cell("FindCoordinator", since=4, nothing=([],), twice=(["a", "a"],), empty=(["a", ""],))
async def find_several(s, keys):
    answer = await s.call(KeyType=0, CoordinatorKeys=keys)
    return [[c["Key"], c["ErrorCode"], c["NodeId"]] for c in answer["Coordinators"]]


# ---- what administrators ask -----------------------------------------------------------------------------------------

@cell("DescribeGroups")
async def describe_of_no_group(s):
    return [[g["ErrorCode"], g["GroupId"], g["GroupState"], g["ProtocolType"], g["ProtocolData"], len(g["Members"])]
            for g in (await s.call(Groups=["nowhere"]))["Groups"]]


@cell("DescribeGroups")
async def describe_in_each_state(s):
    async def seen():
        g, = (await s.call(Groups=[s.group]))["Groups"]
        return [g["ErrorCode"], g["GroupState"], g["ProtocolType"], g["ProtocolData"],
                sorted([m.get("GroupInstanceId"), m["ClientId"], m["ClientHost"], len(m["MemberMetadata"]),
                        len(m["MemberAssignment"])] for m in g["Members"]), g.get("AuthorizedOperations")]
    out = []
    simple = s.member()
    await simple.commit({(TOPIC, 0): 1})
    out.append(await seen())
    m = s.member(instance="i-1", client_id="one")
    await m.join()
    out.append(await seen())
    await m.sync(PARTITIONS)
    out.append(await seen())
    second = s.member(instance="i-2", client_id="")
    joining = asyncio.ensure_future(second.join())
    await s.becomes("PreparingRebalance", 2)
    out.append(await seen())
    await asyncio.gather(joining, m.join())
    await asyncio.gather(m.sync(PARTITIONS), second.sync(PARTITIONS))
    out.append(await seen())
    await m.leave()
    await second.leave()
    return out + [await seen()]


@cell("DescribeGroups", since=3)
async def describe_what_is_allowed(s):
    await s.member().commit({(TOPIC, 0): 1})
    return [[g["ErrorCode"], g["AuthorizedOperations"]] for g in (
        await s.call(Groups=[s.group, "nowhere"], IncludeAuthorizedOperations=True))["Groups"]]


@cell("ListGroups")
async def list_in_each_state(s):
    async def seen():
        answer = await s.call()
        return [answer["ErrorCode"]] + [[g["ProtocolType"], g.get("GroupState"), g.get("GroupType")]
                                        for g in answer["Groups"] if g["GroupId"] == s.group]
    out = [await seen()]
    await s.member().commit({(TOPIC, 0): 1})
    out.append(await seen())
    m = s.member()
    await m.join()
    out.append(await seen())
    await m.sync(PARTITIONS)
    out.append(await seen())
    await m.leave()
    return out + [await seen()]


@cell("ListGroups", since=4, stable=(["Stable"], []), lower_case=(["stable"], []), empty=(["Empty"], []), several=(["Empty", "Stable"], []),
      unknown=(["Nonsense"], []), empty_word=([""], []), dead=(["Dead"], []))
async def list_by_state(s, states, types):
    await s.stable(s.member())
    answer = await s.call(StatesFilter=states, TypesFilter=types)
    return [answer["ErrorCode"], [g["GroupState"] for g in answer["Groups"] if g["GroupId"] == s.group]]


@cell("ListGroups", since=5, classic=(["classic"],), upper_case=(["CLASSIC"],), consumer=(["consumer"],), unknown=(["nonsense"],),
      empty_word=([""],))
async def list_by_type(s, types):
    await s.stable(s.member())
    answer = await s.call(TypesFilter=types)
    return [answer["ErrorCode"], [g["GroupType"] for g in answer["Groups"] if g["GroupId"] == s.group]]


@cell("DeleteGroups", no_group=(["nowhere"],), none=([],), twice=(["nowhere", "nowhere"],))
async def delete_of(s, names):
    return [[r["GroupId"], r["ErrorCode"]] for r in (await s.call(GroupsNames=names))["Results"]]


@cell("DeleteGroups")
async def delete_in_each_state(s):
    async def delete():
        return [r["ErrorCode"] for r in (await s.call(GroupsNames=[s.group]))["Results"]]
    m = s.member()
    await m.join()
    out = [await delete()]
    await m.sync(PARTITIONS)
    out += [await delete(), list((await m.commit({(TOPIC, 0): 5})).values())]
    await m.leave()
    out += [await s.state(), await delete(), await s.state(), await delete()]
    link = await m.connected()
    return out + [list((await committed(link, s.group, [(TOPIC, 0)])).values())]


@cell("DeleteGroups")
async def delete_a_simple_group_twice_in_one(s):
    await s.member().commit({(TOPIC, 0): 5})
    return [[r["GroupId"] == s.group, r["ErrorCode"]] for r in (await s.call(GroupsNames=[s.group, s.group]))["Results"]]


@cell("OffsetDelete", no_group=("nowhere",), no_group_id=("",))
async def offset_delete_of(s, group):
    answer = await s.call(GroupId=group, Topics=[{"Name": TOPIC, "Partitions": [{"PartitionIndex": 0}]}])
    return [answer["ErrorCode"], len(answer["Topics"])]


async def offset_delete(s, partitions):
    answer = await s.call(GroupId=s.group, Topics=[{"Name": t, "Partitions": [{"PartitionIndex": p}]} for t, p in partitions])
    return [answer["ErrorCode"], [[t["Name"], p["PartitionIndex"], p["ErrorCode"]] for t in answer["Topics"]
                                  for p in t["Partitions"]]]


@cell("OffsetDelete", there=([(TOPIC, 0)],), not_there=([(TOPIC, 2)],), beyond=([(TOPIC, 7)],), unknown=([("cells.not", 0)],),
      nothing=([],), several=([(TOPIC, 0), (OTHER, 0)],), twice=([(TOPIC, 0), (TOPIC, 0)],))
async def offset_delete_in_a_simple_group(s, partitions):
    m = s.member()
    await m.commit({(TOPIC, 0): 5, (OTHER, 0): 6})
    out = await offset_delete(s, partitions)
    return out + [sorted([t, p, o] for (t, p), o in (await m.fetch(None)).items()), await s.state()]


@cell("OffsetDelete", consumer=("consumer",), connect=("connect",))
async def offset_delete_in_each_state(s, kind):
    m = s.member(protocol_type=kind)
    await m.join()
    await m.sync(PARTITIONS)
    await m.commit({(TOPIC, 0): 5, (OTHER, 0): 6})
    out = [await offset_delete(s, [(TOPIC, 0), (OTHER, 0)])]
    await m.leave()
    out += [await offset_delete(s, [(TOPIC, 0), (OTHER, 0)]), await s.state()]
    return out


@cell("OffsetDelete", not_a_subscription=(b"\xff\xff\xff",), nothing=(b"",))
async def offset_delete_with_metadata(s, metadata):
    m = s.member(protocols=[("range", metadata)])
    await m.join()
    await m.sync(PARTITIONS, Assignments=[])
    await m.commit({(TOPIC, 0): 5})
    return [await offset_delete(s, [(TOPIC, 0)]), await s.state()]


# ---- the group without a name: offsets only --------------------------------------------------------------------------

@cell("OffsetCommit", since=1)
async def commit_of_no_group_id(s):
    async with s.nameless:
        await s.call("DeleteGroups", 2, GroupsNames=[""])
        code = commit_code(await s.call(GroupId="", Topics=commit_topics({(TOPIC, 0): 1})))
        link = await s.subject().connected()
        return code + [(await describe(link, ""))["GroupState"], list((await committed(link, "", [(TOPIC, 0)])).values())]


@cell("OffsetFetch", since=1)
async def fetch_of_no_group_id(s):
    async with s.nameless:
        await s.member(group="").commit({(TOPIC, 0): 2})
        return await fetch_answer(s, "", [{"Name": TOPIC, "PartitionIndexes": [0]}])


@cell("DescribeGroups")
async def describe_of_no_group_id(s):
    async with s.nameless:
        await s.member(group="").commit({(TOPIC, 0): 2})
        return [[g["ErrorCode"], g["GroupState"]] for g in (await s.call(Groups=[""]))["Groups"]]


@cell("DeleteGroups")
async def delete_of_no_group_id(s):
    async with s.nameless:
        await s.member(group="").commit({(TOPIC, 0): 2})
        return [[r["ErrorCode"] for r in (await s.call(GroupsNames=[""]))["Results"]] for _ in range(2)]
