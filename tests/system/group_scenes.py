"""tests/system/group_scenes.py - what a cell of group_cells.py is written with: one group, its members, and the states they
are brought into.
"""
import asyncio

from groups import NONE, REBALANCE_IN_PROGRESS, Link, Member, describe, until
from harness import SLOW
from wire import APIS

TOPIC, OTHER = "cells", "cells.other"
PARTITIONS = {TOPIC: 3}
INT_MAX, INT_MIN, LONG_MAX, LONG_MIN = (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63)
CELLS = []                              # (name, api, versions, function, arguments)


def cell(api, since=0, until_version=None, **rows):
    """One cell for each row (name -> arguments), or one without; each in every version from `since` on."""
    def add(f):
        name = f.__name__.replace("_", " ")
        for row, args in (rows or {"": ()}).items():
            last = APIS[api].versions[1] if until_version is None else until_version
            CELLS.append((" ".join(filter(None, [name, row.replace("_", " ")])), api, range(since, last + 1), f, args))
        return f
    return add


class Scene:
    """One cell's group, and the members in it."""

    def __init__(self, port, group, api, version, nameless):
        self.port, self.group, self.api, self.version, self.made = port, group, api, version, []
        self.nameless = nameless        # a lock: who works with the group ""

    def member(self, **kw):
        """Its requests are of the newest versions, but for the cell's own."""
        m = Member(self.port, kw.pop("group", self.group), **dict({"topics": [TOPIC]}, **kw))
        m.versions = dict(m.versions)
        self.made.append(m)
        return m

    def subject(self, **kw):
        """A member that sends the cell's request in the cell's version."""
        m = self.member(**kw)
        m.versions[self.api] = self.version
        return m

    async def call(self, name=None, version=None, /, **fields):
        link = await Link.open(self.port)
        self.made.append(link)
        return await link.call(name or self.api, self.version if version is None else version, **fields)

    async def stable(self, *members):
        """They join one after the other; the first leads, and the generation is their number."""
        for i, m in enumerate(members):
            joining = asyncio.ensure_future(m.join())
            for old in members[:i]:
                await until(lambda old=old: rebalancing(old), what="rebalance")
            codes = await asyncio.gather(joining, *(old.join() for old in members[:i]))
            assert codes == [NONE] * (i + 1), codes
            codes = await asyncio.gather(*(x.sync(PARTITIONS, **({"Assignments": []} if x.protocols else {}))
                                           for x in members[:i + 1]))
            assert codes == [NONE] * (i + 1), codes
        return members

    async def state(self):
        link = await Link.open(self.port)
        self.made.append(link)
        d = await describe(link, self.group)
        return [d["ErrorCode"], d["GroupState"], len(d["Members"])]

    async def becomes(self, state, members):
        async def is_so():
            return (await self.state())[1:] == [state, members]
        await until(is_so, 30, "%s with %d" % (state, members))

    def close(self):
        for x in self.made:
            (x.drop if isinstance(x, Member) else x.close)()


async def rebalancing(member):
    code = await member.heartbeat()
    assert code in (NONE, REBALANCE_IN_PROGRESS), code
    return code == REBALANCE_IN_PROGRESS


async def parked(future):
    """Does it wait, rather than being answered at once?"""
    await asyncio.wait([future], timeout=0.3 * SLOW)
    return not future.done()


def told(m):
    """What a join's answer says, without names that differ from run to run."""
    j = m.joined
    return [j["ErrorCode"], j["GenerationId"], j.get("ProtocolType"), j["ProtocolName"], len(j["Members"]),
            j["Leader"] == j["MemberId"] != "", bool(j["MemberId"]), j.get("SkipAssignment", False)]
