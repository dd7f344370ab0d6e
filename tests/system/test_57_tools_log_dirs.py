"""kafka-log-dirs.sh."""
import json
import os

from batches import batch
from wire import Wire


def test_describe(brokers, tmp_path):
    dirs = [str(tmp_path / "a"), str(tmp_path / "b")]
    b = brokers({"log.dirs": ",".join(dirs)}).start()
    with Wire(b.port) as w:
        w.create("t", 2)
        w.create("u")
        assert w.produce(9, "t", 0, batch([b"x" * 500]))["ErrorCode"] == 0
    lines = b.tool("kafka-log-dirs.sh", "--describe").stdout.splitlines()
    assert lines[:2] == ["Querying brokers for log directories information",
                         "Received log directory information from brokers 0"]
    found = json.loads(lines[2])
    assert list(found) == ["brokers", "version"] and found["version"] == 1
    assert [x["broker"] for x in found["brokers"]] == [0]
    shown = {d["logDir"]: d for d in found["brokers"][0]["logDirs"]}
    assert sorted(shown) == dirs
    partitions = {p["partition"]: p for d in shown.values() for p in d["partitions"]}
    assert sorted(partitions) == ["t-0", "t-1", "u-0"]
    for d in dirs:
        assert shown[d]["error"] is None
        assert all(os.path.isdir(os.path.join(d, p["partition"])) for p in shown[d]["partitions"])
    assert partitions["t-0"]["size"] > 500
    assert partitions["t-1"] == {"partition": "t-1", "size": 0, "offsetLag": 0, "isFuture": False}
    out = b.tool("kafka-log-dirs.sh", "--describe", "--topic-list", "u,none", "--broker-list", "0").stdout
    assert [p["partition"] for d in json.loads(out.splitlines()[2])["brokers"][0]["logDirs"] for p in d["partitions"]] == ["u-0"]
    failed = b.tool("kafka-log-dirs.sh", "--describe", "--broker-list", "7,0,9", check=False)
    assert failed.returncode == 1
    assert failed.stderr.strip() == ("ERROR: The given brokers do not exist from --broker-list: 7,9. "
                                     "Current existent brokers: 0")
    assert b.tool("kafka-log-dirs.sh", check=False).returncode == 1
    assert b.tool("kafka-log-dirs.sh", "--describe", "--broker-list", "x", check=False).returncode == 1
