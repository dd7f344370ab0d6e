"""tests/fault/faults.py - the other side of faultlib.h: what a test sets, and what it finds."""
import errno
import mmap
import os
import struct

OPS = ("open", "read", "write", "sync", "rename", "unlink", "mkdir", "truncate", "list")
ACTIONS = ("error", "short", "torn", "kill before", "kill torn", "kill after")
SIZE = 584
SETTINGS = {name: 4 * i for i, name in enumerate(
    ("on", "journal", "no_sync", "kinds", "err", "action", "for_good", "sync_delay_us"))}
AT, MATCH, MATCHED, FIRED, JOURNALLED, FIRED_OP, CALLS, PATH = 32, 40, 168, 176, 184, 192, 200, 328


class Faults:
    """One daemon's control file; env is what the daemon needs."""

    def __init__(self, library, folder, roots, journal=False):
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, "control")
        self.journal_path = os.path.join(folder, "journal")
        with open(self.path, "wb") as f:
            f.write(bytes(SIZE))
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), SIZE)
        self.env = {"LD_PRELOAD": library, "FAULT_CONTROL": self.path,
                    "FAULT_ROOTS": ":".join(os.path.realpath(r) for r in roots),
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
        if journal:
            self.env["FAULT_JOURNAL"] = self.journal_path
            self.set(journal=1, no_sync=1)

    def set(self, **settings):
        for name, value in settings.items():
            struct.pack_into("=I", self.map, SETTINGS[name], value)

    def number(self, at, form="=Q"):
        return struct.unpack_from(form, self.map, at)[0]

    def arm(self, kinds, at, err=errno.EIO, action="error", for_good=False, match=""):
        """The at-th call of these kinds from now on; 0 only counts."""
        self.disarm()
        bits = sum(1 << OPS.index(k) for k in kinds)
        self.map[MATCH:MATCH + 128] = match.encode().ljust(128, b"\0")
        struct.pack_into("=QQ", self.map, MATCHED, 0, 0)
        struct.pack_into("=Q", self.map, AT, at)
        self.set(kinds=bits, err=err, action=ACTIONS.index(action), for_good=int(for_good))
        self.set(on=1)

    def disarm(self):
        self.set(on=0)

    @property
    def matched(self):
        return self.number(MATCHED)

    @property
    def fired(self):
        return self.number(FIRED)

    @property
    def journalled(self):
        return self.number(JOURNALLED)

    def calls(self):
        return {op: self.number(CALLS + 8 * i) for i, op in enumerate(OPS)}

    def fired_at(self):
        """'write .../t-0/0.log', for reports."""
        path = bytes(self.map[PATH:PATH + 256]).split(b"\0")[0].decode("utf-8", "replace")
        return "%s %s" % (OPS[self.number(FIRED_OP, "=I")], "/".join(path.split("/")[-2:]))

    def close(self):
        self.map.close()
