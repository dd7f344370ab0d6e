"""Starting and stopping, and what stands in the way of a start: a message with the place, the cause and what to do."""
import os
import signal
import subprocess

import pytest

from harness import BUILD, SLOW, Raw, free_ports, wait_for


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_every_polite_signal_stops_it_cleanly(brokers, sig):
    b = brokers().start()
    assert b.stop(sig) == 0
    assert os.path.exists(os.path.join(b.data, ".kafka_cleanshutdown"))


def test_who_has_seen_it_ready_can_stop_it_cleanly(tmp_path):
    """However soon after that: the line is read as it is written."""
    for i in range(20):
        argv = [os.path.join(BUILD, "klammd"), "--override", "listeners=PLAINTEXT://127.0.0.1:%d" % free_ports(1)[0],
                "--override", "log.dirs=%s" % (tmp_path / str(i))]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0, cwd=tmp_path) as p:
            said = b""
            while b"ready in" not in said:
                more = os.read(p.stdout.fileno(), 65536)
                assert more, said
                said += more
            p.terminate()
            said += p.stdout.read()
        assert p.returncode == 0 and b"stopped cleanly" in said, said


def test_it_is_ready_at_once(brokers):
    """The best of a few starts, each on an empty directory: the machine may have other work."""
    took = []
    while len(took) < 30 and (not took or min(took) > 100 * SLOW):
        b = brokers().start()
        took.append(b.ready_ms())
        with Raw(b) as c:
            assert c.call(18, 0, b"")[:2] == b"\0\0"
        assert b.stop() == 0
    assert min(took) <= 100 * SLOW, took


def test_without_a_file_it_is_a_single_node(tmp_path):
    """D11: zero configuration. Only where it listens and writes is given, not to disturb others."""
    port = free_ports(1)[0]
    p = subprocess.Popen([os.path.join(BUILD, "klammd"), "--override", "listeners=PLAINTEXT://127.0.0.1:%d" % port,
                          "--override", "log.dirs=%s" % (tmp_path / "d")],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    try:
        for line in p.stdout:
            if "ready in" in line:
                break
        else:
            pytest.fail("it ended without becoming ready")
        with Raw(port) as c:
            c.call(18, 0, b"")
    finally:
        p.terminate()
        p.stdout.read()
        assert p.wait(30 * SLOW) == 0


def refused(broker, *words):
    """The broker must not start, and say why in one place, with all the words."""
    broker.spawn()
    status = broker.process.wait(30 * SLOW)
    broker.process = None
    text = broker.log(this_start=True)
    assert status not in (0, -6, -11), text
    for word in words:
        assert word in text, "%r is missing in:\n%s" % (word, text)
    return text


def test_port_in_use(brokers):
    first = brokers().start()
    second = brokers({"listeners": "PLAINTEXT://127.0.0.1:%d" % first.port,
                      "advertised.listeners": "PLAINTEXT://127.0.0.1:%d" % first.port})
    refused(second, "127.0.0.1:%d" % first.port, "in use")
    with Raw(first) as c:
        c.call(18, 0, b"")


def test_log_dir_of_another_running_broker(brokers):
    first = brokers().start()
    second = brokers({"log.dirs": first.data})
    refused(second, first.data, "lock")


def test_meta_properties_of_another_broker(brokers):
    b = brokers().start()
    b.stop()
    b.overrides["broker.id"] = "7"
    refused(b, "meta.properties", "broker.id", "7", "0")


def test_meta_properties_of_another_cluster(brokers):
    b = brokers().start()
    b.stop()
    path = os.path.join(b.data, "meta.properties")
    with open(path, encoding="latin-1") as f:
        lines = [line for line in f if not line.startswith("cluster.id")]
    with open(path, "w", encoding="latin-1") as f:
        f.writelines(lines + ["cluster.id=AAAAAAAAAAAAAAAAAAAAAQ\n"])
    refused(b, "meta.properties", "AAAAAAAAAAAAAAAAAAAAAQ", "cluster.id")


def test_log_dir_that_is_a_file(brokers, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    refused(brokers({"log.dirs": str(tmp_path / "file")}), str(tmp_path / "file"))


@pytest.mark.parametrize("line,words", [
    ("num.io.threads=many", ("num.io.threads", "many")),
    ("log.retention.hours=168 # a week", ("log.retention.hours", "comment")),
    ("listeners=SSL://127.0.0.1:9093", ("listeners", "SSL")),
    ("authorizer.class.name=kafka.security.authorizer.AclAuthorizer", ("authorizer.class.name",)),
    ("zookeeper.connect=127.0.0.1:port", ("zookeeper.connect", "port")),
    ("zookeeper.set.acl=true", ("zookeeper.set.acl", "neither TLS nor SASL")),
])
def test_properties_that_stop_the_start(brokers, line, words):
    key, value = line.split("=", 1)
    refused(brokers({key: value}), *words)


def test_check_config_lists_all_problems_at_once(tmp_path):
    path = tmp_path / "server.properties"
    path.write_text("num.io.threads=0\nnum.network.threads=x\nlog.retention.hour=5\n")
    done = subprocess.run([os.path.join(BUILD, "klammd"), "--check-config", str(path)], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30 * SLOW)
    assert done.returncode != 0
    for word in ("num.io.threads", "num.network.threads", "log.retention.hour", "log.retention.hours"):
        assert word in done.stdout, done.stdout


def test_it_survives_being_started_again_and_again(brokers):
    b = brokers().start()
    b.create_topic("again", partitions=3)
    for _ in range(3):
        b.restart()
    assert b.tool("kafka-topics.sh", "--list").stdout.split() == ["again"]
    wait_for(lambda: "again-0" in os.listdir(b.data))
