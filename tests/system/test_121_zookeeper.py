"""One broker and its ZooKeeper: registration, sessions that end in every way, a ZooKeeper that is away, znodes that are not
what they should be. And the store's own scenes, against a real server and over a line that breaks.
"""
import json
import os
import re
import stat
import subprocess
import threading

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import harness
from cluster import APACHE, PATIENCE
from cluster_zk import expire_session
from harness import BUILD, NO_GROUP, SLOW, free_ports, wait_for
from proxy import ZK, Net

pytestmark = pytest.mark.skipif(APACHE, reason="of our broker's own ways")

SESSION_FILE = ".klamm-zookeeper"
NODE = re.compile(
    r'\{"features":\{\},"listener_security_protocol_map":\{"PLAINTEXT":"PLAINTEXT","REPLICATION":"PLAINTEXT"\},'
    r'"endpoints":\["PLAINTEXT://127\.0\.0\.1:(\d+)","REPLICATION://127\.0\.0\.1:(\d+)"\],("rack":"r1",)?"jmx_port":-1,'
    r'"port":(\d+),"host":"127\.0\.0\.1","version":5,"timestamp":"\d{13}"\}')


def session_path(node):
    return os.path.join(node.data, SESSION_FILE)


def topic_names(node):
    with node.connect() as wire:
        return sorted(t["Name"] for t in wire.call("Metadata", 5, Topics=None, AllowAutoTopicCreation=False)["Topics"])


def refused(node, *words):
    """It ends by itself, with these words in its log."""
    node.spawn()
    status = node.process.wait(60 * SLOW)
    node.process = None
    assert status == 1, node.log()
    for word in words:
        assert word in node.log(this_start=True), node.log(this_start=True)


def refused_for(node, *words):
    """Each time; and once with these words: a machine may stand still until the time for its tries is over."""
    wait_for(lambda: refused(node) or all(word in node.log(this_start=True) for word in words),
             what=harness.lambda_text("it says why", node))


# ---- registration ----

def test_registration_is_as_apache_kafkas(clusters):
    c = clusters(brokers=1, broker_rack="r1")
    c.start()
    data, about = c.znode("/brokers/ids/1")
    found = NODE.fullmatch(data.decode())
    assert found and found.group(3) and int(found.group(1)) == int(found.group(4)) == c[1].port, data
    assert about.version == 1 and about.ephemeralOwner != 0
    assert stat.S_IMODE(os.stat(session_path(c[1])).st_mode) == 0o600
    assert json.loads(c.znode("/cluster/id")[0])["version"] == "1"
    for path in ("/consumers", "/brokers/topics", "/config/changes", "/admin/delete_topics", "/brokers/seqid",
                 "/isr_change_notification", "/latest_producer_id_block", "/log_dir_event_notification", "/config/topics",
                 "/config/clients", "/config/users", "/config/brokers", "/config/ips"):
        assert c.znode(path)[1] is not None, path
    assert c.znode("/migration")[1] is None
    c.term(1)
    assert c.is_registered(1) is None and c.controller() is None
    assert not os.path.exists(session_path(c[1]))


def test_after_kill_9_the_old_session_is_ended_and_the_broker_registers_at_once(clusters):
    c = clusters(brokers=1, zookeeper_session_timeout_ms=600000)       # nobody waits for that
    c.start()
    for _ in range(3):
        before = c.is_registered(1)
        old = c.znode("/brokers/ids/1")[1].ephemeralOwner
        c.kill9(1)
        assert c.is_registered(1) == before
        c[1].start()
        c.wait_registered(1, besides=before)
        assert "0x%x with ZooKeeper; it is ended now" % old in c[1].log(this_start=True)
        c.wait_controller()


def test_an_old_session_that_is_not_known_is_waited_for(clusters):
    c = clusters(brokers=1, zookeeper_session_timeout_ms=10000)
    c.start()
    before = c.is_registered(1)
    c.kill9(1)
    os.unlink(session_path(c[1]))
    c[1].start()
    assert "still registered by its last run" in c[1].log(this_start=True)
    c.wait_registered(1, besides=before)


@pytest.mark.parametrize("text", [b"", b"x", b"klamm-zookeeper-session 1 - 0 0\n", b"\0" * 5000, b"\xff" * 300])
def test_a_session_file_that_is_not_one(clusters, text):
    c = clusters(brokers=1)
    os.makedirs(c[1].data)
    with open(session_path(c[1]), "wb") as f:
        f.write(text)
    c.start()
    c.wait_registered(1)


def test_a_broker_id_that_another_live_broker_has(clusters):
    c = clusters(brokers=2)
    c.start(1)
    c[2].overrides["broker.id"] = "1"
    refused(c[2], "broker id 1 is in use by another live broker", "127.0.0.1:%d" % c[1].port)
    assert c.is_registered(1) and topic_names(c[1]) == []


def test_an_endpoint_that_another_broker_advertises(clusters):
    c = clusters(brokers=2)
    c.start(1)
    c[2].overrides["advertised.listeners"] = c[1].overrides["advertised.listeners"]
    refused(c[2], "broker 1 advertises 127.0.0.1:%d already" % c[1].port)


def test_the_log_dirs_of_another_cluster(clusters):
    c = clusters(brokers=1)
    c.start()
    c.term(1)
    mine = json.loads(c.znode("/cluster/id")[0])["id"]
    c.zk.client.set(c.chroot + "/cluster/id", b'{"version":"1","id":"AAAAAAAAAAAAAAAAAAAAAA"}')
    refused(c[1], "cluster.id=" + mine, "AAAAAAAAAAAAAAAAAAAAAA", "meta.properties")
    assert c.is_registered(1) is None


def test_ids_are_drawn_and_kept(clusters):
    c = clusters(brokers=2)
    for n in (1, 2):
        c[n].overrides["broker.id"] = "-1"
        c[n].start()
    assert sorted(c.children("/brokers/ids")) == ["1001", "1002"]
    assert c[1].stop() == 0
    c[1].start()
    assert sorted(c.children("/brokers/ids")) == ["1001", "1002"]


def test_two_brokers_that_start_at_once_make_one_cluster(clusters):
    c = clusters(brokers=3)
    c.start()
    ids = {re.search(r"of cluster (\S+),", c[n].log()).group(1) for n in (1, 2, 3)}
    assert ids == {json.loads(c.znode("/cluster/id")[0])["id"]}


# ---- the connection ----

def test_nobody_there(clusters):
    c = clusters(brokers=1)
    one, two = free_ports(2)
    c[1].overrides.update({"zookeeper.connect": "127.0.0.1:%d,127.0.0.1:%d/x" % (one, two),
                           "zookeeper.connection.timeout.ms": "700"})
    refused_for(c[1], "zookeeper.connection.timeout.ms=700", "127.0.0.1:%d: Connection refused" % one,
                "127.0.0.1:%d: Connection refused" % two)


def test_somebody_there_who_is_not_zookeeper(clusters):
    c = clusters(brokers=2)
    c.start(1)
    c[2].overrides.update({"zookeeper.connect": "127.0.0.1:%d" % c[1].port, "zookeeper.connection.timeout.ms": "700"})
    refused_for(c[2], "accepts connections, but gave no session")


def test_a_broker_waits_for_zookeeper_and_stops_when_told_to(clusters):
    c = clusters(brokers=1)
    c.net.cut(1, ZK, both=True)
    c[1].spawn()
    wait_for(lambda: ZK in [conn.dst for conn in list(c.net.conns)], PATIENCE, "it tries")
    assert c[1].stop(within=20) == 0
    c[1].spawn()
    c.net.heal()
    wait_for(c[1].is_ready, PATIENCE, harness.lambda_text("ready", c[1]))


def test_zookeeper_is_away_and_comes_back(clusters):
    """B19's mild form: the session outlives it."""
    c = clusters(brokers=1, zookeeper_session_timeout_ms=60000)
    c.start()
    c.create("t", replicas=1, min_insync_replicas=1)
    before = c.is_registered(1)
    c.net.reset(1, ZK)
    c.net.cut(1, ZK, both=True)
    wait_for(lambda: "to ZooKeeper 127.0.0.1:%d is lost" % c[1].zk_port in c[1].log(), PATIENCE, "it notices")
    for _ in range(3):
        assert c.leads(1, "t") and topic_names(c[1]) == ["t"]
    c.net.heal()
    wait_for(lambda: "connected to ZooKeeper 127.0.0.1:%d again" % c[1].zk_port in c[1].log(), PATIENCE, "it is back")
    assert c.is_registered(1) == before
    c.create("u", replicas=1)


def test_a_stop_without_zookeeper(clusters):
    """It does not wait until the connection is found to be dead either, which takes two thirds of the session's timeout."""
    c = clusters(brokers=1, controlled_shutdown_enable="false", zookeeper_session_timeout_ms=60000)
    c.start()
    c.net.cut(1, ZK, both=True)
    assert c[1].stop(within=25) == 0
    assert "is lost" not in c[1].log()
    c.net.heal()
    c[1].start()


@pytest.mark.parametrize("rounds", [3])
def test_b19_an_expired_session_is_replaced(clusters, rounds):
    c = clusters(brokers=1)
    c.start()
    c.create("t", replicas=1)
    for _ in range(rounds):
        before = c.is_registered(1)
        assert c.expire(1)
        c.wait_registered(1, besides=before)
        c.wait_controller()
        assert c.leads(1, "t")
    assert c[1].log().count("has expired; a new one begins") == rounds
    c.create("u", replicas=1)


def test_b19_a_session_expires_while_the_broker_cannot_know(clusters):
    c = clusters(brokers=1, zookeeper_session_timeout_ms=1000 * SLOW)
    c.start()
    c.create("t", replicas=1)
    before = c.is_registered(1)
    c.net.cut(1, ZK, both=True)
    c.wait_gone(1)
    assert topic_names(c[1]) == ["t"]
    c.net.heal()
    c.wait_registered(1, besides=before)
    c.wait_controller()
    c.create("u", replicas=1)


def test_b19_a_session_expires_while_the_broker_starts(clusters):
    """Between its opening and the registration, for which a machine that stands still is enough."""
    c = clusters(brokers=1)
    c.start()
    c.create("t", replicas=1)
    c.kill9(1)
    held = c.net.hold(api="multi", src=1, dst=ZK, when=lambda frame: b"/brokers/ids/1" in frame.data)
    c[1].spawn()
    held.wait(1, within=PATIENCE)
    session, password = list(c.net.passwords.items())[-1]
    with c.net.cut_for_now(1, ZK):
        while expire_session(c.zk.servers[0].port, session, password):
            pass
    held.drop()
    c.wait(c[1].is_ready, "broker 1 is ready with another session")
    assert "has expired; a new one begins" in c[1].log(this_start=True)
    assert c.znode("/brokers/ids/1")[1].ephemeralOwner not in (0, session)
    c.wait_leader("t")


def test_an_id_that_was_taken_after_the_session_had_ended(clusters):
    c = clusters(brokers=1, zookeeper_session_timeout_ms=3000 * SLOW)
    c.start()
    c.net.cut(1, ZK, both=True)
    c.wait_gone(1)
    c.zk.client.create(c.chroot + "/brokers/ids/1", b'{"version":5,"host":"other","port":1,"jmx_port":-1,"timestamp":"0",'
                       b'"endpoints":["PLAINTEXT://other:1"],"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},'
                       b'"features":{}}', ephemeral=True)
    c.net.heal()
    wait_for(lambda: "broker id 1 has been taken by another broker (other:1" in c[1].log(), PATIENCE,
             harness.lambda_text("it says so", c[1]))
    c.zk.client.delete(c.chroot + "/brokers/ids/1")
    c.wait_registered(1)
    c.wait_controller()


# ---- znodes of others ----

PASSWORD = "cipherAlgorithm:AES/CBC/PKCS5Padding,keyFactoryAlgorithm:PBKDF2WithHmacSHA512,keyLength:128,salt:AAAA"
OWN_SETTINGS = json.dumps({"version": 1, "config": {
    "broker.rack": "r", "num.io.threads": "many", "advertised.listeners": "PLAINTEXT://h:1", "log.cleaner.threads": "2",
    "no.such": "x", "listener.name.plaintext.ssl.key.password": PASSWORD}}).encode()


def test_znodes_that_are_not_what_they_should_be(clusters):
    c = clusters(brokers=1)
    c.start()
    c.create("good", replicas=1)
    c.term(1)
    zk, at = c.zk.client, c.chroot
    for path, data in (("/brokers/ids/x", b"{}"), ("/brokers/ids/77", b"not json"), ("/brokers/ids/78", b"[" * 100000),
                       ("/brokers/topics/no json", b"{"), ("/brokers/topics/empty", b""),
                       ("/brokers/topics/list", b"[1,2]"), ("/brokers/topics/wrong", b'{"version":1,"partitions":{"0":["a"]}}'),
                       ("/brokers/topics/minus", b'{"version":1,"partitions":{"-5":[1]}}'),
                       ("/brokers/topics/huge", b'{"version":1,"partitions":{"99999999999":[1]}}'),
                       ("/brokers/topics/" + "x" * 400, b'{"version":1,"partitions":{"0":[1]}}'),
                       ("/brokers/topics/b\u00e4d", b'{"version":1,"partitions":{"0":[1]}}'),
                       ("/brokers/topics/...x y", b'{"version":1,"partitions":{"0":[1]}}'),
                       ("/brokers/topics/foreign", b'{"version":1,"partitions":{"0":[4711]}}'),
                       ("/config/topics/good", b'{"version":1,"config":{"retention.ms":7,"x":null}}'),
                       ("/config/topics/no json", b"}"), ("/config/changes/config_change_x", b"?"),
                       ("/config/changes/config_change_0000000999", b'{"version":9}'), ("/config/unknown", b""),
                       ("/admin/delete_topics/never was", b""), ("/admin/reassign_partitions", b"no"),
                       ("/isr_change_notification/isr_change_0000000000", b"no"), ("/isr_change_notification/x", b""),
                       ("/log_dir_event_notification/log_dir_event_0000000000", b'{"version":1,"broker":"x"}'),
                       ("/config/brokers/1", b"no json"), ("/config/brokers/<default>", OWN_SETTINGS),
                       ("/unknown", b"\xff" * 100)):
        zk.create(at + path, data) if not zk.exists(at + path) else zk.set(at + path, data)
    zk.set(at + "/latest_producer_id_block", b"no")
    c[1].start()
    c.wait_controller()
    assert "good" in topic_names(c[1]) and c.leads(1, "good")
    log = c[1].log(this_start=True)
    for name in ("broker.rack", "num.io.threads", "advertised.listeners"):
        assert "/config/brokers/<default>: %s is ignored" % name in log, name
    assert "/config/brokers/1: cannot be understood" in log and "log.cleaner.threads from /config/brokers/<default> holds" in log
    assert "cipherAlgorithm" not in log
    assert not [n for n in os.listdir(c[1].data) if n.startswith(("b\u00e4d", "...x", "xxx", ".."))]
    zk.set(at + "/brokers/topics/good", b"gone mad")
    zk.create(at + "/brokers/topics/late", b"\0\0\0")
    c.create("other", replicas=1)
    assert c.leads(1, "good")


# ---- the store ----

def scenes(connect, *only):
    env = dict(os.environ, KLAMM_TEST_ZOOKEEPER=connect, CK_VERBOSITY="normal")
    if only:
        env["CK_RUN_CASE"] = only[0]
    done = subprocess.run([os.path.join(BUILD, "tests/unit/metadata/test_zk_store")], env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300 * SLOW, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def test_scenes_of_the_store(zookeeper):
    assert "Failures: 0, Errors: 0" in scenes(zookeeper.connect, "server")


def test_the_line_breaks_again_and_again(zookeeper):
    """Answers are lost, or requests, or both: every call is answered as if nothing had been."""
    net, over = Net(), threading.Event()
    port = net.zookeeper_listener(1, lambda: zookeeper.servers[0].port)
    breaks = 0

    def breaker():
        nonlocal breaks
        while not over.wait(0.05):
            net.reset(1, ZK)
            breaks += 1
    thread = threading.Thread(target=breaker, daemon=True)
    thread.start()
    try:
        out = scenes("127.0.0.1:%d" % port, "breaking")
    finally:
        over.set()
        thread.join()
        net.close_all()
    assert "is lost" in out, (out[-3000:], breaks)


def test_what_asks_for_security_stops_the_start(clusters):
    for key in ("zookeeper.set.acl", "zookeeper.ssl.client.enable"):
        c = clusters(brokers=1)
        c[1].overrides[key] = "true"
        refused(c[1], key, "neither TLS nor SASL")


def test_three_brokers_go_on_without_zookeeper_until_their_sessions_are_over_and_after(clusters):
    """Nothing is lost, and nobody has to do anything when it returns."""
    c = clusters(zookeeper_session_timeout_ms=3000 * SLOW)
    c.start()
    c.create("t", partitions=3)
    before = {n: c.is_registered(n) for n in (1, 2, 3)}
    producer = Producer({"bootstrap.servers": ",".join("127.0.0.1:%d" % c[n].port for n in (1, 2, 3)), "acks": "all",
                         "linger.ms": 0, "message.timeout.ms": 120000})
    acked = []

    def produce(name, n=300):
        for i in range(n):
            producer.produce("t", b"%s-%d" % (name, i), on_delivery=lambda err, m: acked.append(m.value()) if not err else None)
            producer.poll(0)
        assert producer.flush(60 * SLOW) == 0
    produce(b"with")
    for n in (1, 2, 3):
        c.net.cut(n, ZK, both=True)
    produce(b"without")
    for n in (1, 2, 3):
        c.wait_gone(n)
    produce(b"without a session")
    c.net.heal()
    for n in (1, 2, 3):
        c.wait_registered(n, besides=before[n])
    c.wait_full("t")
    produce(b"with another")
    assert len(acked) == 1200
    consumer = Consumer(dict(NO_GROUP, **{"bootstrap.servers": "127.0.0.1:%d" % c[1].port}))
    consumer.assign([TopicPartition("t", p, 0) for p in range(3)])
    got = set()
    wait_for(lambda: got.update(m.value() for m in consumer.consume(500, 1) if m.error() is None) or len(got) >= 1200, PATIENCE, "all is there")
    consumer.close()
    assert got == set(acked)
