"""tests/system/test_21_control.py - what controllers tell a broker, byte by byte: all versions of LeaderAndIsr, UpdateMetadata and
StopReplica, the epochs that refuse them (rule R8), and requests that no controller should send.

The broker is a single one; the test plays a controller of a later epoch."""
import os
import random

import pytest

from harness import wait_for
from wire import Wire, encode_request

NONE, STALE_CONTROLLER, INVALID_TOPIC, STALE_BROKER, FENCED, UNKNOWN = 0, 11, 17, 77, 74, 3
EPOCH = 5


def partition(topic, leader_epoch=0, leader=0, index=0, **more):
    return dict(TopicName=topic, PartitionIndex=index, ControllerEpoch=EPOCH, Leader=leader, LeaderEpoch=leader_epoch,
                Isr=[leader], PartitionEpoch=leader_epoch, Replicas=[0], IsNew=True, **more)


def without(p, name):
    return {k: v for k, v in p.items() if k != name}


def leader_and_isr(broker, version, topic, epoch=EPOCH, broker_epoch=-1, **kw):
    p = partition(topic, **kw)
    if version < 2:
        topics = dict(UngroupedPartitionStates=[p])
    else:
        topics = dict(TopicStates=[dict(TopicName=topic, PartitionStates=[without(p, "TopicName")])])
    return Wire(broker.port).call("LeaderAndIsr", version, ControllerId=9, ControllerEpoch=epoch,
                                  **({"BrokerEpoch": broker_epoch} if version >= 2 else {}), **topics)


def lai_errors(answer):
    assert answer["ErrorCode"] == NONE
    if "Topics" in answer and answer["Topics"]:
        return [p["ErrorCode"] for t in answer["Topics"] for p in t["PartitionErrors"]]
    return [p["ErrorCode"] for p in answer["PartitionErrors"]]


def update_metadata(broker, version, topic=None, epoch=EPOCH, broker_epoch=-1, leader=0):
    fields = dict(ControllerId=0, ControllerEpoch=epoch)
    end = dict(Port=broker.port, Host="127.0.0.1", SecurityProtocol=0)
    if version >= 3:
        end["Listener"] = "PLAINTEXT"
    one = dict(Id=0, Endpoints=[end]) if version >= 1 else dict(Id=0, V0Host="127.0.0.1", V0Port=broker.port)
    state = dict(TopicName=topic, PartitionIndex=0, ControllerEpoch=epoch, Leader=leader, LeaderEpoch=0, Isr=[0],
                 ZkVersion=0, Replicas=[0])
    if version >= 5:
        fields["BrokerEpoch"] = broker_epoch
        fields["TopicStates"] = [dict(TopicName=topic, PartitionStates=[without(state, "TopicName")])] if topic else []
    else:
        fields["UngroupedPartitionStates"] = [state] if topic else []
    return Wire(broker.port).call("UpdateMetadata", version, LiveBrokers=[one], **fields)["ErrorCode"]


def stop_replica(broker, version, topic, epoch=EPOCH, broker_epoch=-1, leader_epoch=-1, delete=True):
    fields = dict(ControllerId=9, ControllerEpoch=epoch)
    if version >= 1:
        fields["BrokerEpoch"] = broker_epoch
    if version < 3:
        fields["DeletePartitions"] = delete
    if version == 0:
        fields["UngroupedPartitions"] = [dict(TopicName=topic, PartitionIndex=0)]
    elif version < 3:
        fields["Topics"] = [dict(Name=topic, PartitionIndexes=[0])]
    else:
        fields["TopicStates"] = [dict(TopicName=topic, PartitionStates=[
            dict(PartitionIndex=0, LeaderEpoch=leader_epoch, DeletePartition=delete)])]
    return Wire(broker.port).call("StopReplica", version, **fields)


def leader_of(broker, topic):
    topics = Wire(broker.port).call("Metadata", 7, Topics=[dict(Name=topic)], AllowAutoTopicCreation=False)["Topics"]
    return [(p["LeaderId"], p["LeaderEpoch"]) for p in topics[0]["Partitions"]]


def has_log(broker, topic):
    return os.path.isdir(os.path.join(broker.data, topic + "-0"))


@pytest.mark.parametrize("version", range(8))
def test_leader_and_isr_makes_a_leader(broker, version):
    topic = "t%d" % version
    assert lai_errors(leader_and_isr(broker, version, topic)) == [NONE]
    assert has_log(broker, topic)
    assert lai_errors(leader_and_isr(broker, version, topic)) == [STALE_CONTROLLER]       # the same leader epoch again
    assert lai_errors(leader_and_isr(broker, version, topic, leader_epoch=3)) == [NONE]
    assert lai_errors(leader_and_isr(broker, version, topic, leader_epoch=2)) == [STALE_CONTROLLER]


@pytest.mark.parametrize("version", range(9))
def test_update_metadata_is_what_clients_are_told(broker, version):
    assert update_metadata(broker, version, "seen") == NONE
    assert leader_of(broker, "seen") == [(0, 0)]
    assert update_metadata(broker, version, "seen", leader=-2) == NONE
    assert leader_of(broker, "seen") == []


@pytest.mark.parametrize("version", range(5))
def test_stop_replica_deletes(broker, version):
    leader_and_isr(broker, 7, "gone", leader_epoch=4)
    if version >= 3:
        answer = stop_replica(broker, version, "gone", leader_epoch=3)
        assert [p["ErrorCode"] for p in answer["PartitionErrors"]] == [FENCED]
        assert has_log(broker, "gone")
    answer = stop_replica(broker, version, "gone", delete=False)
    assert answer["ErrorCode"] == NONE and [p["ErrorCode"] for p in answer["PartitionErrors"]] == [NONE]
    assert has_log(broker, "gone")
    answer = stop_replica(broker, version, "gone")
    assert answer["ErrorCode"] == NONE and [p["ErrorCode"] for p in answer["PartitionErrors"]] == [NONE]
    wait_for(lambda: not has_log(broker, "gone"), what="the log is gone")


def test_an_earlier_controller_is_refused(broker):
    assert update_metadata(broker, 8, epoch=EPOCH) == NONE
    answer = leader_and_isr(broker, 7, "late", epoch=EPOCH - 1)
    assert answer["ErrorCode"] == STALE_CONTROLLER
    assert [p["ErrorCode"] for t in answer["Topics"] for p in t["PartitionErrors"]] == [STALE_CONTROLLER]
    assert leader_and_isr(broker, 4, "late", epoch=EPOCH - 1)["ErrorCode"] == STALE_CONTROLLER
    assert not has_log(broker, "late")
    assert update_metadata(broker, 8, "late", epoch=EPOCH - 1) == STALE_CONTROLLER
    assert leader_of(broker, "late") == []
    leader_and_isr(broker, 7, "stays")
    assert stop_replica(broker, 4, "stays", epoch=EPOCH - 1)["ErrorCode"] == STALE_CONTROLLER
    assert has_log(broker, "stays")
    assert leader_and_isr(broker, 7, "next", epoch=EPOCH + 1)["ErrorCode"] == NONE
    assert update_metadata(broker, 8, epoch=EPOCH) == STALE_CONTROLLER      # any of the three tells of an epoch


def test_what_is_for_an_earlier_start_of_the_broker_is_refused(broker):
    old = 1                                             # its registration is not the first write of the store
    answer = leader_and_isr(broker, 7, "late", broker_epoch=old)
    assert answer["ErrorCode"] == STALE_BROKER
    assert not has_log(broker, "late")
    assert update_metadata(broker, 8, "late", broker_epoch=old) == STALE_BROKER
    assert leader_of(broker, "late") == []
    leader_and_isr(broker, 7, "stays", broker_epoch=2**40)                      # later than we know: accepted
    assert has_log(broker, "stays")
    assert stop_replica(broker, 4, "stays", broker_epoch=old)["ErrorCode"] == STALE_BROKER
    assert has_log(broker, "stays")
    assert leader_and_isr(broker, 7, "a", epoch=2**31 - 1, broker_epoch=old)["ErrorCode"] == STALE_BROKER
    assert update_metadata(broker, 8, epoch=EPOCH) == NONE                      # whose epoch was not heard of either


@pytest.mark.parametrize("name", ["../../evil", "..", ".", "", "a/b", "x" * 250, "nul\0", "caf\u00e9"])
def test_names_that_would_leave_the_log_directory(broker, name):
    assert lai_errors(leader_and_isr(broker, 7, name)) == [INVALID_TOPIC]
    assert lai_errors(leader_and_isr(broker, 7, "good", index=-1)) == [INVALID_TOPIC]
    stop_replica(broker, 4, name, leader_epoch=-2)
    update_metadata(broker, 8, name)
    assert lai_errors(leader_and_isr(broker, 7, "good")) == [NONE]
    assert not os.path.exists(os.path.join(os.path.dirname(broker.data), "evil-0"))


def test_a_broker_that_is_no_replica_hosts_nothing(broker):
    answer = Wire(broker.port).call("LeaderAndIsr", 7, ControllerId=9, ControllerEpoch=EPOCH, TopicStates=[dict(
        TopicName="theirs", PartitionStates=[dict(PartitionIndex=0, Leader=1, Isr=[1], Replicas=[1, 2])])])
    assert lai_errors(answer) == [UNKNOWN]
    assert not has_log(broker, "theirs")


def test_mangled_requests_close_one_connection_at_most(broker):
    rng = random.Random(7)
    p = without(partition("m"), "TopicName")
    bodies = [
        ("LeaderAndIsr", 7, dict(ControllerId=9, ControllerEpoch=1, TopicStates=[dict(TopicName="m", PartitionStates=[p])])),
        ("UpdateMetadata", 8, dict(ControllerId=9, ControllerEpoch=1, LiveBrokers=[dict(Id=0)],
                                   TopicStates=[dict(TopicName="m", PartitionStates=[dict(PartitionIndex=0)])])),
        ("StopReplica", 4, dict(ControllerId=9, ControllerEpoch=1, TopicStates=[dict(
            TopicName="m", PartitionStates=[dict(PartitionIndex=0, DeletePartition=True)])])),
        ("AlterPartition", 3, dict(BrokerId=1, Topics=[dict(Partitions=[dict(NewIsrWithEpochs=[dict(BrokerId=1)])])])),
        ("ControlledShutdown", 3, dict(BrokerId=1)),
        ("AllocateProducerIds", 0, dict(BrokerId=1)),
    ]
    for name, version, fields in bodies:
        whole = encode_request(name, version, fields, 1, "t")
        for n in range(120):
            frame = bytearray(whole)
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(14, len(frame))
                frame[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
            w = Wire(broker.port)
            try:
                w.sock.sendall(frame)
                w.sock.recv(4)
            except ConnectionError:
                pass
            w.sock.close()
    assert broker.alive()
    assert Wire(broker.port).call("ApiVersions", 0)["ErrorCode"] == NONE


def test_who_asks_the_controller_must_be_a_broker(broker):
    w = Wire(broker.port)
    for version in range(4):
        answer = w.call("AlterPartition", version, BrokerId=7, BrokerEpoch=1)
        assert answer["ErrorCode"] == STALE_BROKER
        assert w.call("ControlledShutdown", version, BrokerId=7)["ErrorCode"] == 8         # BROKER_NOT_AVAILABLE
    assert w.call("AllocateProducerIds", 0, BrokerId=7, BrokerEpoch=1)["ErrorCode"] == 102  # not registered
