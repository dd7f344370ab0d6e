"""tests/fault/deaths.py - kill -9, again and again, also while it recovers, and at every named point of a test build."""
import os
import random
import re
import subprocess

from load import Load
from sweep import live
from world import TOP, Broken, World, harness

ANY = ("open", "read", "write", "sync", "rename", "unlink", "mkdir", "truncate", "list")
CLEAN = ".kafka_cleanshutdown"


class Busy:
    """Two writers and a reader that go on until the power or the process goes."""

    def __init__(self, w, round_, seed):
        self.w = w
        self.bad = []
        self.loads = [Load(w.writer("%s%d" % (name, round_), seed + i), self.bad.append) for i, name in enumerate("ab")]
        for load in self.loads:
            load.start()

    def until(self, acks):
        """Until so many batches were acknowledged; the daemon must not be gone by itself."""
        def enough():
            if not self.w.broker.alive():
                raise Broken("the daemon ended with status %s" % self.w.broker.process.returncode)
            return sum(load.acks for load in self.loads) >= acks
        harness.wait_for(enough, 30, "acknowledgements go on")

    @property
    def acks(self):
        return sum(load.acks for load in self.loads)

    def end(self):
        for load in self.loads:
            load.end.set()
        for load in self.loads:
            load.finish()
        if self.bad:
            raise Broken("an idempotent producer was told error %s" % self.bad)


def die_in_recovery(w, rng):
    """Up to ten deaths in a row while it starts. How many there were."""
    deaths = 0
    for _ in range(rng.randrange(1, 11)):
        w.faults.arm(ANY, rng.randrange(1, 150), 0, rng.choice(("kill before", "kill torn", "kill after")))
        w.broker.spawn()
        try:
            harness.wait_for(lambda: w.broker.process.poll() is not None or harness.READY.search(
                w.broker.log(this_start=True)), 20, "ready or dead")
        finally:
            w.faults.disarm()
        ready = w.broker.process.poll() is None
        w.kill()
        deaths += not ready
        for d in w.dirs:
            if os.path.exists(os.path.join(d, CLEAN)):
                raise Broken("killed while it recovered, and %s says it was stopped cleanly" % d)
    return deaths


def kills(seed, cycles):
    """The writers live through all deaths; what had no answer is sent again as it was."""
    rng = random.Random(seed)
    w = World("kills", dirs=1 + seed % 2)
    numbers = {"kill -9": 0, "deaths in recovery": 0}
    keep, busy = True, None
    try:
        w.start()
        w.create_topics()
        busy = Busy(w, 0, seed)
        for _ in range(cycles):
            busy.until(busy.acks + rng.randrange(1, 120))
            w.kill()
            numbers["kill -9"] += 1
            if rng.random() < 0.25:
                numbers["deaths in recovery"] += die_in_recovery(w, rng)
            w.start()
            w.read_and_check()
        busy.end()
        numbers["acknowledged"] = w.read_and_check()["acknowledged"]
        w.stop(clean=True)
        keep = False
        return numbers
    except AssertionError as e:
        raise Broken("kills, seed %d: %s\n%s\n%s" % (seed, w.folder, e, w.broker.log()[-3000:])) from None
    finally:
        end_quietly(busy)
        w.close(keep)


def end_quietly(busy):
    for load in busy.loads if busy else ():
        load.end.set()
        load.writer.drop()


# ---- named points ----

def points():
    """Every name that the sources give to KILL_POINT."""
    found = subprocess.run(["grep", "-rhoE", r'KILL_POINT\("[a-z_.]+"\)', "--include=*.c", "storage", "broker", "metadata"],
                           cwd=TOP, stdout=subprocess.PIPE, text=True, check=False).stdout
    return sorted(set(re.findall(r'"([^"]+)"', found)))


def has_points():
    with open(os.path.join(harness.BUILD, "klammd"), "rb") as f:
        return b"KLAMM_KILL_AT" in f.read()


def point(name, pass_):
    """One life that ends at that point, if it is passed so often."""
    w = World("point", dirs=2)
    keep = True
    try:
        w.broker.env["KLAMM_KILL_AT"] = "%s:%d" % (name, pass_)
        died = False
        try:
            live(w)
        except Broken as e:
            if "died of signal 9" not in str(e) and w.broker.process is not None and w.broker.process.poll() != -9:
                raise
            died = True
            w.kill()
        del w.broker.env["KLAMM_KILL_AT"]
        w.start()
        w.create_topics()
        w.read_and_check()
        w.stop(clean=True)
        keep = False
        return {"deaths at %d points" % len(points()) if died else "not passed": 1}
    except AssertionError as e:
        raise Broken("%s:%d: %s\n%s\n%s" % (name, pass_, w.folder, e, w.broker.log()[-3000:])) from None
    finally:
        w.close(keep)

