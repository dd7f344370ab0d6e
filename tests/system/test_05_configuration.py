"""Where properties come from, and the files and environments that guides give to users (D1, D4, D5, D7)."""
import os
import re
import subprocess

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from harness import BUILD, SLOW, TOP, Raw, free_ports

USERS = os.path.join(os.environ.get("KLAMM_SHARED", os.path.join(TOP, "..", "shared")), "users")


def described(broker):
    a = AdminClient({"bootstrap.servers": broker.address})
    node = ConfigResource(ConfigResource.Type.BROKER, "0")
    return a.describe_configs([node])[node].result(30 * SLOW)


def check_config(path, *more):
    done = subprocess.run([os.path.join(BUILD, "klammd"), "--check-config", str(path), *more], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30 * SLOW)
    return done.returncode, done.stdout


def test_the_environment_wins_over_the_file(brokers):
    b = brokers({"num.partitions": "2", "num.io.threads": "3"},
                env={"KAFKA_NUM_PARTITIONS": "5", "KAFKA_HEAP_OPTS": "-Xmx1G", "KAFKA_OPTS": "-Dx", "KAFKA_NO_SUCH_KEY": "1",
                     "JMX_PORT": "1099"}).start()
    settings = described(b)
    assert (settings["num.partitions"].value, settings["num.io.threads"].value) == ("5", "3")
    log = b.log()
    assert "no.such.key" in log and "KAFKA_NO_SUCH_KEY" in log
    assert "heap.opts" not in log and "HEAP_OPTS" not in log


def test_override_wins_over_everything(brokers):
    b = brokers({"num.io.threads": "3"}, env={"KAFKA_NUM_IO_THREADS": "4"})
    plain = b.argv
    b.argv = lambda: plain() + ["--override", "num.io.threads=6", "--override", "broker.rack=a=b"]
    settings = described(b.start())
    assert (settings["num.io.threads"].value, settings["broker.rack"].value) == ("6", "a=b")


def test_warnings_are_told_at_start_and_do_not_stop_it(brokers):
    b = brokers({"log.retention.hour": "5", "max.partition.fetch.bytes": "200000000", "group.share.max.groups": "7"}).start()
    for key in ("log.retention.hour", "log.retention.hours", "max.partition.fetch.bytes", "group.share.max.groups"):
        assert key in b.log(), b.log()


def test_several_named_listeners_and_ipv6(brokers):
    inside, outside, six = free_ports(3)
    b = brokers({"listeners": "INSIDE://127.0.0.1:%d,OUTSIDE://127.0.0.1:%d,SIX://[::1]:%d" % (inside, outside, six),
                 "listener.security.protocol.map": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,SIX:PLAINTEXT",
                 "advertised.listeners": "INSIDE://127.0.0.1:%d,OUTSIDE://broker.example:1234,SIX://[::1]:%d" % (inside, six),
                 "inter.broker.listener.name": "INSIDE"})
    b.port = inside
    b.start()
    for host, port, told in (("127.0.0.1", inside, b"127.0.0.1"), ("127.0.0.1", outside, b"broker.example"),
                             ("::1", six, b"::1")):
        with Raw(port, host=host) as c:             # Metadata: each listener's clients are told that listener's address
            assert told in c.call(3, 0, b"\0\0\0\0")


def users_file(name, tmp_path, drop=("zookeeper.connect=",)):
    source = os.path.join(USERS, name)
    if not os.path.exists(source):
        pytest.skip("no ../shared/users beside the checkout")
    path = tmp_path / name
    with open(source, encoding="latin-1") as f:
        path.write_text("".join(line for line in f if not line.startswith(drop)), encoding="latin-1")
    return path


@pytest.mark.parametrize("name", ["single.properties", "cluster-default.properties", "cluster-large.properties"])
def test_files_of_guides_start_a_broker(brokers, tmp_path, name):
    """D1, D4; only where it listens and writes is changed. Big buffers and many threads cost nothing until used."""
    path = users_file(name, tmp_path)
    assert check_config(path)[0] == 0
    b = brokers()
    b.argv = lambda: [os.path.join(BUILD, "klammd"), str(path)] + [
        a for key in ("listeners", "advertised.listeners", "log.dirs") for a in ("--override", key + "=" + b.overrides[key])]
    b.start()
    with Raw(b) as c:
        c.call(18, 0, b"")
    if SLOW == 1:
        assert b.rss_kb() < 30000


def test_a_guides_notes_after_the_values(tmp_path):
    """D5: one error for each such line."""
    path = users_file("cluster-large-annotated.properties", tmp_path, drop=("nothing is dropped",))
    status, text = check_config(path)
    assert status != 0
    lines = [line for line in text.splitlines() if "error:" in line]
    assert [int(re.search(r":(\d+):", line).group(1)) for line in lines] == [1, 3, 4, 5]
    for line, key in zip(lines, ("broker.id", "advertised.listeners", "log.dirs", "zookeeper.connect")):
        assert key in line and str(path) in line and "no end-of-line comments" in line


def test_a_container_configured_by_environment(brokers):
    """D7, without its ZooKeeper."""
    source = os.path.join(USERS, "container.env")
    if not os.path.exists(source):
        pytest.skip("no ../shared/users beside the checkout")
    with open(source, encoding="utf-8") as f:
        env = dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)
    del env["KAFKA_ZOOKEEPER_CONNECT"]
    b = brokers()
    env["KAFKA_LISTENERS"] = env["KAFKA_ADVERTISED_LISTENERS"] = b.overrides["listeners"]
    env["KAFKA_LOG_DIRS"] = b.data
    env["KAFKA_BROKER_ID"] = "0"
    b.env = env
    b.argv = lambda: [os.path.join(BUILD, "klammd")]
    settings = described(b.start())
    for key, value in (("num.partitions", "3"), ("message.max.bytes", "10000000"), ("log.retention.hours", "1"),
                       ("delete.topic.enable", "true")):
        assert settings[key].value == value, key
    assert "delete.retention.ms" in b.log()


def test_check_config_knows_all_sources(tmp_path):
    path = tmp_path / "server.properties"
    path.write_text("num.io.threads=5\n")
    assert check_config(path)[0] == 0
    path.write_text("num.io.threads=5 # cores\nlog.segment.bytes=13\nlisteners=PLAINTEXT://:1,PLAINTEXT://:2\nlog.dris=/x\n")
    status, text = check_config(path)
    assert status != 0
    for number, words in ((1, "comment"), (2, "from 14 to 2147483647"), (3, "name"), (4, "log.dirs")):
        line = next(one for one in text.splitlines() if ":%d:" % number in one)
        assert words in line, line
