"""Limits on connections and their log lines; request size; what an idle connection may do."""
import struct
import time

import pytest

from harness import Raw, free_ports, wait_for

API_VERSIONS = 18


def served(c):
    try:
        return c.call(API_VERSIONS, 0, b"")[:2] == b"\0\0"
    except (EOFError, ConnectionError, OSError):
        return False


def close_all(many):
    for c in many:
        c.sock.close()


@pytest.mark.parametrize("overrides", [
    {"max.connections.per.ip": "5"},
    {"max.connections.per.ip": "100", "max.connections.per.ip.overrides": "127.0.0.1:5"},
])
def test_connections_from_one_address(brokers, overrides):
    b = brokers(overrides).start()
    many = [Raw(b) for _ in range(5)]
    try:
        assert all(served(c) for c in many)
        with Raw(b) as sixth:
            assert not served(sixth)
        many.pop().sock.close()

        def place_again():
            c = Raw(b)
            if served(c):
                many.append(c)
                return True
            c.sock.close()
            return False
        wait_for(place_again, what="a closed connection makes room")
    finally:
        close_all(many)


def test_connections_in_all_wait_for_room(brokers):
    """Beyond max.connections the broker stops accepting on its listeners; whoever waits is served when there is room."""
    b = brokers({"max.connections": "6"}).start()
    many = [Raw(b) for _ in range(6)]
    try:
        assert all(served(c) for c in many)
        with Raw(b) as waits:
            many.pop().sock.close()
            wait_for(lambda: served(waits) or None, what="served once there is room")
    finally:
        close_all(many)


def test_idle_connections_are_closed(brokers):
    b = brokers({"connections.max.idle.ms": "300"}).start()

    def served_and_closed():
        with Raw(b) as idle:
            if not served(idle):                    # it was idle for too long before that
                return False
            wait_for(idle.is_closed, what="an idle connection is closed")
            return True
    wait_for(served_and_closed, what="one is served, and closed when it is idle")


def test_a_request_beyond_the_limit(brokers):
    b = brokers({"socket.request.max.bytes": "100000"}).start()
    with Raw(b) as c, Raw(b) as bystander:
        c.send(struct.pack(">i", 100001))
        wait_for(c.is_closed)
        assert served(bystander)
    assert "100001" in b.log() and "socket.request.max.bytes" in b.log()


def test_a_flood_of_nonsense_is_a_few_lines(broker):
    before, began = len(broker.log().splitlines()), time.monotonic()
    for _ in range(500):
        with Raw(broker) as c:
            c.send(b"GET / HTTP/1.1\r\n\r\n")
            wait_for(c.is_closed)
    # 20 in 10 s are told; a slow machine takes longer.
    assert 1 <= len(broker.log().splitlines()) - before < 100 * (1 + (time.monotonic() - began) // 30)


def test_listeners_have_limits_of_their_own(brokers):
    first, second = free_ports(2)
    b = brokers({"listeners": "PLAINTEXT://127.0.0.1:%d,B://127.0.0.1:%d" % (first, second),
                 "advertised.listeners": "PLAINTEXT://127.0.0.1:%d" % first,
                 "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,B:PLAINTEXT",
                 "listener.name.b.max.connections": "2"})
    b.port = first
    b.start()
    many = [Raw(second), Raw(second)]
    try:
        assert all(served(c) for c in many)
        with Raw(first) as c:
            assert served(c)
        with Raw(second) as third:
            many.pop().sock.close()
            wait_for(lambda: served(third) or None, what="served once there is room")
    finally:
        close_all(many)
