"""kafka-server-start.sh and kafka-server-stop.sh, in an installation of their own (D1, D2, D3)."""
import os
import shutil
import signal
import subprocess

import pytest

from harness import BIN, BUILD, READY, SLOW, free_ports, wait_for


class Installation:
    """Copies of klamm and klammd with Kafka's names beside them, so that stopping stops nobody else's brokers."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.bin = os.path.join(self.folder, "bin")
        os.makedirs(self.bin)
        for name in ("klamm", "klammd"):
            shutil.copy(os.path.join(BUILD, name), self.bin)
        for name in os.listdir(BIN):
            if name.endswith(".sh"):
                os.symlink("klamm", os.path.join(self.bin, name))

    def run(self, name, *args, env=None, within=60):
        return subprocess.run([os.path.join(self.bin, name), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=within * SLOW, check=False, env=dict(os.environ, **(env or {})))

    def properties(self, name="server.properties"):
        port = free_ports(1)[0]
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as f:
            f.write("broker.id=0\nlisteners=PLAINTEXT://127.0.0.1:%d\nlog.dirs=%s.data\n" % (port, path))
        return path, port

    def stop(self):
        return self.run("kafka-server-stop.sh")

    def stop_all(self):
        """Asks until nobody is left: a broker may still be stopping."""
        wait_for(lambda: self.stop().returncode == 1, within=30, what="every broker is gone")


@pytest.fixture
def installation(tmp_path):
    made = Installation(tmp_path / "klamm")
    yield made
    made.stop_all()


def log_is_ready(path):
    return os.path.exists(path) and READY.search(open(path, encoding="utf-8").read())


def test_daemon_and_stop(installation):
    path, port = installation.properties()
    log = os.path.join(installation.folder, "logs", "server.log")
    started = installation.run("kafka-server-start.sh", "-daemon", path)
    assert started.returncode == 0, started
    wait_for(lambda: log_is_ready(log), what="the broker is ready and says so in logs/server.log")
    listed = installation.run("kafka-topics.sh", "--list", "--bootstrap-server", "127.0.0.1:%d" % port)
    assert (listed.returncode, listed.stdout) == (0, "\n")
    stopped = installation.stop()
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, "", "")
    wait_for(lambda: "stopped cleanly" in open(log, encoding="utf-8").read(), what="it stopped cleanly")


def test_log_dir_and_override(installation, tmp_path):
    path, _ = installation.properties()
    port = free_ports(1)[0]
    started = installation.run("kafka-server-start.sh", "-daemon", path, "--override",
                               "listeners=PLAINTEXT://127.0.0.1:%d" % port, env={"LOG_DIR": str(tmp_path / "elsewhere")})
    assert started.returncode == 0, started
    wait_for(lambda: log_is_ready(str(tmp_path / "elsewhere" / "server.log")))
    assert installation.run("kafka-topics.sh", "--list", "--bootstrap-server", "127.0.0.1:%d" % port).returncode == 0


def test_in_the_foreground(installation):
    path, _ = installation.properties()
    p = subprocess.Popen([os.path.join(installation.bin, "kafka-server-start.sh"), path], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: READY.search(p.stdout.readline()), what="the ready line")
    p.send_signal(signal.SIGTERM)
    assert p.wait(30 * SLOW) == 0
    p.stdout.close()


def test_stop_stops_every_broker_of_the_installation_and_no_other(installation, tmp_path):
    other = Installation(tmp_path / "other")
    logs = []
    for where, name in ((installation, "one"), (installation, "two"), (other, "three")):
        path, _ = where.properties(name + ".properties")
        folder = str(tmp_path / name)
        assert where.run("kafka-server-start.sh", "-daemon", path, env={"LOG_DIR": folder}).returncode == 0
        logs.append(os.path.join(folder, "server.log"))
    for log in logs:
        wait_for(lambda log=log: log_is_ready(log))
    os.remove(os.path.join(installation.bin, "klammd"))           # an upgrade replaces the file under a running broker
    shutil.copy(os.path.join(BUILD, "klammd"), installation.bin)
    assert installation.run("kafka-server-stop.sh", "any", "arguments").returncode == 0
    for log in logs[:2]:
        wait_for(lambda log=log: "stopped cleanly" in open(log, encoding="utf-8").read())
    assert "stopp" not in open(logs[2], encoding="utf-8").read()
    other.stop_all()


def test_nothing_to_stop(installation):
    done = installation.stop()
    assert (done.returncode, done.stdout) == (1, "No kafka server to stop\n")


def test_usage(installation):
    done = installation.run("kafka-server-start.sh")
    assert done.returncode == 1
    assert done.stdout == "USAGE: kafka-server-start.sh [-daemon] server.properties [--override property=value]*\n"
    done = installation.run("kafka-server-start.sh", "/no/such/file")
    assert done.returncode == 1 and "/no/such/file" in done.stdout + done.stderr
