"""tests/system/cluster_check.py - judges what the clients and the observers of a cluster have seen: tests/fault/checker.py's
I1 to I6 for many brokers, and

  I11  replicas hold the same bytes below the high watermark
  I12  the leader epoch of a partition grows with every change of leader; the ISR is never empty, is part of the replicas,
       and the leader is in it; who comes to lead was in it before; in an epoch one broker leads; no controller writes
       after a later one

More events than checker.py has:

  read  ... broker epoch [life]       of which leader, in which epoch; which of its starts
  lost_position  tp reader at         a reader was told that the offset it had come to is not there
  state  tp leader epoch isr replicas version controller   a version of the partition's state node
  leads  tp broker epoch              a broker acted as the leader of an epoch
  replica  tp broker hw batches       [base offset, last offset, digest] of all batches of a replica's log

HW may fall from one leader to the next, and when a leader is killed and comes back before a controller has noticed; else it
does not fall within an epoch (I6). What was below it is never lost (I1).
"""
import hashlib
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fault"))
from checker import Checker  # noqa: E402


class ClusterChecker(Checker):
    def __init__(self):
        super().__init__()
        self.leaders = {}               # (tp, epoch) -> broker
        self.states = {}                # tp -> {version: state}
        self.logs = {}                  # tp -> (broker, hw, {base: (last, digest)})

    def on_read(self, e):
        """The high watermark is one's of a leader, its life and an epoch."""
        if "epoch" in e:
            e = dict(e, reader="%s at broker %s, start %s, epoch %s" % (e["reader"], e["broker"], e.get("life", 0), e["epoch"]))
        super().on_read(e)

    def on_lost_position(self, e):
        self.wrong("I1", e["tp"], "broker %s, epoch %s, does not have offset %d that %s has read up to" % (
            e["broker"], e["epoch"], e["at"], e["reader"]))

    def on_leads(self, e):
        self.counts["leads"] += 1
        known = self.leaders.setdefault((e["tp"], e["epoch"]), e["broker"])
        if known != e["broker"]:
            self.wrong("I12", e["tp"], "brokers %d and %d both lead in epoch %d" % (known, e["broker"], e["epoch"]))

    def on_state(self, e):
        tp, isr = e["tp"], e["isr"]
        known = self.states.setdefault(tp, {})
        self.counts["states"] += 1
        if not isr or len(set(isr)) != len(isr) or not set(isr) <= set(e["replicas"]):
            self.wrong("I12", tp, "ISR %s of replicas %s" % (isr, e["replicas"]))
        if e["leader"] >= 0 and e["leader"] not in isr:
            self.wrong("I12", tp, "the leader %d is not in the ISR %s" % (e["leader"], isr))
        if e["leader"] >= 0:
            self.on_leads(dict(e, broker=e["leader"]))
        known[e["version"]] = e
        before = [v for v in known if v < e["version"]]
        if before:
            old = known[max(before)]
            if e["epoch"] < old["epoch"] or (e["epoch"] == old["epoch"] and e["leader"] != old["leader"]):
                self.wrong("I12", tp, "leader %d in epoch %d is followed by leader %d in epoch %d" % (
                    old["leader"], old["epoch"], e["leader"], e["epoch"]))
            if e["controller"] < old["controller"]:
                self.wrong("I12", tp, "a controller of epoch %d wrote after one of epoch %d" % (
                    e["controller"], old["controller"]))
            if max(before) == e["version"] - 1 and not set(isr) & set(old["isr"]):
                self.wrong("I12", tp, "the ISR %s is followed by %s: an unclean election" % (old["isr"], isr))
            if max(before) == e["version"] - 1 and e["leader"] >= 0 and e["leader"] not in old["isr"]:
                self.wrong("I12", tp, "%d leads, but was not in the ISR %s" % (e["leader"], old["isr"]))

    def on_replica(self, e):
        tp, rows = e["tp"], {b: (last, digest) for b, last, digest in e["batches"]}
        self.counts["replicas"] += 1
        end = e["batches"][-1][1] + 1 if e["batches"] else 0
        if end < e["hw"]:
            self.wrong("I11", tp, "broker %d has its log up to %d, HW is %d" % (e["broker"], end, e["hw"]))
        if tp not in self.logs:
            self.logs[tp] = (e["broker"], rows)
            return
        other, known = self.logs[tp]
        for base in sorted(set(known) | set(rows)):
            if base < e["hw"] and known.get(base) != rows.get(base):
                self.wrong("I11", tp, "at offset %d broker %d has %s, broker %d has %s; HW %d" % (
                    base, other, known.get(base, "nothing"), e["broker"], rows.get(base, "nothing"), e["hw"]))
                break


def batch_rows(data):
    """[base offset, last offset, digest] of each whole batch."""
    out, pos = [], 0
    while pos + 61 <= len(data):
        base, length = struct.unpack_from(">qi", data, pos)
        end = pos + 12 + length
        if length <= 0 or end > len(data):
            break
        delta, = struct.unpack_from(">i", data, pos + 23)
        out.append([base, base + delta, hashlib.sha1(data[pos:end]).hexdigest()[:16]])
        pos = end
    return out


def judge(history):
    """The checker's counts; all that was wrong is raised."""
    checker = ClusterChecker().run(history.events)
    assert not checker.violations, "\n".join(checker.violations[:20])
    return checker.counts
