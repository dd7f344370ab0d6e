"""tests/fault/world.py - a daemon with small logs on disks that may fail, and what all drivers do with it."""
import os
import shutil
import signal
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import harness  # noqa: E402
from checker import Checker, History  # noqa: E402
from faults import OPS, Faults  # noqa: E402
from load import Target, Unreadable, Writer, end_of, read_all  # noqa: E402
from wire import Wire  # noqa: E402

TOP = harness.TOP
LIBRARY = os.path.join(harness.BUILD, "tests", "fault", "faultlib.so")
PROPERTIES = {
    "num.network.threads": "1", "num.io.threads": "2", "background.threads": "2",
    "log.flush.offset.checkpoint.interval.ms": "100", "replica.high.watermark.checkpoint.interval.ms": "100",
    "log.flush.start.offset.checkpoint.interval.ms": "100", "log.retention.check.interval.ms": "50",
    "log.initial.task.delay.ms": "20", "log.cleaner.backoff.ms": "50",
}
# name: (partitions, properties). `sync` promises what it acknowledged, whatever happens.
TOPICS = {
    "plain": (2, {"segment.bytes": "3000", "index.interval.bytes": "200", "retention.ms": "-1",
                  "retention.bytes": "30000", "file.delete.delay.ms": "0"}),
    "sync": (2, {"segment.bytes": "3000", "index.interval.bytes": "200", "retention.ms": "-1",
                 "retention.bytes": "30000", "file.delete.delay.ms": "0", "flush.messages": "1"}),
    "short": (1, {"segment.bytes": "1500", "index.interval.bytes": "200", "retention.bytes": "3500",
                  "retention.ms": "-1", "file.delete.delay.ms": "0"}),
    "keys": (1, {"segment.bytes": "1500", "index.interval.bytes": "200", "cleanup.policy": "compact",
                 "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0", "file.delete.delay.ms": "0"}),
}
PARTITIONS = {name: n for name, (n, _) in TOPICS.items()}
SYNCED = ["sync-%d" % p for p in range(PARTITIONS["sync"])]
KEYS = {"keys": 5}
ALREADY_EXISTS, UNKNOWN_TOPIC = 36, 3
BAD_SIGNS = ("AddressSanitizer", "ThreadSanitizer", "runtime error:", "LeakSanitizer", "Assertion")


class Broken(AssertionError):
    """The daemon did what it must never do."""


class World:
    """One daemon, its history and its disks, in a folder that goes away unless something was wrong."""

    def __init__(self, name, dirs=1, journal=False, faults=True, data=None, properties=None):
        self.folder = tempfile.mkdtemp(prefix="fault-%s-" % name)
        self.dirs = data or [os.path.join(self.folder, "d%d" % i) for i in range(dirs)]
        self.faults = Faults(LIBRARY, os.path.join(self.folder, "fault"), self.dirs, journal) if faults else None
        self.journal = journal
        self.history = History()
        self.checker, self.checked = Checker(KEYS), 0
        self.broker = harness.Broker(self.folder, dict(PROPERTIES, **{"log.dirs": ",".join(self.dirs)},
                                                       **properties or {}), env=dict(self.faults.env if faults else {}))
        self.target = Target(self.broker, self.history, self.journalled)
        self.topics = dict(PARTITIONS)

    def journalled(self):
        return self.faults.journalled if self.faults else 0

    def writer(self, name, seed, topics=None):
        return Writer(self.target, name, topics or self.topics, seed, KEYS)

    # ---- the daemon ----

    def start(self):
        """A start that must work. Another port if somebody has taken this one meanwhile."""
        for _ in range(5):
            try:
                return self.broker.start()
            except AssertionError as no:
                if "Address already in use" not in self.broker.log(this_start=True):
                    raise Broken("the daemon does not start: %s" % no) from None
                self.broker.port = harness.free_ports(1)[0]
                for name in ("listeners", "advertised.listeners"):
                    self.broker.overrides[name] = "PLAINTEXT://" + self.broker.address
        raise Broken("no port for the daemon")

    def try_start(self):
        """A start that may fail, but then the daemon ends by itself and says why. True: it is ready."""
        self.broker.spawn()
        ready = harness.wait_for(self.ready_or_gone, 20, "the daemon is ready or has given up:\n" + self.broker.log_path)
        return ready == "ready"

    def ready_or_gone(self):
        if self.broker.process.poll() is not None:
            self.ended(self.broker.process.returncode)
            return "gone"
        return "ready" if harness.READY.search(self.broker.log(this_start=True)) else None

    def ended(self, status):
        """It ended without being asked: with an exit status and a reason, not by a signal of its own."""
        log = self.broker.log(this_start=True)
        if status < 0:
            raise Broken("died of signal %d" % -status)
        if status == 0 or not any(word in log for word in ("ERROR", "FATAL")):
            raise Broken("ended with status %d and without a reason" % status)
        self.broker.process = None

    def check_alive(self):
        """True unless it gave up in the right way."""
        if self.broker.process is None:
            return False
        if self.broker.process.poll() is None:
            return True
        self.ended(self.broker.process.returncode)
        return False

    def stop(self, clean):
        """TERM; a daemon that had trouble may say so by its status, no more."""
        if not self.check_alive():
            return
        status = self.broker.stop()
        if status < 0 or (clean and status != 0):
            raise Broken("stopped with status %d" % status)
        self.no_bad_signs()

    def no_bad_signs(self):
        log = self.broker.log()
        for sign in BAD_SIGNS:
            if sign in log:
                raise Broken("its log has '%s'" % sign)

    def kill(self):
        if self.broker.process is not None:
            self.broker.kill9()

    def die(self):
        """kill -9 at a call to the disk, after which the journal tells all that was done."""
        self.faults.arm(OPS, 1, 0, "kill before")
        try:
            harness.wait_for(lambda: self.broker.process.poll() is not None, 10, "dead")
        finally:
            self.faults.disarm()
        self.kill()

    # ---- topics, writing, checking ----

    def create_topics(self):
        with self.target.connect() as wire:
            for name, (partitions, configs) in TOPICS.items():
                out = wire.call("CreateTopics", 5, TimeoutMs=15000, Topics=[{
                    "Name": name, "NumPartitions": partitions, "ReplicationFactor": 1,
                    "Configs": [{"Name": k, "Value": v} for k, v in configs.items()]}])
                code = out["Topics"][0]["ErrorCode"]
                if code not in (0, ALREADY_EXISTS):
                    raise OSError("topic %s: error %d" % (name, code))

    def check(self):
        """Of what has happened since the last time."""
        events = self.history.events[self.checked:]
        self.checked += len(events)
        if self.checker.run(events).violations:
            raise Broken("\n".join(self.checker.violations[:20]))
        return self.checker.counts

    def settle(self):
        """Until every partition has a leader, and what flush.messages promises has been synced once more."""
        self.check()
        want = {p: max(self.checker.partition("sync-%d" % p).acked, default=-1) + 1 for p in range(self.topics["sync"])}

        def reached():
            try:
                with self.target.connect() as wire:
                    return all(end_of(wire, t, p, -1) >= (want[p] if t == "sync" else 0)
                               for t, n in self.topics.items() for p in range(n))
            except Unreadable:              # "not yet", too
                return False
        try:
            harness.wait_for(reached, 5)
        except AssertionError:
            pass                            # what is not there after that is missed by the checker

    def read_and_check(self):
        try:
            self.settle()
            read_all(self.target, self.topics)
        except Unreadable as e:
            raise Broken("a partition cannot be read: error %s" % e) from None
        return self.check()

    def cut(self):
        self.history.add("cut", synced=SYNCED)

    def close(self, keep=False):
        if self.broker.process is not None:
            self.broker.process.send_signal(signal.SIGKILL)
            self.broker.process.wait()
            self.broker.process = None
        if self.faults:
            self.faults.close()
        if keep:
            self.history.save(os.path.join(self.folder, "history"))
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def delete_topic(wire, name):
    return wire.call("DeleteTopics", 5, TopicNames=[name], TimeoutMs=10000)["Responses"][0]["ErrorCode"]


def delete_records(wire, topic, partition, offset):
    return wire.call("DeleteRecords", 1, TimeoutMs=10000, Topics=[{"Name": topic, "Partitions": [
        {"PartitionIndex": partition, "Offset": offset}]}])


__all__ = ["Broken", "History", "World", "Wire", "delete_records", "delete_topic", "harness"]
