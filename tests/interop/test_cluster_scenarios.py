"""The scenarios of tests/system/scenarios.py with Apache Kafka's own tools on a cluster of our brokers: those of 3.9.1 by
--bootstrap-server, those of 2.7.1 by --zookeeper, and by --bootstrap-server where that is not the same again."""
import os
import subprocess

import pytest

import scenarios
from apache import PEER
from cluster_fixtures import clusters, zookeeper  # noqa: F401
from harness import SLOW
from scenarios import Tools

BOTH = pytest.mark.parametrize("version,way", [("3.9.1", "b"), ("2.7.1", "z")])


@pytest.fixture
def theirs(peer):                       # noqa: F811  (peer skips where there is no Apache Kafka)
    had = subprocess.run([os.path.join(PEER, "get"), "2.7.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if had.returncode != 0:
        pytest.skip("Apache Kafka 2.7.1 cannot be had here: %s" % had.stdout.strip())

    def tools(cluster, version, way):
        return Tools(cluster, way, lambda name, *args: subprocess.run(
            [os.path.join(PEER, "tool"), version, name, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            stdin=subprocess.DEVNULL, timeout=120 * SLOW, check=False))
    return tools


@pytest.mark.parametrize("version,way", [("3.9.1", "b"), ("2.7.1", "z"), ("2.7.1", "b")])
def test_topics(clusters, theirs, version, way):                    # noqa: F811
    cluster = clusters(3).start()
    scenarios.topics(cluster, theirs(cluster, version, way))


@BOTH
def test_deletion_disabled(clusters, theirs, version, way):         # noqa: F811
    cluster = clusters(3, delete_topic_enable="false").start()
    cluster.create("kept", 1)
    scenarios.deletion_disabled(cluster, theirs(cluster, version, way))


@BOTH
def test_reassign(clusters, theirs, tmp_path, version, way):        # noqa: F811
    cluster = clusters(3, zookeeper_session_timeout_ms=120000).start()
    print(scenarios.reassign(cluster, theirs(cluster, version, way), tmp_path, 6))


@BOTH
def test_replicas_are_verified(clusters, theirs, version, way):     # noqa: F811
    """kafka-replica-verification.sh reports the largest lag of all replicas."""
    cluster = clusters(3).start()
    cluster.create("v", 2)
    scenarios.put(cluster, "v", 1)
    which = "--topics-include" if version > "3" else "--topic-white-list"
    assert theirs(cluster, version, way)("kafka-topics", "--list").stdout == "v\n"
    with subprocess.Popen([os.path.join(PEER, "tool"), version, "kafka-replica-verification", "--broker-list", cluster[1].address,
                           which, "v", "--report-interval-ms", "500"], stdout=subprocess.PIPE, text=True) as run:
        try:
            said = next((line for line in run.stdout if "max lag is" in line), "nothing")
        finally:
            run.kill()
    assert "max lag is 0 for partition " in said and "among 2 partitions" in said, said


@BOTH
def test_forced_deletion(clusters, theirs, version, way):           # noqa: F811
    cluster = clusters(3).start()
    scenarios.forced_deletion(cluster, theirs(cluster, version, way))


@BOTH
def test_brokers_die(clusters, theirs, version, way):               # noqa: F811
    cluster = clusters(3, zookeeper_session_timeout_ms=120000).start()
    print(scenarios.brokers_die(cluster, theirs(cluster, version, way), 10))


@BOTH
def test_another_broker(clusters, theirs, tmp_path, version, way):  # noqa: F811
    cluster = clusters(4).start(1, 2, 3)
    print(scenarios.another_broker(cluster, theirs(cluster, version, way), tmp_path, 12))
