"""tests/system/alterations.py - AlterConfigs and IncrementalAlterConfigs by raw requests, and a table of requests with what
Apache Kafka 3.9.1 answers: used against our broker, and against Apache Kafka's own where it can be had.
"""
TOPIC, BROKER, LOGGER, METRICS = 2, 4, 8, 16
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3


def resource(kind, name, *configs):
    return {"ResourceType": kind, "ResourceName": name, "Configs": [
        {"Name": c[0], "ConfigOperation": c[1], "Value": c[2]} for c in configs]}


def replace(wire, *resources, version=2, validate=False):
    """[(error, message)], one for each resource."""
    plain = [dict(r, Configs=[{"Name": c["Name"], "Value": c["Value"]} for c in r["Configs"]]) for r in resources]
    out = wire.call("AlterConfigs", version, Resources=plain, ValidateOnly=validate)
    return [(r["ErrorCode"], r["ErrorMessage"]) for r in out["Responses"]]


def change(wire, *resources, version=1, validate=False):
    out = wire.call("IncrementalAlterConfigs", version, Resources=list(resources), ValidateOnly=validate)
    return [(r["ErrorCode"], r["ErrorMessage"]) for r in out["Responses"]]


def set_topic(wire, topic, **values):
    """With '_' for '.'; None deletes."""
    ops = [(k.replace("_", "."), DELETE if v is None else SET, v) for k, v in values.items()]
    answer = change(wire, resource(TOPIC, topic, *ops))
    assert answer == [(0, None)], answer


def settings(wire, topic, version=4):
    """The topic's own, by DescribeConfigs."""
    out = wire.call("DescribeConfigs", version, Resources=[{"ResourceType": TOPIC, "ResourceName": topic,
                                                      "ConfigurationKeys": None}])
    return {c["Name"]: c["Value"] for c in out["Results"][0]["Configs"] if c["ConfigSource"] == 1}


def t(*configs):
    return resource(TOPIC, "t", *configs)


# Each: (function, resources). The topic t is there with cleanup.policy=delete of its own.
CASES = [
    (change, [t()]),
    (replace, [t()]),
    (change, [t(("retention.ms", SET, "1000"))]),
    (change, [t(("retention.ms", SET, "1000")), t(("retention.bytes", SET, "1"))]),
    (change, [t(("retention.ms", SET, "1000")), resource(TOPIC, "none", ("retention.ms", SET, "1")), t()]),
    (change, [t(("retention.ms", SET, "1000"), ("retention.ms", SET, "1000"))]),
    (change, [t(("retention.ms", SET, None), ("retention.bytes", APPEND, None), ("segment.ms", DELETE, None))]),
    (replace, [t(("retention.ms", SET, None), ("retention.bytes", SET, "1"))]),
    (change, [resource(TOPIC, "", ("retention.ms", SET, "1000"))]),
    (replace, [resource(TOPIC, "", ("retention.ms", SET, "1000"))]),
    (change, [resource(TOPIC, "none", ("retention.ms", SET, "1000"))]),
    (change, [resource(TOPIC, "none", ("retention.ms", APPEND, "1000"))]),
    (replace, [resource(TOPIC, "no/ne", ("retention.ms", SET, "1000"))]),
    (change, [t(("no.such", SET, "1"))]),
    (replace, [t(("no.such", SET, "1"))]),
    (change, [t(("no.such", DELETE, None))]),
    (change, [t(("no.such", APPEND, "x"))]),
    (change, [t(("retention.ms", SET, "soon"))]),
    (change, [t(("retention.ms", SET, "-2"))]),
    (change, [t(("cleanup.policy", SET, "keep"))]),
    (change, [t(("retention.ms", APPEND, "1"))]),
    (change, [t(("retention.ms", SUBTRACT, "1"))]),
    (change, [t(("cleanup.policy", APPEND, "compact"))]),
    (change, [t(("cleanup.policy", APPEND, "compact,delete"))]),
    (change, [t(("cleanup.policy", SUBTRACT, "delete"))]),
    (change, [t(("cleanup.policy", SUBTRACT, "delete,compact,other"))]),
    (change, [t(("cleanup.policy", APPEND, "keep"))]),
    (change, [t(("leader.replication.throttled.replicas", APPEND, "0:0,1:1"))]),
    (change, [t(("leader.replication.throttled.replicas", APPEND, "x"))]),
    (change, [t(("leader.replication.throttled.replicas", SUBTRACT, "0:0"))]),
    (change, [t(("retention.ms", 9, "1"))]),
    (change, [t(("max.compaction.lag.ms", SET, "10"), ("min.compaction.lag.ms", SET, "11"))]),
    (replace, [t(("max.compaction.lag.ms", SET, "10"), ("min.compaction.lag.ms", SET, "11"))]),
    (change, [t(("remote.storage.enable", SET, "true"))]),
    (change, [t(("remote.log.copy.disable", SET, "true"))]),
    (change, [t(("message.format.version", SET, "9.9"))]),
    (change, [t(("min.cleanable.dirty.ratio", SET, "1.5"))]),
    (change, [t(("retention.ms", SET, " 5 "))]),
    (change, [t(("retention.ms", SET, ""))]),
    (change, [t(("cleanup.policy", SET, "COMPACT"))]),
    (change, [t(("segment.bytes", SET, "3000000000"))]),
    (change, [resource(3, "x", ("a", SET, "b"))]),
    (replace, [resource(0, "x", ("a", SET, "b"))]),
    (change, [resource(-7, "x", ("a", SET, "b"))]),
    (change, [resource(METRICS, "x", ("interval.ms", SET, "1000"))]),
    (replace, [resource(METRICS, "x", ("interval.ms", SET, "1000"))]),
    (replace, [resource(LOGGER, "0", ("root", SET, "INFO"))]),
    (change, [resource(LOGGER, "0", ("root", SET, "LOUD"))]),
    (change, [resource(LOGGER, "0", ("root", DELETE, None))]),
    (change, [resource(LOGGER, "0", ("root", APPEND, "INFO"))]),
    (change, [resource(LOGGER, "0", ("root", 7, "INFO"))]),
    (change, [resource(LOGGER, "0", ("no.such.logger", SET, "INFO"))]),
    (change, [resource(LOGGER, "x", ("root", SET, "INFO"))]),
    (change, [resource(LOGGER, "", ("root", SET, "INFO"))]),
    (change, [resource(BROKER, "0")]),
    (change, [resource(BROKER, "0", ("broker.id", SET, "1"))]),
    (replace, [resource(BROKER, "", ("broker.id", SET, "1"))]),
    (change, [resource(BROKER, "7", ("broker.id", SET, "1"))]),
    (change, [resource(BROKER, "zero", ("broker.id", SET, "1"))]),
    (change, [resource(BROKER, " 0", ("broker.id", SET, "1"))]),
    (change, [resource(BROKER, "0", ("broker.id", 9, "1"))]),
]


def prepare(wire):
    wire.create("t", configs={"cleanup.policy": "delete"})


def outcomes(wire):
    """Every case, with the settings of t afterwards; then t is as before."""
    for function, resources in CASES:
        yield function.__name__, resources, function(wire, *resources, validate=True), \
            function(wire, *resources), settings(wire, "t")
        replace(wire, t(("cleanup.policy", SET, "delete")))
