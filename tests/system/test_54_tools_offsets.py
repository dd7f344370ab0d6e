"""kafka-get-offsets.sh, kafka-delete-records.sh, kafka-broker-api-versions.sh."""
import json
import re

import pytest
from confluent_kafka import Producer

from harness import SLOW, tool


def fill(broker, topic, counts):
    """counts[p] records in partition p; record i has timestamp 1000 + i."""
    broker.create_topic(topic, partitions=len(counts), retention_ms="-1")
    p = Producer({"bootstrap.servers": broker.address, "batch.num.messages": 1})
    for partition, n in enumerate(counts):
        for i in range(n):
            p.produce(topic, b"v%d" % i, partition=partition, timestamp=1600000000000 + i)
    assert p.flush(60 * SLOW) == 0


def offsets(broker, *args):
    return broker.tool("kafka-get-offsets.sh", *args).stdout.split()


def test_which_offsets_of_which_partitions(broker):
    fill(broker, "a", [3, 0, 5])
    fill(broker, "b", [1])
    assert offsets(broker) == ["a:0:3", "a:1:0", "a:2:5", "b:0:1"]
    assert offsets(broker, "--topic", "a", "--time", "earliest") == ["a:0:0", "a:1:0", "a:2:0"]
    assert offsets(broker, "--topic", "a", "--partitions", "0,2", "--time", "-1") == ["a:0:3", "a:2:5"]
    assert offsets(broker, "--topic-partitions", "a:1-,b") == ["a:1:0", "a:2:5", "b:0:1"]
    assert offsets(broker, "--time", "max-timestamp") == ["a:0:2", "a:2:4", "b:0:0"]
    assert offsets(broker, "--time", "1600000000002") == ["a:0:2", "a:2:2"]
    assert offsets(broker, "--time", "1700000000000") == []
    assert offsets(broker, "--time", "-4", "--topic", "b") == ["b:0:0"]
    assert tool("kafka-get-offsets.sh", "--broker-list", broker.address, "--topic", "b").stdout == "b:0:1\n"


def test_partitions_are_sorted_as_text(broker):
    broker.create_topic("t", partitions=12)
    assert [line.split(":")[1] for line in offsets(broker)] == sorted(str(p) for p in range(12))


@pytest.mark.parametrize("args, text", [
    (["--topic", "no"], "Error occurred: Could not match any topic-partitions with the specified filters"),
    (["--topic", "t", "--topic-partitions", "t:0"],
     "Error occurred: --topic-partitions cannot be used with --topic or --partitions"),
    (["--time", "x"], "Error occurred: Malformed time argument x. Please use -1 or latest / -2 or earliest"),
    (["--partitions", "x"], "--partitions expects a comma separated list of numeric partition ids, but received: x"),
    (["--bogus"], "Error occurred: bogus is not a recognized option"),
])
def test_mistakes(broker, args, text):
    done = broker.tool("kafka-get-offsets.sh", *args, check=False)
    assert done.returncode == 1 and text in done.stderr and done.stdout == "", done


def test_no_broker_given():
    assert tool("kafka-get-offsets.sh", "--topic", "t", check=False).stderr == (
        "Error occurred: Missing required option(s) [bootstrap-server]\n")


def delete(broker, tmp_path, text, check=True):
    file = tmp_path / "offsets.json"
    file.write_text(text if isinstance(text, str) else json.dumps(text))
    return broker.tool("kafka-delete-records.sh", "--offset-json-file", str(file), check=check)


def test_delete_records(broker, tmp_path):
    fill(broker, "t", [5, 5, 5])
    done = delete(broker, tmp_path, {"version": 1, "partitions": [
        {"topic": "t", "partition": 0, "offset": 2}, {"topic": "t", "partition": 1, "offset": -1},
        {"topic": "t", "partition": 2, "offset": 9}, {"topic": "no", "partition": 0, "offset": 0}]})
    lines = done.stdout.splitlines()
    assert lines[:4] == ["Executing records delete operation", "Records delete operation completed:",
                         "partition: t-0\tlow_watermark: 2", "partition: t-1\tlow_watermark: 5"]
    assert re.match(r"partition: t-2\terror: OFFSET_OUT_OF_RANGE: ", lines[4])
    assert re.match(r"partition: no-0\terror: UNKNOWN_TOPIC_OR_PARTITION: ", lines[5])
    assert offsets(broker, "--time", "earliest") == ["t:0:2", "t:1:5", "t:2:0"]


@pytest.mark.parametrize("text, message", [
    ("{", "The input string is not a valid JSON"),
    ("{}", "Missing partitions field"),
    ('{"version": 2, "partitions": []}', "Not supported version field value 2"),
    ('{"partitions": [{"topic": "t", "partition": "0", "offset": 1}]}', "Every entry of"),
    ('{"partitions": [{"topic": "t", "partition": 0, "offset": 1}, {"topic": "t", "partition": 0, "offset": 2}]}',
     "Offset json file contains duplicate topic partitions: t-0"),
])
def test_bad_files_of_delete_records(broker, tmp_path, text, message):
    done = delete(broker, tmp_path, text, check=False)
    assert done.returncode == 1 and message in done.stderr and done.stdout == "", done


def test_broker_api_versions(broker):
    lines = broker.tool("kafka-broker-api-versions.sh").stdout.splitlines()
    assert lines[0] == "%s (id: 0 rack: null) -> (" % broker.address
    assert lines[-1] == ")"
    assert "\tProduce(0): 0 to 11 [usable: 11]," in lines
    assert "\tFetch(1): 0 to 17 [usable: 17]," in lines
    assert "\tDescribeQuorum(55): UNSUPPORTED," in lines
