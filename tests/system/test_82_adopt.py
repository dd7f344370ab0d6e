"""tests/system/test_82_adopt.py - a broker whose store is empty takes over the partitions that it finds. The directories are
made by a broker of ours whose store is removed afterwards: what is left has nothing but Apache Kafka's files.
"""
import os
import shutil
import struct

import pytest

from batches import batch, heads
from harness import READY, SLOW, wait_for
from wire import Wire

META = "#\n#Sat Nov 21 02:05:31 UTC 2026\nbroker.id=%d\nversion=%d\ncluster.id=-5AsMXlFTgmRVUWpEE4U0A\n"


def forget(broker):
    """Leaves what Apache Kafka would have left."""
    for name in os.listdir(broker.data):
        if name.startswith("klamm-metadata"):
            os.unlink(os.path.join(broker.data, name))


def describe(broker):
    """topic -> (topic id, {partition: (leader, leader epoch)}), internal ones too"""
    with Wire(broker.port) as c:
        topics = c.call("Metadata", 12, Topics=None)["Topics"]
    return {t["Name"]: (t["TopicId"], {p["PartitionIndex"]: (p["LeaderId"], p["LeaderEpoch"]) for p in t["Partitions"]})
            for t in topics}


def value(broker, topic, partition=0, offset=0):
    with Wire(broker.port) as c:
        out = c.fetch(4, topic, partition, offset)["Responses"][0]["Partitions"][0]
    assert out["ErrorCode"] == 0, out
    return out["Records"]


def put(broker, topic, partition=0, text=b"v"):
    with Wire(broker.port) as c:
        out = c.produce(8, topic, partition, batch([text]))
    assert out["ErrorCode"] == 0, out
    return out["BaseOffset"]


def configs(broker, topic):
    with Wire(broker.port) as c:
        out = c.call("DescribeConfigs", 4, Resources=[{"ResourceType": 2, "ResourceName": topic,
                                                       "ConfigurationKeys": None}])
    return {c["Name"]: c["Value"] for c in out["Results"][0]["Configs"] if c["ConfigSource"] == 1}


def meta(broker):
    with open(os.path.join(broker.data, "meta.properties"), encoding="latin-1") as f:
        return dict(line.strip().split("=", 1) for line in f if "=" in line)


@pytest.fixture
def left(brokers):
    """A stopped broker with a: 3 partitions, b.c: 1, each with one record; no store."""
    broker = brokers({"log.retention.check.interval.ms": "100", "log.initial.task.delay.ms": "100"}).start()
    broker.create_topic("a", partitions=3, retention_ms=-1)
    broker.create_topic("b.c", retention_ms=-1)
    for p in range(3):
        put(broker, "a", p, b"a%d" % p)
    put(broker, "b.c")
    broker.ids = {name: topic[0] for name, topic in describe(broker).items()}
    assert broker.stop() == 0
    forget(broker)
    return broker


def test_taken_over_line_by_line_and_only_once(left):
    cluster = meta(left)["cluster.id"]
    left.start()
    log = left.log(this_start=True)
    assert "adopted topic a: 3 partitions, topic id" in log and "adopted topic b.c: 1 partition," in log
    assert "adopted 2 topics with 4 partitions as broker 0" in log and "cluster %s" % cluster in log
    assert "the settings of topics are not in the log directories" in log
    now = describe(left)
    assert {name: topic[0] for name, topic in now.items()} == left.ids
    assert now["a"][1] == {0: (0, 0), 1: (0, 0), 2: (0, 0)}
    for p in range(3):
        assert b"a%d" % p in value(left, "a", p)
    assert put(left, "b.c") == 1
    left.restart()
    assert "adopted" not in left.log(this_start=True)
    assert describe(left) == now


def test_records_of_2023_stay_although_the_settings_are_not_known(left):
    left.start()
    assert configs(left, "a") == {"retention.ms": "-1"}
    left.restart()
    assert value(left, "b.c")


def test_settings_from_a_file(left):
    path = os.path.join(left.folder, "topics.txt")
    with open(path, "w", encoding="ascii") as f:
        f.write("Topic: a\tTopicId: x\tPartitionCount: 3\tReplicationFactor: 1\tConfigs: cleanup.policy=compact,delete,"
                "segment.bytes=20000,retention.ms=-1\n\tTopic: a\tPartition: 0\tLeader: 0\tReplicas: 0\tIsr: 0\n"
                "Topic: other\tPartitionCount: 1\tReplicationFactor: 1\tConfigs: \n"
                "Topic: b.c\tPartitionCount: 1\tReplicationFactor: 1\tConfigs: \n")
    left.args = ["--adopt-configs", path]
    left.overrides["log.retention.ms"] = "-1"
    left.start()
    assert "the settings of topics" not in left.log(this_start=True)
    assert configs(left, "a") == {"cleanup.policy": "compact,delete", "segment.bytes": "20000", "retention.ms": "-1"}
    assert configs(left, "b.c") == {}
    left.restart()
    assert "adopted" not in left.log(this_start=True)
    assert left.stop() == 0
    forget(left)
    for text, why in (("Topic: a\tConfigs: segment.bytes=many\n", "topics.txt:1: Invalid value many"), ("x\n", "there is no line"),
                      ("\nTopic: a\tConfigs: nothing\n", "topics.txt:2: \"Configs:\" is not followed"),
                      ("Topic: a\tConfigs: =,=,,\n", "topics.txt:1: \"Configs:\" is not followed")):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        left.spawn()
        assert left.process.wait(60 * SLOW) == 1
        assert why in left.log(this_start=True), left.log(this_start=True)
    left.process = None


def test_killed_in_the_midst_and_started_again(left):
    for _ in range(5):
        left.spawn()
        wait_for(lambda: "taking them over" in left.log(this_start=True) or left.is_ready(), 30, "adoption begins")
        left.kill9()
    left.start()
    assert sorted(describe(left)) == ["a", "b.c"]
    assert value(left, "b.c")


def test_leader_epochs_go_on_where_they_ended(left):
    with open(os.path.join(left.data, "a-1", "leader-epoch-checkpoint"), "w", encoding="ascii") as f:
        f.write("0\n2\n0 0\n7 1\n")
    os.unlink(os.path.join(left.data, "a-2", "leader-epoch-checkpoint"))
    path = os.path.join(left.data, "a-2", "0" * 20 + ".log")
    with open(path, "r+b") as f:
        f.seek(12)
        f.write(struct.pack(">i", 5))
    left.start()
    assert describe(left)["a"][1] == {0: (0, 0), 1: (0, 7), 2: (0, 5)}
    assert put(left, "a", 1) == 1
    data = value(left, "a", 1, 1)
    assert heads(data)[0][0] == 1 and data[12:16] == struct.pack(">i", 7)
    assert left.stop() == 0
    with open(os.path.join(left.data, "a-1", "leader-epoch-checkpoint"), encoding="ascii") as f:
        assert f.read() == "0\n2\n0 0\n7 1\n"


def test_topics_without_an_id_get_one(left):
    for p in range(3):
        os.unlink(os.path.join(left.data, "a-%d" % p, "partition.metadata"))
    left.start()
    assert "(new: the directories have none)" in left.log(this_start=True)
    now = describe(left)
    assert now["a"][0] not in (bytes(16), left.ids["a"]) and now["b.c"][0] == left.ids["b.c"]
    for p in range(3):
        assert put(left, "a", p) == 1
    left.restart()
    assert describe(left) == now
    left.create_topic("mine")
    assert left.stop() == 0
    # Apache Kafka 2.7 has none; a later one gives ids of its own, and refuses a log that has another.
    assert [os.path.exists(os.path.join(left.data, d, "partition.metadata")) for d in ("a-0", "a-1", "b.c-0", "mine-0")] == [
        False, False, True, True]


def test_a_missing_partition_begins_empty(left):
    shutil.rmtree(os.path.join(left.data, "a-1"))
    left.start()
    assert "topic a: no log directory has partition 1, but there is a partition 2: made empty" in left.log(this_start=True)
    assert sorted(describe(left)["a"][1]) == [0, 1, 2]
    assert put(left, "a", 1) == 0 and put(left, "a", 2) == 1


def test_what_is_no_topic(left):
    """A directory that looks like a partition, names that no topic may have, two topics with one id."""
    os.mkdir(os.path.join(left.data, "backup-20260101"))
    os.mkdir(os.path.join(left.data, "no topic-0"))
    os.mkdir(os.path.join(left.data, "last-2147483647"))
    left.start()
    log = left.log(this_start=True)
    assert "backup-20260101: not adopted: of partitions 0 to 20260101" in log
    assert "no topic-0: not adopted: topic name is invalid" in log
    assert sorted(describe(left)) == ["a", "b.c"]
    assert left.stop() == 0
    forget(left)
    shutil.copytree(os.path.join(left.data, "b.c-0"), os.path.join(left.data, "copy-0"))
    left.spawn()
    assert left.process.wait(60 * SLOW) == 1
    assert "topics b.c and copy have the same topic id" in left.log(this_start=True)
    left.process = None


def test_of_another_broker_or_cluster_only_when_asked(left):
    with open(os.path.join(left.data, "meta.properties"), "w", encoding="latin-1") as f:
        f.write(META % (4, 0))
    for _ in range(2):
        left.spawn()
        assert left.process.wait(60 * SLOW) == 1
        left.process = None
        assert "has broker.id=4, this broker is broker.id=0" in left.log() and "--adopt" in left.log()
    left.args = ["--adopt"]
    left.start()
    assert "had broker.id=4 and cluster.id=-5AsMXlFTgmRVUWpEE4U0A: taken over as broker.id=0" in left.log(this_start=True)
    assert sorted(describe(left)) == ["a", "b.c"] and value(left, "b.c")
    assert meta(left)["broker.id"] == "0" and meta(left)["cluster.id"] == "-5AsMXlFTgmRVUWpEE4U0A"
    left.restart()
    assert "adopted" not in left.log(this_start=True)


def test_broker_id_from_the_directory(left):
    with open(os.path.join(left.data, "meta.properties"), "w", encoding="latin-1") as f:
        f.write(META % (4, 0))
    left.overrides["broker.id"] = "-1"
    left.start()
    assert "broker 4 of cluster -5AsMXlFTgmRVUWpEE4U0A" in left.log(this_start=True)
    assert describe(left)["b.c"][1] == {0: (4, 0)}


def test_kraft_is_left_alone(left):
    log = os.path.join(left.data, "__cluster_metadata-0")
    os.mkdir(log)
    with open(os.path.join(log, "0" * 20 + ".log"), "wb") as f:
        f.write(b"x")
    left.start()
    assert "__cluster_metadata-0 is the metadata log of a KRaft controller: it is left as it is" in left.log(this_start=True)
    assert sorted(describe(left)) == ["a", "b.c"] and os.listdir(log) == ["0" * 20 + ".log"]
    assert left.stop() == 0
    forget(left)
    with open(os.path.join(left.data, "meta.properties"), "w", encoding="latin-1") as f:
        f.write(META % (0, 1))
    left.args = ["--adopt"]
    left.spawn()
    assert left.process.wait(60 * SLOW) == 1
    assert "version 1 is a directory of a broker in KRaft mode, which cannot be taken over" in left.log(this_start=True)
    left.process = None


def test_internal_topics_keep_their_settings(left):
    os.rename(os.path.join(left.data, "b.c-0"), os.path.join(left.data, "__consumer_offsets-0"))
    left.overrides["offsets.topic.segment.bytes"] = "1048576"
    left.start()
    assert configs(left, "__consumer_offsets") == {"cleanup.policy": "compact", "compression.type": "producer",
                                                   "segment.bytes": "1048576"}


def test_a_store_that_had_topics_is_not_empty(left):
    left.overrides["log.segment.delete.delay.ms"] = "3600000"       # what is deleted is taken back
    left.start()
    for topic in ("a", "b.c"):
        left.tool("kafka-topics.sh", "--delete", "--topic", topic)
    wait_for(lambda: left.log(this_start=True).count("has been deleted") == 2, 30, "both are gone")
    assert left.stop() == 0
    shutil.copytree(os.path.join(left.data, [n for n in os.listdir(left.data) if n.startswith("b.c-0.")][0]),
                    os.path.join(left.data, "b.c-0"))
    left.start()
    assert describe(left) == {} and "1 partitions of 1 topics that the metadata store does not have (b.c)" in left.log()
    assert left.stop() == 0
    left.args = ["--adopt"]
    left.start()
    assert sorted(describe(left)) == ["b.c"] and value(left, "b.c")


def test_topics_that_apache_kafka_made_meanwhile(left):
    """The directories went back to it and came again, with one topic more."""
    left.start()
    before = describe(left)
    assert left.stop() == 0
    shutil.copytree(os.path.join(left.data, "b.c-0"), os.path.join(left.data, "new-0"))
    with open(os.path.join(left.data, "new-0", "partition.metadata"), "w", encoding="ascii") as f:
        f.write("version: 0\ntopic_id: Qs09DABEStyWQoAiJGkoAA")
    left.start()
    assert "1 partitions of 1 topics that the metadata store does not have (new): left as they are" in left.log()
    assert describe(left) == before
    assert left.stop() == 0
    left.args = ["--adopt"]
    left.start()
    now = describe(left)
    assert sorted(now) == ["a", "b.c", "new"] and now["a"] == before["a"] and value(left, "new")
    left.restart()
    assert "does not have" not in left.log(this_start=True) and describe(left) == now


def test_several_directories(left):
    """One half of the partitions in each; the second has no meta.properties, and a third that is empty gets one."""
    more = [os.path.join(left.folder, "more%d" % i) for i in (1, 2)]
    for path in more:
        os.mkdir(path)
    for name in ("a-1", "b.c-0"):
        os.rename(os.path.join(left.data, name), os.path.join(more[0], name))
    left.overrides["log.dirs"] = ",".join([left.data] + more)
    left.start()
    assert "adopted 2 topics with 4 partitions" in left.log(this_start=True)
    assert {name: topic[0] for name, topic in describe(left).items()} == left.ids
    for p in range(3):
        wait_for(lambda: put(left, "a", p) == 1, 30, "a is served")
    assert value(left, "b.c")
    for path in more:
        with open(os.path.join(path, "meta.properties"), encoding="latin-1") as f:
            assert "cluster.id=" + meta(left)["cluster.id"] in f.read()


def test_settings_that_are_no_text(left):
    path = os.path.join(left.folder, "topics.txt")
    left.args = ["--adopt-configs", path]
    for content in (b"", os.urandom(10000), b"Topic: a\tConfigs: " + b"x=y," * 20000, b"Topic: \tConfigs: a=b\n",
                    b"Topic: a\tConfigs: segment.bytes=1\0=\n", b"Topic: a\tConfigs: \xff=\xfe,,=\n"):
        with open(path, "wb") as f:
            f.write(content)
        left.spawn()
        wait_for(lambda: not left.alive() or READY.search(left.log(this_start=True)), 30, "refused or taken")
        status = left.process.poll() if not left.alive() else left.stop()
        assert status in (0, 1), left.log(this_start=True)
        left.process = None
        forget(left)
