"""The checker of clusters sees each rule broken that is broken, before any cluster is judged by it."""
import copy

import pytest

from cluster_check import ClusterChecker

RECORDS = [[0, 1, True], [1, 2, True], [2, 3, True], [3, 11, True], [4, 12, True]]
BATCHES = [[0, 2, "a"], [3, 4, "b"]]


def state(version, leader, epoch, isr, controller=1):
    return {"event": "state", "tp": "t-0", "leader": leader, "epoch": epoch, "isr": isr, "replicas": [1, 2, 3],
            "version": version, "controller": controller}


def read(reader, records, broker=1, epoch=0, hw=5, start=0, **more):
    return dict({"event": "read", "tp": "t-0", "reader": reader, "from": records[0][0] if records else 0, "start": start,
                 "lso": hw, "hw": hw, "records": records, "broker": broker, "epoch": epoch}, **more)


def replica(broker, batches, hw=5):
    return {"event": "replica", "tp": "t-0", "broker": broker, "hw": hw, "batches": batches}


# Broker 1 leads, is lost, 2 leads, 1 comes back.
GOOD = {
    "s0": state(0, 1, 0, [1, 2, 3]),
    "i1": {"event": "invoke", "tp": "t-0", "client": "a", "ids": [1, 2, 3]},
    "o1": {"event": "ok", "tp": "t-0", "ids": [1, 2, 3], "offset": 0},
    "r1": read("r", RECORDS[:3], hw=3),
    "l1": {"event": "leads", "tp": "t-0", "broker": 1, "epoch": 0},
    "s1": state(1, 2, 1, [2, 3]),
    "i2": {"event": "invoke", "tp": "t-0", "client": "b", "ids": [11, 12]},
    "f2": {"event": "fail", "tp": "t-0", "ids": [11, 12], "code": 6},
    "o2": {"event": "ok", "tp": "t-0", "ids": [11, 12], "offset": 3},
    "low": read("r", [], broker=2, epoch=1, hw=2, **{"from": 3}),
    "r2": read("r", RECORDS[3:], broker=2, epoch=1),
    "l2": {"event": "leads", "tp": "t-0", "broker": 2, "epoch": 1},
    "s2": state(2, 2, 1, [2, 3, 1]),
    "end": read("end", RECORDS, broker=2, epoch=1, whole=True),
    "p1": replica(1, BATCHES + [[5, 5, "x"]]),          # what is above HW may differ
    "p2": replica(2, BATCHES),
    "p3": replica(3, BATCHES),
}


def put(name, **fields):
    return lambda h: h[name].update(fields)


MUTATIONS = {
    "nothing": (None, lambda h: None),
    "ack before replication: the new leader does not have it": ("I1", put("end", records=RECORDS[:3], hw=3, lso=3)),
    "truncation to a lagging HW: a hole in the middle": ("I1", put("end", records=RECORDS[:2] + RECORDS[3:])),
    "truncation to HW: other bytes at the offset": ("I3", put("end", records=RECORDS[:2] + [[2, 12, True]] + RECORDS[3:4])),
    "another record after failover": ("I3", put("end", records=RECORDS[:4] + [[4, 3, True]])),
    "a retry that is appended again": ("I4", lambda h: (put("end", records=RECORDS + [[5, 12, True]], hw=6, lso=6)(h))),
    "an order that changed": ("I5", lambda h: (h.pop("o1"), h.pop("r1"), put("end", records=[
        [0, 2, True], [1, 1, True]] + RECORDS[2:])(h))),
    "a record of nobody": ("I2", put("end", records=RECORDS[:4] + [[4, 99, True]])),
    "damaged bytes": ("I1", put("r1", records=RECORDS[:2] + [[2, 3, False]])),
    "HW that falls within an epoch": ("I6", lambda h: h.update(r3=read("r", [], broker=2, epoch=1, hw=4, **{"from": 5}))),
    "a read above HW": ("I6", put("r1", hw=2, lso=2)),
    "a committed read that is lost": ("I1", lambda h: (h.pop("o1"), put("end", records=RECORDS[:2], hw=2, lso=2)(h))),
    "a reader's position that is not there": ("I1", lambda h: h.update(
        x={"event": "lost_position", "tp": "t-0", "reader": "r", "at": 3, "broker": 2, "epoch": 1})),
    "two leaders of an epoch": ("I12", put("l2", broker=3)),
    "a zombie that ignores the epoch": ("I12", lambda h: h.update(x=dict(GOOD["l2"], broker=1))),
    "an epoch that falls": ("I12", put("s2", epoch=0)),
    "a leader without a new epoch": ("I12", put("s1", epoch=0)),
    "a leader beside the ISR": ("I12", put("s1", isr=[3])),
    "an ISR beside the replicas": ("I12", put("s2", isr=[2, 3, 4])),
    "an empty ISR": ("I12", put("s1", isr=[], leader=-1)),
    "an unclean election": ("I12", lambda h: h.update(s3=state(3, -1, 2, [2]), s4=state(4, 3, 3, [3]))),
    "a leader from outside the ISR": ("I12", lambda h: h.update(s3=state(3, 2, 2, [2]), s4=state(4, 3, 3, [3, 2]))),
    "an old controller that writes": ("I12", lambda h: (put("s1", controller=2)(h), put("s2", controller=1)(h))),
    "a replica that is short": ("I11", put("p3", batches=BATCHES[:1])),
    "replicas that differ": ("I11", put("p3", batches=[[0, 2, "a"], [3, 4, "c"]])),
    "a batch split otherwise": ("I11", put("p1", batches=[[0, 1, "a"], [2, 2, "a"], [3, 4, "b"]])),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_seeded_bug_is_seen(name):
    rule, harm = MUTATIONS[name]
    history = copy.deepcopy(GOOD)
    harm(history)
    found = ClusterChecker().run(history.values()).violations
    if rule is None:
        assert not found
    else:
        assert any(v.startswith(rule + " ") for v in found), found
