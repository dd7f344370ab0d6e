"""Settings of brokers that are changed while they run: /config/brokers/<default> and /config/brokers/<id>."""

import glob
import os
import re
import socket

from alterations import BROKER, change, resource
from harness import SLOW, wait_for
from wire import Wire

SET, DELETE, APPEND = 0, 1, 2
INVALID_REQUEST, INVALID_CONFIG = 42, 40


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
        made = w.call("CreateTopics", 5, TimeoutMs=30000, ValidateOnly=False, Topics=[
            {"Name": "u", "NumPartitions": 1, "ReplicationFactor": 1, "Assignments": [], "Configs": []}])["Topics"][0]
        assert [c["Value"] for c in made["Configs"] if c["Name"] == "retention.ms"] == ["2000000"]
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


FAILED = "Invalid value org.apache.kafka.common.config.ConfigException: %s for configuration Invalid dynamic configuration"


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
                 "These security configs can be dynamically updated only per-listener using the listener prefix: Set(ssl.key.password)"),
                ("", ("listener.name.plaintext.ssl.key.password", SET, "secret"),
                 "Cannot update these configs at default cluster level, broker id must be specified: "
                 "Set(listener.name.plaintext.ssl.key.password)"),
                ("", ("num.io.threads", SET, "17"), FAILED % ("Dynamic thread count update validation failed for "
                 "num.io.threads=17, value should not be greater than double the current value 8")),
                ("0", ("background.threads", SET, "4"), FAILED % ("Dynamic thread count update validation failed for "
                 "background.threads=4, value should be at least half the current value 10")),
                ("0", ("log.cleaner.threads", SET, "3"), FAILED %
                 "Log cleaner threads cannot be increased to more than double the current value 1")]:
            assert change(w, resource(BROKER, name, config)) == [(INVALID_REQUEST, why)]
        assert change(w, resource(BROKER, "0", ("log.retention.ms", SET, "5")), validate=True) == [(0, None)]
        assert settings(w, "", None) == {}
        assert not [v for v in settings(w, "0", None).values() if v[1] in (2, 3)]


def test_what_should_not_be_there_may_always_go(broker):
    with Wire(broker.port) as w:
        for name, key in [("0", "broker.rack"), ("", "advertised.listeners"), ("0", "ssl.key.password"),
                          ("", "listener.name.plaintext.ssl.key.password")]:
            assert change(w, resource(BROKER, name, (key, DELETE, None))) == [(0, None)]
            assert change(w, resource(BROKER, name, (key, DELETE, None)), validate=True) == [(0, None)]


def threads(broker, name):
    """How many of the daemon's threads are called name-<number>."""
    n = 0
    for path in glob.glob("/proc/%d/task/*/comm" % broker.process.pid):
        try:
            with open(path) as f:
                n += re.fullmatch(name + r"-\d+", f.read().strip()) is not None
        except OSError:                 # it has ended just now: before it was opened (ENOENT), or read (ESRCH)
            pass
    return n


POOLS = {"num.io.threads": ("io", 3, 5, 4), "background.threads": ("background", 4, 7, 5), "log.cleaner.threads": ("cleaner", 2, 4, 2)}


def pools_are(broker, i):
    return all(threads(broker, v[0]) == v[i] for v in POOLS.values())


def test_threads_come_and_go_and_a_start_has_what_was_set(brokers):
    b = brokers({k: str(v[1]) for k, v in POOLS.items()}).start()
    assert pools_are(b, 1)
    with Wire(b.port) as w:
        for i in (2, 3):
            ops = [(k, SET, str(v[i])) for k, v in POOLS.items()]
            assert change(w, resource(BROKER, "", *ops)) == [(0, None)]
            wait_for(lambda i=i: pools_are(b, i), what="the threads that were asked for")
    b.restart()
    assert pools_are(b, 3), "what was set while it ran holds for what starts first, too"
    assert "restarted" not in b.log(this_start=True)


def is_let_in(port):
    s = socket.create_connection(("127.0.0.1", port), 30 * SLOW)
    try:
        s.sendall(bytes.fromhex("0000000e0012000000000001000474657374"))    # ApiVersions 0
        return len(s.recv(4)) == 4
    except ConnectionError:
        return False
    finally:
        s.close()


def test_limits_of_connections_change(broker):
    with Wire(broker.port) as w:
        for key, low in (("max.connections.per.ip", "1"), ("max.connections.per.ip.overrides", "127.0.0.1:1,localhost:1")):
            assert is_let_in(broker.port)
            assert change(w, resource(BROKER, "0", (key, SET, low))) == [(0, None)]
            wait_for(lambda: not is_let_in(broker.port), what="no second connection")
            assert change(w, resource(BROKER, "0", (key, DELETE, None))) == [(0, None)]
            wait_for(lambda: is_let_in(broker.port), what="a second connection")


def documentation(wire, *keys):
    r = wire.call("DescribeConfigs", 4, Resources=[{"ResourceType": BROKER, "ResourceName": "0", "ConfigurationKeys": list(keys)}],
                  IncludeSynonyms=False, IncludeDocumentation=True)["Results"][0]
    return {c["Name"]: c["Documentation"] for c in r["Configs"]}


def test_what_waits_for_the_next_start_says_so(broker):
    with Wire(broker.port) as w:
        assert change(w, resource(BROKER, "0", ("num.network.threads", SET, "4"))) == [(0, None)]
        said = documentation(w, "num.network.threads", "num.io.threads", "remote.fetch.max.wait.ms")
        assert "when the broker is started again" in said["num.network.threads"]
        assert "again" not in said["num.io.threads"] and "no effect" in said["remote.fetch.max.wait.ms"]
        wait_for(lambda: "num.network.threads has a new value, but this broker goes on with the old one" in broker.log())
        assert settings(w, "0", ["num.network.threads"]) == {"num.network.threads": ("4", 2)}
    assert threads(broker, "net-PLAINTEX") == 3
    broker.restart()
    assert threads(broker, "net-PLAINTEX") == 4


PASSWORD = "listener.name.plaintext.ssl.key.password"


def test_passwords_are_kept_encrypted_or_not_at_all(brokers):
    b = brokers().start()
    with Wire(b.port) as w:
        assert change(w, resource(BROKER, "0", (PASSWORD, SET, "sesame"))) == [
            (INVALID_CONFIG, "Invalid config value for resource ConfigResource(type=BROKER, name='0'): "
                             "Password encoder secret not configured")]
        assert PASSWORD not in settings(w, "0", None)
    assert b.stop() == 0
    b = brokers({"password.encoder.secret": "a secret", "password.encoder.key.length": "256"}).start()
    with Wire(b.port) as w:
        assert change(w, resource(BROKER, "0", (PASSWORD, SET, "sesame"))) == [(0, None)]
        assert settings(w, "0", [PASSWORD]) == {PASSWORD: (None, 2)}
        assert change(w, resource(BROKER, "0", ("log.retention.ms", SET, "1000000"))) == [(0, None)]
    b.restart()
    with Wire(b.port) as w:
        assert settings(w, "0", [PASSWORD, "log.retention.ms"]) == {PASSWORD: (None, 2), "log.retention.ms": ("1000000", 2)}
    assert b.stop() == 0
    stored = b""
    for path in filter(os.path.isfile, glob.glob(b.data + "/**", recursive=True, include_hidden=True)):
        with open(path, "rb") as f:
            stored += f.read()
    assert b"encryptedPassword:" in stored and b"sesame" not in stored and "sesame" not in b.log()
