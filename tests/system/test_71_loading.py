"""Logs that take long to load: the others are served meanwhile, and a stop does not wait for them.

A log is held up by a lease on one of its files: whoever opens it waits until the lease is given back.
"""
import fcntl
import os
import re
import signal
import socket

import pytest

from batches import batch, offsets_of
from harness import wait_for
from wire import Wire

NOT_LEADER = 6
LEADER_NOT_AVAILABLE = 5
CORRUPT_NAME = "partition.metadata"


class Held:
    def __init__(self, path):
        signal.signal(signal.SIGIO, signal.SIG_IGN)     # the kernel says that somebody waits
        self.fd = os.open(path, os.O_RDWR)
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as e:
            os.close(self.fd)
            pytest.skip("no leases on this file system: %s" % e)

    def __enter__(self):
        return self

    def release(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def __exit__(self, *_):
        self.release()


def state(w, topic, partition=0):
    return w.call("Metadata", 9, Topics=[{"Name": topic}], AllowAutoTopicCreation=False)["Topics"][0]["Partitions"][partition]


def put(w, topic, partition=0):
    return w.produce(9, topic, partition, batch([b"x"]))["ErrorCode"]


def got(w, topic, partition=0):
    part = w.fetch(11, topic, partition, 0)["Responses"][0]["Partitions"][0]
    return part["ErrorCode"], offsets_of(part["Records"] or b"")


def filled(brokers):
    b = brokers({"num.recovery.threads.per.data.dir": "2", "log.initial.task.delay.ms": "600000"}).start()
    with Wire(b.port) as w:
        w.create("slow")
        w.create("quick", 20)
        assert put(w, "slow") == 0
        for i in range(20):
            assert put(w, "quick", i) == 0
    return b


def end(b, clean):
    if clean:
        assert b.stop() == 0
    else:
        b.kill9()


def start_without(b, topic="slow"):
    """Ready, and serves everything but that topic, which is being loaded."""
    b.start(loaded=False)
    with Wire(b.port) as w:
        wait_for(lambda: all(p["LeaderId"] == 0 for t in w.call("Metadata", 9, Topics=None)["Topics"] if t["Name"] != topic
                             for p in t["Partitions"]), what="all others are served")


def is_closed(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:        # it was let in while the listener was being closed
        return False
    return False


def hold(b, topic="slow"):
    return Held(os.path.join(b.data, topic + "-0", CORRUPT_NAME))


def created(w, topic):
    try:
        w.create(topic)
    except RuntimeError:                # the old one is not gone altogether
        return False
    return True


def checkpointed(b, name):
    with open(os.path.join(b.data, name), encoding="ascii") as f:
        return {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in f.read().splitlines()[2:]}


@pytest.mark.parametrize("clean", [True, False])
def test_what_is_ready_is_served(brokers, clean):
    b = filled(brokers)
    end(b, clean)
    with hold(b) as held:
        start_without(b)
        assert re.search(r"\(\d+ of them are still being loaded\)", b.log(this_start=True))
        with Wire(b.port) as w:
            for i in range(20):
                assert state(w, "quick", i)["LeaderId"] == 0
                assert put(w, "quick", i) == 0
            assert (state(w, "slow")["ErrorCode"], state(w, "slow")["LeaderId"]) == (LEADER_NOT_AVAILABLE, -1)
            assert put(w, "slow") == NOT_LEADER
            assert got(w, "slow")[0] == NOT_LEADER
            w.create("new", 3)
            assert put(w, "new", 2) == 0
            held.release()
            wait_for(lambda: state(w, "slow")["ErrorCode"] == 0, what="slow-0 is there")
            assert state(w, "slow")["LeaderId"] == 0
            assert put(w, "slow") == 0
            assert got(w, "slow") == (0, [0, 1])
    assert b.stop() == 0
    b.start()
    with Wire(b.port) as w:
        assert got(w, "slow") == (0, [0, 1])
        assert got(w, "quick", 7) == (0, [0, 1])
        assert got(w, "new", 2) == (0, [0])
    assert b.stop() == 0


@pytest.mark.parametrize("clean", [True, False])
def test_a_stop_while_logs_are_loading(brokers, clean):
    b = filled(brokers)
    marker = os.path.join(b.data, ".kafka_cleanshutdown")
    end(b, clean)
    with hold(b) as held:
        start_without(b)
        assert not os.path.exists(marker)
        with Wire(b.port) as w:
            assert put(w, "quick", 3) == 0
        b.process.send_signal(signal.SIGTERM)
        wait_for(lambda: is_closed(b.port), what="it stops")
        held.release()
        assert b.stop(None) == 0
    # Clean before, it is clean again; else the next start must look.
    assert os.path.exists(marker) == clean
    hw = checkpointed(b, "replication-offset-checkpoint")
    assert hw["quick 3"] == 2
    assert not clean or hw["slow 0"] == 1           # kept while the log was not open
    b.start()
    assert ("not closed cleanly" in b.log(this_start=True)) == (not clean)
    with Wire(b.port) as w:
        assert got(w, "slow") == (0, [0])
        assert got(w, "quick", 3) == (0, [0, 1])
    assert b.stop() == 0


def test_killed_while_logs_are_loading(brokers):
    b = filled(brokers)
    assert b.stop() == 0
    for turn in range(3):
        with hold(b):
            start_without(b)
            with Wire(b.port) as w:
                assert put(w, "quick", 3) == 0
            b.kill9()
    b.start()
    with Wire(b.port) as w:
        assert got(w, "slow") == (0, [0])
        assert got(w, "quick", 3) == (0, [0, 1, 2, 3])
    assert b.stop() == 0


def test_a_topic_is_deleted_while_it_is_loading(brokers):
    b = filled(brokers)
    assert b.stop() == 0
    with hold(b) as held:
        start_without(b)
        with Wire(b.port) as w:
            w.call("DeleteTopics", 3, TopicNames=["slow"], TimeoutMs=0)
            held.release()
            wait_for(lambda: not os.path.exists(os.path.join(b.data, "slow-0")), what="the directory is renamed")
            wait_for(lambda: created(w, "slow"), what="the name is free again")
            wait_for(lambda: state(w, "slow")["ErrorCode"] == 0, what="it has a leader")
            assert put(w, "slow") == 0
            assert got(w, "slow") == (0, [0])
    assert b.stop() == 0


def test_a_log_that_cannot_be_opened_is_offline_alone(brokers):
    b = filled(brokers)
    assert b.stop() == 0
    path = os.path.join(b.data, "slow-0", CORRUPT_NAME)
    with open(path, "rb") as f:
        good = f.read()
    with open(path, "wb") as f:
        f.write(b"nonsense")
    for _ in range(2):
        b.start()
        assert re.search(r"slow-0: the partition cannot be opened: .*; it is offline, the others are served", b.log(this_start=True))
        with Wire(b.port) as w:
            wait_for(lambda: state(w, "slow")["LeaderId"] == -1, what="no leader")
            assert state(w, "slow")["OfflineReplicas"] == [0]
            assert put(w, "slow") == 56
            assert put(w, "quick", 5) == 0
        assert b.stop() == 0
    with open(path, "wb") as f:
        f.write(good)
    b.start()
    with Wire(b.port) as w:
        assert got(w, "slow") == (0, [0])
        assert put(w, "slow") == 0
    assert b.stop() == 0
