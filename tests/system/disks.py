"""tests/system/disks.py - a disk that fails under a broker: a file system of its own in a file. Where that is not allowed (no root,
no loop devices) the tests that want one say so and are skipped."""
import fcntl
import os
import struct
import subprocess

import pytest

EXT4_SHUTDOWN = 2 << 30 | 4 << 16 | ord("X") << 8 | 125
NO_FLUSH = 2


class Disk:
    """An ext4 file system in a file."""

    def __init__(self, folder, name, megabytes=64):
        self.image = os.path.join(str(folder), name + ".img")
        self.path = os.path.join(str(folder), name)
        os.makedirs(self.path)
        with open(self.image, "wb") as f:
            f.truncate(megabytes << 20)
        self.run("mkfs.ext4", "-q", "-F", self.image)
        self.mounted = False
        self.mount()

    @staticmethod
    def run(*args):
        try:
            done = subprocess.run(args, capture_output=True, text=True, check=False)
        except OSError as e:
            pytest.skip("no file system can be made here: %s" % e)
        if done.returncode != 0:
            pytest.skip("no file system can be made here: %s: %s" % (args[0], done.stderr.strip()))

    def mount(self):
        self.run("mount", "-o", "loop", self.image, self.path)
        self.mounted = True

    def fail(self):
        """Every call fails with EIO from now on, what was not synced is lost."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_SHUTDOWN, struct.pack("I", NO_FLUSH))
        except OSError as e:
            pytest.skip("a file system cannot be shut down here: %s" % e)
        finally:
            os.close(fd)

    def unmount(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.path], check=False, capture_output=True)
            self.mounted = False


@pytest.fixture
def disks(tmp_path):
    made = []

    def make(name, **kw):
        made.append(Disk(tmp_path, name, **kw))
        return made[-1]

    yield make
    for disk in made:
        disk.unmount()
