"""tests/system/cluster_zk.py - a real ZooKeeper (Debian's package `zookeeper`) for tests: one server, or an ensemble.

    with ZooKeeper(folder) as zk:                   # ZooKeeper(folder, servers=3): an ensemble
        zk.connect                                  # "127.0.0.1:1234"
        zk.client                                   # a kazoo client of the test's own, at the root

One ZooKeeper serves many tests: each has a chroot of its own. Ticks are short, so sessions may be, too. It syncs nothing: no
test here cuts its power.
"""
import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading

from harness import SLOW, free_ports, wait_for

JARS = "/usr/share/java/zookeeper.jar"
LOGGER = "/usr/share/java/slf4j-simple.jar"
TICK_MS = 200


def why_not():
    """None, or why no ZooKeeper can be had here."""
    if shutil.which("java") is None:
        return "no ZooKeeper: there is no java (make setup installs it)"
    if not os.path.exists(JARS):
        return "no ZooKeeper: %s is not there (make setup installs Debian's package zookeeper)" % JARS
    try:
        import kazoo  # noqa: F401
    except ImportError:
        return "no ZooKeeper: python3-kazoo is not there (make setup installs it)"
    return None


class Server:
    """One process."""

    def __init__(self, folder, number, port, peers):
        self.folder, self.number, self.port, self.peers = folder, number, port, peers
        self.process = None
        self.log_path = os.path.join(folder, "zookeeper.log")

    def settings(self):
        lines = ["tickTime=%d" % TICK_MS, "minSessionTimeout=%d" % (2 * TICK_MS), "maxSessionTimeout=600000", "initLimit=100",
                 "syncLimit=300", "dataDir=" + os.path.join(self.folder, "data"), "clientPort=%d" % self.port,
                 "clientPortAddress=127.0.0.1", "maxClientCnxns=0", "4lw.commands.whitelist=*", "admin.enableServer=false"]
        return lines + ["server.%d=127.0.0.1:%d:%d" % (n, a, b) for n, (a, b) in self.peers.items()]

    def spawn(self):
        os.makedirs(os.path.join(self.folder, "data"), exist_ok=True)
        path = os.path.join(self.folder, "zoo.cfg")
        with open(path, "w", encoding="ascii") as f:
            f.write("\n".join(self.settings()) + "\n")
        with open(os.path.join(self.folder, "data", "myid"), "w", encoding="ascii") as f:
            f.write("%d\n" % self.number)
        main = "quorum.QuorumPeerMain" if self.peers else "ZooKeeperServerMain"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.forceSync=no",
                 "-Dzookeeper.admin.enableServer=false", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                 "-cp", JARS + ":" + LOGGER, "org.apache.zookeeper.server." + main, path],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)

    def says(self, word):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as s:
                s.sendall(word.encode())
                return s.recv(65536).decode("utf-8", "replace")
        except OSError:
            return ""

    def serves(self):
        assert self.process.poll() is None, "ZooKeeper ended:\n" + self.log()
        return "Mode:" in self.says("srvr")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()[-4000:]

    def send_signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class ZooKeeper:
    def __init__(self, folder, servers=1):
        self.folder = str(folder)
        self.servers_n = servers
        self.servers, self.kazoo = [], None
        self.chroots = 0

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.end()

    def make(self):
        ports = free_ports(3 * self.servers_n)
        peers = {}
        if self.servers_n > 1:
            peers = {n + 1: (ports[3 * n + 1], ports[3 * n + 2]) for n in range(self.servers_n)}
        self.servers = [Server(os.path.join(self.folder, "zk%d" % (n + 1)), n + 1, ports[3 * n], peers)
                        for n in range(self.servers_n)]

    def start(self):
        for attempt in range(3):            # a port may be taken by somebody else meanwhile
            self.make()
            try:
                for s in self.servers:
                    s.spawn()
                wait_for(lambda: all(s.serves() for s in self.servers), 60, "ZooKeeper serves")
                break
            except AssertionError:
                self.end()
                if attempt == 2:
                    raise
        self.client.ensure_path("/")
        return self

    @property
    def connect(self):
        return ",".join("127.0.0.1:%d" % s.port for s in self.servers)

    @property
    def client(self):
        if self.kazoo is None:
            self.kazoo = new_client(self.connect)
        return self.kazoo

    def chroot(self):
        """The next one; the brokers make it."""
        self.chroots += 1
        return "/c%d" % self.chroots

    def restart(self, pause):
        """The only server is killed and started again after pause(). Whoever connects in the moment before its database is there
        is never answered, and the client would wait for as long as its session may last: it connects again then."""
        server, = self.servers
        server.kill()
        pause()
        server.spawn()
        wait_for(server.serves, 60, "ZooKeeper serves again")
        client, wait = self.client, threading.Event()
        while not client.connected:
            wait.wait(1)
            sock = client._connection._socket           # pylint: disable=protected-access
            if not client.connected and sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def leader(self):
        """The ensemble's leading server."""
        return next((s for s in self.servers if s.process is not None and "Mode: leader" in s.says("srvr")), None)

    def end(self):
        if self.kazoo is not None:
            close_client(self.kazoo)
            self.kazoo = None
        for s in self.servers:
            s.kill()


def new_client(connect, timeout=60.0, client_id=None):
    """Sessions of tests are long: a machine that stands still for a while spoils nothing. Tried again at an even pace: by
    itself, a client that has waited for a slow start stays away for up to a minute."""
    from kazoo.client import KazooClient
    from kazoo.retry import KazooRetry
    client = KazooClient(hosts=connect, timeout=timeout, client_id=client_id,
                         connection_retry=KazooRetry(max_tries=-1, delay=0.1, backoff=1, max_delay=0.2),
                         command_retry=KazooRetry(max_tries=-1, delay=0.05, backoff=1, max_delay=0.2, deadline=60 * SLOW))
    client.start(60 * SLOW)
    return client


def close_client(client):
    client.stop()
    client.close()


def take_over_session(port, session, password, timeout=30.0):
    """Connects to a session of somebody else with its id and password. A socket, or None if the session is no more.
    ZooKeeper moves the session to this connection, the other one is closed."""
    sock = socket.create_connection(("127.0.0.1", port), timeout)
    body = struct.pack(">iqiq", 0, 0, 30000, session) + struct.pack(">i", len(password)) + password + b"\0"
    sock.sendall(struct.pack(">i", len(body)) + body)
    answer = read_frame(sock)
    got, = struct.unpack(">q", answer[8:16])
    if got != session:
        sock.close()
        return None
    return sock


def read_frame(sock):
    def exactly(n):
        out = b""
        while len(out) < n:
            part = sock.recv(n - len(out))
            if not part:
                raise ConnectionError("closed by ZooKeeper")
            out += part
        return out
    return exactly(int.from_bytes(exactly(4), "big"))


def expire_session(port, session, password):
    """Ends a session of somebody else, as ZooKeeper does when its time is up: its ephemeral nodes go, and its owner learns
    that it has expired when it comes back. False: there was no such session."""
    sock = take_over_session(port, session, password)
    if sock is None:
        return False
    with sock:
        close = struct.pack(">ii", 1, -11)
        sock.sendall(struct.pack(">i", len(close)) + close)
        try:
            read_frame(sock)
        except ConnectionError:
            pass
    return True
