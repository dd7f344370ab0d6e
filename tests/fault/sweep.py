"""tests/fault/sweep.py - every call to the disk fails, once and for good, over a life of a daemon.

The life: start, topics, records in many small segments, retention, compaction, records and a topic deleted, stop, start, read,
stop. With the fault the daemon may refuse, take a directory offline or end with a reason; afterwards, on a disk that is well
again, it starts, has everything that it acknowledged, and goes on.
"""
import errno
import os
import random

from image import Disk, another_boot
from load import Unreadable, end_of, read_all
from world import SYNCED, Broken, Wire, World, delete_records, delete_topic, harness

# kind of call, what it does, errno
FAULTS = [
    ("open", "error", errno.EIO), ("open", "error", errno.EMFILE), ("open", "error", errno.ENOSPC),
    ("read", "error", errno.EIO), ("read", "short", 0),
    ("write", "error", errno.EIO), ("write", "torn", errno.ENOSPC), ("write", "short", 0), ("write", "error", errno.EROFS),
    ("sync", "error", errno.EIO), ("rename", "error", errno.EIO), ("rename", "error", errno.ENOSPC),
    ("unlink", "error", errno.EIO), ("mkdir", "error", errno.ENOSPC), ("truncate", "error", errno.EIO),
    ("list", "error", errno.EIO),
]
KILLS = ("kill before", "kill torn", "kill after")
CHANGES = ("open", "write", "sync", "rename", "unlink", "mkdir", "truncate")
ROUNDS = 14
NEW_TOPIC_TRIES = 3


def live(w):
    """One life; False as soon as the daemon is gone."""
    if not w.try_start():
        return False
    for step in (topics, produce, delete, look):
        try:
            step(w)
        except (OSError, RuntimeError, Unreadable):
            if not w.check_alive():
                return False
    w.stop(clean=False)
    if w.journal or not w.try_start():          # what a failed sync has left is judged without another start
        return False
    try:
        look(w)
    except (OSError, RuntimeError, Unreadable):
        pass
    w.stop(clean=False)
    return True


def topics(w):
    for _ in range(NEW_TOPIC_TRIES):
        try:
            w.create_topics()
            with w.target.connect() as wire:
                wire.create("gone", 1)
            return
        except (OSError, RuntimeError):
            if not w.check_alive():
                return


def produce(w):
    writer = w.writer("sweep", 1)
    left = list(writer.partitions)
    refused = dict.fromkeys(left, 0)
    try:
        for _ in range(ROUNDS):
            for tp in list(left):               # one after the other, so that the calls come in nearly the same order
                code = writer.send([tp])[0]
                refused[tp] += code != 0
                if refused[tp] > 3:
                    left.remove(tp)
    finally:
        writer.drop()


def delete(w):
    with Wire(w.broker.port) as wire:
        wire.produce(8, "gone", 0, b"")
        delete_topic(wire, "gone")
        try:
            delete_records(wire, "plain", 0, end_of(wire, "plain", 0, -1) // 2)
        except Unreadable:
            pass


def settled(w):
    """Retention, deletion and compaction have done what they were given to do."""
    logs = {"short-0": 0}
    for d in w.dirs:
        for path, below, names in os.walk(d):
            if any(n.endswith("-delete") for n in below) or any(n.endswith(".deleted") for n in names):
                return False
            if os.path.basename(path) in logs:
                logs[os.path.basename(path)] += sum(n.endswith(".log") for n in names)
    return logs["short-0"] <= 4


def look(w):
    try:
        harness.wait_for(lambda: settled(w) or not w.check_alive() or w.faults.fired, 1)
    except AssertionError:
        pass
    try:
        read_all(w.target, w.topics, "during")
    except Unreadable:
        pass


def count_calls():
    """How many calls of each kind one life makes, with nothing failing."""
    w = World("count", dirs=2)
    try:
        w.faults.arm([], 0)
        if not live(w):
            raise Broken("a life without faults ended early")
        return w.faults.calls()
    finally:
        w.close()


def plan(every, calls):
    """The faults to try: every n-th call of each kind, in each way. Where not every call fails, they take turns in failing
    once and for good."""
    out, phase = [], 0
    for kind, action, err in FAULTS:
        phase += 1
        for i, n in enumerate(range(1 + phase % every, calls[kind] + 1, every)):
            ways = (False,) if action == "short" else (False, True) if every == 1 else (i % 2 == 1,)
            out += [(kind, action, err, good, n) for good in ways]
    for action in KILLS:
        kinds = CHANGES if action != "kill torn" else ("write",)
        phase += 1
        total = sum(calls[k] for k in kinds)
        out += [(kinds, action, 0, False, n) for n in range(1 + phase % every, total + 1, every)]
    return out


def one(fault):
    """One life with that fault. Gives what was hit (None: nothing); raises Broken."""
    kind, action, err, good, n = fault
    w = World("sweep", dirs=2, journal=kind == "sync")
    keep = True
    try:
        w.faults.arm([kind] if isinstance(kind, str) else kind, n, err, action, good)
        try:
            live(w)
        except Broken:
            if not (action.startswith("kill") and w.faults.fired):
                raise
            w.kill()
        hit = w.faults.fired_at() if w.faults.fired else None
        w.faults.disarm()
        if kind == "sync" and hit:
            unsynced_is_gone(w)
        afterwards(w)
        keep = False
        return hit
    except AssertionError as e:
        raise Broken("%s: %s\n%s\n%s" % (describe(fault), w.folder, e, w.broker.log()[-3000:])) from None
    finally:
        w.close(keep)


def describe(fault):
    kind, action, err, good, n = fault
    return "%s %d: %s%s%s" % (kind if isinstance(kind, str) else "change", n, action,
                              " " + errno.errorcode[err] if err else "", " for good" if good else "")


def unsynced_is_gone(w):
    """What a failed sync did not make durable never became durable: no acknowledgement may rest on it."""
    w.kill()
    disk = Disk(w.dirs).replay(w.faults.journal_path, w.faults.journalled)
    for i, d in enumerate(w.dirs):
        if os.path.exists(d):
            os.rename(d, d + ".before")
    disk.write(random.Random(0), 0, 4096)
    another_boot(w.dirs)
    w.history.add("cut", synced=SYNCED)
    w.faults.set(journal=0)


def afterwards(w):
    """The disk is well: everything acknowledged is there, and it goes on."""
    w.start()
    w.create_topics()
    w.read_and_check()
    writer = w.writer("after", 2)
    codes = writer.send(writer.partitions)
    writer.drop()
    if any(codes):
        raise Broken("writing afterwards: error codes %s" % codes)
    w.read_and_check()
    w.stop(clean=True)


def life(fault):
    """For the table."""
    hit = one(fault)
    return {"not reached": 1} if hit is None else {"faults hit": 1}
