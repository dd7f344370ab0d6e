#!/usr/bin/python3
"""tests/data/make_record_vectors.py - writes records.jsonl and invalid-batches.jsonl beside itself.

Record sets made without any of our C code, from the format's description alone, with what a reader must find in them
and what a broker must answer. Compressed payloads use only what Python brings or what needs no compressor: gzip by
zlib; snappy, lz4 and zstd as literals, stored and run-length blocks.
"""
import hashlib
import json
import os
import struct
import zlib

NOW, BASE, EPOCH = 1700000000000, 1000, 7
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
CRC32C = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CRC32C.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc = CRC32C[(crc ^ b) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def uvarint(v):
    out = bytearray()
    while v > 127:
        out.append(v & 127 | 128)
        v >>= 7
    return bytes(out + bytes([v]))


def varint(v):
    return uvarint(v << 1 if v >= 0 else (-v << 1) - 1)


def sized(v, length):
    return length(-1) if v is None else length(len(v)) + v


def int32(v):
    return struct.pack(">i", v)


# ---- codecs
def snappy_block(data):
    out = uvarint(len(data))
    for i in range(0, len(data), 60):
        part = data[i:i + 60]
        out += bytes([len(part) - 1 << 2]) + part
    return out


def snappy(data):
    out = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
    for i in range(0, len(data), 40):                   # small blocks, so that records lie across them
        block = snappy_block(data[i:i + 40])
        out += int32(len(block)) + block
    return out


def lz4(data, magic):
    out = bytes.fromhex("04224d186040" + ("1a" if magic == 0 else "82"))
    for i in range(0, len(data), 50):
        part = data[i:i + 50]
        if i % 100:
            out += struct.pack("<I", len(part) | 1 << 31) + part
        else:                                           # one sequence of literals
            block = (bytes([len(part) << 4]) if len(part) < 15 else bytes([0xF0, len(part) - 15])) + part
            out += struct.pack("<I", len(block)) + block
    return out + bytes(4)


def zstd(data):
    size = bytes([0x20, len(data)]) if len(data) < 256 else b"\x60" + struct.pack("<H", len(data) - 256)
    return b"\x28\xb5\x2f\xfd" + size + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def gzip(data):
    c = zlib.compressobj(9, zlib.DEFLATED, 31)
    return c.compress(data) + c.flush()


def pack(codec, data, magic):
    return {"none": lambda: data, "gzip": lambda: gzip(data), "snappy": lambda: snappy(data),
            "lz4": lambda: lz4(data, magic), "zstd": lambda: zstd(data)}[codec]()


# ---- magic 2
def record(r, base_offset, base_time):
    body = b"\0" + varint(r["timestamp"] - base_time) + varint(r["offset"] - base_offset)
    body += sized(r["key"], varint) + sized(r["value"], varint) + varint(len(r.get("headers", [])))
    for k, v in r.get("headers", []):
        body += sized(k, varint) + sized(v, varint)
    return varint(len(body)) + body


def batch(records, codec="none", base=0, payload=None, delta=None, count=None, attributes=0, base_time=None,
          max_time=None, producer=(-1, -1, -1), epoch=-1, length=None):
    if base_time is None:
        base_time = records[0]["timestamp"] if records else -1
    if payload is None:
        payload = pack(codec, b"".join(record(r, base, base_time) for r in records), 2)
    under_crc = struct.pack(">HiqqqhiI", attributes | CODECS.index(codec),
                            records[-1]["offset"] - base if delta is None else delta, base_time,
                            max(r["timestamp"] for r in records) if max_time is None else max_time, *producer,
                            (len(records) if count is None else count) & 0xFFFFFFFF) + payload
    return struct.pack(">qiibI", base, len(under_crc) + 9 if length is None else length, epoch, 2,
                       crc32c(under_crc)) + under_crc


# ---- magic 0 and 1
def message(magic, offset, timestamp, key, value, attributes=0):
    body = struct.pack(">bB", magic, attributes) + (struct.pack(">q", timestamp) if magic else b"")
    body += sized(key, int32) + sized(value, int32)
    return struct.pack(">qiI", offset, len(body) + 4, zlib.crc32(body)) + body


def messages(magic, records):
    return b"".join(message(magic, r["offset"], r["timestamp"], r["key"], r["value"]) for r in records)


def wrapper(magic, codec, records):
    base = records[0]["offset"] if magic else 0
    inner = messages(magic, [dict(r, offset=r["offset"] - base) for r in records])
    return message(magic, records[-1]["offset"], max(r["timestamp"] for r in records), None, pack(codec, inner, magic),
                   CODECS.index(codec))


# ---- what is expected
def hexed(v):
    return None if v is None else v.hex()


def shown(r, magic, batch_time=None):
    out = {"offset": r["offset"], "timestamp": r["timestamp"] if batch_time is None else batch_time,
           "key": hexed(r["key"]), "value": hexed(r["value"])}
    if magic == 2 and r.get("headers"):
        out["headers"] = [{"key": hexed(k), "value": hexed(v)} for k, v in r["headers"]]
    return out


def head(data, magic, codec, last, max_time, **more):
    at = 17 if magic == 2 else 12
    return dict({"magic": magic, "codec": codec, "lastOffset": last, "sizeInBytes": len(data),
                 "crc": struct.unpack_from(">I", data, at)[0], "maxTimestamp": max_time,
                 "timestampType": ["NoTimestampType", "CreateTime", "CreateTime"][magic]}, **more)


def head2(data, codec, records, base=0, producer=(-1, -1, -1), epoch=-1):
    last = records[-1]["offset"]
    last_sequence = -1 if producer[2] < 0 else (producer[2] + last - base) % (1 << 31)
    return head(data, 2, codec, last, max(r["timestamp"] for r in records), baseOffset=base, count=len(records),
                baseTimestamp=records[0]["timestamp"], producerId=producer[0], producerEpoch=producer[1],
                baseSequence=producer[2], lastSequence=last_sequence, partitionLeaderEpoch=epoch,
                isTransactional=False, isControl=False, deleteHorizonMs=None, records=[shown(r, 2) for r in records])


def appended(records, codec, payload=None, append_time=False, producer=(-1, -1, -1)):
    data = batch([dict(r, offset=BASE + i) for i, r in enumerate(records)], codec, BASE, payload,
                 attributes=8 if append_time else 0, max_time=NOW if append_time else None, producer=producer, epoch=EPOCH)
    return {"header": data[:61].hex(), "size": len(data), "sha256": hashlib.sha256(data).hexdigest(),
            "hex": data.hex()}


TIME = 1600000000000
RECORDS = [
    {"offset": 0, "timestamp": TIME, "key": b"k0", "value": b"the gorge carries the torrent"},
    {"offset": 1, "timestamp": TIME + 130, "key": None, "value": b"", "headers": [(b"h", b"v"), (b"h", None), (b"", b"")]},
    {"offset": 2, "timestamp": TIME + 7, "key": b"", "value": None},
    {"offset": 3, "timestamp": TIME + 20000, "key": b"k" * 70, "value": bytes(range(256))[:150]},
]


def good():
    for codec in CODECS:
        for name, producer in (("plain", (-1, -1, -1)), ("idem", (4000, 3, 2147483646))):
            data = batch(RECORDS, codec, producer=producer)
            yield {"id": "v2-%s-%s" % (codec, name), "hex": data.hex(), "batches": [head2(data, codec, RECORDS, 0, producer)],
                   "appendedCreateTime": appended(RECORDS, codec, data[61:], False, producer),
                   "appendedLogAppendTime": appended(RECORDS, codec, data[61:], True, producer)}
        moved = [dict(r, offset=5000 + 3 * i) for i, r in enumerate(RECORDS)]
        data = batch(moved, codec, 4999, epoch=12)
        yield {"id": "v2-%s-gaps" % codec, "hex": data.hex(), "batches": [head2(data, codec, moved, 4999, epoch=12)]}
    for magic in (0, 1):
        plain = [dict(r, timestamp=r["timestamp"] if magic else -1, headers=[]) for r in RECORDS]
        parts = [messages(magic, [r]) for r in plain]
        yield {"id": "v%d-none" % magic, "hex": b"".join(parts).hex(),
               "batches": [head(p, magic, "none", r["offset"], r["timestamp"], records=[shown(r, magic)])
                           for p, r in zip(parts, plain)],
               "appendedCreateTime": appended(plain, "none"), "appendedLogAppendTime": appended(plain, "none", None, True)}
        for codec in CODECS[1:4]:
            moved = [dict(r, offset=r["offset"] + 300) for r in plain]
            data = wrapper(magic, codec, moved)
            yield {"id": "v%d-%s" % (magic, codec), "hex": data.hex(),
                   "batches": [head(data, magic, codec, 303, max(r["timestamp"] for r in plain),
                                    records=[shown(r, magic) for r in moved])],
                   "appendedCreateTime": {"hex": appended(plain, codec)["hex"]},
                   "appendedLogAppendTime": {"hex": appended(plain, codec, None, True)["hex"]}}


# ---- what is wrong
def split(data):
    at, n = 0, 0
    while len(data) - at >= 12:
        size = struct.unpack_from(">i", data, at + 8)[0]
        if size < 14 or (len(data) - at >= 17 and not 0 <= struct.unpack_from(">b", data, at + 16)[0] <= 2):
            return {"exception": "CorruptRecordException"}
        if len(data) - at < size + 12:
            break
        at, n = at + size + 12, n + 1
    return {"batches": n, "bytes": at, "trailing": len(data) - at}


def cut(data, n):
    return data[:n]


def patched(data, at, new):
    return data[:at] + new + data[at + len(new):]


def bad():
    two = RECORDS[:2]
    ok, one = batch(two), message(1, 0, TIME, b"k", b"v")
    body = b"".join(record(r, 0, TIME) for r in two)
    yield "ok", ok, 8, 0
    yield "crc", patched(ok, 17, b"\0\0\0\0"), 8, 2
    yield "base-offset", patched(ok, 0, struct.pack(">q", 5)), 8, 87
    yield "magic3", patched(ok, 16, b"\3"), 8, 2
    for length in (0, 13, -1):
        yield "length%d" % length, patched(ok, 8, int32(length)), 8, 2
    for n in (11, 17, 60, len(ok) - 1):
        yield "cut%d" % n, cut(ok, n), 8, 87
    yield "trailing", ok + b"\0", 8, 0
    yield "two-batches", ok + ok, 8, 87
    yield "count-more", batch(two, count=3), 8, 87
    yield "count-more-delta", batch(two, count=3, delta=2), 8, 87
    yield "count-less-delta", batch(two, count=1, delta=0), 8, 87
    yield "count-zero", batch(two, count=0), 8, 87
    yield "delta-negative", batch(two, delta=-1), 8, 87
    yield "control", batch(two, attributes=0x20), 8, 87
    yield "transactional", batch(two, attributes=0x10), 8, 53
    yield "sequence-missing", batch(two, producer=(9, 0, -1)), 8, 87
    yield "codec7", batch(two, attributes=7), 8, -1
    yield "append-time", batch(two, attributes=8), 8, 0
    yield "record-length", batch(two, payload=body + b"\0"), 8, 87
    yield "length-varint", batch(two, payload=b"\xff" * 6 + body), 8, -1
    yield "header-count", batch(RECORDS[2:3], base=2, delta=0, payload=record(RECORDS[2], 2, RECORDS[2]["timestamp"])[:-1]
                                + varint(1)), 8, 87
    for codec in CODECS[1:]:
        yield codec + "-ok", batch(two, codec), 8, 0
        yield codec + "-garbage", batch(two, codec, payload=b"\x7fgarbage, not compressed"), 8, -1
        yield codec + "-count-more", batch(two, codec, count=3, delta=2), 8, 87
        yield codec + "-count-less", batch(two, codec, count=1, delta=0), 8, 87
        yield codec + "-trailing-inside", batch(two, codec, payload=pack(codec, body + b"xyz", 2)), 8, 87
        dup = body[:len(record(two[0], 0, TIME))] + record(dict(two[1], offset=0), 0, TIME)
        yield codec + "-offsets", batch(two, codec, payload=pack(codec, dup, 2)), 8, -1
    yield "offsets", batch(two, payload=dup), 8, 0
    yield "gzip-cut", batch(two, "gzip", payload=gzip(body)[:-1]), 8, -1
    yield "gzip-members", batch(two, "gzip", payload=gzip(body[:9]) + gzip(body[9:])), 8, 0
    yield "snappy-bare", batch(two, "snappy", payload=snappy_block(body)), 8, 0
    yield "snappy-claim", batch(two, "snappy", payload=b"\xff\xff\xff\xff\7\0"), 8, -1
    yield "lz4-old-checksum", batch(two, "lz4", payload=lz4(body, 0)), 8, -1
    yield "lz4-no-end", batch(two, "lz4", payload=lz4(body, 2)[:-4]), 8, -1
    yield "zstd-frames", batch(two, "zstd", payload=zstd(body[:9]) + zstd(body[9:])), 8, 0
    yield "zstd-empty", batch(two, "zstd", payload=b""), 8, 87
    yield "zstd-bomb", batch(two[:1], "zstd", payload=bomb()), 8, 0
    yield "v1-ok", one, 2, 0
    yield "v1-crc", patched(one, 12, b"\0\0\0\0"), 2, 2
    yield "v1-in-new-request", one, 8, 87
    yield "v1-value-beyond", short_value(), 2, -1
    yield "v1-codec5", message(1, 0, TIME, None, b"x", 5), 2, -1
    yield "v1-zstd", message(1, 0, TIME, None, zstd(one), 4), 2, 87
    yield "v1-nested", message(1, 0, TIME, None, gzip(wrapper(1, "gzip", two)), 1), 2, 87
    yield "v1-empty", message(1, 0, TIME, None, gzip(b""), 1), 2, 87
    yield "v1-inner-crc", message(1, 0, TIME, None, gzip(patched(one, 12, b"\0\0\0\0")), 1), 2, 2
    yield "v1-inner-cut", message(1, 0, TIME, None, gzip(one + one[:-1]), 1), 2, 0
    yield "v1-inner-magic", message(1, 0, TIME, None, gzip(message(0, 0, TIME, b"k", b"v")), 1), 2, 87
    yield "v1-two-wrappers", wrapper(1, "gzip", two) * 2, 2, 87
    yield "v1-v2", one + ok, 2, 87
    yield "v0-old-checksum", wrapper(0, "lz4", two), 2, 0


def short_value():
    body = struct.pack(">bBq", 1, 0, TIME) + sized(b"k", int32) + int32(5) + b"four"
    return struct.pack(">qiI", 0, len(body) + 4, zlib.crc32(body)) + body


def bomb():
    """One record whose value is 100 MiB of zeros, as zstd blocks of one repeated byte."""
    size, block = 100 << 20, 1 << 17
    front = b"\0" + varint(0) + varint(0) + varint(1) + b"k" + varint(size)
    front = varint(len(front) + size + 1) + front
    out = b"\x28\xb5\x2f\xfd\0\x58" + struct.pack("<I", len(front) << 3)[:3] + front
    out += (struct.pack("<I", block << 3 | 2)[:3] + b"\0") * (size // block)
    return out + struct.pack("<I", 1 << 3 | 1)[:3] + b"\0"


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "records.jsonl"), "w") as out:
        for v in good():
            out.write(json.dumps(v, separators=(",", ":")) + "\n")
    with open(os.path.join(here, "invalid-batches.jsonl"), "w") as out:
        for name, data, version, error in bad():
            v = {"id": name, "hex": data.hex(), "iterateBatches": split(data), "produceVersion": version,
                 "broker391": {"errorCode": error}}
            out.write(json.dumps(v, separators=(",", ":")) + "\n")
        for name, data, indexes in keyless():
            v = {"id": name, "hex": data.hex(), "iterateBatches": split(data), "produceVersion": 8, "compactedTopic": True,
                 "broker391": {"errorCode": 87, "recordErrors": [{"index": i} for i in indexes]}}
            out.write(json.dumps(v, separators=(",", ":")) + "\n")


def keyless():
    for codec in CODECS:
        yield "keyless-" + codec, batch(RECORDS, codec), [1]
        yield "keyless-all-" + codec, batch([dict(r, key=None) for r in RECORDS], codec), [0, 1, 2, 3]


if __name__ == "__main__":
    main()
