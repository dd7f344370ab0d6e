"""The handlers of the group APIs, beside what test_94_groups_cells compares with Apache Kafka cell by cell: how the topic of
the coordinator comes to be, what is parked and how it ends, what is told about members, and our own additions."""
import os
import random
import re
import socket
import struct
import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from harness import SLOW, in_time, wait_for
from test_71_loading import Held
from wire import APIS, Wire, encode_request

TOPIC = "__consumer_offsets"
SHAPE = {"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": "104857600"}
QUICK = {"group.initial.rebalance.delay.ms": "0"}
LOADING, NOT_AVAILABLE, REBALANCE_IN_PROGRESS, NO_RIGHT_TO_TRANSACTIONAL_ID, MEMBER_ID_REQUIRED = 14, 15, 27, 53, 79


def find(c, group, version=6):
    if version >= 4:
        return c.call("FindCoordinator", version, KeyType=0, CoordinatorKeys=[group])["Coordinators"][0]
    return c.call("FindCoordinator", version, Key=group)


def ready(c, group):
    """Its coordinator serves it. (Who asks first is told to come again where a machine that stands still makes the topic late.)"""
    wait_for(lambda: find(c, group)["ErrorCode"] == 0)
    wait_for(lambda: describe(c, group)["ErrorCode"] == 0)


def metadata(c, topic):
    return c.call("Metadata", 12, Topics=[{"Name": topic}], AllowAutoTopicCreation=False)["Topics"][0]


def given_settings(c, topic):
    answer = c.call("DescribeConfigs", 1, Resources=[{"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": None}])
    return {e["Name"]: e["Value"] for e in answer["Results"][0]["Configs"] if e["ConfigSource"] == 1}


def join(c, group, version=9, member_id="", **more):
    fields = dict(GroupId=group, SessionTimeoutMs=120000, RebalanceTimeoutMs=60000, MemberId=member_id,
                  ProtocolType="consumer", Protocols=[{"Name": "range", "Metadata": b"meta"}])
    fields.update(more)
    answer = c.call("JoinGroup", version, **fields)
    if answer["ErrorCode"] == MEMBER_ID_REQUIRED:
        answer = c.call("JoinGroup", version, **dict(fields, MemberId=answer["MemberId"]))
    return answer


def enter(c, group, version=9, **more):
    """Alone in its group, and stable."""
    answer = join(c, group, version, **more)
    assert answer["ErrorCode"] == 0
    sync = c.call("SyncGroup", 5, GroupId=group, GenerationId=answer["GenerationId"], MemberId=answer["MemberId"],
                  GroupInstanceId=more.get("GroupInstanceId"), ProtocolType="consumer", ProtocolName="range",
                  Assignments=[{"MemberId": answer["MemberId"], "Assignment": b"share"}])
    assert sync["ErrorCode"] == 0 and sync["Assignment"] == b"share"
    return answer


def describe(c, group, version=5, **more):
    return c.call("DescribeGroups", version, Groups=[group], **more)["Groups"][0]


def state(c, group):
    return describe(c, group)["GroupState"]


# ---- the topic ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", [0, 6])
def test_who_asks_first_is_answered_when_the_topic_is_there(brokers, version):
    """Without being told to come back."""
    for _ in range(5):
        b = brokers({"auto.create.topics.enable": "false"}).start()
        with Wire(b.port) as c:
            assert metadata(c, TOPIC)["ErrorCode"] == 3
            began = time.monotonic()
            got = find(c, "g", version)
        if got["ErrorCode"] != NOT_AVAILABLE or time.monotonic() - began < 5:   # it waits so long: a machine may stand still
            break
    assert (got["ErrorCode"], got["NodeId"], got["Host"], got["Port"]) == (0, 0, "127.0.0.1", b.port)
    with Wire(b.port) as c:
        topic = metadata(c, TOPIC)
        assert topic["IsInternal"] and len(topic["Partitions"]) == 50
        assert all(p["LeaderId"] == 0 and p["ReplicaNodes"] == [0] for p in topic["Partitions"])
        assert given_settings(c, TOPIC) == SHAPE
        wait_for(lambda: join(c, "g", MemberId="stranger")["ErrorCode"] == 25)      # soon
    assert len(re.findall("__consumer_offsets gets one replica instead of the 3", b.log())) == 1


def test_many_who_ask_at_once_make_one_topic(brokers):
    b = brokers(QUICK).start()
    codes = []

    def ask(i):
        with Wire(b.port) as c:
            wait_for(lambda: codes.append(find(c, "g%d" % i)["ErrorCode"]) or codes[-1] == 0)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert set(codes) <= {0, NOT_AVAILABLE}
    with Wire(b.port) as c:
        assert len(metadata(c, TOPIC)["Partitions"]) == 50
    assert "WARN" not in b.log() and "ERROR" not in b.log()


def test_the_topic_has_the_shape_that_is_configured(brokers):
    b = brokers({"offsets.topic.num.partitions": "3", "offsets.topic.segment.bytes": "1048576",
                 "offsets.topic.replication.factor": "1"}).start()
    with Wire(b.port) as c:
        wait_for(lambda: find(c, "g")["ErrorCode"] == 0)
        assert len(metadata(c, TOPIC)["Partitions"]) == 3
        assert given_settings(c, TOPIC) == dict(SHAPE, **{"segment.bytes": "1048576"})
    assert "one replica" not in b.log()


@pytest.mark.parametrize("topic, settings", [(TOPIC, SHAPE), ("__transaction_state", {
    "cleanup.policy": "compact", "compression.type": "uncompressed", "segment.bytes": "104857600",
    "min.insync.replicas": "1", "unclean.leader.election.enable": "false"})])
def test_who_asks_for_its_metadata_makes_an_internal_topic(broker, topic, settings):
    with Wire(broker.port) as c:
        got = c.call("Metadata", 9, Topics=[{"Name": topic}], AllowAutoTopicCreation=True)["Topics"][0]
        assert got["ErrorCode"] == 5 and got["IsInternal"]
        wait_for(lambda: metadata(c, topic)["ErrorCode"] == 0 and len(metadata(c, topic)["Partitions"]) == 50)
        assert given_settings(c, topic) == settings


def test_the_first_poll_of_a_fresh_group_comes_soon(brokers):
    """From JoinGroup to the assignment it takes the initial delay and little more; the rest is the client's. The best of a
    few, since this machine may have other work."""
    b = brokers({"group.initial.rebalance.delay.ms": "200"}).start()
    names = iter(range(100))
    with Wire(b.port) as c:
        def poll():
            group = "g%d" % next(names)
            ready(c, group)
            began = time.monotonic()
            enter(c, group)
            took = time.monotonic() - began
            assert took >= 0.2
            return took - 0.2
        in_time(0.05, poll, tries=30)


# ---- coordinators that there are not -------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", range(1, 7))
def test_nobody_waits_for_a_coordinator_of_transactions(broker, version):
    with Wire(broker.port) as c:
        if version >= 4:
            got = c.call("FindCoordinator", version, KeyType=1, CoordinatorKeys=["t"])["Coordinators"][0]
        else:
            got = c.call("FindCoordinator", version, KeyType=1, Key="t")
        assert (got["ErrorCode"], got["NodeId"], got["Host"], got["Port"]) == (NO_RIGHT_TO_TRANSACTIONAL_ID, -1, "", -1)
        assert "transactions" in got["ErrorMessage"]


def test_idempotent_producers_are_served_and_transactional_ones_are_told(broker):
    p = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True})
    for i in range(100):
        p.produce("t", b"%d" % i)
    assert p.flush(30 * SLOW) == 0

    def told():
        p = Producer({"bootstrap.servers": broker.address, "transactional.id": "t"})
        began = time.monotonic()
        with pytest.raises(KafkaException, match="does not coordinate transactions"):
            p.init_transactions(60)
        return time.monotonic() - began
    in_time(5, told)


# ---- what is parked ----------------------------------------------------------------------------------------------------

def send_join(c, group, **more):
    c.send("JoinGroup", 3, dict(dict(
        GroupId=group, SessionTimeoutMs=120000, RebalanceTimeoutMs=60000, MemberId="", ProtocolType="consumer",
        Protocols=[{"Name": "range", "Metadata": b"m" * 3000}]), **more))


def test_a_broker_stops_whoever_waits_for_it(brokers):
    """Members in all kinds of waits, some of whom have gone."""
    b = brokers({"group.initial.rebalance.delay.ms": "600000"})

    def stop():
        b.start()
        with Wire(b.port) as c:
            for i in range(4):
                ready(c, "g%d" % i)
        waiting = [Wire(b.port) for _ in range(8)]
        for i, c in enumerate(waiting):
            send_join(c, "g%d" % (i % 4))
        with Wire(b.port) as c:
            for i in range(4):
                wait_for(lambda i=i: len(describe(c, "g%d" % i)["Members"]) == 2)
                assert state(c, "g%d" % i) == "PreparingRebalance"
        for c in waiting[4:]:
            c.close()
        began = time.monotonic()
        assert b.stop() == 0
        took = time.monotonic() - began
        for c in waiting[:4]:
            assert c.receive("JoinGroup", 3)["ErrorCode"] == NOT_AVAILABLE
            c.close()
        return took
    in_time(5, stop)


def test_who_waits_for_the_leader_is_answered_when_it_leaves(brokers):
    b = brokers(QUICK).start()
    with Wire(b.port) as lead, Wire(b.port) as follow:
        ready(lead, "g")
        send_join(lead, "g")
        first = lead.receive("JoinGroup", 3)
        send_join(follow, "g")
        wait_for(lambda: state_of(b, "g") == "PreparingRebalance")
        send_join(lead, "g", MemberId=first["MemberId"])
        a, z = lead.receive("JoinGroup", 3), follow.receive("JoinGroup", 3)
        assert a["GenerationId"] == z["GenerationId"] == 2
        assert sorted(m["MemberId"] for m in a["Members"]) == sorted([a["MemberId"], z["MemberId"]])
        assert all(m["Metadata"] == b"m" * 3000 for m in a["Members"]) and z["Members"] == []
        follow.send("SyncGroup", 3, dict(GroupId="g", GenerationId=2, MemberId=z["MemberId"]))
        assert lead.call("LeaveGroup", 1, GroupId="g", MemberId=a["MemberId"])["ErrorCode"] == 0
        assert follow.receive("SyncGroup", 3)["ErrorCode"] == 27


def state_of(b, group):
    with Wire(b.port) as c:
        return state(c, group)


ASKED = {
    "FindCoordinator": lambda v: {"KeyType": 0, "CoordinatorKeys": ["g", "h"]} if v >= 4 else {"Key": "g"},
    "JoinGroup": lambda v: {"GroupId": "g", "SessionTimeoutMs": 10000, "ProtocolType": "consumer", "MemberId": "",
                            "Protocols": [{"Name": "a", "Metadata": b"m" * 300}, {"Name": "b", "Metadata": b""}]},
    "SyncGroup": lambda v: {"GroupId": "g", "GenerationId": 1, "MemberId": "m",
                            "Assignments": [{"MemberId": "m", "Assignment": b"a" * 300}] * 3},
    "Heartbeat": lambda v: {"GroupId": "g", "GenerationId": 1, "MemberId": "m"},
    "LeaveGroup": lambda v: {"GroupId": "g", "Members": [{"MemberId": "m"}, {"MemberId": "n"}]} if v >= 3 else {
        "GroupId": "g", "MemberId": "m"},
    "DescribeGroups": lambda v: {"Groups": ["g", "h", ""]},
    "ListGroups": lambda v: {"StatesFilter": ["Stable"]} if v >= 4 else {},
    "DeleteGroups": lambda v: {"GroupsNames": ["g", "g", "h"]},
}


def test_damaged_requests_do_no_harm(brokers):
    """Bytes changed, cut off or doubled in every request of every version; nobody waits for the answers."""
    b = brokers(dict(QUICK, **{"offsets.topic.num.partitions": "2"})).start()
    rng = random.Random(94)
    with Wire(b.port) as c:
        ready(c, "g")
    for name, fields in ASKED.items():
        for version in range(APIS[name].versions[0], APIS[name].versions[1] + 1):
            whole = encode_request(name, version, fields(version), 1, "me")[4:]
            for _ in range(5):
                data = bytearray(whole)
                at = rng.randrange(min(12, len(data) - 1), len(data))      # from the client id on
                if rng.random() < 0.3:
                    del data[at:]
                elif rng.random() < 0.3:
                    data[at:at] = data[at:at + 20]
                else:
                    data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
                with socket.create_connection(("127.0.0.1", b.port), 10 * SLOW) as s:
                    s.sendall(struct.pack(">i", len(data)) + data)
    with Wire(b.port) as c:
        assert c.call("ListGroups", 5)["ErrorCode"] == 0
        ready(c, "z")
        enter(c, "z")


def test_while_the_log_of_its_partition_is_opened_a_group_is_loading(brokers):
    """Heartbeats and syncs are answered with what clients of before that code know."""
    b = brokers(dict(QUICK, **{"offsets.topic.num.partitions": "1"})).start()
    with Wire(b.port) as c:
        c.create("t")
        ready(c, "g")
        me = dict(GroupId="g", MemberId=enter(c, "g")["MemberId"])
    assert b.stop() == 0
    commit = [{"Name": "t", "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 1, "CommittedMetadata": ""}]}]
    with Held(os.path.join(b.data, TOPIC + "-0", "0" * 20 + ".log")) as log:
        b.start(loaded=False)
        with Wire(b.port) as c:
            assert find(c, "g")["ErrorCode"] == 0
            assert c.call("Heartbeat", 3, GenerationId=1, **me)["ErrorCode"] == 0
            assert c.call("SyncGroup", 3, GenerationId=1, **me)["ErrorCode"] == REBALANCE_IN_PROGRESS
            assert join(c, "g")["ErrorCode"] == LOADING
            assert c.call("LeaveGroup", 2, **me)["ErrorCode"] == LOADING
            assert describe(c, "g")["ErrorCode"] == LOADING
            assert c.call("ListGroups", 5)["ErrorCode"] == LOADING
            assert c.call("DeleteGroups", 2, GroupsNames=["g"])["Results"][0]["ErrorCode"] == LOADING
            assert c.call("OffsetFetch", 5, GroupId="g", Topics=None)["ErrorCode"] == LOADING
            answer = c.call("OffsetCommit", 5, GenerationIdOrMemberEpoch=1, Topics=commit, **me)
            assert answer["Topics"][0]["Partitions"][0]["ErrorCode"] == LOADING
            log.release()
            wait_for(lambda: state(c, "g") == "Stable")
            assert c.call("Heartbeat", 3, GenerationId=1, **me)["ErrorCode"] == 0
            assert c.call("SyncGroup", 3, GenerationId=1, **me)["Assignment"] == b"share"
            assert c.call("ListGroups", 5)["ErrorCode"] == 0


# ---- what is told --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("host, text", [("127.0.0.1", "/127.0.0.1"), ("::1", "/0:0:0:0:0:0:0:1")])
def test_the_host_of_a_member_is_written_as_java_does(brokers, host, text):
    b = brokers(QUICK)
    at = "PLAINTEXT://%s:%d" % ("[%s]" % host if ":" in host else host, b.port)
    b.overrides.update({"listeners": at, "advertised.listeners": at})
    try:
        socket.create_server((host, b.port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip("no IPv6 here")
    b.start()
    with Wire(b.port, host=host, client_id="me") as c:
        ready(c, "g")
        assert find(c, "g")["Host"] == host
        enter(c, "g")
        m, = describe(c, "g")["Members"]
        assert (m["ClientHost"], m["ClientId"]) == (text, "me")


@pytest.mark.parametrize("version", range(APIS["DescribeGroups"].versions[0], APIS["DescribeGroups"].versions[1] + 1))
def test_a_stable_group_is_described(broker_quick, version):
    with Wire(broker_quick.port) as c:
        ready(c, "g")
        member = enter(c, "g", GroupInstanceId="i")["MemberId"]
        got = describe(c, "g", version, IncludeAuthorizedOperations=True) if version >= 3 else describe(c, "g", version)
        assert (got["ErrorCode"], got["GroupState"], got["ProtocolType"], got["ProtocolData"]) == (
            0, "Stable", "consumer", "range")
        m, = got["Members"]
        assert (m["MemberId"], m["MemberMetadata"], m["MemberAssignment"]) == (member, b"meta", b"share")
        if version >= 3:
            assert got["AuthorizedOperations"] == 1 << 3 | 1 << 6 | 1 << 8
        if version >= 4:
            assert m["GroupInstanceId"] == "i"
        c.call("LeaveGroup", 5, GroupId="g", Members=[{"MemberId": member, "GroupInstanceId": "i"}])
        c.call("DeleteGroups", 2, GroupsNames=["g"])


@pytest.fixture(scope="module")
def broker_quick(tmp_path_factory):
    from harness import Broker
    b = Broker(tmp_path_factory.mktemp("quick"), QUICK).start()
    yield b
    assert b.stop() == 0, b.log()[-4000:]


def test_the_history_of_a_group_is_sent_to_who_asks_for_it(broker_quick):
    with Wire(broker_quick.port, client_id="me") as c:
        ready(c, "h")
        member = enter(c, "h", Reason="to see")["MemberId"]
        c.call("LeaveGroup", 5, GroupId="h", Members=[{"MemberId": member, "Reason": "seen enough"}])
        wait_for(lambda: state(c, "h") == "Empty")
        assert describe(c, "h")["KlammHistory"] is None
        assert describe(c, "nowhere", KlammIncludeHistory=True)["KlammHistory"] is None
        events = describe(c, "h", KlammIncludeHistory=True)["KlammHistory"]
        kinds = [e["Kind"] for e in events]
        assert "joined" in kinds and "left" in kinds
        assert kinds.count("rebalance-began") >= 1 and kinds.count("rebalance-ended") >= 1
        for e in events:
            assert abs(e["TimestampMs"] / 1000 - time.time()) < 60 * SLOW
            assert (e["DurationMs"] >= 0) == (e["Kind"] == "rebalance-ended"), e
        left = events[kinds.index("left")]
        assert (left["MemberId"], left["ClientId"], left["ClientHost"]) == (member, "me", "/127.0.0.1")
        assert "seen enough" in left["Reason"]


# ---- clients -----------------------------------------------------------------------------------------------------------

def test_consumers_of_a_group_share_and_take_over(brokers):
    b = brokers(QUICK).start()
    b.create_topic("t", 4)
    p = Producer({"bootstrap.servers": b.address})
    for i in range(400):
        p.produce("t", b"%d" % i, partition=i % 4)
    assert p.flush(30 * SLOW) == 0
    conf = {"bootstrap.servers": b.address, "group.id": "g", "session.timeout.ms": 45000, "auto.offset.reset": "earliest",
            "heartbeat.interval.ms": 200, "enable.auto.commit": False}
    one, two = Consumer(conf), Consumer(conf)
    seen, refused = [], []

    def poll(*consumers):
        for c in consumers:
            m = c.poll(0.05)
            if m is None or m.error() is not None:
                continue
            try:
                c.commit(m, asynchronous=False)
                seen.append(m.value())
            except KafkaException as e:         # a rebalance came between: whoever has the partition then reads it again, unless
                refused.append(m.value())       # what follows was still queued, and its commit is taken when nobody is a member
                assert e.args[0].code() in (KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION,
                                             KafkaError.UNKNOWN_MEMBER_ID), e

    one.subscribe(["t"])
    wait_for(lambda: poll(one) or len(one.assignment()) == 4, 30)
    two.subscribe(["t"])
    wait_for(lambda: poll(one, two) or (len(one.assignment()), len(two.assignment())) == (2, 2), 30)
    one.close()
    wait_for(lambda: poll(two) or len(two.assignment()) == 4, 30)
    wait_for(lambda: poll(two) or len(set(seen + refused)) == 400, 90)
    two.close()
    assert len(seen) == len(set(seen)), "read again, although it was committed"
