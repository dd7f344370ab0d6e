"""No descriptors left: what needs a file is refused with a storage error, nothing that was acknowledged is lost, and the log
says it in a few lines."""
from batches import batch
from harness import wait_for
from wire import Wire

PARTITIONS = 30


def ends(w):
    return [w.call("ListOffsets", 5, ReplicaId=-1, Topics=[{"Name": "t", "Partitions": [
        {"PartitionIndex": p, "Timestamp": -1}]}])["Topics"][0]["Partitions"][0]["Offset"] for p in range(PARTITIONS)]


def test_no_descriptors_left(brokers):
    b = brokers({"log.segment.bytes": "20000", "log.retention.check.interval.ms": "100",
                 "log.initial.task.delay.ms": "0"}, wrapper=["prlimit", "--nofile=80:80"]).start()
    data = batch([b"x" * 2000])
    acked, codes = [0] * PARTITIONS, set()
    with Wire(b.port) as w:
        w.create("t", PARTITIONS)
        for i in range(40 * PARTITIONS):
            code = w.produce(9, "t", i % PARTITIONS, data)["ErrorCode"]
            codes.add(code)
            acked[i % PARTITIONS] += code == 0
        assert codes == {0, 56}, codes                          # KAFKA_STORAGE_ERROR
        wait_for(lambda: "old segments cannot" in b.log() and "made durable" in b.log(), what="both are told")
        for i in range(40 * PARTITIONS):
            code = w.produce(9, "t", i % PARTITIONS, data)["ErrorCode"]
            acked[i % PARTITIONS] += code == 0
        assert ends(w) == acked
    assert b.alive()
    complaints = [line for line in b.log().splitlines() if " INFO " not in line]
    assert len(complaints) < 20, complaints
    assert any("too many open files" in line for line in complaints), complaints
    assert b.stop() == 0, b.log()[-2000:]
    b.wrapper = []
    b.start()
    with Wire(b.port) as w:
        assert ends(w) == acked
        assert w.produce(9, "t", 0, data)["ErrorCode"] == 0
