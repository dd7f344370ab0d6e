"""kafka-dump-log.sh on the files that a broker has written."""
import glob
import json
import os
import random
import re
import struct

import pytest
from confluent_kafka import Producer

import golden
from harness import SLOW, tool


def dump(*files, check=True, args=()):
    return tool("kafka-dump-log.sh", "--files", ",".join(files), *args, check=check)


def write(broker, n=200, **conf):
    broker.create_topic("t", segment_bytes="20000", index_interval_bytes="1000", retention_ms="-1")
    p = Producer({"bootstrap.servers": broker.address, "linger.ms": 0, "batch.num.messages": 10, **conf})
    for i in range(n):
        p.produce("t", b"value %d " % i + b"x" * 200, key=b"key%d" % i, headers=[("h", b"1")], timestamp=1600000000000 + i)
        p.poll(0)
    assert p.flush(60 * SLOW) == 0
    assert broker.stop() == 0
    return os.path.join(broker.data, "t-0")


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_every_file(broker, codec):
    folder = write(broker, **{"enable.idempotence": True, "compression.type": codec})
    logs = sorted(glob.glob(folder + "/*.log"))
    records = []
    for log in logs:
        done = dump(log, args=["--print-data-log"])
        assert done.stderr == "" and "isvalid: false" not in done.stdout and "invalid bytes" not in done.stdout
        lines = done.stdout.splitlines()
        assert lines[:2] == ["Dumping " + log, "Log starting offset: %d" % int(os.path.basename(log)[:20])]
        records += [line for line in lines if line.startswith("| ")]
    for i, line in enumerate(records):
        assert re.fullmatch(r"\| offset: %d CreateTime: %d keySize: \d+ valueSize: \d+ sequence: %d headerKeys: \[h\] key: key%d "
                            "payload: value %d x+" % (i, 1600000000000 + i, i, i, i), line), line
    assert len(records) == 200
    if codec == "none":
        assert len(logs) > 1
    for index in glob.glob(folder + "/*.index") + glob.glob(folder + "/*.timeindex"):
        assert dump(index).stderr == ""                          # each entry is found in the log
        assert "passed sanity check." in dump(index, args=["--index-sanity-check"]).stdout or "is empty" in dump(index).stdout
    snapshot = sorted(glob.glob(folder + "/*.snapshot"))[-1]
    assert re.search(r"producerId: \d+ producerEpoch: 0 .* lastSequence: 199 lastOffset: 199 ", dump(snapshot).stdout)


def test_small_files(broker):
    folder = write(broker, n=5)
    assert re.search(r"epoch: 0 startOffset: 0\n", dump(folder + "/leader-epoch-checkpoint").stdout)
    assert re.search(r"topicId: \S{22}\n", dump(folder + "/partition.metadata").stdout)
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint"):
        assert "topic: t partition: 0 offset: 5\n" in dump(os.path.join(broker.data, name)).stdout
    assert "brokerId: 0" in dump(broker.data + "/meta.properties").stdout


def test_shallow_and_key_only(broker):
    log = write(broker, n=3) + "/00000000000000000000.log"
    shallow = dump(log).stdout.splitlines()
    assert all(line.startswith(("Dumping", "Log starting", "baseOffset: ")) for line in shallow)
    assert " partitionLeaderEpoch: 0 isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty position: 0 "\
           in shallow[2]
    bare = dump(log, args=["--print-data-log", "--skip-record-metadata"]).stdout
    assert "\n| key: key0 payload: value 0 x" in bare
    assert dump(log, args=["--max-bytes", "0"]).stdout.splitlines() == shallow[:2]


def test_damage_is_shown(broker, tmp_path):
    log = write(broker, n=30) + "/00000000000000000000.log"
    data = bytearray(open(log, "rb").read())
    data[100] ^= 1
    copy = str(tmp_path / "00000000000000000000.log")
    open(copy, "wb").write(data[:-7])
    out = dump(copy).stdout
    assert "isvalid: false" in out
    assert re.search(r"Found \d+ invalid bytes at the end of 00000000000000000000.log\n", out)
    open(copy, "wb").write(os.urandom(5000))
    assert "Found 5000 invalid bytes" in dump(copy, args=["--deep-iteration"]).stdout
    good_after_bad = dump(str(tmp_path / "no-such.log"), log, check=False)
    assert good_after_bad.returncode == 1 and "baseOffset: 0" in good_after_bad.stdout
    assert "Ignoring unknown file" in dump(str(tmp_path / "0.what")).stderr


def records_of(out):
    """(offset, key, payload) of each record that a decoder printed; None: there was none."""
    marker = r"(?: endTxnMarker: \w+ coordinatorEpoch: \d+)?"
    for line in out.splitlines():
        m = re.match(r"\| offset: (\d+) .*? headerKeys: \[\]%s(?: key: (.*?))?(?: payload: (.*))?$" % marker, line)
        if m:
            yield int(m[1]), m[2], m[3]


@pytest.mark.parametrize("name", golden.states() or [None])
def test_internal_topics(name, tmp_path):
    """What Apache Kafka's own tool makes of the records of its internal topics."""
    if name is None:
        pytest.skip("no ../shared/golden beside the checkout")
    state = golden.State(name, tmp_path)
    seen = 0
    for listing, decoder in (("offsets-log", "--offsets-decoder"), ("transaction-log", "--transaction-log-decoder")):
        wanted = {(e["dir"], e["offset"]): e for e in state.expected(listing)}
        for folder in sorted({where for where, _ in wanted}):
            logs = sorted(glob.glob(os.path.join(state.folder, "data", folder, "*.log")))
            for offset, key, payload in records_of(dump(*logs, args=[decoder]).stdout):
                e = wanted[(folder, offset)]
                if "control" in e:
                    continue
                seen += 1
                if decoder == "--offsets-decoder":
                    assert json.loads(key) == e["key"]
                    assert (None if payload == "<DELETE>" else json.loads(payload)) == e["value"]
                else:
                    assert key == e["key"]
                    assert sorted(re.split("[][,=]", payload)) == sorted(re.split("[][,=]", e["value"] or "<DELETE>"))
    assert seen > 50 or name.endswith("damaged")


def test_decoders_meet_anything(broker):
    """Records that no coordinator wrote: of an unknown type, cut, or noise."""
    random.seed(7)
    noise = [b"", b"\0", b"\0\3x", b"\x80\0abc", b"\0\1\xff\xff", b"\0\2\0\3abc", b"\0\0\0\1g\0\1t\0\0\0\0"]
    noise += [struct.pack(">h", random.randrange(-1, 4)) + random.randbytes(random.randrange(60)) for _ in range(300)]
    broker.create_topic("noise", retention_ms="-1")
    p = Producer({"bootstrap.servers": broker.address})
    for key in noise:
        p.produce("noise", random.choice(noise), key=key)
    assert p.flush(60 * SLOW) == 0
    assert broker.stop() == 0
    log = os.path.join(broker.data, "noise-0/00000000000000000000.log")
    for decoder in ("--offsets-decoder", "--transaction-log-decoder"):
        out = dump(log, args=[decoder]).stdout
        assert out.count("| offset: ") >= len(noise) and "isvalid: false" not in out
    assert "Unknown record type 3 at offset" in dump(log, args=["--offsets-decoder"]).stdout


def test_mistakes():
    assert 'Missing required argument "[files]"' in tool("kafka-dump-log.sh", "--deep-iteration", check=False).stderr
    assert "is for KRaft" in tool("kafka-dump-log.sh", "--files", "x", "--cluster-metadata-decoder", check=False).stderr
