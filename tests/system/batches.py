"""tests/system/batches.py - record batches by hand: what a test wants to send, and what it got."""
import struct


def table():
    out = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ 0x82F63B78 if i & 1 else i >> 1
        out.append(i)
    return out


TABLE = table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc = TABLE[(crc ^ b) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def varint(n):
    n = n << 1 ^ n >> 63
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(data):
    return varint(-1) if data is None else varint(len(data)) + data


def batch(values, key=None, timestamp=1700000000000, attributes=0, producer_id=-1, epoch=-1, sequence=-1, base_offset=0):
    """One batch of magic 2, not compressed; all records have the timestamp."""
    records = b""
    for i, value in enumerate(values):
        body = b"\0" + varint(0) + varint(i) + field(key) + field(value) + varint(0)
        records += varint(len(body)) + body
    summed = struct.pack(">hiqqqhii", attributes, len(values) - 1, timestamp, timestamp, producer_id, epoch, sequence,
                         len(values)) + records
    return struct.pack(">qiibI", base_offset, len(summed) + 9, -1, 2, crc32c(summed)) + summed


def heads(data):
    """(base offset, last offset, size) of each whole batch of magic 2."""
    pos, out = 0, []
    while pos + 61 <= len(data):
        base, length = struct.unpack_from(">qi", data, pos)
        delta, = struct.unpack_from(">i", data, pos + 23)
        if pos + 12 + length > len(data):
            break
        out.append((base, base + delta, 12 + length))
        pos += 12 + length
    return out


def offsets_of(data):
    return [o for base, last, _ in heads(data) for o in range(base, last + 1)]


def decode_sets(data):
    """Messages of magic 0 and 1, not compressed."""
    pos, out = 0, []
    while pos + 26 <= len(data):
        offset, size = struct.unpack_from(">qi", data, pos)
        if pos + 12 + size > len(data):
            break
        magic = data[pos + 16]
        at = pos + (26 if magic == 1 else 18)
        parts = []
        for _ in range(2):
            n, = struct.unpack_from(">i", data, at)
            parts.append(None if n < 0 else data[at + 4:at + 4 + n])
            at += 4 + max(n, 0)
        out.append({"offset": offset, "magic": magic, "key": parts[0], "value": parts[1]})
        pos += 12 + size
    return out
