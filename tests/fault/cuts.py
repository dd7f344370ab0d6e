"""tests/fault/cuts.py - the power goes while a daemon works.

Two ways. disk: the daemon's directory is an ext4 file system of its own on a loop device, which is shut down as if the power
had gone (FS_IOC_SHUTDOWN without a flush of its journal), and mounted again. image: the journal of the LD_PRELOAD library tells
what was not synced at any moment of a run, and many directories are made of it as a disk could have left them (image.py);
that needs no rights, and knows more cases than one file system.

Partitions with flush.messages=1 have all that was acknowledged or read. The others may lose their end, and nothing else.
"""
import fcntl
import os
import random
import shutil
import struct
import subprocess
import tempfile

from deaths import Busy, end_quietly
from image import Disk, another_boot
from world import SYNCED, Broken, World

FS_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2
IMAGE_MB = 64


class PowerDisk:
    """An ext4 file system that can lose its power."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="fault-disk-")
        self.file, self.mounted = os.path.join(self.folder, "disk"), False
        self.path = os.path.join(self.folder, "mnt")
        os.mkdir(self.path)
        with open(self.file, "wb") as f:
            f.truncate(IMAGE_MB << 20)
        run("mkfs.ext4", "-q", "-F", self.file)
        self.mount()

    def mount(self):
        run("mount", "-o", "loop", self.file, self.path)
        self.mounted = True

    def cut(self):
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(fd)

    def unmount(self):
        if self.mounted:
            run("umount", self.path)
            self.mounted = False

    def close(self, keep):
        self.unmount()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def run(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise OSError("%s: %s" % (" ".join(argv), done.stdout.strip()))


def disks_work():
    """Why not, or None."""
    disk = None
    try:
        disk = PowerDisk()
        disk.cut()
    except OSError as no:
        return str(no)
    finally:
        if disk is not None:
            disk.close(False)
    return None


def on_disk(seed, cycles):
    rng = random.Random(seed)
    disk = PowerDisk()
    w = World("cuts", data=[os.path.join(disk.path, "d0")], faults=False)
    numbers, keep, busy = {"power cuts": 0}, True, None
    try:
        w.start()
        w.create_topics()
        for i in range(cycles):
            busy = Busy(w, i, seed + 2 * i)
            busy.until(rng.randrange(1, 250))
            w.target.dark = True
            disk.cut()
            w.kill()
            busy.end()
            numbers["power cuts"] += 1
            w.target.dark = False
            disk.unmount()
            disk.mount()
            w.cut()
            w.start()
            w.create_topics()
            w.read_and_check()
        counts = w.read_and_check()
        w.stop(clean=True)
        keep = False
        return dict(numbers, **{"acknowledged": counts["acknowledged"], "lost unsynced": counts["lost unsynced"]})
    except AssertionError as e:
        raise Broken("cuts on ext4, seed %d: %s\n%s\n%s" % (seed, w.folder, e, w.broker.log()[-3000:])) from None
    finally:
        end_quietly(busy)
        w.close(keep)
        disk.close(keep)


def on_images(seed, cuts):
    """One run, and so many moments of it at which the power could have gone."""
    rng = random.Random(seed)
    w = World("images", dirs=1 + seed % 2, journal=True)
    keep, busy = True, None
    total = {"power cuts": 0}
    try:
        w.start()
        w.create_topics()
        created = w.journalled()
        busy = Busy(w, 0, seed)
        for part in range(3):                   # with a death and a clean stop in between
            busy.until(busy.acks + rng.randrange(50, 400))
            if part == 1:
                w.die()
                w.start()
        busy.end()
        w.stop(clean=True)
        for _ in range(cuts):
            at = rng.randrange(created, w.journalled() + 1) if rng.random() < 0.9 else rng.randrange(1, created)
            keep_chance = rng.choice((0, 0, 1, 0.5, rng.random()))
            for name, n in one_image(w, rng, at, keep_chance, rng.choice((512, 4096))).items():
                total[name] = total.get(name, 0) + n
            total["power cuts"] += 1
        keep = False
        return total
    except AssertionError as e:
        raise Broken("cuts by images, seed %d: %s\n%s" % (seed, w.folder, e)) from None
    finally:
        end_quietly(busy)
        w.close(keep)


def before(events, at):
    """What was promised when the journal was so long. What was sent may be there."""
    return [e for e in events if e["event"] == "invoke" or e.get("journal", at + 1) <= at]


def one_image(w, rng, at, keep_chance, piece):
    disk = Disk(w.dirs).replay(w.faults.journal_path, at)
    new = World("image", dirs=len(w.dirs), faults=False)
    keep = True
    try:
        disk.roots = dict(zip(new.dirs, disk.roots.values()))
        disk.write(rng, keep_chance, piece)
        another_boot(new.dirs)
        new.history.events = before(w.history.events, at)
        new.history.add("cut", synced=SYNCED)
        for again in (False, True):
            new.start()
            new.create_topics()
            counts = new.read_and_check()
            writer = new.writer("after", rng.random())
            codes = writer.send(writer.partitions)
            writer.drop()
            if any(codes):
                raise Broken("writing afterwards: error codes %s" % codes)
            new.read_and_check()
            if again:
                new.stop(clean=True)
            else:
                new.kill()
        keep = False
        return {"acknowledged": counts["acknowledged"], "lost unsynced": counts["lost unsynced"]}
    except AssertionError as e:
        raise Broken("image of %d entries, %.2f kept in pieces of %d: %s\n%s\n%s" % (
            at, keep_chance, piece, new.folder, e, new.broker.log()[-3000:])) from None
    finally:
        new.close(keep)

