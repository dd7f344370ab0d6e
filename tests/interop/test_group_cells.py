"""The cells of tests/system/group_cells.py against a broker of Apache Kafka: what tests/data/group-cells.json has is what it
answers today. About a minute."""
import os
import types

from apache import Apache
from group_cells import AT_ONCE_COLD, PROPERTIES, expected, observe_all, prepare
from groups import run

VERSION = "3.9.1"


def test_apache_kafka_answers_what_is_written(tmp_path, peer):
    os.makedirs(tmp_path / "zk")
    replicas = {"offsets.topic.replication.factor": "1"}
    kafka = Apache(types.SimpleNamespace(name="cells", folder=str(tmp_path), version=VERSION, partitions=lambda: [],
                                         properties=dict(PROPERTIES, **replicas)))
    try:
        kafka.start()
        prepare(kafka.port)
        run(observe_all(kafka.port, "warm", "commit"), 300)
        assert run(observe_all(kafka.port, at_once=AT_ONCE_COLD), 300) == expected()
    finally:
        kafka.end()
