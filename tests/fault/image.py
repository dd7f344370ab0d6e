"""tests/fault/image.py - what a disk could have left after a power cut, built from the journal of faultlib.c.

A file has a durable content and changes after it; a directory has durable entries and changes after them. A sync of a file
makes its changes durable, a sync of a directory its entries (the file's own entry is not a matter of the file's sync: stricter
than ext4), syncfs all. What was waiting when a sync failed never becomes durable: the kernel may have thrown the pages away.
At the cut each waiting write is kept, dropped or torn in pieces of 512 bytes or 4 KiB, whatever others do; of the changes of
a directory a beginning is kept.
"""
import os
import struct

START, OPEN, WRITE, TRUNCATE, SYNC, SYNCFS, RENAME, UNLINK, MKDIR = range(1, 10)
CREATED, TRUNCATED, DSYNC = 1, 2, 4
HEAD = struct.Struct("=IiQQ")


class File:
    def __init__(self):
        self.durable = bytearray()
        self.waiting = []               # ("write", at, bytes) or ("truncate", size)
        self.lost = 0                   # the first so many of them can no longer become durable

    def sync(self, worked):
        if not worked:
            self.lost = len(self.waiting)
            return
        keep = self.waiting[:self.lost]
        for change in self.waiting[self.lost:]:
            apply(self.durable, change)
        self.waiting = keep


class Directory:
    def __init__(self):
        self.now = {}
        self.durable = {}
        self.waiting = []               # (name, node or None), in order; a rename is one tuple of two

    def put(self, *changes):
        for name, node in changes:
            if node is None:
                self.now.pop(name, None)
            else:
                self.now[name] = node
        self.waiting.append(changes)

    def sync(self, worked):
        if worked:
            self.durable, self.waiting = dict(self.now), []


def apply(data, change):
    if change[0] == "truncate":
        size = change[1]
        if size < len(data):
            del data[size:]
        else:
            data.extend(bytes(size - len(data)))
        return
    _, at, piece = change
    if at > len(data):
        data.extend(bytes(at - len(data)))
    data[at:at + len(piece)] = piece


class Disk:
    def __init__(self, roots):
        self.roots = {os.path.realpath(r): Directory() for r in roots}
        self.fds = {}

    def find(self, path):
        """(directory, name), or (directory, None) for a root itself; None: not ours any more."""
        for root, top in self.roots.items():
            if path == root:
                return top, None
            if path.startswith(root + "/"):
                *above, name = [part for part in path[len(root) + 1:].split("/") if part not in ("", ".")] or [None]
                for part in above:
                    top = top.now.get(part) if isinstance(top, Directory) else None
                return (top, name) if isinstance(top, Directory) else None
        return None

    def node(self, path):
        where = self.find(path)
        if where is None:
            return None
        return where[0] if where[1] is None else where[0].now.get(where[1])

    def replay(self, journal, upto):
        """Everything up to the entry of that number."""
        with open(journal, "rb") as f:
            for _ in range(upto):
                head = f.read(HEAD.size)
                if len(head) < HEAD.size:
                    break
                kind, fd, at, size = HEAD.unpack(head)
                data = f.read(size)
                if len(data) < size:
                    break
                self.entry(kind, fd, at, data)
        return self

    def entry(self, kind, fd, at, data):
        if kind == START:
            self.fds = {}
        elif kind == OPEN:
            self.opened(fd, at, data.decode())
        elif kind in (WRITE, TRUNCATE):
            self.changed(fd, ("write", at, data) if kind == WRITE else ("truncate", at))
        elif kind == SYNC and fd in self.fds and self.fds[fd][0] is not None:
            self.fds[fd][0].sync(at == 1)
        elif kind == SYNCFS:
            for top in self.roots.values():
                sync_below(top, at == 1)
        elif kind in (RENAME, UNLINK, MKDIR):
            self.named(kind, [p.decode() for p in data.split(b"\0")])

    def opened(self, fd, how, path):
        where = self.find(path)
        node = self.node(path)
        if node is None and where is not None and how & CREATED and where[1] is not None:
            node = File()
            where[0].put((where[1], node))
        if how & TRUNCATED and isinstance(node, File):
            node.waiting.append(("truncate", 0))
        self.fds[fd] = (node, how)

    def changed(self, fd, change):
        node, how = self.fds.get(fd, (None, 0))
        if not isinstance(node, File):
            return
        if how & DSYNC:
            apply(node.durable, change)
        else:
            node.waiting.append(change)

    def named(self, kind, paths):
        where = self.find(paths[0])
        if where is None or where[1] is None:
            return
        top, name = where
        if kind == UNLINK:
            top.put((name, None))
        elif kind == MKDIR:
            top.put((name, Directory()))
        else:
            to, new = self.find(paths[1])
            node = top.now.get(name)
            if to is top:
                top.put((name, None), (new, node))
            else:
                to.put((new, node))
                top.put((name, None))

    # ---- the cut ----

    def write(self, rng, keep, piece):
        """Makes the directories anew. keep: the chance of what was not synced, 0 to 1."""
        for root, top in self.roots.items():
            os.makedirs(root, exist_ok=True)
            write_directory(root, top, rng, keep, piece)


def sync_below(node, worked):
    node.sync(worked)
    if isinstance(node, Directory):
        for one in node.now.values():
            sync_below(one, worked)


def entries_left(d, rng, keep):
    left = dict(d.durable)
    n = len(d.waiting) if keep >= 1 else 0 if keep <= 0 else rng.randrange(len(d.waiting) + 1)
    for changes in d.waiting[:n]:
        for name, node in changes:
            if node is None:
                left.pop(name, None)
            else:
                left[name] = node
    return left


def content_left(f, rng, keep, piece):
    data = bytearray(f.durable)
    for change in f.waiting:
        if change[0] == "truncate":
            if keep > 0 and rng.random() < keep or keep >= 1:
                apply(data, change)
            continue
        _, at, bytes_ = change
        end = at + len(bytes_)
        while at < end:                     # in pieces of the disk, not of the write
            stop = min(end, (at // piece + 1) * piece)
            if keep >= 1 or rng.random() < keep:
                apply(data, ("write", at, bytes_[at - end + len(bytes_):stop - end + len(bytes_)]))
            at = stop
    return data


def write_directory(path, d, rng, keep, piece):
    for name, node in sorted(entries_left(d, rng, keep).items()):
        below = os.path.join(path, name)
        if isinstance(node, Directory):
            os.mkdir(below)
            write_directory(below, node, rng, keep, piece)
        else:
            with open(below, "wb") as f:
                f.write(content_left(node, rng, keep, piece))


def another_boot(directories):
    """The mark says that the page cache is not the one that was written through."""
    for d in directories:
        mark = os.path.join(d, ".klamm-boot")
        if os.path.exists(mark):
            with open(mark, "w", encoding="ascii") as f:
                f.write("another boot\n")
