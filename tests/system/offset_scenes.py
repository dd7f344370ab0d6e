"""tests/system/offset_scenes.py - committed offsets, scene by scene: what tests/system/group_cells.py has no cells for. Every scene
is a function of a port, run against any broker; what Apache Kafka 3.9.1 gave is in tests/data/offset-scenes.json.

    python3 tests/system/offset_scenes.py PORT [WORDS]    prints where a fresh broker there differs (in scenes with WORDS)
    python3 tests/system/offset_scenes.py PORT --record   writes the file from what it answers

The broker needs PROPERTIES and no __consumer_offsets: the first scene wants it missing.
"""
import json
import os
import sys

from groups import subscription
from harness import wait_for
from wire import REQUEST_TIMED_OUT, Wire

EXPECTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "offset-scenes.json")
PROPERTIES = {"offsets.topic.num.partitions": "3", "offsets.retention.check.interval.ms": "200",
              "group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "100"}
SCENES = []
LONG_MAX, LONG_MIN = (1 << 63) - 1, -(1 << 63)


def scene(f):
    SCENES.append((f.__name__.replace("_", " "), f))
    return f


# ---- asking ----------------------------------------------------------------------------------------------------------

def topics_of(rows, metadata=""):
    """rows: (topic, [(partition, offset)])"""
    return [{"Name": t, "Partitions": [{"PartitionIndex": p, "CommittedOffset": o, "CommittedMetadata": metadata}
                                       for p, o in ps]} for t, ps in rows]


def answered(answer):
    """Topics in any order, their partitions too: Apache Kafka's come out of a hash table."""
    return sorted([t["Name"], sorted([p["PartitionIndex"], p["ErrorCode"]] for p in t["Partitions"])]
                  for t in answer["Topics"])


def commit(c, version, group, rows, metadata="", **more):
    return answered(c.call("OffsetCommit", version, GroupId=group, Topics=topics_of(rows, metadata), **more))


def found(answer):
    return [answer.get("ErrorCode"), sorted([t["Name"], sorted(
        [p["PartitionIndex"], p["CommittedOffset"], p["Metadata"], p["ErrorCode"]] for p in t["Partitions"])]
        for t in answer["Topics"])]


def fetch(c, version, group, rows):
    """rows: (topic, [partition]), or None for all."""
    topics = None if rows is None else [{"Name": t, "PartitionIndexes": ps} for t, ps in rows]
    if version >= 8:
        return [found(g) for g in c.call("OffsetFetch", version, Groups=[{"GroupId": group, "Topics": topics}])["Groups"]]
    return found(c.call("OffsetFetch", version, GroupId=group, Topics=topics))


def offsets(c, group):
    return fetch(c, 5, group, None)[1]


def delete(c, group, rows):
    answer = c.call("OffsetDelete", 0, GroupId=group, Topics=[
        {"Name": t, "Partitions": [{"PartitionIndex": p} for p in ps]} for t, ps in rows])
    return [answer["ErrorCode"], answered(answer)]


def state(c, group):
    g, = c.call("DescribeGroups", 1, Groups=[group])["Groups"]
    return [g["GroupState"], len(g["Members"])]


def join(c, group, topics, member="", send_only=False, protocol_type="consumer"):
    fields = dict(GroupId=group, SessionTimeoutMs=120000, RebalanceTimeoutMs=120000, MemberId=member,
                  ProtocolType=protocol_type, Protocols=[{"Name": "range", "Metadata": subscription(topics)}])
    if send_only:
        return c.send("JoinGroup", 2, fields)
    return c.call("JoinGroup", 2, **fields)


def enter(c, group, topics, **kw):
    """A stable group of one; its member id and generation."""
    j = join(c, group, topics, **kw)
    s = c.call("SyncGroup", 1, GroupId=group, GenerationId=j["GenerationId"], MemberId=j["MemberId"], Assignments=[])
    assert j["ErrorCode"] == s["ErrorCode"] == 0, (j, s)
    return {"MemberId": j["MemberId"], "GenerationIdOrMemberEpoch": j["GenerationId"]}


def leave(c, group, who):
    return c.call("LeaveGroup", 1, GroupId=group, MemberId=who["MemberId"])["ErrorCode"]


def topic(c, name, n=2):
    there = {t["Name"]: t for t in c.call("Metadata", 5, Topics=None)["Topics"]}
    if name not in there:
        wait_for(lambda: created(c, name, n), 30, name)     # perhaps one of that name is still going
        wait_for(lambda: knows(c, name, n), 30, name)
    return name


def created(c, name, n):
    answer = c.call("CreateTopics", 5, TimeoutMs=30000, Topics=[{"Name": name, "NumPartitions": n, "ReplicationFactor": 1}])
    return answer["Topics"][0]["ErrorCode"] in (0, REQUEST_TIMED_OUT)      # then it comes all the same


def knows(c, name, n):
    t, = c.call("Metadata", 5, Topics=[{"Name": name}], AllowAutoTopicCreation=False)["Topics"]
    return t["ErrorCode"] == 0 and len(t["Partitions"]) == n


def drop(c, name):
    assert c.call("DeleteTopics", 3, TopicNames=[name], TimeoutMs=30000)["Responses"][0]["ErrorCode"] in (0, REQUEST_TIMED_OUT)
    wait_for(lambda: c.call("Metadata", 5, Topics=[{"Name": name}], AllowAutoTopicCreation=False)["Topics"][0]["ErrorCode"] == 3,
             30, "end of " + name)


# ---- before there is a coordinator -----------------------------------------------------------------------------------

@scene
def where_a_groups_error_is_put(port):
    """__consumer_offsets does not exist, so nobody is coordinator."""
    with Wire(port) as c:
        t = topic(c, "scenes.first")
        out = {"commit v%d" % v: commit(c, v, "g", [(t, [(0, 1), (1, 2), (2, 3)]), ("scenes.not", [(0, 1)])])
               for v in range(1, 10)}
        out.update({"fetch v%d" % v: fetch(c, v, "g", [(t, [0, 1])]) for v in range(1, 10)})
        out.update({"fetch all v%d" % v: fetch(c, v, "g", None) for v in range(2, 10)})
        out["delete"] = delete(c, "g", [(t, [0]), ("scenes.not", [0])])
        out["delete nothing"] = delete(c, "g", [])
        out["nothing"] = commit(c, 8, "g", [])
        out["only what is unknown"] = commit(c, 8, "g", [("scenes.not", [(0, 1)]), (t, [(9, 1)])])
    return out


def ready(port):
    with Wire(port) as c:
        for g in "abcdefgh":            # partitions of the topic come to life one after the other
            wait_for(lambda g=g: c.call("FindCoordinator", 0, Key=g)["ErrorCode"] == 0, 30, "coordinator")
            wait_for(lambda g=g: c.call("OffsetFetch", 2, GroupId=g, Topics=[])["ErrorCode"] == 0, 30, "coordinator")


# ---- version 0 -------------------------------------------------------------------------------------------------------

@scene
def version_0(port):
    ready(port)
    out = {}
    with Wire(port) as c:
        t = topic(c, "scenes.stored")
        out["nothing there"] = fetch(c, 0, "old", [(t, [0, 1, 2]), ("scenes.not", [0])])
        out["commit"] = commit(c, 0, "old", [(t, [(0, 5), (1, 6), (2, 7)]), ("scenes.not", [(0, 1)])])
        out["there"] = fetch(c, 0, "old", [(t, [0, 1, 2]), ("scenes.not", [0])])
        out["again"] = [commit(c, 0, "old", [(t, [(0, 4)])]), fetch(c, 0, "old", [(t, [0])])]
        out["twice"] = [commit(c, 0, "old", [(t, [(0, 8), (0, 9)]), (t, [(1, 10), (0, 11)])]), fetch(c, 0, "old", [(t, [0, 1, 0])])]
        out["twice, new"] = [commit(c, 0, "older", [(t, [(0, 8), (0, 9)])]), fetch(c, 0, "older", [(t, [0])])]
        for name, offset in (("-1", -1), ("-2", -2), ("highest", LONG_MAX), ("lowest", LONG_MIN)):
            out[name] = [commit(c, 0, "old", [(t, [(0, offset)])]), fetch(c, 0, "old", [(t, [0])])]
        for size in (4096, 4097):
            out["metadata of %d" % size] = [commit(c, 0, "old", [(t, [(0, size)])], "m" * size), fetch(c, 0, "old", [(t, [0])])]
        out["null metadata"] = commit(c, 0, "old", [(t, [(0, 5)])], None)
        out["nothing asked"] = [commit(c, 0, "old", []), fetch(c, 0, "old", [])]
        out["no partitions"] = [commit(c, 0, "old", [(t, []), ("scenes.not", [])]), fetch(c, 0, "old", [(t, [])])]
        out["not in the log"] = fetch(c, 1, "old", [(t, [0])])
        out["from the log"] = [commit(c, 1, "new", [(t, [(0, 5)])]), fetch(c, 0, "new", [(t, [0])])]
        for name in ("", "/", "a/b", "/a", "a/", "a//b", ".", "..", "a/..", "a\0b", "a\nb", "\u00fc", "spaces in it", "n" * 300):
            out["group %r" % name[:12]] = [commit(c, 0, name, [(t, [(0, 3)])]), fetch(c, 0, name, [(t, [0])])]
        out["state"] = state(c, "old")
        drop(c, t)
        out["topic deleted"] = [commit(c, 0, "old", [(t, [(0, 5)])]), fetch(c, 0, "old", [(t, [0])])]
    return out


# ---- lists -----------------------------------------------------------------------------------------------------------

@scene
def the_same_more_than_once(port):
    ready(port)
    out = {}
    with Wire(port) as c:
        t, u = topic(c, "scenes.t", 30), topic(c, "scenes.u")
        out["commit"] = [commit(c, 8, "twice", [(t, [(0, 1), (1, 2), (0, 3)]), (u, [(0, 4)]), (t, [(1, 5), (77, 6), (77, 7)]),
                                                ("scenes.not", [(0, 1), (0, 2)]), ("scenes.not", [(0, 3)])]), offsets(c, "twice")]
        out["topics without partitions"] = [commit(c, 8, "twice", [(t, []), ("scenes.not", []), (u, [(1, 1)])])]
        out["only such"] = [commit(c, 8, "twice", [(t, []), ("scenes.not", [])])]
        falling = [(29 - p, p) for p in range(30)]
        out["many, falling, twice"] = [commit(c, 8, "many", [(t, falling + falling[:7])]), offsets(c, "many")]
        out["too much metadata first"] = [commit(c, 8, "meta", [(t, [(0, 1)])], "m" * 5000), offsets(c, "meta")]
        many = topics_of([(t, [(0, 1)])], "m" * 5000) + topics_of([(t, [(0, 2)])], "fits")
        out["the last counts"] = [answered(c.call("OffsetCommit", 8, GroupId="meta", Topics=many)), offsets(c, "meta")]
        out["the last is too large"] = [answered(c.call("OffsetCommit", 8, GroupId="meta", Topics=many[::-1])), offsets(c, "meta")]
        out["fetch"] = fetch(c, 8, "twice", [(t, [0, 0, 1]), (u, [0]), (t, [1, 2, -1]), ("scenes.not", [0, 0])])
        out["delete"] = [delete(c, "twice", [(t, [0, 77, 77, 0]), (u, [1]), ("scenes.not", [0, 0]), ("scenes.no", [])]),
                         offsets(c, "twice")]
        out["many topics"] = commit(c, 8, "wide", [("scenes.%d" % (i % 40), [(i % 3, 1)]) for i in range(60)] +
                                    [(t, [(i, i)]) for i in range(20)] + [(t, [(19 - i, i)]) for i in range(20)])
        out["all of them"] = offsets(c, "wide")
    return out


@scene
def too_much_for_one_batch(port):
    ready(port)
    with Wire(port) as c:
        t = topic(c, "scenes.wide", 300)
        got = commit(c, 8, "huge", [(t, [(p, p) for p in range(300)])], "m" * 4000)
        return [sorted({code for _, ps in got for _, code in ps}), len(offsets(c, "huge"))]


# ---- deleting --------------------------------------------------------------------------------------------------------

@scene
def deleted_offsets(port):
    ready(port)
    out = {}
    with Wire(port) as c:
        t, u = topic(c, "scenes.t", 30), topic(c, "scenes.u")
        commit(c, 8, "simple", [(t, [(0, 1), (1, 2)]), (u, [(0, 3)])])
        out["one"] = [delete(c, "simple", [(t, [0])]), offsets(c, "simple"), state(c, "simple")]
        out["what was not there"] = [delete(c, "simple", [(t, [5])]), offsets(c, "simple"), state(c, "simple")]
        out["the others"] = [delete(c, "simple", [(t, [1]), (u, [0])]), offsets(c, "simple"), state(c, "simple")]
        out["again"] = delete(c, "simple", [(t, [1])])
        who = enter(c, "member", [t])
        commit(c, 8, "member", [(t, [(0, 1)]), (u, [(0, 2)])], **who)
        out["stable"] = [delete(c, "member", [(t, [0]), (u, [0])]), offsets(c, "member")]
        out["left"] = [leave(c, "member", who), state(c, "member"), offsets(c, "member")]
        out["left and deleted"] = [delete(c, "member", [(t, [0])]), state(c, "member")]
        who = enter(c, "other", [t], protocol_type="other")
        commit(c, 8, "other", [(u, [(0, 2)])], **who)
        out["another type"] = [delete(c, "other", [(u, [0])]), leave(c, "other", who), delete(c, "other", [(u, [0])])]
    return out


@scene
def deleted_offsets_while_members_come(port):
    """While a rebalance waits Apache Kafka goes by what the last generation read; what only those read who came or left since
    is not asked here."""
    ready(port)
    out = {}
    with Wire(port) as c, Wire(port) as first, Wire(port) as second:
        t, u, other = topic(c, "scenes.t", 30), topic(c, "scenes.u"), topic(c, "scenes.v")

        def each(topics=(t, u, other)):
            return [delete(c, "come", [(x, [1]) for x in topics]), state(c, "come")]
        commit(c, 8, "come", [(x, [(0, 1), (1, 1)]) for x in (t, u, other)])
        one = join(first, "come", [t])
        out["completing"] = each()
        first.call("SyncGroup", 1, GroupId="come", GenerationId=1, MemberId=one["MemberId"], Assignments=[])
        out["stable"] = each()
        join(second, "come", [u], send_only=True)
        wait_for(lambda: state(c, "come")[0] == "PreparingRebalance", 30, "rebalance")
        out["preparing"] = each((t, other))
        join(first, "come", [other], member=one["MemberId"], send_only=True)
        assert first.receive("JoinGroup", 2)["ErrorCode"] == second.receive("JoinGroup", 2)["ErrorCode"] == 0
        out["completing again"] = each()
        leave(c, "come", one)
        out["one left"] = each((t, u))
    return out


@scene
def deleted_topics(port):
    ready(port)
    out = {}
    with Wire(port) as c:
        t, u = topic(c, "scenes.gone"), topic(c, "scenes.u")
        commit(c, 8, "only", [(t, [(0, 1), (1, 2)])])
        commit(c, 8, "both", [(t, [(0, 1)]), (u, [(0, 3)])])
        who = enter(c, "reader", [t])
        commit(c, 8, "reader", [(t, [(0, 1)])], **who)
        drop(c, t)
        wait_for(lambda: len(offsets(c, "both")) == 1, 30, "end of its offsets")
        wait_for(lambda: state(c, "only") == ["Dead", 0], 30, "end of the group")
        wait_for(lambda: offsets(c, "reader") == [], 30, "end of its offsets")
        out["then"] = [offsets(c, "only"), offsets(c, "both"), state(c, "both"), state(c, "reader")]
        out["commit"] = [commit(c, 8, "both", [(t, [(0, 5)]), (u, [(0, 4)])]), commit(c, 8, "reader", [(t, [(0, 5)])], **who)]
        topic(c, t)
        out["made again"] = [fetch(c, 8, "both", [(t, [0]), (u, [0])]), commit(c, 8, "both", [(t, [(0, 6)])]), offsets(c, "both")]
    return out


# ---- expiry: commits of versions 2-4 say how long ---------------------------------------------------------------------

def a_check_passes(c, t):
    """An offset that is committed now, and goes at the next check."""
    commit(c, 2, "clock", [(t, [(0, 1)])], RetentionTimeMs=1)
    wait_for(lambda: state(c, "clock") == ["Dead", 0], 30, "check of expired offsets")


@scene
def expired_offsets(port):
    ready(port)
    out = {}
    with Wire(port) as c, Wire(port) as second:
        t, u = topic(c, "scenes.t", 30), topic(c, "scenes.u")
        commit(c, 2, "simple", [(t, [(0, 1)])], RetentionTimeMs=1)
        commit(c, 2, "simple", [(t, [(1, 2)])], RetentionTimeMs=3600000)
        commit(c, 2, "simple", [(t, [(2, 3)])], RetentionTimeMs=-1)
        commit(c, 2, "past", [(t, [(0, 1)]), (u, [(0, 2)])], RetentionTimeMs=-1000)
        commit(c, 2, "beyond", [(t, [(0, 1)])], RetentionTimeMs=LONG_MAX)       # a sum that wraps around
        commit(c, 1, "long-ago", [(t, [(0, 1)])])
        who = enter(c, "stable", [t])
        commit(c, 2, "stable", [(t, [(0, 1)]), (u, [(0, 2)])], RetentionTimeMs=1, **who)
        them = enter(c, "turning", [t])
        join(second, "turning", [t], send_only=True)
        wait_for(lambda: state(c, "turning")[0] == "PreparingRebalance", 30, "rebalance")
        commit(c, 2, "turning", [(t, [(0, 1)]), (u, [(0, 2)])], RetentionTimeMs=1, **them)      # a check may come at once
        empty = enter(c, "empty", [t])
        leave(c, "empty", empty)
        commit(c, 2, "empty", [(t, [(0, 1)])], RetentionTimeMs=1)
        commit(c, 2, "empty", [(t, [(1, 1)])], RetentionTimeMs=3600000)
        other = enter(c, "other", [t], protocol_type="other")
        commit(c, 2, "other", [(t, [(0, 1)])], RetentionTimeMs=1, **other)
        a_check_passes(c, t)
        a_check_passes(c, t)
        for g in ("simple", "past", "beyond", "long-ago", "empty", "other"):
            out[g] = [offsets(c, g), state(c, g)]
        out["stable"] = [offsets(c, "stable"), state(c, "stable")]
        commit(c, 8, "turning", [(t, [(3, 1)])], **them)
        out["turning, before"] = [x for x in offsets(c, "turning")]
        leave(c, "turning", them)
        assert second.receive("JoinGroup", 2)["ErrorCode"] == 0
        leave(c, "stable", who)
        a_check_passes(c, t)
        a_check_passes(c, t)
        out["stable, then left"] = [offsets(c, "stable"), state(c, "stable")]
    return out


@scene
def a_commit_of_version_1_says_when_it_was(port):
    ready(port)
    out = {}
    with Wire(port) as c:
        t = topic(c, "scenes.t", 30)
        for name, when in (("now", -1), ("never", LONG_MAX), ("1970", 0), ("lowest", LONG_MIN), ("minus 2", -2)):
            topics = [{"Name": t, "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 1, "CommitTimestamp": when,
                                                  "CommittedMetadata": ""}]}]
            out[name] = answered(c.call("OffsetCommit", 1, GroupId="when-%s" % name, GenerationIdOrMemberEpoch=-1,
                                        Topics=topics))
        a_check_passes(c, t)
        a_check_passes(c, t)
        out.update({"%s, then" % name: [offsets(c, "when-" + name), state(c, "when-" + name)]
                    for name in ("now", "never", "1970", "lowest", "minus 2")})
    return out


# ---- running ---------------------------------------------------------------------------------------------------------

def observe(port, only=""):
    return {name: json.loads(json.dumps(f(port))) for name, f in SCENES if only in name}


def expected():
    with open(EXPECTED, encoding="utf-8") as f:
        return json.load(f)


def differences(seen, wanted):
    out = []
    for name, got in seen.items():
        want = wanted.get(name)
        if isinstance(got, dict) and isinstance(want, dict):
            out += ["%s, %s: %s, Apache Kafka: %s" % (name, k, json.dumps(got.get(k)), json.dumps(want.get(k)))
                    for k in sorted(set(got) | set(want)) if got.get(k) != want.get(k)]
        elif got != want:
            out.append("%s: %s, Apache Kafka: %s" % (name, json.dumps(got), json.dumps(want)))
    return out


def main():
    seen = observe(int(sys.argv[1]), next((a for a in sys.argv[2:] if not a.startswith("--")), ""))
    if "--record" not in sys.argv:
        print("\n".join(differences(seen, expected())))
        return
    with open(EXPECTED, "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join("%s: {\n  %s\n}" % (json.dumps(n), ",\n  ".join(
            "%s: %s" % (json.dumps(k), json.dumps(v)) for k, v in got.items())) if isinstance(got, dict)
            else "%s: %s" % (json.dumps(n), json.dumps(got)) for n, got in seen.items()) + "\n}\n")


if __name__ == "__main__":
    main()
