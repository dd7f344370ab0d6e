"""Few descriptors: files that nobody uses are closed for others. None left: what needs a file is refused with a storage error,
nothing that was acknowledged is lost, and the log says it in a few lines."""
import socket

from batches import batch
from harness import wait_for
from wire import Wire

PARTITIONS = 30


def ends(w):
    return [w.call("ListOffsets", 5, ReplicaId=-1, Topics=[{"Name": "t", "Partitions": [
        {"PartitionIndex": p, "Timestamp": -1}]}])["Topics"][0]["Partitions"][0]["Offset"] for p in range(PARTITIONS)]


def load(w, rounds):
    """One record to each partition in turn; how many each has acknowledged, and the error codes."""
    data, acked, codes = batch([b"x" * 2000]), [0] * PARTITIONS, set()
    for i in range(rounds * PARTITIONS):
        code = w.produce(9, "t", i % PARTITIONS, data)["ErrorCode"]
        codes.add(code)
        acked[i % PARTITIONS] += code == 0
    return acked, codes


def complaints(b):
    """But for what is said of records that are years old."""
    return [line for line in b.log().splitlines() if " INFO " not in line and "is no time in ms" not in line]


def limited(brokers, n):
    b = brokers({"log.segment.bytes": "20000", "log.retention.check.interval.ms": "100", "log.initial.task.delay.ms": "0"},
                wrapper=["prlimit", "--nofile=%d:%d" % (n, n)])
    return b.start()


def test_more_segments_than_descriptors(brokers):
    b = limited(brokers, 80)
    with Wire(b.port) as w:
        w.create("t", PARTITIONS)
        acked, codes = load(w, 80)
        assert codes == {0} and ends(w) == acked
    assert b.stop() == 0, b.log()[-2000:]
    assert complaints(b) == []


def test_no_descriptors_left(brokers):
    b = limited(brokers, 80)
    others = []
    with Wire(b.port) as w:
        w.create("t", PARTITIONS)
        for _ in range(100):            # more than it can take: the rest waits in the system's queue
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", b.port))
            others.append(s)
        wait_for(lambda: "no connection can be accepted" in b.log(), what="no connection can be accepted")
        acked, codes = load(w, 80)
        assert codes <= {0, 56}, codes                          # KAFKA_STORAGE_ERROR
        assert ends(w) == acked
        for s in others:
            s.close()
        wait_for(lambda: load_one(w, acked), what="all is well again")
        assert ends(w) == acked
    assert b.alive()
    assert len(complaints(b)) < 20, complaints(b)
    assert b.stop() == 0, b.log()[-2000:]
    b.wrapper = []
    b.start()
    with Wire(b.port) as w:
        assert ends(w) == acked
        assert load(w, 1)[1] == {0}


def load_one(w, acked):
    more, codes = load(w, 1)
    for i, n in enumerate(more):
        acked[i] += n
    return codes == {0}
