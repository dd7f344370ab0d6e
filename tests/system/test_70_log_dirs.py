"""Several log directories: whose they are, where partitions go, and a disk that fails while others serve.

The failing disk is that of disks.py.
"""
import os
import re
import shutil

import pytest

from batches import batch, offsets_of
from harness import SLOW, wait_for
from wire import Wire

STORAGE_ERROR = 56
NOT_LEADER = 6
LEADER_NOT_AVAILABLE = 5


def with_dirs(brokers, dirs, **overrides):
    properties = {"log.dirs": ",".join(dirs), "log.initial.task.delay.ms": "600000"}
    properties.update({k.replace("_", "."): str(v) for k, v in overrides.items()})
    b = brokers(properties)
    os.makedirs(b.folder, exist_ok=True)
    return b


def partitions_in(path):
    return sorted(n for n in os.listdir(path) if re.fullmatch(r".+-\d+", n) and os.path.isdir(os.path.join(path, n)))


def recovery_points(path):
    try:
        with open(os.path.join(path, "recovery-point-offset-checkpoint"), encoding="ascii") as f:
            return {"%s-%s" % (t, p): int(o) for t, p, o in (line.split() for line in f.read().splitlines()[2:])}
    except FileNotFoundError:
        return {}


def describe(w, topics=None):
    """{path: (error, {(topic, partition): size})}"""
    out = w.call("DescribeLogDirs", 4, Topics=topics)["Results"]
    return {r["LogDir"]: (r["ErrorCode"], {(t["Name"], p["PartitionIndex"]): p["PartitionSize"]
                                           for t in r["Topics"] for p in t["Partitions"]}) for r in out}


def metadata(w, topic):
    return {p["PartitionIndex"]: p for p in
            w.call("Metadata", 9, Topics=[{"Name": topic}], AllowAutoTopicCreation=False)["Topics"][0]["Partitions"]}


def put(w, topic, partition, values=(b"x",)):
    return w.produce(9, topic, partition, batch(list(values)))["ErrorCode"]


def got(w, topic, partition, offset=0):
    part = w.fetch(11, topic, partition, offset)["Responses"][0]["Partitions"][0]
    return part["ErrorCode"], offsets_of(part["Records"] or b"")


def test_partitions_are_spread_and_found_again(brokers, tmp_path):
    dirs = [str(tmp_path / name) for name in "abc"]
    b = with_dirs(brokers, dirs).start()
    with Wire(b.port) as w:
        w.create("t", 9)
        assert [len(partitions_in(d)) for d in dirs] == [3, 3, 3]
        for i in range(9):
            assert put(w, "t", i, [b"v"] * (i + 1)) == 0
        seen = describe(w)
        assert sorted(seen) == sorted(dirs)
        for d in dirs:
            assert seen[d][0] == 0
            assert sorted("%s-%d" % tp for tp in seen[d][1]) == partitions_in(d)
        full = w.call("DescribeLogDirs", 4, Topics=None)["Results"]
        assert all(r["TotalBytes"] > 0 and 0 < r["UsableBytes"] <= r["TotalBytes"] for r in full)
    for restart in ("stop", "kill"):
        if restart == "stop":
            assert b.stop() == 0
        else:
            b.kill9()
        b.start()
        with Wire(b.port) as w:
            for i in range(9):
                assert got(w, "t", i) == (0, list(range(i + 1)))
    with Wire(b.port) as w:                 # emptied by deletion, each directory gets new ones
        w.call("DeleteTopics", 3, TopicNames=["t"], TimeoutMs=30000)
        wait_for(lambda: not any(partitions_in(d) for d in dirs), what="its directories have other names")
        w.create("u", 3)
        assert [len(partitions_in(d)) for d in dirs] == [1, 1, 1]
    assert b.stop() == 0


def test_a_directory_is_added_and_one_is_away(brokers, tmp_path):
    a, c = str(tmp_path / "a"), str(tmp_path / "c")
    b = with_dirs(brokers, [a]).start()
    with Wire(b.port) as w:
        w.create("t", 4)
    assert b.stop() == 0
    b.overrides["log.dirs"] = "%s,%s" % (a, c)
    b.start()
    with Wire(b.port) as w:
        w.create("u", 4)
        assert partitions_in(c) == ["u-0", "u-1", "u-2", "u-3"]
        for i in range(4):
            assert put(w, "u", i) == 0
    assert b.stop() == 0
    # A file where the directory was: it cannot be opened.
    os.rename(c, c + ".away")
    with open(c, "w", encoding="ascii") as f:
        f.write("not a directory")
    b.start()
    assert "log directory %s is offline" % c in b.log(this_start=True)
    with Wire(b.port) as w:
        assert describe(w)[c] == (STORAGE_ERROR, {})
        for i in range(4):
            assert put(w, "t", i) == 0
            assert put(w, "u", i) == STORAGE_ERROR
            assert got(w, "u", i)[0] == STORAGE_ERROR
        state = wait_for(lambda: {i: p for i, p in metadata(w, "u").items() if p["LeaderId"] == -1 and
                                  p["OfflineReplicas"] == [0]}, what="no leader")
        assert len(state) == 4
        w.create("v", 2)                    # goes where it can
        assert [n for n in partitions_in(a) if n[0] != "t"] == ["v-0", "v-1"]
    assert b.stop() == 0
    os.remove(c)
    os.rename(c + ".away", c)
    b.start()
    with Wire(b.port) as w:
        for i in range(4):
            assert got(w, "u", i) == (0, [0])
            assert metadata(w, "u")[i]["LeaderId"] == 0
    assert b.stop() == 0


def start_fails(b, *texts):
    b.spawn()
    assert b.process.wait(30 * SLOW) != 0
    b.process = None
    for text in texts:
        assert text in b.log(this_start=True), b.log(this_start=True)


def test_directories_that_do_not_belong_together(brokers, tmp_path):
    a, c = str(tmp_path / "a"), str(tmp_path / "c")
    b = with_dirs(brokers, [a, c]).start()
    with Wire(b.port) as w:
        w.create("t", 4)
    assert b.stop() == 0
    path = os.path.join(c, "meta.properties")
    with open(path, encoding="ascii") as f:
        good = f.read()
    for bad in (good.replace("broker.id=0", "broker.id=7"), re.sub("cluster.id=.*", "cluster.id=" + "A" * 22, good)):
        assert bad != good
        with open(path, "w", encoding="ascii") as f:
            f.write(bad)
        start_fails(b, a, c)
    with open(path, "w", encoding="ascii") as f:
        f.write(good)
    name = partitions_in(c)[0]
    shutil.copytree(os.path.join(c, name), os.path.join(a, name))
    start_fails(b, "%s is in two log directories, " % name, a, c)
    shutil.rmtree(os.path.join(a, name))
    b.overrides["log.dirs"] = "%s,%s" % (a, os.path.join(c, "..", "a"))
    start_fails(b, "same directory")
    b.overrides["log.dirs"] = "%s,%s" % (a, c)
    b.start()                               # none of that has made it unclean
    assert "not closed cleanly" not in b.log(this_start=True)
    assert b.stop() == 0


def test_the_first_directory_must_be_there(brokers, tmp_path):
    a, c = str(tmp_path / "a"), str(tmp_path / "c")
    with open(a, "w", encoding="ascii") as f:
        f.write("not a directory")
    start_fails(with_dirs(brokers, [a, c]), "holds the metadata store")


@pytest.mark.parametrize("by", ["append", "sync"])
def test_a_disk_fails_and_the_others_go_on(disks, brokers, tmp_path, by):
    disk, good = disks("disk"), str(tmp_path / "good")
    bad = os.path.join(disk.path, "logs")
    # What is to be lost is written just after a run of the job that syncs, and must not meet the next one.
    b = with_dirs(brokers, [good, bad], log_flush_offset_checkpoint_interval_ms=3000 if by == "sync" else 300).start()
    with Wire(b.port) as w:
        w.create("t", 6)
        on_bad = [int(n[2:]) for n in partitions_in(bad)]
        on_good = [int(n[2:]) for n in partitions_in(good)]
        assert len(on_bad) == 3
        for i in range(6):
            assert put(w, "t", i, [b"a", b"b"]) == 0
        kept = 2

        def synced():
            return recovery_points(bad) == {"t-%d" % i: kept for i in on_bad}
        wait_for(synced, what="synced")
        while by == "sync":
            for i in on_bad:                # acknowledged, and never on the disk
                assert put(w, "t", i) == 0
            if synced():
                break
            kept += 1                       # the next run has come all the same, since the machine stood still
            wait_for(synced, what="synced again")
        disk.fail()
        if by == "append":
            assert put(w, "t", on_bad[0]) == STORAGE_ERROR
        wait_for(lambda: all(metadata(w, "t")[i]["LeaderId"] == -1 for i in on_bad), what="no leader")
        for i in on_bad:
            m = metadata(w, "t")[i]
            assert (m["ErrorCode"], m["OfflineReplicas"], m["IsrNodes"]) == (LEADER_NOT_AVAILABLE, [0], [0])
            assert put(w, "t", i) == STORAGE_ERROR
            assert got(w, "t", i)[0] == STORAGE_ERROR
            out = w.call("ListOffsets", 5, ReplicaId=-1, IsolationLevel=0, Topics=[
                {"Name": "t", "Partitions": [{"PartitionIndex": i, "Timestamp": -1}]}])
            assert out["Topics"][0]["Partitions"][0]["ErrorCode"] == STORAGE_ERROR
        for i in on_good:
            assert put(w, "t", i) == 0
            assert got(w, "t", i) == (0, [0, 1, 2])
        assert describe(w)[bad] == (STORAGE_ERROR, {})
        w.create("u", 3)
        assert [n for n in partitions_in(good) if n[0] == "u"] == ["u-0", "u-1", "u-2"]
        assert put(w, "u", 1) == 0
    assert b.log().count("is offline until the disk is mended") == 1
    assert b.stop() != 0                    # not all of it was closed cleanly
    assert os.path.exists(os.path.join(good, ".kafka_cleanshutdown"))
    # Still not mended; then it is.
    disk.unmount()
    os.rmdir(disk.path)
    with open(disk.path, "w", encoding="ascii") as f:
        f.write("")
    b.start()
    with Wire(b.port) as w:
        assert put(w, "t", on_bad[0]) == STORAGE_ERROR
        assert put(w, "t", on_good[0]) == 0
        w.create("v", 2)
    assert b.stop() == 0
    os.remove(disk.path)
    os.makedirs(disk.path)
    disk.mount()
    b.start()
    with Wire(b.port) as w:
        for i in on_bad:
            assert got(w, "t", i) == (0, list(range(kept)))
            assert put(w, "t", i) == 0
        for i in on_good:
            assert got(w, "t", i)[1][:3] == [0, 1, 2]
        assert got(w, "u", 1) == (0, [0])
    assert b.stop() == 0


def test_the_last_disk_fails(disks, brokers):
    disk = disks("disk")
    b = with_dirs(brokers, [os.path.join(disk.path, "logs")]).start()
    with Wire(b.port) as w:
        w.create("t")
        assert put(w, "t", 0) == 0
        disk.fail()
        assert put(w, "t", 0) == STORAGE_ERROR
    assert b.process.wait(30 * SLOW) != 0
    b.process = None
    assert "was the last log directory that worked; the broker stops" in b.log()


def test_the_disk_with_the_metadata_store_fails(disks, brokers, tmp_path):
    disk, good = disks("disk"), str(tmp_path / "good")
    b = with_dirs(brokers, [os.path.join(disk.path, "logs"), good]).start()
    with Wire(b.port) as w:
        w.create("t", 4)
        for i in range(4):
            assert put(w, "t", i) == 0
        on_good = [int(n[2:]) for n in partitions_in(good)]
        disk.fail()
        for i in range(4):
            assert put(w, "t", i) == (0 if i in on_good else STORAGE_ERROR)
        wait_for(lambda: "held the metadata store as well" in b.log(), what="said")
        for i in range(4):
            assert put(w, "t", i) == (0 if i in on_good else STORAGE_ERROR)
            assert got(w, "t", i)[0] == (0 if i in on_good else STORAGE_ERROR)
        out = w.call("CreateTopics", 5, TimeoutMs=3000, Topics=[{"Name": "u", "NumPartitions": 1, "ReplicationFactor": 1}])
        assert out["Topics"][0]["ErrorCode"] != 0
        assert put(w, "t", on_good[0]) == 0
    assert b.stop() != 0
    assert os.path.exists(os.path.join(good, ".kafka_cleanshutdown"))
