"""The tools that read and write ZooKeeper themselves (kafka-topics.sh and kafka-configs.sh --zookeeper, as Kafka 2.7), and
those that look at a whole cluster."""
import json
import os
import subprocess

import pytest

import harness
from harness import BUILD, wait_for


@pytest.fixture
def cluster(clusters):
    return clusters(3).start()


def tool(name, *args, status=0):
    run = harness.tool(name, *args, check=False)
    assert run.returncode == status, (run.returncode, run.stdout, run.stderr)
    return run.stdout


def zk_of(cluster):
    return cluster.zk.connect + cluster.chroot


def znode(cluster, path):
    return json.loads(cluster.znode(path)[0])


def test_topics(cluster):
    zk = zk_of(cluster)

    def topics(*args, status=0):
        return tool("kafka-topics.sh", "--zookeeper", zk, *args, status=status)

    assert topics("--create", "--topic", "t", "--replica-assignment", "1:2,2:3", "--config", "retention.ms=5000") == \
        "Created topic t.\n"
    cluster.created["t"] = 2
    cluster.wait_full("t")
    assert topics("--describe", "--topic", "t") == (
        "Topic: t\tPartitionCount: 2\tReplicationFactor: 2\tConfigs: retention.ms=5000\n"
        "\tTopic: t\tPartition: 0\tLeader: 1\tReplicas: 1,2\tIsr: 1,2\n"
        "\tTopic: t\tPartition: 1\tLeader: 2\tReplicas: 2,3\tIsr: 2,3\n")
    node = znode(cluster, "/brokers/topics/t")
    assert node["version"] == 3 and node["topic_id"]            # the controller gave it one
    assert "Adding partitions succeeded!" in topics("--alter", "--topic", "t", "--partitions", "3")
    assert znode(cluster, "/brokers/topics/t")["topic_id"] == node["topic_id"]
    wait_for(lambda: cluster.leader("t", 2) is not None, what="a leader of the new partition")
    assert "would not be an increase" in topics("--alter", "--topic", "t", "--partitions", "2", status=1)
    assert topics("--create", "--topic", "t", "--partitions", "1", "--replication-factor", "1", status=1) == \
        "Error while executing topic command : Topic 't' already exists.\n"
    assert topics("--create", "--topic", "u", "--partitions", "1", "--replication-factor", "4", status=1) == \
        "Error while executing topic command : Replication factor: 4 larger than available brokers: 3.\n"
    assert topics("--list") == "t\n"
    assert topics("--delete", "--topic", "t") == ("Topic t is marked for deletion.\n"
                                                  "Note: This will have no impact if delete.topic.enable is not set to true.\n")
    wait_for(lambda: topics("--list") == "", what="the topic to be gone")
    del cluster.created["t"]


def test_settings(cluster):
    warning = ("Warning: --zookeeper is deprecated and will be removed in a future version of Kafka.\n"
               "Use --bootstrap-server instead to specify a broker to connect to.\n")

    def configs(*args, status=0):
        out = tool("kafka-configs.sh", "--zookeeper", zk_of(cluster), *args, status=status)
        assert out.startswith(warning)
        return out[len(warning):]

    def asked(number, topic):
        out = tool("kafka-configs.sh", "--bootstrap-server", "127.0.0.1:%d" % cluster[number].port, "--describe", "--topic", topic)
        return out.split("\n", 1)[1]

    cluster.create("t")
    assert configs("--alter", "--entity-type", "topics", "--entity-name", "t", "--add-config", "retention.ms=77") == \
        "Completed updating config for entity: topic 't'.\n"
    for number in (1, 2, 3):                                    # every broker hears of it
        wait_for(lambda: "retention.ms=77 " in asked(number, "t"), what="the setting at broker %d" % number)
    assert configs("--describe", "--entity-type", "topics", "--entity-name", "t") == "Configs for topic 't' are retention.ms=77\n"
    assert configs("--alter", "--entity-type", "brokers", "--entity-name", "2", "--add-config",
                   "leader.replication.throttled.rate=1000") == "Completed updating config for entity: brokers '2'.\n"
    wait_for(lambda: "leader.replication.throttled.rate has a new value" in cluster[2].log(), what="the rate")
    assert configs("--alter", "--entity-type", "brokers", "--entity-name", "2", "--add-config", "log.retention.ms=5", status=1) == ""
    assert configs("--alter", "--entity-type", "clients", "--entity-default", "--entity-type", "users", "--entity-name", "b o",
                   "--add-config", "request_percentage=5") == \
        "Completed updating config for entity: user-principal 'b o', default client-id.\n"
    assert znode(cluster, "/config/users/b%20o/clients/<default>")["config"] == {"request_percentage": "5"}


def test_passwords_of_brokers_go_into_the_tree_encrypted(cluster):
    name = "listener.name.plaintext.ssl.key.password"

    def alter(entity, add, status=0):
        run = harness.tool("kafka-configs.sh", "--zookeeper", zk_of(cluster), "--alter", "--entity-type", "brokers", *entity,
                           "--add-config", add, check=False)
        assert run.returncode == status, run
        return run.stderr

    other = ("--entity-name", "77")
    assert "password.encoder.secret must be specified to update" in alter(other, name + "=sesame", status=1)
    assert "only at broker level" in alter(("--entity-default",), name + "=sesame,password.encoder.secret=s", status=1)
    alter(other, name + "=sesame,password.encoder.secret=s,password.encoder.iterations=2000")
    config = znode(cluster, "/config/brokers/77")["config"]
    assert list(config) == [name] and "encryptedPassword:" in config[name] and "iterations:2000" in config[name]
    assert "sesame" not in config[name]


def test_replicas_are_equal(cluster):
    cluster.create("t", partitions=2)
    bootstrap = "127.0.0.1:%d" % cluster[1].port
    assert tool("kafka-cluster.sh", "cluster-id", "--bootstrap-server", bootstrap) == \
        "Cluster ID: %s\n" % znode(cluster, "/cluster/id")["id"]
    tool("kafka-producer-perf-test.sh", "--topic", "t", "--num-records", "1000", "--record-size", "100", "--throughput", "-1",
         "--producer-props", "bootstrap.servers=" + bootstrap, "acks=all")
    run = subprocess.Popen([os.path.join(BUILD, "bin", "kafka-replica-verification.sh"), "--broker-list", bootstrap, "--topics-include", "t",
                            "--time", "-2", "--report-interval-ms", "10", "--max-wait-ms", "50"], stdout=subprocess.PIPE, text=True)
    try:
        assert "verification process is started" in run.stdout.readline()
        while ": max lag is 0 for partition t-" not in (line := run.stdout.readline()):
            assert line and "match" not in line
    finally:
        run.kill()
        run.communicate()
