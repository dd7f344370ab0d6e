"""Settings of brokers that are changed while they run: /config/brokers/<default> and /config/brokers/<id>."""

from alterations import BROKER, change, resource
from harness import wait_for
from wire import Wire

SET, DELETE, APPEND = 0, 1, 2
INVALID_REQUEST = 42


def settings(wire, name, keys):
    r = wire.call("DescribeConfigs", 4, Resources=[{"ResourceType": BROKER, "ResourceName": name, "ConfigurationKeys": keys}],
                  IncludeSynonyms=True, IncludeDocumentation=False)["Results"][0]
    assert r["ErrorCode"] == 0, r
    return {c["Name"]: (c["Value"], c["ConfigSource"]) for c in r["Configs"]}


def topic_retention(wire, topic):
    r = wire.call("DescribeConfigs", 4, Resources=[{"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": ["retention.ms"]}],
                  IncludeSynonyms=False, IncludeDocumentation=False)["Results"][0]
    return r["Configs"][0]["Value"]


def test_layers_take_effect_at_once_and_stay(brokers):
    b = brokers({"log.retention.ms": "1000000"}).start()
    keys = ["log.retention.ms", "leader.replication.throttled.rate"]
    with Wire(b.port) as w:
        w.create("t")
        assert topic_retention(w, "t") == "1000000"
        assert change(w, resource(BROKER, "", ("log.retention.ms", SET, "2000000"))) == [(0, None)]
        assert settings(w, "0", keys) == {"log.retention.ms": ("2000000", 3)}
        assert topic_retention(w, "t") == "2000000"
        assert change(w, resource(BROKER, "0", ("log.retention.ms", SET, "3000000"),
                                  ("leader.replication.throttled.rate", SET, "77"))) == [(0, None)]
        both = {"log.retention.ms": ("3000000", 2), "leader.replication.throttled.rate": ("77", 2)}
        assert settings(w, "0", keys) == both
        assert settings(w, "", keys) == {"log.retention.ms": ("2000000", 3)}
        assert topic_retention(w, "t") == "3000000"
    b.restart()
    with Wire(b.port) as w:
        assert settings(w, "0", keys) == both
        wait_for(lambda: topic_retention(w, "t") == "3000000", what="the topic's settings")
        assert change(w, resource(BROKER, "0", ("log.retention.ms", DELETE, None))) == [(0, None)]
        assert topic_retention(w, "t") == "2000000"
        assert change(w, resource(BROKER, "", ("log.retention.ms", DELETE, None))) == [(0, None)]
        assert topic_retention(w, "t") == "1000000"


def test_a_bad_change_changes_nothing(broker):
    with Wire(broker.port) as w:
        for name, config, why in [
                ("0", ("broker.rack", SET, "r"), "Cannot update these configs dynamically: Set(broker.rack)"),
                ("0", ("log.retention.ms", SET, "soon"),
                 "Invalid value soon for configuration log.retention.ms: Not a number of type LONG"),
                ("", ("advertised.listeners", SET, "PLAINTEXT://h:1"),
                 "Cannot update these configs at default cluster level, broker id must be specified: Set(advertised.listeners)"),
                ("7", ("log.retention.ms", SET, "1"), "Unexpected broker id, expected 0, but received 7"),
                ("0", ("ssl.key.password", SET, "secret"),
                 "ssl.key.password cannot be changed dynamically: Klamm does not keep passwords in the metadata store yet; "
                 "put it into server.properties")]:
            assert change(w, resource(BROKER, name, config)) == [(INVALID_REQUEST, why)]
        assert change(w, resource(BROKER, "0", ("log.retention.ms", SET, "5")), validate=True) == [(0, None)]
        assert settings(w, "", None) == {}
        assert not [v for v in settings(w, "0", None).values() if v[1] in (2, 3)]
