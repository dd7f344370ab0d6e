"""Broken record sets in Produce requests get the error that Apache Kafka 3.9.1 gave, for their partition only.

The cases are those of ../shared/golden/invalid-batches.jsonl.xz. With each goes a correct set for another partition. Only a
transactional batch without a transactional id fails the whole request.
"""
import json
import lzma
import os
import struct

import pytest

from harness import TOP, Raw, string

TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
CASES = os.path.join(os.environ.get("KLAMM_SHARED", os.path.join(TOP, "..", "shared")), "golden/invalid-batches.jsonl.xz")


def records(data):
    return struct.pack(">i", len(data)) + data


def produce(c, version, topic, sets):
    """Error code of each partition, or None when the connection was closed instead."""
    body = b"" if version < 3 else struct.pack(">h", -1)
    body += struct.pack(">hii", 1, 10000, 1) + string(topic) + struct.pack(">i", len(sets))
    for partition, data in sets:
        body += struct.pack(">i", partition) + records(data)
    try:
        rest = c.call(0, version, body)
    except (EOFError, ConnectionError):
        return None
    at = 4 + 2 + len(topic)
    count, = struct.unpack(">i", rest[at:at + 4])
    at += 4
    out = {}
    for _ in range(count):
        partition, error = struct.unpack(">ih", rest[at:at + 6])
        at += 6 + 8 + 8 + (8 if version >= 5 else 0)
        if version >= 8:
            errors, = struct.unpack(">i", rest[at:at + 4])
            at += 4
            for _ in range(errors):
                at += 4
                length, = struct.unpack(">h", rest[at:at + 2])
                at += 2 + max(length, 0)
            length, = struct.unpack(">h", rest[at:at + 2])
            at += 2 + max(length, 0)
        out[partition] = error
    return out


def test_each_broken_set_gets_its_error(broker):
    if not os.path.exists(CASES):
        pytest.skip("no ../shared/golden beside the checkout")
    with lzma.open(CASES, "rt") as f:
        cases = [json.loads(line) for line in f]
    good = {c["produceVersion"]: bytes.fromhex(c["hex"]) for c in cases if c["id"] in ("ok-baseline", "v1-ok")}
    broker.create_topic("inv", partitions=2)
    broker.create_topic("inv-compact", partitions=2, cleanup_policy="compact")
    wrong = []
    stored = 0                                              # records that "inv-1" should have in the end
    c = Raw(broker)
    for case in cases:
        version = case["produceVersion"]
        error = case["broker391"].get("errorCode")
        compacted = bool(case.get("compactedTopic"))
        sets = [(0, bytes.fromhex(case["hex"]))] + ([] if compacted else [(1, good[version])])
        got = produce(c, version, "inv-compact" if compacted else "inv", sets)
        want = {0: error}
        if not compacted:
            want[1] = error if error == TRANSACTIONAL_ID_AUTHORIZATION_FAILED else 0
            stored += 0 if want[1] else 3 if version == 8 else 1
        if got != want:
            wrong.append("%s (%s): got %s, should be %s" % (case["id"], case["reason"], got, want))
        if got is None:
            c.sock.close()
            c = Raw(broker)
    c.sock.close()
    assert not wrong, "%d of %d:\n%s" % (len(wrong), len(cases), "\n".join(wrong))
    assert broker.alive()
    end = broker.tool("kafka-get-offsets.sh", "--topic", "inv", "--partitions", "1").stdout.strip()
    assert end == "inv:1:%d" % stored
    assert stored > 200
