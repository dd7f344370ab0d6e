"""A full disk: writes are refused with a storage error, reads go on, nothing acknowledged is lost, and when there is room
again writing goes on."""
import os
import subprocess

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from harness import NO_GROUP, SLOW, tool, wait_for


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MB."""
    path = tmp_path / "small"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def produce(broker, n, size=10000):
    """How many were acknowledged, and the error names of the others."""
    acked, errors = [], set()
    p = Producer({"bootstrap.servers": broker.address, "message.timeout.ms": 30000 * SLOW, "retries": 0,
                  "batch.num.messages": 20})

    def told(err, msg):
        if err is None:
            acked.append(msg.offset())
        else:
            errors.add(err.name())
    for i in range(n):
        p.produce("t", (b"%08d" % i) * (size // 8), on_delivery=told)
        p.poll(0)
    p.flush(60 * SLOW)
    return acked, errors


def test_a_full_disk_refuses_writes_and_serves_reads(brokers, small_disk):
    b = brokers({"log.dirs": str(small_disk / "data"), "log.retention.check.interval.ms": "500",
                 "log.segment.delete.delay.ms": "500", "log.initial.task.delay.ms": "500"}).start()
    b.create_topic("t", segment_bytes=4000000)
    acked, errors = produce(b, 2000)
    assert acked and errors, (len(acked), errors)
    assert b.alive()
    c = Consumer({"bootstrap.servers": b.address, **NO_GROUP, "check.crcs": True})
    low, high = c.get_watermark_offsets(TopicPartition("t", 0), timeout=30 * SLOW)
    assert high > max(acked)
    c.assign([TopicPartition("t", 0, 0)])
    seen = 0
    while seen < high:
        got = c.consume(min(500, high - seen), timeout=30 * SLOW)
        assert got
        seen += len(got)
    c.close()
    b.tool("kafka-topics.sh", "--list")

    path = os.path.join(b.folder, "delete.json")
    with open(path, "w", encoding="utf-8") as f:
        f.write('{"version":1,"partitions":[{"topic":"t","partition":0,"offset":%d}]}' % high)

    tool("kafka-delete-records.sh", "--bootstrap-server", b.address, "--offset-json-file", path)

    def room_again():
        more, _ = produce(b, 5)
        return len(more) == 5
    wait_for(room_again, within=90, what="writing goes on once records were deleted")
