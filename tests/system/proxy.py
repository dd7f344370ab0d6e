"""tests/system/proxy.py - our own network between brokers, and between brokers and ZooKeeper: a TCP proxy that knows frames.

    net = Net()
    port = net.kafka_listener(2, lambda: broker2_port)      # to be advertised by broker 2 to other brokers
    port = net.zookeeper_listener(2, zk_port)               # for broker 2's zookeeper.connect
    net.cut(1, 2)                                           # nothing passes from 1 to 2 any more (2 to 1 does)
    net.heal()
    held = net.hold(api="LeaderAndIsr", dst=3)              # such requests to broker 3 wait
    held.wait(1); held.release()

Who asks is told by the client id of a connection's first request: brokers name themselves in it. The parties are the
brokers' ids and "zk". A connection is one pipe each way; in a pipe frames keep their order, so what comes behind a held frame
waits, too. One thread moves everything; rules are made and ended from any thread.
"""
import collections
import contextlib
import re
import selectors
import socket
import struct
import threading
import time

import wire
from harness import SLOW, free_ports, wait_for

SOURCE = re.compile(r"^(?:[a-z-]*?-)?(\d+)(?:-|$)")         # "3", "broker-3-fetcher-0", "broker-3-txn-marker-sender"
NAMES = {api.key: name for name, api in wire.APIS.items()}
ZK = "zk"
ZK_OPS = {1: "create", 2: "delete", 3: "exists", 4: "getData", 5: "setData", 8: "getChildren", 9: "sync", 11: "ping",
          12: "getChildren2", 13: "check", 14: "multi", 15: "create2", 19: "createContainer", 21: "createTTL", -11: "close",
          101: "setWatches", 105: "setWatches2", 22: "multiRead"}
ANSWER = -559038737             # correlation of what the proxy asks by itself


class Frame:
    """One request or answer. `data` has the size in front."""
    __slots__ = ("src", "dst", "answer", "api", "version", "correlation", "data", "pipe", "extra")

    def __init__(self, pipe, data):
        self.pipe, self.data = pipe, data
        self.src, self.dst = pipe.conn.src, pipe.conn.dst
        self.answer = pipe.answers
        self.api = self.version = self.correlation = self.extra = None

    def fields(self):
        """A Kafka frame's body as a dict."""
        if self.answer:
            return wire.decode_response(self.api, self.version, self.data[4:])[1]
        return wire.decode_request(self.data[4:])[3]

    def __repr__(self):
        return "%s %s v%s %s->%s" % ("answer to" if self.answer else "request", self.api, self.version, self.src, self.dst)


class Pipe:
    """One direction of a connection: bytes become frames, frames wait in a queue, leave it and become bytes."""

    def __init__(self, conn, source, target, answers):
        self.conn, self.source, self.target, self.answers = conn, source, target, answers
        self.buffer = bytearray()
        self.queue = collections.deque()        # (when it may leave, frame)
        self.out = bytearray()
        self.ended = False
        self.held_by = None

    def ends(self):
        """(who sends, who gets)"""
        return (self.conn.dst, self.conn.src) if self.answers else (self.conn.src, self.conn.dst)


class Conn:
    def __init__(self, src, dst, client, server):
        self.src, self.dst = src, dst           # src: None until the first request says so
        self.client, self.server = client, server
        self.asked = {}                         # correlation -> (api, version)
        self.order = collections.deque()        # ZooKeeper: operations without their answers
        self.swallow = set()                    # correlations whose answers go nowhere
        self.first = {False: True, True: True}  # by pipe: nothing has passed yet
        self.pipes = [Pipe(self, client, server, False), Pipe(self, server, client, True)]
        self.closed = False


class Rule:
    """What is to happen to some frames. Give it up with end()."""

    def __init__(self, net, what, action, limit):
        self.net, self.what, self.action, self.limit = net, what, action, limit
        self.frames = []                # that matched
        self.active = True
        self.holding = []               # pipes

    def matches(self, frame):
        if not self.active or (self.limit is not None and len(self.frames) >= self.limit):
            return False
        for key in ("src", "dst", "answer"):
            if self.what.get(key) is not None and getattr(frame, key) != self.what[key]:
                return False
        api = self.what.get("api")
        if api is not None and frame.api not in (api if isinstance(api, (tuple, set, list)) else (api,)):
            return False
        return self.what.get("when") is None or bool(self.what["when"](frame))

    def wait(self, n=1, within=30):
        wait_for(lambda: len(self.frames) >= n, within, "%d frames like %s, seen %s" % (n, self.what, self.frames))
        return self.frames

    def end(self):
        """No frame matches any more; what is held goes on."""
        with self.net.lock:
            self.active = False
            for pipe in self.holding:
                pipe.held_by = None
            self.holding.clear()
        self.net.wake()

    release = end

    def drop(self):
        """What is held goes nowhere; what comes goes on. Their connections end, as they would."""
        with self.net.lock:
            self.active = False
            for pipe in self.holding:
                pipe.held_by = None
                self.net.close(pipe.conn)
            self.holding.clear()
        self.net.wake()


class Net:
    def __init__(self):
        self.lock = threading.RLock()
        self.select = selectors.DefaultSelector()
        self.conns, self.rules = set(), []
        self.cuts, self.delays = set(), {}
        self.passwords = {}                     # session id -> password, as ZooKeeper gave them
        self.listeners, self.targets, self.up_ports = {}, {}, set()
        self.running = True
        self.wake_r, self.wake_w = socket.socketpair()
        self.wake_r.setblocking(False)
        self.select.register(self.wake_r, selectors.EVENT_READ, None)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    # ---- for tests ----

    def kafka_listener(self, broker, target_port):
        return self.listen(None, broker, target_port)

    def zookeeper_listener(self, broker, target_port):
        return self.listen(broker, ZK, target_port)

    def cut(self, src, dst, both=False):
        """Nothing passes any more; nobody is told."""
        with self.lock:
            self.cuts.add((src, dst))
            if both:
                self.cuts.add((dst, src))

    def isolate(self, one, others):
        for other in others:
            self.cut(one, other, both=True)

    def heal(self, reset=True):
        """All passes again. reset: connections that were cut end, as if their TCP had given up; else what was sent comes."""
        with self.lock:
            for conn in list(self.conns):
                if reset and any(p.ends() in self.cuts for p in conn.pipes):
                    self.close(conn)
            self.cuts.clear()
            self.delays.clear()
        self.wake()

    @contextlib.contextmanager
    def cut_for_now(self, one, other):
        """Both ways, as long as the block lasts; then what was sent comes."""
        mine = {(one, other), (other, one)} - self.cuts
        with self.lock:
            self.cuts |= mine
        try:
            yield
        finally:
            with self.lock:
                self.cuts -= mine
            self.wake()

    def delay(self, src, dst, seconds):
        with self.lock:
            self.delays[(src, dst)] = seconds

    def down(self, port):
        """Who connects to that port of ours is refused, as by a process that is not there."""
        with self.lock:
            sock = self.listeners[port]
            if sock in self.up_ports:
                self.up_ports.discard(sock)
                self.select.unregister(sock)
                sock.shutdown(socket.SHUT_RDWR)     # listens no more, but keeps its port
        self.wake()

    def up(self, port):
        with self.lock:
            sock = self.listeners[port]
            if sock not in self.up_ports:
                self.up_ports.add(sock)
                sock.listen(64)
                self.select.register(sock, selectors.EVENT_READ, self.targets[port])
        self.wake()

    def reset(self, src, dst):
        """Ends the connections that src has made to dst."""
        with self.lock:
            for conn in [c for c in self.conns if (c.src, c.dst) == (src, dst)]:
                self.close(conn)

    def rule(self, action, limit=None, **what):
        rule = Rule(self, dict({"answer": False}, **what), action, limit)
        with self.lock:
            self.rules.append(rule)
        return rule

    def hold(self, **what):
        return self.rule("hold", **what)

    def drop(self, **what):
        """The frame vanishes; the connection goes on."""
        return self.rule("drop", **what)

    def record(self, **what):
        return self.rule("record", **what)

    def duplicate(self, **what):
        """The request comes twice; the second answer is kept from who asked."""
        return self.rule("duplicate", **what)

    def reply(self, make, **what):
        """The request does not come to its target; who asked gets the answer that make(frame) gives as a dict."""
        rule = self.rule("reply", **what)
        rule.make = make
        return rule

    def end_rules(self):
        for rule in list(self.rules):
            rule.end()
        with self.lock:
            self.rules.clear()

    def close_all(self):
        self.running = False
        self.wake()
        self.thread.join(10)

    # ---- the thread ----

    def listen(self, src, dst, target_port):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        while True:                             # a port that is asked for by its number stays ours when nobody listens
            port = free_ports(1)[0]
            try:
                sock.bind(("127.0.0.1", port))
                break
            except OSError:
                continue
        self.listeners[port], self.targets[port] = sock, (src, dst, target_port)
        self.up(port)
        return port

    def wake(self):
        try:
            self.wake_w.send(b"x")
        except OSError:
            pass

    def run(self):
        while self.running:
            for key, _ in self.select.select(self.pause()):
                with self.lock:
                    if key.fileobj is self.wake_r:
                        self.wake_r.recv(4096)
                    elif isinstance(key.data, tuple):
                        self.accept(key.fileobj, *key.data)
                    elif key.data is not None and not key.data.conn.closed:
                        self.read(key.data)
            with self.lock:
                for conn in list(self.conns):
                    self.move(conn)
        for conn in list(self.conns):
            self.close(conn)
        for sock in list(self.listeners.values()) + [self.wake_r, self.wake_w]:
            sock.close()
        self.select.close()

    def pause(self):
        with self.lock:
            dues = [p.queue[0][0] for c in self.conns for p in c.pipes if p.queue and p.queue[0][0] and p.held_by is None]
            full = any(p.out for c in self.conns for p in c.pipes)
        if full:
            return 0.01
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def accept(self, listener, src, dst, target_port):
        try:
            client, _ = listener.accept()
        except OSError:
            return
        try:
            server = socket.create_connection(("127.0.0.1", target_port() if callable(target_port) else target_port), 5)
        except OSError:
            abort(client)
            return
        conn = Conn(src, dst, client, server)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
        self.conns.add(conn)
        for pipe in conn.pipes:
            self.select.register(pipe.source, selectors.EVENT_READ, pipe)

    def close(self, conn, end=None):
        """end: how its sockets are closed; as a rule by a reset."""
        if conn.closed:
            return
        conn.closed = True
        self.conns.discard(conn)
        for sock in (conn.client, conn.server):
            try:
                self.select.unregister(sock)
            except (KeyError, ValueError):
                pass
            (end or abort)(sock)

    def read(self, pipe):
        try:
            data = pipe.source.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            pipe.ended = True
            self.select.unregister(pipe.source)
            return
        pipe.buffer += data
        while len(pipe.buffer) >= 4:
            size, = struct.unpack_from(">i", pipe.buffer)
            if size < 0 or len(pipe.buffer) < 4 + size:
                break
            frame = Frame(pipe, bytes(pipe.buffer[:4 + size]))
            del pipe.buffer[:4 + size]
            self.understand(frame)
            self.place(pipe, frame)

    def place(self, pipe, frame):
        delay = self.delays.get(pipe.ends(), 0)
        pipe.queue.append((time.monotonic() + delay if delay else 0, frame))

    def understand(self, frame):
        conn = frame.pipe.conn
        if conn.dst == ZK:
            self.understand_zookeeper(frame, conn)
        elif frame.answer:
            frame.correlation, = struct.unpack_from(">i", frame.data, 4)
            frame.api, frame.version = conn.asked.pop(frame.correlation, (None, None))
        else:
            key, frame.version, frame.correlation, size = struct.unpack_from(">hhih", frame.data, 4)
            frame.api = NAMES.get(key)
            conn.asked[frame.correlation] = (frame.api, frame.version)
            if conn.src is None:
                found = SOURCE.match(frame.data[14:14 + max(size, 0)].decode("utf-8", "replace"))
                conn.src = int(found.group(1)) if found else "client"
                frame.src = conn.src

    def understand_zookeeper(self, frame, conn):
        first, conn.first[frame.answer] = conn.first[frame.answer], False
        if first:
            frame.api = "connect"
            if frame.answer:
                session, = struct.unpack_from(">q", frame.data, 12)
                n, = struct.unpack_from(">i", frame.data, 20)
                if session:
                    self.passwords[session] = frame.data[24:24 + n]
            return
        xid, = struct.unpack_from(">i", frame.data, 4)
        if not frame.answer:
            frame.api = ZK_OPS.get(struct.unpack_from(">i", frame.data, 8)[0])
            conn.asked[xid] = (frame.api, 0)
        else:
            frame.api = "event" if xid == -1 else conn.asked.get(xid, (None, 0))[0]
        frame.correlation = xid

    def move(self, conn):
        """Lets everything leave that may."""
        for pipe in conn.pipes:
            while pipe.queue and not conn.closed and pipe.held_by is None and pipe.ends() not in self.cuts:
                due, frame = pipe.queue[0]
                if due and due > time.monotonic():
                    break
                if self.passes(frame):
                    pipe.out += frame.data
                if pipe.held_by is None:
                    pipe.queue.popleft()
            if not conn.closed:
                self.write(pipe)
        self.end_of(conn)

    def end_of(self, conn):
        """An end is told when all before it has passed, and it would come through."""
        for pipe in conn.pipes:
            if pipe.ended and not conn.closed and not pipe.queue and not pipe.out and pipe.ends() not in self.cuts:
                self.close(conn, socket.socket.close)

    def write(self, pipe):
        while pipe.out:
            try:
                n = pipe.target.send(pipe.out)
            except BlockingIOError:
                return
            except OSError:
                self.close(pipe.conn)
                return
            del pipe.out[:n]

    def passes(self, frame):
        """Whether the frame goes to the other side now. A held one keeps its pipe."""
        pipe, conn = frame.pipe, frame.pipe.conn
        if frame.answer and frame.correlation in conn.swallow:
            conn.swallow.discard(frame.correlation)
            return False
        for rule in self.rules:
            if frame in rule.frames or not rule.matches(frame):
                continue
            rule.frames.append(frame)
            if rule.action == "hold":
                pipe.held_by = rule
                rule.holding.append(pipe)
                return False
            if rule.action == "drop":
                return False
            if rule.action == "reply":
                conn.asked.pop(frame.correlation, None)
                conn.pipes[1].out += wire.encode_response(frame.api, frame.version, frame.correlation, rule.make(frame))
                return False
            if rule.action == "duplicate":
                conn.swallow.add(ANSWER)
                conn.asked[ANSWER] = (frame.api, frame.version)
                pipe.out += frame.data + frame.data[:8] + struct.pack(">i", ANSWER) + frame.data[12:]
                return False
        return True


def abort(sock):
    """Ends a connection at once; the other side sees a reset."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    except OSError:
        pass


def replay(frame, port):
    """Sends a recorded Kafka request again, over a connection of its own; its answer as a dict."""
    with socket.create_connection(("127.0.0.1", port), 30 * SLOW) as sock:
        sock.sendall(frame.data)
        size, = struct.unpack(">i", exactly(sock, 4))
        return wire.decode_response(frame.api, frame.version, exactly(sock, size))[1]


def exactly(sock, n):
    out = bytearray()
    while len(out) < n:
        part = sock.recv(n - len(out))
        if not part:
            raise ConnectionError("closed by the broker")
        out += part
    return bytes(out)
