"""tests/fault/checker.py - what was told to writers against what readers see: invariants I1 to I6.

  I1  what was acknowledged is read at its offset with its bytes
  I2  nothing is read that was not sent
  I3  an offset has one value for ever
  I4  what an idempotent producer sent is at one offset at most
  I5  the order of a producer in a partition is kept; a reader sees no hole
  I6  start <= LSO <= HW, HW does not fall, nothing is read at or above HW

A history is a list of events, dicts that also go to a file as lines of JSON:

  invoke  tp client ids [keys]    these records, in this order, one batch
  ok      tp ids offset [journal] acknowledged, the first at this offset
  fail    tp ids code             refused, or no answer: each may be there all the same
  read    tp reader from start lso hw records [whole began]     records: [offset, id, bytes are right]; whole: start to
                                  hw; began: how many events there were when it began
  cut     synced                  the power went; only the partitions in `synced` promise what was acknowledged, the
                                  others may lose their end
  gone    tp                      the topic was deleted

A client is a producer's id and epoch. The ids of records are never used again.
"""
import collections
import json
import threading


class History:
    def __init__(self):
        self.events = []
        self.lock = threading.Lock()

    def add(self, event, **fields):
        fields["event"] = event
        with self.lock:
            self.events.append(fields)

    def save(self, path):
        with self.lock, open(path, "w", encoding="ascii") as f:
            f.writelines(json.dumps(e) + "\n" for e in self.events)

    @staticmethod
    def load(path):
        with open(path, encoding="ascii") as f:
            return [json.loads(line) for line in f]

    def acked(self):
        with self.lock:
            return sum(len(e["ids"]) for e in self.events if e["event"] == "ok")


class Partition:
    """What is known of one."""

    def __init__(self, compacted):
        self.compacted = compacted
        self.sent = {}              # id -> (client, number in the order of sending, key)
        self.order = collections.Counter()
        self.acked = {}             # offset -> id
        self.since = {}             # offset -> the number of the event that acknowledged it
        self.seen = {}              # offset -> id, by readers
        self.at = {}                # id -> offset
        self.hw = {}                # reader -> the last it was told
        self.may_lose_end = False


class Checker:
    def __init__(self, compacted=()):
        self.compacted = set(compacted)
        self.partitions = {}
        self.number = 0
        self.violations = []
        self.counts = collections.Counter()

    def partition(self, tp):
        if tp not in self.partitions:
            self.partitions[tp] = Partition(tp.rsplit("-", 1)[0] in self.compacted)
        return self.partitions[tp]

    def wrong(self, rule, tp, text):
        self.counts[rule] += 1
        if len(self.violations) < 50:
            self.violations.append("%s %s: %s" % (rule, tp, text))

    def run(self, events):
        for e in events:
            self.number += 1
            getattr(self, "on_" + e["event"])(e)
        return self

    # ---- writers ----

    def on_invoke(self, e):
        p = self.partition(e["tp"])
        for i, id_ in enumerate(e["ids"]):
            p.sent[id_] = (e["client"], p.order[e["client"]], e["keys"][i] if e.get("keys") else None)
            p.order[e["client"]] += 1

    def on_ok(self, e):
        p, tp = self.partition(e["tp"]), e["tp"]
        for i, id_ in enumerate(e["ids"] if e["offset"] >= 0 else ()):
            offset = e["offset"] + i
            self.counts["acknowledged"] += 1
            self.put(p, tp, offset, id_, "acknowledged")
            p.acked[offset] = id_
            p.since[offset] = self.number

    def on_fail(self, e):
        self.counts["refused"] += len(e["ids"])

    def put(self, p, tp, offset, id_, how):
        """One more word on which record is where."""
        for known in (p.seen, p.acked):
            if known.get(offset, id_) != id_:
                self.wrong("I3", tp, "offset %d: record %s was there, now %s is %s" % (offset, known[offset], id_, how))
                return
        if p.at.setdefault(id_, offset) != offset:
            self.wrong("I4", tp, "record %s is at offset %d, and %s at %d" % (id_, p.at[id_], how, offset))

    # ---- readers ----

    def on_read(self, e):
        p, tp = self.partition(e["tp"]), e["tp"]
        if not e["start"] <= e["lso"] <= e["hw"]:
            self.wrong("I6", tp, "start %d, LSO %d, HW %d" % (e["start"], e["lso"], e["hw"]))
        if e["hw"] < p.hw.get(e["reader"], 0) and not p.may_lose_end:
            self.wrong("I6", tp, "HW fell from %d to %d" % (p.hw[e["reader"]], e["hw"]))
        p.hw[e["reader"]] = e["hw"]
        if e.get("whole") and p.may_lose_end:
            self.forget_end(p, e["hw"])
        self.records(p, tp, e)
        if e.get("whole"):
            self.nothing_missing(p, tp, e)

    def records(self, p, tp, e):
        expected, last_of = e["from"], {}
        for offset, id_, right in e["records"]:
            self.counts["read"] += 1
            if offset < expected or (offset > expected and not p.compacted):
                self.wrong("I5", tp, "offset %d is read where %d should follow" % (offset, expected))
            expected = offset + 1
            if offset >= e["hw"]:
                self.wrong("I6", tp, "offset %d is read, HW is %d" % (offset, e["hw"]))
            if id_ not in p.sent:
                self.wrong("I2", tp, "offset %d: record %s was never sent" % (offset, id_))
                continue
            if not right:
                self.wrong("I1", tp, "offset %d: record %s has other bytes than were sent" % (offset, id_))
            self.put(p, tp, offset, id_, "read")
            p.seen[offset] = id_
            client, number, _ = p.sent[id_]
            if number < last_of.get(client, -1):
                self.wrong("I5", tp, "offset %d: record %s of client %s is behind later ones" % (offset, id_, client))
            last_of[client] = max(number, last_of.get(client, -1))
        if e.get("whole") and expected < e["hw"] and not p.compacted:
            self.wrong("I5", tp, "nothing is read from offset %d on, HW is %d" % (expected, e["hw"]))

    def forget_end(self, p, end):
        p.may_lose_end = False
        for known in (p.acked, p.seen):
            for offset in [o for o in known if o >= end]:
                self.counts["lost unsynced"] += known is p.acked
                p.at.pop(known.pop(offset), None)

    def nothing_missing(self, p, tp, e):
        for known in (p.acked, p.seen):
            for offset in [o for o in known if o < e["start"]]:
                del known[offset]
        found = {offset for offset, _, _ in e["records"]}
        last = {}
        for offset, id_, _ in e["records"]:
            if p.compacted and id_ in p.sent:
                last[p.sent[id_][2]] = offset
        for known, how in ((p.acked, "acknowledged"), (p.seen, "read before")):
            for offset, id_ in known.items():
                if offset in found or id_ not in p.sent:
                    continue
                if known is p.acked and p.since[offset] > e.get("began", p.since[offset]):
                    continue                # acknowledged after the reader had asked where the end is
                if p.compacted and last.get(p.sent[id_][2], -1) > offset:
                    continue
                self.wrong("I1", tp, "record %s, %s at offset %d, is gone; start %d, HW %d" % (
                    id_, how, offset, e["start"], e["hw"]))

    # ---- the world ----

    def on_cut(self, e):
        for tp, p in self.partitions.items():
            if tp not in e["synced"]:
                p.may_lose_end = True

    def on_gone(self, e):
        self.partitions.pop(e["tp"], None)
