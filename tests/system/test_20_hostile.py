"""What arrives on the port and is no proper request: a closed connection or the protocol's error, one line in the log, and
everybody else goes on."""
import os
import random
import struct

import pytest

from harness import Raw, string, wait_for

API_VERSIONS = 18


def still_serves(broker):
    with Raw(broker) as c:
        assert c.call(API_VERSIONS, 0, b"")[:2] == b"\0\0"


def closed_by_peer(c):
    wait_for(c.is_closed, within=30, what="the connection is closed")


TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + b"\x5a" * 190

CASES = [
    ("garbage", b"\x7f\x45\x4c\x46 this is no request at all \xff\xff", None),
    ("length_max", struct.pack(">i", 2**31 - 1) + b"abc", "2147483647"),
    ("length_negative", struct.pack(">i", -5), "-5"),
    ("length_zero", struct.pack(">i", 0), None),
    ("header_cut", struct.pack(">i", 4) + b"\0\x12\0\0", None),
    ("unknown_key", struct.pack(">ihhih", 10, 999, 0, 1, -1), "999"),
    ("unknown_version", struct.pack(">ihhih", 10, 3, 99, 1, -1), "99"),
    ("negative_version", struct.pack(">ihhih", 10, 3, -1, 1, -1), None),
    ("client_id_too_long", struct.pack(">ihhih", 10, 3, 0, 1, 30000), None),
    ("body_cut", struct.pack(">ihhihi", 14, 3, 1, 1, -1, 1000000), None),
    ("tls_hello", TLS_HELLO, "TLS"),
    ("http_get", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
    ("http_post", b"POST /topics/t HTTP/1.1\r\n\r\n", "HTTP"),
]


@pytest.mark.parametrize("name,data,word", CASES, ids=[c[0] for c in CASES])
def test_nonsense_closes_one_connection_and_is_named(broker, name, data, word):
    with Raw(broker) as bystander, Raw(broker) as c:
        peer = "127.0.0.1:%d" % c.sock.getsockname()[1]
        c.send(data)
        closed_by_peer(c)
        bystander.call(API_VERSIONS, 0, b"")
    lines = [line for line in broker.log().splitlines() if peer in line]
    assert len(lines) == 1, broker.log()
    assert "PLAINTEXT" in lines[0], lines
    if word:
        assert word in lines[0], lines


def test_api_versions_of_an_unknown_version_is_answered_in_version_0(broker):
    with Raw(broker) as c:
        body = c.call(API_VERSIONS, 99, b"", flexible=True)
        error, count = struct.unpack(">hi", body[:6])
        assert (error, count) == (35, 1)
        key, low, high = struct.unpack(">hhh", body[6:12])
        assert (key, low) == (API_VERSIONS, 0) and high >= 4


def test_a_frame_that_comes_byte_by_byte_is_served(broker):
    frame = struct.pack(">hhi", API_VERSIONS, 0, 77) + string("slow")
    with Raw(broker) as c:
        for byte in struct.pack(">i", len(frame)) + frame:
            c.send(bytes([byte]))
        assert c.read_response()[0] == 77


def test_a_long_length_without_bytes_takes_no_memory(broker):
    with Raw(broker) as c:
        c.call(API_VERSIONS, 0, b"")
    before = broker.rss_kb()
    open_ones = [Raw(broker) for _ in range(200)]
    try:
        for c in open_ones:
            c.send(struct.pack(">i", 100 * 1024 * 1024) + b"1234")
        still_serves(broker)
        assert broker.rss_kb() - before < 20000
    finally:
        for c in open_ones:
            c.sock.close()


def test_pipelined_requests_are_answered_in_order(broker):
    with Raw(broker) as c:
        sent = [c.send_request(API_VERSIONS, 0, b"") for _ in range(500)]
        assert [c.read_response()[0] for _ in sent] == sent


def test_a_client_that_never_reads_disturbs_nobody(broker):
    with Raw(broker) as c:
        c.sock.setblocking(False)
        frame = struct.pack(">hhi", API_VERSIONS, 0, 1) + string("mute")
        frame = (struct.pack(">i", len(frame)) + frame) * 1000
        try:
            for _ in range(200):
                c.sock.send(frame)
        except BlockingIOError:
            pass
        for _ in range(20):
            still_serves(broker)


def test_thousands_of_random_frames(broker):
    """Right keys and versions, random bodies: each is answered or closes its connection; the daemon lives."""
    seed = int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    print("seed", seed)
    with Raw(broker) as c:
        body = c.call(API_VERSIONS, 0, b"")
    count, = struct.unpack(">i", body[2:6])
    apis = [struct.unpack(">hhh", body[6 + 6 * i:12 + 6 * i]) for i in range(count)]
    c = Raw(broker)
    for _ in range(2000):
        key, low, high = rng.choice(apis)
        noise = bytes(rng.choice((0, 0, 0, 1, 2, 255, rng.randrange(256))) for _ in range(rng.randrange(120)))
        try:
            c.send_request(key, rng.randint(low, high), noise)
            if rng.random() < 0.5 or c.is_closed():
                c.sock.close()
                c = Raw(broker)
        except OSError:
            c = Raw(broker)
    c.sock.close()
    assert broker.alive(), "seed %d: %s" % (seed, broker.log()[-4000:])
    still_serves(broker)
