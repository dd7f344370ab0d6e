"""klamm retention --explain: what it says of a partition's segments is what the broker then does."""
import re
import time

from batches import batch
from harness import tool, wait_for
from wire import Wire

DAY_MS = 86400000


def explain(broker, partition, *more, check=True):
    return tool("../klamm", "retention", "--bootstrap-server", broker.address, "--explain", partition, *more, check=check)


def segments(text):
    """[(first offset, active, verdict)] of the lines that tell of segments."""
    return [(int(m[1]), m[2] is not None, m[3]) for m in
            re.finditer(r"^offsets? (\d+)(?:-\d+)?( \(active\))?, \d+ bytes, newest \w+ .{19}: (.*)$", text, re.M)]


def fill(broker, topic, times):
    """Five records with each of the timestamps, a segment each."""
    with Wire(broker.port) as w:
        for ts in times:
            assert w.produce(9, topic, 0, batch([b"x" * 200] * 5, timestamp=ts))["ErrorCode"] == 0


def now_ms():
    return int(time.time() * 1000)


def test_by_time(broker):
    now = now_ms()
    broker.create_topic("t", segment_bytes="1500", retention_ms=str(10 * DAY_MS))
    fill(broker, "t", [now - 20 * DAY_MS, now - 4 * DAY_MS, now - 30 * DAY_MS, now + 50 * DAY_MS, now])
    got = segments(explain(broker, "t-0").stdout)
    assert [base for base, _, _ in got] == [0, 5, 10, 15, 20] and [active for _, active, _ in got] == [False] * 4 + [True]
    assert got[0][2] == "goes at the next check: its newest record is 20 days old"
    assert re.match(r"goes at .{19} \(in 5 days\), when its newest record is older than retention.ms \(10 days\)$", got[1][2])
    assert got[2][2] == "would go, but segments go oldest first: that of offset 5 stays"
    assert "(in 59 days)" in got[3][2] and "dated 49 days in the future" in got[3][2]
    assert re.search(r"\(in 59 days\), when those before it are old enough; by itself at", got[4][2])


def test_by_size_and_never(broker):
    now = now_ms()
    broker.create_topic("s", segment_bytes="1500", retention_ms="-1", retention_bytes="3000")
    broker.create_topic("n", segment_bytes="1500", retention_ms="-1")
    broker.create_topic("c", segment_bytes="1500", cleanup_policy="compact")
    broker.create_topic("e", segment_bytes="1500", retention_ms=str(2**63 - 1), retention_bytes=str(2**63 - 1))
    fill(broker, "e", [now] * 2)
    for _, _, verdict in segments(explain(broker, "e-0").stdout):
        assert re.match(r"goes at \d{9}-\d\d-\d\d .*\(in \d+ days\), when its newest record is older than", verdict)
        assert re.search(r"; or when \d+ more bytes are in the log", verdict)
    fill(broker, "s", [now] * 4)
    fill(broker, "n", [now] * 2)
    verdicts = [v for _, _, v in segments(explain(broker, "s-0").stdout)]
    assert re.match(r"goes at the next check: the log is larger than retention.bytes \(3000\) by more than", verdicts[0])
    assert all(re.match(r"goes when \d+ more bytes are in the log than now \(retention.bytes\)$", v) for v in verdicts[1:])
    never = "stays: neither retention.ms nor retention.bytes is set"
    assert [v for _, _, v in segments(explain(broker, "n-0").stdout)] == [never] * 2
    assert [v for _, _, v in segments(explain(broker, "c-0").stdout)] == ["stays: it is empty"]


def test_it_is_what_happens(brokers):
    broker = brokers({"log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "2000"}).start()
    now = now_ms()
    broker.create_topic("t", segment_bytes="1500", retention_ms=str(DAY_MS))
    fill(broker, "t", [now - 3 * DAY_MS, now - 2 * DAY_MS, now])

    def first():
        return [base for base, _, _ in segments(explain(broker, "t-0").stdout)][0]

    wait_for(lambda: first() == 10, 30, "the old segments are gone")
    assert "(in 23 hours)" in segments(explain(broker, "t-0").stdout)[0][2]


def test_mistakes(broker):
    broker.create_topic("t")
    assert "a partition is TOPIC-NUMBER" in explain(broker, "t", check=False).stderr
    assert "there is no such partition" in explain(broker, "t-7", check=False).stderr
    assert explain(broker, "unknown-0", check=False).returncode == 1
    elsewhere = explain(broker, "t-0", "--log-dir", "/nonexistent", check=False)
    assert "run this on the machine of the partition's leader" in elsewhere.stderr
    asked = tool("../klamm", "retention", "--bootstrap-server", broker.address, check=False)
    assert 'Missing required argument "[explain]"' in asked.stderr
