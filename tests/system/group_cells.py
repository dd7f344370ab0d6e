"""tests/system/group_cells.py - what a coordinator answers, cell by cell: one function for each situation, run in every version
of its request, against any broker. What Apache Kafka 3.9.1 answered is in tests/data/group-cells.json.

    python3 tests/system/group_cells.py PORT [WORDS]    prints where a broker there differs (in cells with WORDS)
    python3 tests/system/group_cells.py PORT --record   writes the file from what it answers

The broker needs PROPERTIES. tests/interop/test_group_cells.py starts one of Apache Kafka and compares it with the file.
"""
import asyncio
import json
import os
import sys

import group_cells_members  # noqa: F401
import group_cells_offsets  # noqa: F401
from group_scenes import CELLS, OTHER, TOPIC, Scene
from groups import ready, run
from harness import SLOW
from wire import Wire

PROPERTIES = {
    "group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "400",
    "group.max.session.timeout.ms": "1800000", "group.max.size": "4", "offsets.topic.num.partitions": "5",
}
EXPECTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "group-cells.json")
AT_ONCE, AT_ONCE_COLD = 96, 16          # the latter for a Java machine that has just been started
HANGS = "no answer"                     # of Apache Kafka; any answer is better


def prepare(port):
    """The topics that the cells want."""
    run(ready(port, "cells"))
    with Wire(port) as c:
        there = {t["Name"] for t in c.call("Metadata", 5, Topics=None)["Topics"]}
        for topic, n in ((TOPIC, 3), (OTHER, 1)):
            if topic not in there:
                c.create(topic, n)


async def observe(s, f, args):
    try:
        return json.loads(json.dumps(await asyncio.wait_for(f(s, *args), 15 * SLOW)))
    except ConnectionError:
        return "closed"
    except asyncio.TimeoutError:
        return HANGS
    except AssertionError as e:
        return "did not come so far: %s" % e
    finally:
        s.close()


async def observe_all(port, prefix="cells", only="", at_once=AT_ONCE):
    """name -> {version: what was seen}"""
    turns, nameless, seen = asyncio.Semaphore(at_once), asyncio.Lock(), {}

    async def one(name, api, version, f, args):
        async with turns:
            s = Scene(port, "%s.%s.%d" % (prefix, name.replace(" ", "-"), version), api, version, nameless)
            seen.setdefault(name, {})[version] = await observe(s, f, args)
    await asyncio.gather(*(one(name, api, v, f, args) for name, api, versions, f, args in CELLS for v in versions
                           if only in name))
    return seen


def folded(by_version):
    """[["0-3", answer], ["4-9", answer]]"""
    out = []
    for v in sorted(by_version):
        if out and out[-1][1] == by_version[v]:
            out[-1][0][1] = v
        else:
            out.append([[v, v], by_version[v]])
    return [["%d-%d" % tuple(span), answer] for span, answer in out]


def unfolded(rows):
    return {v: answer for span, answer in rows for v in range(int(span.split("-")[0]), int(span.split("-")[1]) + 1)}


def expected():
    with open(EXPECTED, encoding="utf-8") as f:
        return {name: unfolded(rows) for name, rows in json.load(f).items()}


def differences(seen, wanted):
    out = []
    for name in sorted(seen):
        for v, got in sorted(seen[name].items()):
            want = wanted.get(name, {}).get(v)
            if got != want and want != HANGS or got == HANGS:
                out.append("%s, v%d: %s, Apache Kafka: %s" % (name, v, json.dumps(got), json.dumps(want)))
    return out


def lasting_differences(port, seen, wanted):
    """Those that are still there when their cell is run again, with few others beside it: some cells have a second to come
    to their point, which a busy machine may not give them."""
    left = differences(seen, wanted)
    for again in range(2):
        seen = {}
        for name in sorted({d.split(", v")[0] for d in left}):
            seen.update(run(observe_all(port, "again%d" % again, name, 4), 300))
        left = differences(seen, wanted)
    return left


def main():
    port = int(sys.argv[1])
    prepare(port)
    only = next((a for a in sys.argv[2:] if not a.startswith("--")), "")
    seen = run(observe_all(port, "cells-%d" % os.getpid(), only, AT_ONCE_COLD), 600)
    print(sum(len(x) for x in seen.values()), "cells")
    if "--record" in sys.argv:
        with open(EXPECTED, "w", encoding="utf-8") as f:
            f.write("{\n" + ",\n".join("%s: %s" % (json.dumps(n), json.dumps(folded(seen[n]), ensure_ascii=False))
                                       for n in sorted(seen)) + "\n}\n")
        return
    print("\n".join(differences(seen, expected())))


if __name__ == "__main__":
    main()
