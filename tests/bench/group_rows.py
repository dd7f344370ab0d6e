"""tests/bench/group_rows.py - the rows about consumer groups. The load is tests/bench/groups.c; who looks at the broker is here.

Memory is what the broker has more of than before: resident memory of Klamm; of Apache Kafka the live heap after a full
collection, since its resident memory says nothing (left out where there is no jcmd).
"""
import os
import re
import shutil
import subprocess

ROW_FIRST = "first poll of a fresh group beyond group.initial.rebalance.delay.ms, p50 / max, ms"
ROW_REBALANCE = "rebalance of 100 members over 1,000 partitions, last join to last sync, p50 / max, ms"
ROW_STORM = "%s groups of 10 members join at once, until all are stable, s"
ROW_MEMBER = "memory for a group member, bytes"
ROW_COMMITS = "offset commits from 100 connections, %s, of 50,000 offsets/s, /s"
ROW_COMMIT_CPU = "broker CPU for a committed offset, %s, us"
A_REQUEST = {1: "one a request", 10: "10 a request"}
ROW_LOAD = "restart with %s committed offsets, until all groups answer / beyond the first answer, s"
ROW_OFFSET = "memory for a committed offset, when committed / when loaded, bytes"
TARGETS = [
    (ROW_FIRST, "50"), (ROW_REBALANCE, "500"), ("1,000 groups of 10", "10 (with the initial delay of 3 s)"),
    (ROW_MEMBER, "4,096"), ("offset commits from 100", "50,000"), ("broker CPU for a committed", "a fifth of Kafka's"),
    ("restart with 1,000,000 committed", "2"), (ROW_OFFSET, "200"),
]
INITIAL_DELAY_MS = 3000             # the default of both


class Load:
    """tests/bench/groups at work: line() waits for what it says, go() lets it go on."""

    def __init__(self, bench, b, *args):
        self.process = subprocess.Popen([os.path.join(bench.build, "tests/bench/groups"), str(b.port), *map(str, args)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.process.kill()
        self.process.stdin.close()
        status = self.process.wait(120)
        self.process.stdout.close()
        if kind is None and status != 0:
            raise RuntimeError("tests/bench/groups ended with status %d" % status)

    def line(self, word=None):
        text = self.process.stdout.readline().strip()
        if not text or word and text != word:
            raise RuntimeError("tests/bench/groups said %r, not %s" % (text, word or "a figure"))
        return text

    def resume(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def go(self, word):
        self.line(word)
        self.resume()

    def figures(self):
        return [float(n) for n in self.line().split()]


def memory_bytes(b, who):
    """None when it cannot be told."""
    if who == "klamm":
        return b.rss_mb() * 1000 * 1024
    if shutil.which("jcmd") is None:
        return None
    pid = str(b.process.pid)
    subprocess.run(["jcmd", pid, "GC.run"], check=True, stdout=subprocess.DEVNULL)
    out = subprocess.run(["jcmd", pid, "GC.heap_info"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(re.search(r"heap\s+total \d+K, used (\d+)K", out).group(1)) * 1024


def each(before, after, n):
    return "" if before is None or after is None else "%.0f" % ((after - before) / n)


def first(bench, b, who):
    with Load(bench, b, "first", "first", "g-one", 1, 3 if bench.quick else 10) as load:
        got = load.figures()
    bench.put(ROW_FIRST, who, "%.1f / %.1f" % tuple(ms - INITIAL_DELAY_MS for ms in got))


def rebalance(bench, b, who):
    for times in (20, 50):          # the first for the warmth of a JVM
        with Load(bench, b, "storm", "hundred", "g-thousand", 1000, 1, 100, times) as load:
            load.go("connected")
            load.figures()
            load.go("stable")
            got = load.figures()
    bench.put(ROW_REBALANCE, who, "%.1f / %.1f" % tuple(got))


def offsets(bench, b, who):
    groups = 100 if bench.quick else 1000
    total = groups * 1000
    b.stop()
    b.start()
    memory = [memory_bytes(b, who)]
    with Load(bench, b, "offsets", "offsets", "g-thousand", 1000, groups):
        pass
    memory.append(memory_bytes(b, who))
    b.stop()
    with Load(bench, b, "answers", "offsets", "g-thousand", 1000, groups) as load:
        b.start()
        listens, known = load.figures()
    memory.append(memory_bytes(b, who))
    bench.put(ROW_LOAD % format(total, ","), who, "%.2f / %.2f" % (known / 1000, (known - listens) / 1000))
    bench.put(ROW_OFFSET, who, " / ".join(each(memory[0], m, total) for m in memory[1:]))


def storm(bench, b, who):
    groups = 200 if bench.quick else 1000
    with Load(bench, b, "storm", "storm", "g-thousand", 1000, groups, 10, 0) as load:
        load.line("connected")
        before = memory_bytes(b, who)
        load.resume()
        ms, = load.figures()
        load.line("stable")
        after = memory_bytes(b, who)
        load.resume()
    bench.put(ROW_STORM % format(groups, ","), who, ms / 1000, "%.2f")
    bench.put(ROW_MEMBER, who, each(before, after, groups * 10))


def commits(bench, b, who):
    """After as many as a JVM needs to be warm: its second half million costs half of its first."""
    warm, count = (50000, 150000) if bench.quick else (1000000, 1000000)
    for a_request in (1, 10):
        for rate, n in ((0, warm), (50000, count)):
            with Load(bench, b, "commit", "commit-%d-%d" % (a_request, rate), "g-thousand", 1000, 10, 10, rate // a_request,
                      n // a_request, a_request) as load:
                load.line("stable")
                before = b.cpu()
                load.resume()
                reached, = load.figures()
                cpu = b.cpu() - before
                load.go("committed")
        bench.put(ROW_COMMITS % A_REQUEST[a_request], who, reached * a_request, "%.0f")
        bench.put(ROW_COMMIT_CPU % A_REQUEST[a_request], who, cpu / count * 1e6, "%.2f")


def groups(bench, b, who):
    b.topics("--create", "--topic", "g-one", "--partitions", "1")
    b.topics("--create", "--topic", "g-thousand", "--partitions", "1000")
    b.ack("g-one", 1, 0, 100)
    for row in (first, rebalance, offsets, storm, commits):
        row(bench, b, who)
