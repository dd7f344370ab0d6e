"""tests/system/cluster_load.py - writers and readers of a cluster on the raw protocol, whose histories cluster_check.py judges.

A writer is an idempotent producer with acks=all and one batch at a time on its way to each partition; a batch without an
answer is sent again as it was, to whoever leads then. A reader follows each partition from its start; it names the leader
epoch in what it asks, so each of its answers belongs to one.
"""
import os
import random
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fault"))
import batches  # noqa: E402
from checker import History  # noqa: E402
from harness import SLOW, wait_for  # noqa: E402
from load import DUPLICATE, OK, Writer, id_of, values_of  # noqa: E402

OFFSET_OUT_OF_RANGE, NOT_LEADER = 1, 6
# What no failure of a broker explains: a broken batch, a gap or an old epoch of a producer that is alone.
NEVER = {2: "CORRUPT_MESSAGE", 45: "OUT_OF_ORDER_SEQUENCE_NUMBER", 47: "INVALID_PRODUCER_EPOCH", 59: "UNKNOWN_PRODUCER_ID",
         87: "INVALID_RECORD"}
ANSWER_S = 4 * SLOW


class View:
    """Who leads what, by the cluster's own Metadata; and a connection to each broker."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.leaders, self.wires = {}, {}

    def refresh(self, topics):
        for number in random.sample(sorted(self.cluster.nodes), len(self.cluster.nodes)):
            try:
                out = self.wire(number).call("Metadata", 8, Topics=[{"Name": t} for t in topics])
            except OSError:
                self.drop(number)
                continue
            for t in out["Topics"]:
                for p in t["Partitions"]:
                    known = self.leaders.get((t["Name"], p["PartitionIndex"]), (-1, -1))
                    if p["LeaderEpoch"] >= known[1]:            # some brokers are behind
                        self.leaders[t["Name"], p["PartitionIndex"]] = (p["LeaderId"], p["LeaderEpoch"])
            return

    def leader(self, tp):
        """(broker, epoch); broker -1 while there is none."""
        if self.leaders.get(tp, (-1, -1))[0] < 0:
            self.refresh([tp[0]])
        return self.leaders.get(tp, (-1, -1))

    def lost(self, tp):
        """It did not answer as a leader does: ask again who it is."""
        if tp in self.leaders:
            self.leaders[tp] = (-1, self.leaders[tp][1])

    def wire(self, number):
        node = self.cluster.nodes[number]
        if not node.alive() or node.stopped:
            raise OSError("broker %d is down" % number)
        if number not in self.wires:
            self.wires[number] = node.connect(ANSWER_S)
        return self.wires[number]

    def drop(self, number):
        wire = self.wires.pop(number, None)
        if wire is not None:
            wire.close()

    def close(self):
        for number in list(self.wires):
            self.drop(number)


class ClusterTarget:
    """What load.Writer wants to know of where it writes."""

    def __init__(self, cluster, history):
        self.cluster, self.history, self.dark = cluster, history, False

    @staticmethod
    def journalled():
        return 0


class ClusterWriter(Writer):
    def __init__(self, cluster, history, name, topics, seed, acks=-1, timeout_ms=None):
        self.view = View(cluster)
        self.acks_wanted, self.timeout_ms = acks, timeout_ms or 2000 * SLOW
        super().__init__(ClusterTarget(cluster, history), name, topics, seed)

    def drop(self):
        self.view.close()

    def ready(self):
        if self.pid is not None:
            return
        for number in self.view.cluster.live():
            try:
                out = self.view.wire(number).call("InitProducerId", 1, TransactionalId=None, TransactionTimeoutMs=0)
            except OSError:
                self.view.drop(number)
                continue
            if out["ErrorCode"] == OK:
                self.generation += 1
                self.pid, self.epoch = out["ProducerId"], out["ProducerEpoch"]
                return
        raise OSError("no producer id")

    def send(self, only=None):
        """One batch for one partition. The code; raises OSError if no answer came."""
        self.ready()
        tp = only or self.rng.choice(self.partitions)
        number, epoch = self.view.leader(tp)
        if number < 0:
            raise OSError("%s-%d has no leader" % tp)
        if tp not in self.pending:
            self.make(tp)
        try:
            answer = self.view.wire(number).produce(8, tp[0], tp[1], self.pending[tp][1], self.acks_wanted, self.timeout_ms)
        except OSError:
            self.view.drop(number)
            self.view.lost(tp)
            raise
        code = self.told(tp, answer)
        if code not in (OK, DUPLICATE):
            self.view.lost(tp)
        else:
            self.last = (number, epoch)
        return code


class Writing(threading.Thread):
    """Writes until it is told to end, over everything that happens to the brokers."""

    def __init__(self, writer):
        super().__init__(daemon=True)
        self.writer = writer
        self.stop = threading.Event()
        self.acks, self.codes, self.bad = 0, [], None

    def run(self):
        try:
            while not self.stop.is_set():
                try:
                    code = self.writer.send()
                except (OSError, ValueError):       # a connection that ends in the middle of an answer
                    self.stop.wait(0.02)
                    continue
                self.codes.append(code)
                if code in (OK, DUPLICATE):
                    self.acks += 1
                    self.stop.wait(0.001)           # one writer shall not have the processor for itself
                elif code in NEVER:
                    self.bad = "%s: error %d %s" % (self.writer.name, code, NEVER[code])
                else:
                    self.stop.wait(0.02)
        except Exception as e:                      # pylint: disable=broad-except
            self.bad = "%s: %r" % (self.writer.name, e)


class Reading(threading.Thread):
    """Follows all partitions; what it was told goes into the history."""

    def __init__(self, cluster, history, name, topics):
        super().__init__(daemon=True)
        self.view, self.history, self.name_ = View(cluster), history, name
        self.at = {(t, p): 0 for t, n in topics.items() for p in range(n)}
        self.stop = threading.Event()
        self.bad, self.records = None, 0

    def run(self):
        try:
            while not self.stop.is_set():
                for tp in list(self.at):
                    try:
                        if not self.step(tp):
                            self.stop.wait(0.02)
                    except (OSError, ValueError):
                        self.stop.wait(0.02)
        except Exception as e:                      # pylint: disable=broad-except
            self.bad = "%s: %r" % (self.name_, e)
        self.view.close()

    def step(self, tp):
        """True: there was something."""
        number, epoch = self.view.leader(tp)
        if number < 0:
            return False
        began = len(self.history.events)
        try:
            wire = self.view.wire(number)       # to this life of it: the next one does not answer on it
            life = self.view.cluster.nodes[number].starts
            out = wire.fetch(11, tp[0], tp[1], self.at[tp], wait_ms=20, CurrentLeaderEpoch=epoch)
        except OSError:
            self.view.drop(number)
            self.view.lost(tp)
            raise
        part = out["Responses"][0]["Partitions"][0]
        if part["ErrorCode"] == OFFSET_OUT_OF_RANGE:
            self.history.add("lost_position", tp="%s-%d" % tp, reader=self.name_, at=self.at[tp], broker=number, epoch=epoch)
        if part["ErrorCode"] != OK:
            self.view.lost(tp)
            return False
        data = part["Records"] or b""
        records = [[o, *id_of(v)] for o, v in values_of(data) if o >= self.at[tp]]
        self.history.add("read", **{"from": self.at[tp]}, tp="%s-%d" % tp, reader=self.name_, broker=number, epoch=epoch, life=life,
                         start=max(part["LogStartOffset"], 0), lso=part["LastStableOffset"], hw=part["HighWatermark"],
                         records=records, began=began)
        if records:
            self.at[tp] = records[-1][0] + 1
            self.records += len(records)
        return bool(records)


class Traffic:
    """Writers and a reader over some topics, from start() to end()."""

    def __init__(self, cluster, topics, seed, writers=2, readers=1, timeout_ms=None):
        self.cluster, self.topics, self.history = cluster, topics, History()
        self.writings = [Writing(ClusterWriter(cluster, self.history, "w%d" % i, topics, seed + i, timeout_ms=timeout_ms))
                         for i in range(writers)]
        self.readings = [Reading(cluster, self.history, "r%d" % i, topics) for i in range(readers)]

    def start(self):
        for thread in self.writings + self.readings:
            thread.start()
        return self

    @property
    def acks(self):
        return sum(w.acks for w in self.writings)

    def until(self, more, within=60, what="acknowledgements go on"):
        """Until so many more batches were acknowledged."""
        want = self.acks + more

        def enough():
            self.no_bad()
            return self.acks >= want

        class Text:
            def __str__(_):
                return "%s: %d of %d more; last answers %s\n%s" % (
                    what, self.acks - want + more, more, [w.codes[-5:] for w in self.writings], self.cluster.logs())
        wait_for(enough, within, Text())

    def no_bad(self):
        bad = [t.bad for t in self.writings + self.readings if t.bad]
        assert not bad, "%s\n%s" % (bad, self.cluster.logs())

    def quiet(self):
        """Ends all of it."""
        for thread in self.writings + self.readings:
            thread.stop.set()
        for thread in self.writings + self.readings:
            if thread.is_alive():
                thread.join(60 * SLOW)
                assert not thread.is_alive(), "a client hangs"
        for w in self.writings:
            w.writer.drop()

    def end(self):
        self.quiet()
        self.no_bad()
        return self.history


def log_end(wire, topic, partition):
    """(high watermark, end of the log) at the leader, or None."""
    metadata = wire.call("Metadata", 8, Topics=[{"Name": topic}])["Topics"][0]
    epoch = next((p["LeaderEpoch"] for p in metadata["Partitions"] if p["PartitionIndex"] == partition), -1)
    if epoch < 0:
        return None
    out = wire.call("OffsetForLeaderEpoch", 3, ReplicaId=-1, Topics=[{"Topic": topic, "Partitions": [
        {"Partition": partition, "CurrentLeaderEpoch": epoch, "LeaderEpoch": epoch}]}])["Topics"][0]["Partitions"][0]
    end = wire.call("ListOffsets", 4, ReplicaId=-1, IsolationLevel=0, Topics=[{"Name": topic, "Partitions": [
        {"PartitionIndex": partition, "CurrentLeaderEpoch": epoch, "Timestamp": -1}]}])["Topics"][0]["Partitions"][0]
    return (end["Offset"], out["EndOffset"]) if out["ErrorCode"] == end["ErrorCode"] == OK else None


def read_whole(cluster, history, topic, partition, reader="end"):
    """Reads a partition at its leader, from the start to the high watermark, once that has come to the end of the log (with
    a full ISR it must). Gives the watermark."""
    seen, whole = [], []

    def ended():
        number = cluster.wait_leader(topic, partition)
        try:
            with cluster[number].connect() as wire:
                seen[:] = [number, log_end(wire, topic, partition)]
        except OSError:
            return None
        return number if seen[1] and seen[1][0] == seen[1][1] else None

    def read():
        """Leaders may move all the time, for the sake of balance or since a session has ended: then from the start again."""
        number = cluster.wait(ended, lambda: "the high watermark of %s-%d comes to the end of the log: %s" % (topic, partition, seen))
        began = len(history.events)
        try:
            with cluster[number].connect() as wire:
                end = cluster.ask_end(wire, topic, partition, -2)
                whole[:] = [number, began, end["Offset"], *read_on(wire, topic, partition, end)]
        except OSError:
            return False
        return whole[-1]["ErrorCode"] != NOT_LEADER
    cluster.wait(read, lambda: "%s-%d is read: %s" % (topic, partition, whole))
    number, began, first, records, part = whole
    assert part["ErrorCode"] == OK, "%s-%d at broker %d: error %d" % (topic, partition, number, part["ErrorCode"])
    history.add("read", **{"from": first}, tp="%s-%d" % (topic, partition), reader=reader, broker=number, epoch=began,
                start=first, lso=part["LastStableOffset"], hw=part["HighWatermark"], whole=True, records=records, began=began)
    return part["HighWatermark"]


def read_on(wire, topic, partition, part):
    """From the offset that an answer gives to the high watermark: (records, the last answer)."""
    records, at, empty = [], part["Offset"], 0
    while part["ErrorCode"] == OK:
        part = wire.fetch(11, topic, partition, at, wait_ms=100 if empty else 0)["Responses"][0]["Partitions"][0]
        heads = batches.heads(part["Records"] or b"")
        if heads:
            records += [[o, *id_of(v)] for o, v in values_of(part["Records"]) if o >= at]
            at = heads[-1][1] + 1
        elif at < part["HighWatermark"]:
            empty += 1                          # it has just moved to another directory: any client would ask again
            if empty > 50:
                raise TimeoutError("%s-%d: nothing at %d, high watermark %d" % (topic, partition, at, part["HighWatermark"]))
        else:
            break
    return records, part
