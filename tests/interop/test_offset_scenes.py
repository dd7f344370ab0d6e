"""The scenes of tests/system/offset_scenes.py against a broker of Apache Kafka: what tests/data/offset-scenes.json has is what it
answers today. About 35 s."""
import os
import types

from apache import Apache
from offset_scenes import PROPERTIES, differences, expected, observe

VERSION = "3.9.1"


def test_apache_kafka_answers_what_is_written(tmp_path, peer):
    os.makedirs(tmp_path / "zk")
    replicas = {"offsets.topic.replication.factor": "1"}
    kafka = Apache(types.SimpleNamespace(name="scenes", folder=str(tmp_path), version=VERSION, partitions=lambda: [],
                                         properties=dict(PROPERTIES, **replicas)))
    try:
        kafka.start()
        assert differences(observe(kafka.port), expected()) == []
    finally:
        kafka.end()
