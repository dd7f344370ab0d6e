"""Settings of topics, changed while the broker runs: AlterConfigs and IncrementalAlterConfigs."""
import threading

import pytest

import alterations as alt
from alterations import APPEND, DELETE, SET, TOPIC, change, replace, resource, set_topic, settings, t
from batches import batch
from harness import wait_for
from wire import Wire

INVALID_REQUEST, INVALID_CONFIG, UNKNOWN_TOPIC, UNKNOWN = 42, 40, 3, -1

NOT_DYNAMIC = "Cannot update these configs dynamically: Set(broker.id)"
BAD = "Invalid config value for resource ConfigResource(type=TOPIC, name='t'): Invalid value %s for configuration %s: %s"
LAG = "conflict topic config setting min.compaction.lag.ms (11) > max.compaction.lag.ms (10)"
POLICY = {"cleanup.policy": "delete"}

# What Apache Kafka 3.9.1 answers to alterations.CASES: the answers, and the settings of t afterwards.
OUTCOMES = [
    ([(0, None)], POLICY), ([(0, None)], {}), ([(0, None)], dict(POLICY, **{"retention.ms": "1000"})),
    ([(INVALID_REQUEST, "Each resource must appear at most once.")] * 2, POLICY),
    ([(INVALID_REQUEST, "Each resource must appear at most once."), (UNKNOWN_TOPIC, "The topic 'none' does not exist."),
      (INVALID_REQUEST, "Each resource must appear at most once.")], POLICY),
    ([(INVALID_REQUEST, "Error due to duplicate config keys")], POLICY),
    ([(INVALID_REQUEST, "Null value not supported for : retention.ms, retention.bytes")], POLICY),
    ([(INVALID_REQUEST, "Null value not supported for : retention.ms")], POLICY),
    ([(INVALID_REQUEST, "Default topic resources are not allowed.")], POLICY),
    ([(INVALID_REQUEST, "Default topic resources are not allowed.")], POLICY),
    ([(UNKNOWN_TOPIC, "The topic 'none' does not exist.")], POLICY),
    ([(INVALID_CONFIG, "Config value append is not allowed for config key: retention.ms")], POLICY),
    ([(UNKNOWN_TOPIC, "The topic 'no/ne' does not exist.")], POLICY),
    ([(INVALID_CONFIG, "Unknown topic config name: no.such")], POLICY),
    ([(INVALID_CONFIG, "Unknown topic config name: no.such")], POLICY),
    ([(0, None)], POLICY),
    ([(UNKNOWN, None)], POLICY),
    ([(INVALID_CONFIG, BAD % ("soon", "retention.ms", "Not a number of type LONG"))], POLICY),
    ([(INVALID_CONFIG, BAD % ("-2", "retention.ms", "Value must be at least -1"))], POLICY),
    ([(INVALID_CONFIG, BAD % ("keep", "cleanup.policy", "String must be one of: compact, delete"))], POLICY),
    ([(INVALID_CONFIG, "Config value append is not allowed for config key: retention.ms")], POLICY),
    ([(INVALID_CONFIG, "Config value subtract is not allowed for config key: retention.ms")], POLICY),
    ([(0, None)], {"cleanup.policy": "delete,compact"}), ([(0, None)], {"cleanup.policy": "delete,compact"}),
    ([(0, None)], {"cleanup.policy": ""}), ([(0, None)], {"cleanup.policy": ""}),
    ([(INVALID_CONFIG, BAD % ("keep", "cleanup.policy", "String must be one of: compact, delete"))], POLICY),
    ([(0, None)], dict(POLICY, **{"leader.replication.throttled.replicas": "0:0,1:1"})),
    ([(INVALID_CONFIG, BAD % ("[x]", "leader.replication.throttled.replicas", "leader.replication.throttled.replicas must be "
                              "the literal '*' or a list of replicas in the following format: "
                              "[partitionId]:[brokerId],[partitionId]:[brokerId],..."))], POLICY),
    ([(0, None)], dict(POLICY, **{"leader.replication.throttled.replicas": ""})),
    ([(UNKNOWN, None)], POLICY),
    ([(INVALID_CONFIG, LAG)], POLICY), ([(INVALID_CONFIG, LAG)], POLICY),
    ([(INVALID_CONFIG, "Invalid config value for resource ConfigResource(type=TOPIC, name='t'): Tiered Storage functionality is "
                       "disabled in the broker. Topic cannot be configured with remote log storage.")], POLICY),
    ([(INVALID_CONFIG, "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` under Zookeeper's "
                       "mode.")], POLICY),
    ([(INVALID_CONFIG, BAD % ("9.9", "message.format.version", "Version 9.9 is not a valid version"))], POLICY),
    ([(INVALID_CONFIG, BAD % ("1.5", "min.cleanable.dirty.ratio", "Value must be no more than 1"))], POLICY),
    ([(0, None)], dict(POLICY, **{"retention.ms": "5"})),
    ([(INVALID_CONFIG, BAD % ("", "retention.ms", "Not a number of type LONG"))], POLICY),
    ([(INVALID_CONFIG, BAD % ("COMPACT", "cleanup.policy", "String must be one of: compact, delete"))], POLICY),
    ([(INVALID_CONFIG, BAD % ("3000000000", "segment.bytes", "Not a number of type INT"))], POLICY),
    ([(INVALID_REQUEST, "Unknown resource type 3")], POLICY), ([(INVALID_REQUEST, "Unknown resource type 0")], POLICY),
    ([(INVALID_REQUEST, "Unknown resource type -7")], POLICY),
    ([(INVALID_REQUEST, "AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS")], POLICY),
    ([(INVALID_REQUEST, "AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS")], POLICY),
    ([(INVALID_REQUEST, "Unknown resource type 8")], POLICY),
    ([(INVALID_CONFIG, "Cannot set the log level of root to LOUD as it is not a supported log level. Valid log levels are "
                       "DEBUG, ERROR, FATAL, INFO, TRACE, WARN")], POLICY),
    ([(INVALID_REQUEST, "Removing the log level of the root logger is not allowed")], POLICY),
    ([(INVALID_REQUEST, "APPEND operation is not allowed for the BROKER_LOGGER resource")], POLICY),
    ([(UNKNOWN, None)], POLICY),
    ([(INVALID_CONFIG, "Logger no.such.logger does not exist!")], POLICY),
    ([(INVALID_REQUEST, "Node id must be an integer, but it is: x")], POLICY),
    ([(INVALID_REQUEST, "Node id must be an integer, but it is: ")], POLICY),
    ([(0, None)], POLICY),
    ([(INVALID_REQUEST, NOT_DYNAMIC)], POLICY), ([(INVALID_REQUEST, NOT_DYNAMIC)], POLICY),
    ([(INVALID_REQUEST, "Unexpected broker id, expected 0, but received 7")], POLICY),
    ([(INVALID_REQUEST, "Node id must be an integer, but it is: zero")], POLICY),
    ([(INVALID_REQUEST, "Node id must be an integer, but it is:  0")], POLICY),
    ([(INVALID_REQUEST, "Unknown operations type 9")], POLICY),
]


@pytest.fixture
def wire(broker):
    with Wire(broker.port) as w:
        yield w


def test_answers_are_apache_kafkas(wire):
    alt.prepare(wire)
    n = 0
    for (name, resources, tried, done, left), (want, settings_after) in zip(alt.outcomes(wire), OUTCOMES):
        assert (tried, done, left) == (want, want, settings_after), (name, resources)
        n += 1
    assert n == len(alt.CASES) == len(OUTCOMES)


def test_every_version(wire):
    wire.create("t")
    for version in range(3):
        assert replace(wire, t(("retention.ms", SET, str(version))), version=version) == [(0, None)]
        assert settings(wire, "t") == {"retention.ms": str(version)}
    for version in range(2):
        assert change(wire, t(("segment.ms", SET, str(version + 1))), version=version) == [(0, None)]
        assert settings(wire, "t") == {"retention.ms": "2", "segment.ms": str(version + 1)}
        assert change(wire, t(("segment.ms", DELETE, None)), version=version, validate=True) == [(0, None)]
        assert settings(wire, "t") == {"retention.ms": "2", "segment.ms": str(version + 1)}
    assert change(wire) == [] and replace(wire) == []


def created(wire, topic):
    try:
        wire.create(topic)
    except RuntimeError:
        return False
    return True


def test_they_stay_and_a_new_topic_of_the_name_has_none(brokers):
    b = brokers().start()
    with Wire(b.port) as w:
        w.create("t")
        set_topic(w, "t", max_message_bytes="100", retention_ms="-1")
    b.restart()
    with Wire(b.port) as w:
        assert settings(w, "t") == {"max.message.bytes": "100", "retention.ms": "-1"}
        set_topic(w, "t", max_message_bytes=None)
        assert settings(w, "t") == {"retention.ms": "-1"}
        assert w.call("DeleteTopics", 1, TopicNames=["t"], TimeoutMs=30000)["Responses"][0]["ErrorCode"] == 0
        wait_for(lambda: change(w, resource(TOPIC, "t", ("retention.ms", SET, "5"))) ==
                 [(UNKNOWN_TOPIC, "The topic 't' does not exist.")])
        wait_for(lambda: created(w, "t"), what="the end of the deletion")
        assert settings(w, "t") == {}


def test_two_clients_lose_nothing(broker):
    """Each adds its own replicas to a list, one request after the other; both lists are there in the end."""
    first, second = Wire(broker.port), Wire(broker.port)
    name = "leader.replication.throttled.replicas"
    first.create("t")
    for i in range(40):
        for w, mine in ((first, 0), (second, 1)):
            w.send("IncrementalAlterConfigs", 1, {"Resources": [t((name, APPEND, "%d:%d" % (i, mine)))]})
        for w in (first, second):
            assert w.receive("IncrementalAlterConfigs", 1)["Responses"][0]["ErrorCode"] == 0
    assert sorted(settings(first, "t")[name].split(",")) == sorted("%d:%d" % (i, k) for i in range(40) for k in (0, 1))


def test_the_log_level_changes(broker):
    with Wire(broker.port) as w:
        def level(name):
            assert change(w, resource(alt.LOGGER, "0", ("root", SET, name))) == [(0, None)]
            out = w.call("DescribeConfigs", 4, Resources=[{"ResourceType": alt.LOGGER, "ResourceName": "0",
                                                          "ConfigurationKeys": None}])
            assert [(c["Name"], c["Value"]) for c in out["Results"][0]["Configs"]] == [("root", name)]
        level("DEBUG")
        w.create("t")
        wait_for(lambda: "DEBUG controller: event" in broker.log())
        level("INFO")


def test_hostile_requests(broker):
    """Huge values, many keys and resources, bytes that are no text: an answer or a closed connection, and the broker lives."""
    with Wire(broker.port) as w:
        w.create("t")
        [(code, message)] = change(w, t(("cleanup.policy", SET, "x" * 30000)))
        assert code == INVALID_CONFIG
        [(code, message)] = change(w, t(*[("k%d" % i, SET, "v") for i in range(5000)]))
        assert code == INVALID_CONFIG and "Unknown topic config name" in message
        many = [resource(TOPIC, "n%d" % i, ("retention.ms", SET, "1")) for i in range(3000)]
        assert {code for code, _ in change(w, *many)} == {UNKNOWN_TOPIC}
        assert {code for code, _ in change(w, *[many[0]] * 3000)} == {INVALID_REQUEST}
        throttled = ",".join("%d:0" % i for i in range(4000))
        assert change(w, t(("leader.replication.throttled.replicas", APPEND, throttled))) == [(0, None)]
        for commas in (",", ",,,", "a,,b,"):
            change(w, t(("cleanup.policy", APPEND, commas)), t(("cleanup.policy", alt.SUBTRACT, commas)))
        for kind in (TOPIC, alt.BROKER, alt.LOGGER):
            for name in ("../t", "t\0", "\x7f" * 300, "0x0", "99999999999", "-0", "+0"):
                [(code, _)] = change(w, resource(kind, name, ("a\0b", SET, "c\nd")))
                assert code != 0 or name in ("-0", "+0"), (kind, name)
        assert settings(w, "t").keys() <= {"leader.replication.throttled.replicas"}
    assert broker.alive()


def test_changes_under_load(broker):
    """Producers, topics that come and go, and settings that flip: every record is there, every setting is the last one."""
    stop = threading.Event()
    sent = [0, 0]

    def produce(n):
        with Wire(broker.port) as w:
            while not stop.is_set():
                answer = w.produce(9, "load", n, batch([b"x"] * 3))
                assert answer["ErrorCode"] == 0, answer
                sent[n] += 3

    def churn():
        with Wire(broker.port) as w:
            for i in range(10):
                w.create("churn%d" % i, partitions=3)
                set_topic(w, "churn%d" % i, retention_ms=str(i))
                w.call("DeleteTopics", 1, TopicNames=["churn%d" % i], TimeoutMs=10000)

    with Wire(broker.port) as w:
        w.create("load", partitions=2, configs={"retention.ms": "-1"})
        threads = [threading.Thread(target=produce, args=(0,)), threading.Thread(target=produce, args=(1,)),
                   threading.Thread(target=churn)]
        for thread in threads:
            thread.start()
        for i in range(60):
            set_topic(w, "load", segment_bytes=str(2000 + i), compression_type=["gzip", "zstd", "producer"][i % 3],
                      message_timestamp_type=["CreateTime", "LogAppendTime"][i % 2], max_message_bytes=str(10000 + i))
        threads[2].join()
        stop.set()
        for thread in threads:
            thread.join()
        assert settings(w, "load") == {"segment.bytes": "2059", "compression.type": "producer", "retention.ms": "-1",
                                       "message.timestamp.type": "LogAppendTime", "max.message.bytes": "10059"}
        for n in (0, 1):
            part = w.fetch(11, "load", n, 0)["Responses"][0]["Partitions"][0]
            assert part["HighWatermark"] == sent[n] > 0
