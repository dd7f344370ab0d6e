"""tests/interop/apache.py - ZooKeeper and a broker of Apache Kafka on the folder of a state."""
import os
import socket
import subprocess
import tarfile

import golden
from harness import SLOW, TOP, free_ports, wait_for
from wire import Wire

PEER = os.path.join(os.environ.get("KLAMM_SHARED", os.path.join(TOP, "..", "shared")), "peer")
SESSION_SECONDS = 60            # until ZooKeeper has ended the session of the broker that was killed


class Apache:
    """ZooKeeper on zk/, and a broker of the state's version on data/."""

    def __init__(self, state):
        self.state, self.folder = state, state.folder
        self.zk_port, self.port = free_ports(2)
        self.zk = self.process = None
        self.log_path = os.path.join(self.folder, "apache.log")
        if not os.path.exists(os.path.join(self.folder, "zk")):
            with tarfile.open(os.path.join(golden.GOLDEN, "zookeeper-%s.tar.xz" % state.name)) as tar:
                tar.extractall(self.folder)

    def run(self, *argv):
        with open(self.log_path, "ab") as log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)

    def zk_says(self, word):
        try:
            with socket.create_connection(("127.0.0.1", self.zk_port), 2) as s:
                s.sendall(word.encode())
                return s.recv(65536).decode("utf-8", "replace")
        except OSError:
            return ""

    def no_session(self):
        dump = self.zk_says("dump")
        return "Ephemerals" in dump and "/brokers/ids/0" not in dump

    def start_zookeeper(self):
        if self.zk is None:
            self.zk = self.run(os.path.join(PEER, "zookeeper"), str(self.zk_port), os.path.join(self.folder, "zk"))
            wait_for(lambda: self.zk_says("ruok") == "imok", 30, "ZooKeeper")
            wait_for(self.no_session, SESSION_SECONDS, "the old session's end")

    def start(self):
        self.start_zookeeper()
        path = os.path.join(self.folder, "apache.properties")
        dirs = [os.path.join(self.folder, d) for d in getattr(self.state, "dirs", ["data"])]
        own = {"broker.id": "0", "listeners": "PLAINTEXT://127.0.0.1:%d" % self.port, "log.dirs": ",".join(dirs),
               "zookeeper.connect": "127.0.0.1:%d" % self.zk_port}
        with open(path, "w", encoding="latin-1") as f:
            f.writelines("%s=%s\n" % pair for pair in dict(self.state.properties, **own).items())
        self.process = self.run(os.path.join(PEER, "broker"), self.state.version, path)
        wait_for(self.serves, 60, lambda: None)
        return self

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def serves(self):
        assert self.process.poll() is None, self.log()[-6000:]
        try:
            with Wire(self.port, timeout=5) as c:
                topics = c.call("Metadata", 8, Topics=None)["Topics"]
        except OSError:
            return False
        partitions = [p for t in topics for p in t["Partitions"]]
        return len(partitions) >= len(self.state.partitions()) and all(p["ErrorCode"] == 0 for p in partitions)

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60 * SLOW)
            self.process = None

    def end(self):
        self.stop()
        if self.zk is not None:
            self.zk.kill()
            self.zk.wait()
            self.zk = None
