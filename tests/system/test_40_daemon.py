"""klammd as a daemon, and what its network side promises: listeners, limits, memory of connections."""
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import time

import pytest

from harness import BUILD, SLOW, Raw, free_ports, in_time, wait_for

API_VERSIONS = 18


def process_is_gone(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_daemon_detaches_and_logs_to_log_dir(brokers, tmp_path):
    b = brokers(env={"LOG_DIR": str(tmp_path / "logs")})
    os.makedirs(b.folder)
    argv = b.argv()
    done = subprocess.run([argv[0], "-daemon"] + argv[1:], env=dict(os.environ, **b.env), cwd=b.folder, timeout=30 * SLOW,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout
    log = tmp_path / "logs" / "server.log"
    wait_for(lambda: "ready in" in log.read_text(), within=30, what="the daemon is ready")
    pids = find_holders(str(log))
    assert len(pids) == 1, pids
    try:
        assert os.getsid(pids[0]) == pids[0]
        with Raw(b) as c:
            assert c.call(API_VERSIONS, 0, b"")[:2] == b"\0\0"
    finally:
        os.kill(pids[0], signal.SIGTERM)
    wait_for(lambda: process_is_gone(pids[0]), within=30, what="the daemon ends")
    assert "stopped cleanly" in log.read_text()


def find_holders(path):
    out = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink("/proc/%s/fd/1" % pid) == path:
                out.append(int(pid))
        except OSError:
            pass
    return out


def test_daemon_with_a_bad_configuration_says_so_before_it_detaches(brokers, tmp_path):
    b = brokers({"num.io.threads": "none"}, env={"LOG_DIR": str(tmp_path / "logs")})
    os.makedirs(b.folder)
    argv = b.argv()
    done = subprocess.run([argv[0], "-daemon"] + argv[1:], env=dict(os.environ, **b.env), timeout=30 * SLOW, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode != 0
    assert "num.io.threads" in done.stdout


def test_options(tmp_path):
    def run(*args):
        return subprocess.run([os.path.join(BUILD, "klammd"), *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=30 * SLOW, check=False, cwd=tmp_path)
    assert run("--help").returncode == 0
    assert re.match(r"klammd \d+\.\d+", run("--version").stdout)
    assert run("--no-such-option").returncode != 0
    assert run("one.properties", "two.properties").returncode != 0
    missing = run(str(tmp_path / "missing.properties"))
    assert missing.returncode != 0 and "missing.properties" in missing.stdout


def test_several_listeners_and_ipv6(brokers):
    if not socket.has_ipv6 or not ipv6_works():
        pytest.skip("no IPv6 on this machine")
    ports = free_ports(2)
    b = brokers({"listeners": "ONE://127.0.0.1:%d,TWO://[::1]:%d" % tuple(ports),
                 "advertised.listeners": "ONE://127.0.0.1:%d,TWO://[::1]:%d" % tuple(ports),
                 "listener.security.protocol.map": "ONE:PLAINTEXT,TWO:PLAINTEXT", "inter.broker.listener.name": "ONE"})
    b.start()
    for port, host in ((ports[0], "127.0.0.1"), (ports[1], "::1")):
        with Raw(port, host) as c:
            assert c.call(API_VERSIONS, 0, b"")[:2] == b"\0\0"
    with Raw(ports[1], "::1") as c:
        c.send(struct.pack(">i", -9))
        wait_for(c.is_closed, within=30, what="closed")
        assert re.search(r"TWO \[::1\]:\d+: closed: .*-9", b.log())


def ipv6_works():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def test_idle_connections_are_cheap(broker):
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < count + 100:
        pytest.skip("only %d descriptors are allowed here" % hard)
    clients = []
    try:
        with Raw(broker) as c:
            c.call(API_VERSIONS, 0, b"")
        before = broker.rss_kb()
        for _ in range(count):
            clients.append(Raw(broker))
            clients[-1].call(API_VERSIONS, 0, b"")
        each = (broker.rss_kb() - before) * 1024 / count
        assert each < 16384 * SLOW, "%d bytes for each idle connection" % each
    finally:
        for c in clients:
            c.sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_limits_by_address(brokers):
    b = brokers({"max.connections.per.ip": "2"}).start()
    with Raw(b) as one, Raw(b) as two:
        one.call(API_VERSIONS, 0, b"")
        two.call(API_VERSIONS, 0, b"")
        with Raw(b) as three:
            wait_for(three.is_closed, within=30, what="the third is closed")
        one.call(API_VERSIONS, 0, b"")
    assert "max.connections.per.ip" in b.log()


def test_it_stops_while_consumers_wait_and_clients_are_silent(brokers):
    """A supervisor waits five seconds before it kills."""
    b = brokers().start()
    b.create_topic("t")

    def stop():
        if not b.alive():
            b.start()
        waiting = subprocess.Popen(["kcat", "-m", "60", "-q", "-C", "-b", b.address, "-t", "t", "-o", "end", "-X",
                                    "fetch.wait.max.ms=30000"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with Raw(b) as c:
                c.call(API_VERSIONS, 0, b"")
                c.send(struct.pack(">i", 1000))
                wait_for(lambda: connections_of(b) >= 2, within=30, what="the consumer is connected")
                began = time.monotonic()
                assert b.stop() == 0
                return time.monotonic() - began
        finally:
            waiting.kill()
            waiting.wait()
    in_time(4, stop)
    assert "stopped cleanly" in b.log()


def connections_of(broker):
    """Established connections on the broker's port, its side."""
    count = 0
    with open("/proc/net/tcp", encoding="ascii") as f:
        for line in list(f)[1:]:
            _, local, _, state = line.split()[:4]
            count += state == "01" and int(local.split(":")[1], 16) == broker.port
    return count


def test_idle_expiry(brokers):
    b = brokers({"connections.max.idle.ms": "300"}).start()

    def served():
        with Raw(b) as c:
            try:
                c.call(API_VERSIONS, 0, b"")
            except (EOFError, ConnectionError):     # it was idle for too long before that
                return False
            wait_for(c.is_closed, within=30, what="the idle connection is closed")
            return True
    wait_for(served, what="one is served, and closed when it is idle")


def test_advertised_name_that_nobody_can_resolve_is_warned_about(brokers):
    b = brokers()
    b.overrides["advertised.listeners"] = "PLAINTEXT://no-such-host.invalid:%d" % b.port
    b.start()
    assert "no-such-host.invalid" in b.log() and "advertised.listeners" in b.log()
