"""Topics that are deleted before their files are even durable: no complaint in the broker's log, nothing left on the disk."""
import os

from harness import wait_for


def test_topics_deleted_at_once_leave_no_complaint(brokers):
    b = brokers({"log.segment.delete.delay.ms": "200", "log.initial.task.delay.ms": "200"}).start()
    for n in range(30):
        topic = b.create_topic("t%d" % n, partitions=5)
        b.tool("kafka-topics.sh", "--delete", "--topic", topic)
    wait_for(lambda: not [f for f in os.listdir(b.data) if f.startswith("t")], what="the directories go")
    assert b.stop() == 0
    complaints = [line for line in b.log().splitlines() if " WARN " in line or " ERROR " in line]
    assert not complaints, complaints[:5]
