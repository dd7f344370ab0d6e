"""tests/system/harness.py - real daemons for tests: start, stop, kill, restart, look inside.

Nothing here sleeps: wait_for() polls a condition until it holds or its time is up.
"""
import collections
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("KLAMM_BUILD", os.path.join(TOP, "build"))
BIN = os.path.join(BUILD, "bin")
SANITIZED = os.path.basename(BUILD) in ("address", "thread")
SLOW = 5 if SANITIZED else 1        # sanitized daemons get more time
# For consumers that are only assigned partitions: librdkafka wants a group. A commit would be waited for in close(), for ever
# where no coordinator can be had.
NO_GROUP = {"group.id": "g", "enable.auto.commit": False}
READY = re.compile(r"ready in (\d+) ms")
KEPT_PORTS = collections.deque(maxlen=200)      # sockets that are bound, and do not listen


def wait_for(condition, within=30.0, what=None):
    """Polls until condition() gives something true, and gives it back."""
    end = time.monotonic() + within * SLOW
    pause = threading.Event()
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("not within %.1f s: %s" % (within * SLOW, what or getattr(condition, "__name__", condition)))
        pause.wait(0.01)


def in_time(limit, measure, tries=4):
    """measure() gives seconds: at most limit. The best of a few, since a machine that has other work, or stands still for a
    moment, spoils a time, but not several."""
    took = []
    while not took or min(took) > limit * SLOW:
        assert len(took) < tries, "more than %.2f s: %s" % (limit * SLOW, ["%.2f" % t for t in took])
        took.append(measure())


def free_ports(n):
    """n ports that nobody listens on. Below those that the system gives to outgoing connections: among these, a client that
    tries to reach a broker that is down can be given the very port, and the broker then finds it in use. At random, since
    other tests run beside these; and they stay ours while nobody listens there, or those could take the port of a broker that
    is down for a moment: who wants to listen (with SO_REUSEADDR) may, but no other free_ports() finds them free."""
    socks = []
    while len(socks) < n:
        s = socket.socket()
        try:
            s.bind(("127.0.0.1", random.randrange(10000, 32000)))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            socks.append(s)
        except OSError:
            s.close()
    KEPT_PORTS.extend(socks)
    return [s.getsockname()[1] for s in socks]


class Broker:
    """One klammd with a directory of its own. Restarts keep port and data."""

    def __init__(self, folder, overrides=None, wrapper=None, env=None):
        self.folder = str(folder)
        self.port = free_ports(1)[0]
        self.data = os.path.join(self.folder, "data")
        self.log_path = os.path.join(self.folder, "klammd.log")
        self.overrides = {
            "broker.id": "0",
            "listeners": "PLAINTEXT://127.0.0.1:%d" % self.port,
            "advertised.listeners": "PLAINTEXT://127.0.0.1:%d" % self.port,
            "log.dirs": self.data,
            "group.initial.rebalance.delay.ms": "0",
            "log.initial.task.delay.ms": "3600000",     # retention deletes the old records that tests write: not while one runs
        }
        self.overrides.update(overrides or {})
        self.wrapper = wrapper or []
        self.env = env or {}
        self.args = []                  # after the file
        self.process = None
        self.starts = 0

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    def argv(self):
        path = os.path.join(self.folder, "server.properties")
        with open(path, "w", encoding="latin-1") as f:
            f.writelines("%s=%s\n" % pair for pair in self.overrides.items())
        return self.wrapper + [os.path.join(BUILD, "klammd"), path] + self.args

    def spawn(self):
        os.makedirs(self.folder, exist_ok=True)
        log = open(self.log_path, "ab")
        self.log_start = log.tell()
        self.process = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                        cwd=self.folder, env=dict(os.environ, **self.env))
        log.close()
        self.starts += 1
        return self

    def start(self, within=60, loaded=True):
        """loaded: and has opened all its logs. On a slow machine it serves clients before."""
        self.spawn()
        wait_for(self.is_ready, within, lambda_text("broker ready", self))
        if loaded and "are still being loaded)" in self.log(this_start=True):
            wait_for(self.has_loaded, within, lambda_text("all logs are open, or offline", self))
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError("klammd ended with status %s:\n%s" % (self.process.returncode, self.log()))
        return READY.search(self.log(this_start=True))

    def has_loaded(self):
        from wire import Wire
        assert self.is_ready()
        try:
            with Wire(self.port) as w:
                topics = w.call("Metadata", 9, Topics=None, AllowAutoTopicCreation=False)["Topics"]
        except OSError:
            return False
        return all(p["LeaderId"] >= 0 or p["OfflineReplicas"] for t in topics for p in t["Partitions"])

    def ready_ms(self):
        return int(READY.search(self.log(this_start=True)).group(1))

    def log(self, this_start=False):
        with open(self.log_path, "rb") as f:
            f.seek(self.log_start if this_start else 0)
            return f.read().decode("utf-8", "replace")

    def stop(self, sig=signal.SIGTERM, within=60):
        """Asks it to stop; gives its exit status. A sanitizer's report makes that non-zero. sig None: it has been told already,
        and another signal, a second later, would mean that it shall end at once."""
        if self.process is None:
            return None
        if sig is not None and self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            status = self.process.wait(within * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("klammd did not stop within %d s:\n%s" % (within * SLOW, self.log()[-4000:])) from None
        self.process = None
        return status

    def kill9(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self):
        if self.process is not None:
            assert self.stop() == 0, self.log()[-4000:]
        return self.start()

    def alive(self):
        process = self.process          # other threads ask, too, while the broker is stopped
        return process is not None and process.poll() is None

    def rss_kb(self):
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def tool(self, name, *args, stdin=None, within=60, check=True):
        """Runs build/bin/<name> against this broker; gives its completed process with text output."""
        return tool(name, "--bootstrap-server", self.address, *args, stdin=stdin, within=within, check=check)

    def create_topic(self, topic, partitions=1, **config):
        extra = [a for k, v in config.items() for a in ("--config", "%s=%s" % (k.replace("_", "."), v))]
        self.tool("kafka-topics.sh", "--create", "--topic", topic, "--partitions", str(partitions), *extra)
        return topic

    def files(self, partition):
        return sorted(os.listdir(os.path.join(self.data, partition)))


def lambda_text(text, broker):
    class Text:
        def __str__(self):
            return "%s; its log:\n%s" % (text, broker.log()[-4000:])
    return Text()


def tool(name, *args, stdin=None, within=60, check=True):
    done = subprocess.run([os.path.join(BIN, name), *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=within * SLOW, text=True, errors="surrogateescape", check=False)
    if check:
        assert done.returncode == 0, "%s %s: status %d\n%s%s" % (name, args, done.returncode, done.stdout, done.stderr)
    return done


class Raw:
    """A plain socket that speaks Kafka's framing and nothing more."""

    def __init__(self, broker_or_port, host="127.0.0.1"):
        self.sock = socket.create_connection((host, getattr(broker_or_port, "port", broker_or_port)), timeout=30 * SLOW)
        self.correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def send_request(self, key, version, body, client_id=b"test", flexible=False):
        self.correlation += 1
        head = struct.pack(">hhi", key, version, self.correlation) + struct.pack(">h", len(client_id)) + client_id
        if flexible:
            head += b"\0"
        self.send(struct.pack(">i", len(head) + len(body)) + head + body)
        return self.correlation

    def read_exactly(self, n):
        out = b""
        while len(out) < n:
            part = self.sock.recv(n - len(out))
            if not part:
                raise EOFError("closed after %d of %d bytes" % (len(out), n))
            out += part
        return out

    def read_response(self):
        """(correlation id, everything after it)"""
        size, = struct.unpack(">i", self.read_exactly(4))
        frame = self.read_exactly(size)
        return struct.unpack(">i", frame[:4])[0], frame[4:]

    def call(self, key, version, body, **kw):
        want = self.send_request(key, version, body, **kw)
        got, rest = self.read_response()
        assert got == want
        return rest

    def is_closed(self):
        """True once the peer has closed (data that still comes is dropped)."""
        readable, _, _ = select.select([self.sock], [], [], 0)
        if not readable:
            return False
        try:
            return self.sock.recv(65536) == b""
        except ConnectionError:
            return True


def string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">h", len(data)) + data


def remove_tree(path):
    shutil.rmtree(path, ignore_errors=True)
