"""Client tools: the console consumer as a member of a group, the verifiable clients, the performance tests."""
import json
import re
import signal
import subprocess
import threading

import pytest

from harness import BIN, SLOW, tool, wait_for


class Running:
    """A tool in the background, and the lines it has printed so far."""

    def __init__(self, broker, name, *args):
        self.process = subprocess.Popen([BIN + "/" + name, "--bootstrap-server", broker.address, *args],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.thread = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")), daemon=True)
        self.thread.start()

    def events(self, name=None):
        all_of_them = [json.loads(line) for line in list(self.lines)]
        return [e for e in all_of_them if name is None or e["name"] == name]

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        status = self.process.wait(30 * SLOW)
        self.thread.join()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()
        self.process.stderr.close()


def produce(broker, topic, values):
    tool("kafka-console-producer.sh", "--broker-list", broker.address, "--topic", topic,
         stdin="".join("%s\n" % v for v in values))


def consume(broker, topic, *args, check=True):
    return broker.tool("kafka-console-consumer.sh", "--topic", topic, *args, check=check)


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def consumer_groups(broker, *args):
    """What kafka-consumer-groups.sh prints; by itself it waits for 5 s only."""
    return broker.tool("kafka-consumer-groups.sh", "--timeout", "60000", *args).stdout


def committed(broker, group):
    """{(topic, partition): offset}"""
    told = consumer_groups(broker, "--describe", "--group", group)
    rows = [line.split() for line in told.splitlines()]
    return {(r[1], int(r[2])): int(r[3]) for r in rows if len(r) > 3 and r[0] == group and r[3] != "-"}


# ---- the console consumer ----

def test_a_group_goes_on_where_it_stopped(broker, tmp_path):
    produce(broker, "t", range(10))
    first = consume(broker, "t", "--group", "g", "--from-beginning", "--max-messages", "4")
    assert first.stdout.split() == ["0", "1", "2", "3"] and first.stderr == "Processed a total of 4 messages\n"
    assert committed(broker, "g") == {("t", 0): 4}
    config = tmp_path / "consumer.properties"
    config.write_text("group.id=g\nenable.auto.commit=false\n")
    again = ("--consumer.config", str(config), "--max-messages", "6")
    assert consume(broker, "t", *again).stdout.split() == ["4", "5", "6", "7", "8", "9"]
    assert consume(broker, "t", *again, "--group", "g").stdout.split() == ["4", "5", "6", "7", "8", "9"]
    assert committed(broker, "g") == {("t", 0): 4}


def test_a_group_that_is_made_up_commits_nothing_and_goes(broker):
    produce(broker, "t", range(3))
    for _ in range(2):
        assert consume(broker, "t", "--from-beginning", "--max-messages", "3").stdout.split() == ["0", "1", "2"]
    made_up = consumer_groups(broker, "--list").split()
    assert made_up and all(re.fullmatch(r"console-consumer-\d+", g) for g in made_up)
    for group in made_up:
        assert committed(broker, group) == {}
    # Who leaves may be gone before the broker has come to its request; its session would last for 45 s.
    wait_for(lambda: "Stable" not in consumer_groups(broker, "--list", "--state"), what="nobody is a member")


def test_members_share_and_one_takes_over(broker):
    broker.create_topic("t", partitions=4)
    # --from-beginning: else who takes over a partition of which nothing was read yet begins behind what comes meanwhile
    args = ("--topic", "t", "--group", "g", "--from-beginning", "--consumer-property", "auto.commit.interval.ms=100",
            "--consumer-property", "heartbeat.interval.ms=200")
    n = iter(range(10000))

    def both_read():
        produce(broker, "t", [next(n) for _ in range(20)])
        return one.lines and two.lines
    with Running(broker, "kafka-console-consumer.sh", *args) as one, \
            Running(broker, "kafka-console-consumer.sh", *args) as two:
        wait_for(both_read, 60, "both are members")
        assert one.stop(signal.SIGINT) == 130
        last = [str(next(n)) for _ in range(40)]
        produce(broker, "t", last)
        wait_for(lambda: set(last) <= {line.strip() for line in two.lines}, what="the other one has all partitions")
        # Of these the last ones are in some: what was never read of the others comes later.
        total = next(n)
        wait_for(lambda: len(one.lines) + len(two.lines) >= total, what="everything is read")
        assert two.stop() == 143
        both = one.lines + two.lines
        assert len(both) == len(set(both)), "nothing twice"
        assert sum(committed(broker, "g").values()) == total, "all is committed"


def test_the_internal_topics_in_words(broker):
    produce(broker, "t", range(3))
    consume(broker, "t", "--group", "g\u00e9", "--from-beginning", "--max-messages", "2")
    wait_for(lambda: "Empty" in consumer_groups(broker, "--describe", "--group", "g\u00e9", "--state"),
             what="it has left, which is a record")
    tools = "org.apache.kafka.tools.consumer."
    old = "kafka.coordinator.group.GroupMetadataManager$"
    ends = broker.tool("kafka-get-offsets.sh", "--topic", "__consumer_offsets").stdout.split()
    partition, n = next(end.split(":")[1:] for end in ends if not end.endswith(":0"))

    def words(cls):
        return consume(broker, "__consumer_offsets", "--partition", partition, "--from-beginning", "--max-messages", n,
                       "--formatter", cls).stdout
    offset = [j for j in objects(words(tools + "OffsetsMessageFormatter")) if j["key"]["data"]["topic"] == "t"][-1]
    assert offset["key"] == {"version": 1, "data": {"group": "g\u00e9", "topic": "t", "partition": 0}}
    assert offset["value"]["version"] == 3 and offset["value"]["data"]["offset"] == 2
    groups = [j for j in objects(words(tools + "GroupMetadataMessageFormatter")) if j["key"]["data"]["group"] == "g\u00e9"]
    assert groups[0]["value"]["data"]["members"][0]["clientId"] == "console-consumer"
    assert groups[-1]["value"]["data"]["members"] == []
    assert re.search(r"^\[g\u00e9,t,0\]::OffsetAndMetadata\(offset=2, leaderEpoch=\S+, metadata=, commitTimestamp=\d+, "
                     r"expireTimestamp=None\)$", words(old + "OffsetsMessageFormatter"), re.M)
    assert re.search(r"^g\u00e9::GroupMetadata\(groupId=g\u00e9, generation=1, protocolType=Some\(consumer\), currentState=Stable, "
                     r"members=HashMap\((\S+) -> MemberMetadata\(memberId=\1, groupInstanceId=None, "
                     r"clientId=console-consumer, clientHost=/127.0.0.1, sessionTimeoutMs=45000, "
                     r"rebalanceTimeoutMs=300000, supportedProtocols=List\(range\)\)\)\)$",
                     words(old + "GroupMetadataMessageFormatter"), re.M)


def objects(text):
    """JSON objects that stand one after the other."""
    decoder, out, at = json.JSONDecoder(), [], 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        out.append(value)
    return out


def test_a_formatter_and_records_of_another_kind(broker):
    """No key, a key that is too short, one of a type that is not known, one that ends early."""
    tool("kafka-console-producer.sh", "--broker-list", broker.address, "--topic", "t", "--property", "parse.key=true",
         "--property", "null.marker=NULL", stdin="NULL\tNULL\nk\tv\n\0\7\0\t\0v\n\0\1\0\5\tv\n")
    read = ("--from-beginning", "--max-messages", "4", "--formatter", "org.apache.kafka.tools.consumer.OffsetsMessageFormatter")
    done = consume(broker, "t", *read, "--skip-message-on-error")
    assert objects(done.stdout) == [{"key": None, "value": None},
                                    {"key": {"version": 7, "data": "unknown"}, "value": {"version": 118, "data": "unknown"}}]
    assert "offset 1: the key does not parse" in done.stderr and "offset 3: the key does not parse" in done.stderr
    stopped = consume(broker, "t", *read, check=False)
    assert stopped.returncode == 1 and objects(stopped.stdout) == [{"key": None, "value": None}]


@pytest.mark.parametrize("sig, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_comes_twice(broker, sig, status):
    """timeout(1) and others signal the process and its group."""
    produce(broker, "t", ["x"])
    with Running(broker, "kafka-console-consumer.sh", "--topic", "t", "--from-beginning", "--group", "g") as c:
        wait_for(lambda: c.lines == ["x\n"])
        for _ in range(3):
            c.process.send_signal(sig)
        assert c.process.wait(30 * SLOW) == status
        assert c.process.stderr.read() == "Processed a total of 1 messages\n"
    wait_for(lambda: "Empty" in consumer_groups(broker, "--describe", "--group", "g", "--state"), what="it has left")


def test_leaving_a_broker_that_is_away(broker):
    produce(broker, "t", ["x"])
    with Running(broker, "kafka-console-consumer.sh", "--topic", "t", "--from-beginning", "--group", "g") as c:
        wait_for(lambda: c.lines == ["x\n"])
        broker.kill9()
        assert c.stop() == 143


# ---- the verifiable clients ----

def test_verifiable_producer(broker):
    done = broker.tool("kafka-verifiable-producer.sh", "--topic", "t", "--max-messages", "4", "--repeating-keys", "2",
                       "--value-prefix", "7", "--message-create-time", "1000")
    events = lines(done)
    assert [e["name"] for e in events] == ["startup_complete"] + 4 * ["producer_send_success"] + ["shutdown_complete",
                                                                                               "tool_data"]
    assert [list(e) for e in events[:2]] == [["timestamp", "name"], ["timestamp", "name", "key", "value", "offset", "topic",
                                                                       "partition"]]
    assert [(e["key"], e["value"], e["offset"]) for e in events[1:5]] == [("0", "7.0", 0), ("1", "7.1", 1), ("0", "7.2", 2),
                                                                          ("1", "7.3", 3)]
    assert list(events[-1])[2:] == ["sent", "acked", "target_throughput", "avg_throughput"]
    assert (events[-1]["sent"], events[-1]["acked"], events[-1]["target_throughput"]) == (4, 4, -1)
    stamp = consume(broker, "t", "--from-beginning", "--max-messages", "1", "--property", "print.timestamp=true").stdout
    assert stamp == "CreateTime:1000\t7.0\n"


def test_verifiable_producer_that_fails_and_one_that_is_stopped(broker):
    events = lines(broker.tool("kafka-verifiable-producer.sh", "--topic", "no/topic", "--max-messages", "1"))
    failed = events[1]
    assert list(failed)[1:] == ["name", "topic", "key", "value", "exception", "message"]
    assert failed["name"] == "producer_send_error" and failed["key"] is None and failed["value"] == "0"
    assert failed["exception"] == "class org.apache.kafka.common.errors.InvalidTopicException"
    assert (events[-1]["sent"], events[-1]["acked"]) == (1, 0)
    with Running(broker, "kafka-verifiable-producer.sh", "--topic", "t", "--throughput", "200", "--acks", "1") as p:
        wait_for(lambda: len(p.events("producer_send_success")) > 20)
        assert p.stop() == 143
        end = p.events()[-2:]
        assert [e["name"] for e in end] == ["shutdown_complete", "tool_data"]
        assert end[1]["sent"] == end[1]["acked"] == len(p.events("producer_send_success"))
        assert 0 < end[1]["avg_throughput"] < 300


def test_verifiable_consumer(broker):
    broker.create_topic("t", partitions=2)
    broker.tool("kafka-verifiable-producer.sh", "--topic", "t", "--max-messages", "6", "--repeating-keys", "4")
    done = broker.tool("kafka-verifiable-consumer.sh", "--topic", "t", "--group-id", "g", "--max-messages", "6", "--verbose")
    events = lines(done)
    names = [e["name"] for e in events]
    assert names[:2] == ["startup_complete", "partitions_assigned"] and names[-2:] == ["partitions_revoked", "shutdown_complete"]
    assert events[1]["partitions"] == [{"topic": "t", "partition": 0}, {"topic": "t", "partition": 1}]
    data = [e for e in events if e["name"] == "record_data"]
    assert list(data[0]) == ["timestamp", "name", "key", "value", "topic", "partition", "offset"]
    assert sorted(e["value"] for e in data) == list("012345")
    consumed = [e for e in events if e["name"] == "records_consumed"]
    assert sum(p["count"] for e in consumed for p in e["partitions"]) == 6
    assert list(consumed[0]["partitions"][0]) == ["topic", "partition", "count", "minOffset", "maxOffset"]
    commits = [e for e in events if e["name"] == "offsets_committed"]
    assert all(list(e) == ["timestamp", "name", "offsets", "success"] and e["success"] for e in commits)
    assert committed(broker, "g") == {("t", o["partition"]): o["offset"] for e in commits for o in e["offsets"]}


def test_verifiable_consumers_as_a_group(brokers, tmp_path):
    broker = brokers({"group.min.session.timeout.ms": "100"}).start()
    broker.create_topic("t", partitions=4)
    config = tmp_path / "consumer.properties"
    config.write_text("heartbeat.interval.ms=200\n")
    args = ("--topic", "t", "--group-id", "g", "--session-timeout", "4000" if SLOW == 1 else "10000", "--consumer.config", str(config),
            "--assignment-strategy", "org.apache.kafka.clients.consumer.RoundRobinAssignor")

    def shares(*members):
        """What each of them has, as it has said last."""
        given = [m.events("partitions_assigned") for m in members]
        return [sorted(p["partition"] for p in g[-1]["partitions"]) if g else [] for g in given]

    def read():
        return sum(e["count"] for c in (one, two) for e in c.events("records_consumed"))
    with Running(broker, "kafka-verifiable-consumer.sh", *args) as one:
        wait_for(lambda: shares(one) == [[0, 1, 2, 3]])
        with Running(broker, "kafka-verifiable-consumer.sh", *args, "--group-instance-id", "two") as two:
            wait_for(lambda: [len(s) for s in shares(one, two)] == [2, 2] and sorted(sum(shares(one, two), [])) == [0, 1, 2, 3])
            broker.tool("kafka-verifiable-producer.sh", "--topic", "t", "--max-messages", "50")
            wait_for(lambda: read() >= 50)
            assert two.stop() == 143
            assert [e["name"] for e in two.events()[-2:]] == ["partitions_revoked", "shutdown_complete"]
        wait_for(lambda: shares(one) == [[0, 1, 2, 3]], 30, "the static member's time is over")
        assert one.stop() == 143
        assert sum(committed(broker, "g").values()) == 50
        # More rebalances: a session has ended before, since the machine stood still; what was not committed is read again then.
        assert read() == 50 or len(one.events("partitions_assigned")) > 3


def test_a_static_member_that_another_one_takes_the_place_of(broker):
    broker.create_topic("t")
    args = ("--topic", "t", "--group-id", "g", "--group-instance-id", "same")
    with Running(broker, "kafka-verifiable-consumer.sh", *args) as one:
        wait_for(lambda: one.events("partitions_assigned"))
        with Running(broker, "kafka-verifiable-consumer.sh", *args) as two:
            wait_for(lambda: two.events("partitions_assigned"))
            assert one.process.wait(30 * SLOW) == 0
            assert "fenced" in one.process.stderr.read()
            wait_for(lambda: one.events()[-1]["name"] == "shutdown_complete")
            assert two.stop() == 143


def test_auto_commit_of_the_verifiable_consumer(broker):
    broker.tool("kafka-verifiable-producer.sh", "--topic", "t", "--max-messages", "5")
    events = lines(broker.tool("kafka-verifiable-consumer.sh", "--topic", "t", "--group-id", "g", "--max-messages", "3",
                               "--enable-autocommit"))
    assert "offsets_committed" not in [e["name"] for e in events]
    assert committed(broker, "g") == {("t", 0): 3}
    none = broker.tool("kafka-verifiable-consumer.sh", "--topic", "t", "--group-id", "h", "--reset-policy", "none")
    assert "terminating consumer process" in none.stderr and lines(none)[-1]["name"] == "shutdown_complete"


# ---- the performance tests ----

TOTAL = re.compile(r"(\d+) records sent, \d+\.\d{6} records/sec \(\d+\.\d\d MB/sec\), \d+\.\d\d ms avg latency, \d+\.\d\d ms max "
                   r"latency, \d+ ms 50th, \d+ ms 95th, \d+ ms 99th, \d+ ms 99\.9th\.\n")
HEADER = "data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3}"


def perf(broker, *args, check=True):
    return tool("kafka-producer-perf-test.sh", "--topic", "t", *args, "--producer-props",
                "bootstrap.servers=" + broker.address, "acks=1", check=check)


def test_producer_and_consumer_perf(broker):
    done = perf(broker, "--num-records", "5000", "--record-size", "100", "--throughput", "-1")
    assert TOTAL.fullmatch(done.stdout).group(1) == "5000"
    args = ("--topic", "t", "--messages", "5000", "--timeout", "60000")
    header, row = broker.tool("kafka-consumer-perf-test.sh", *args).stdout.splitlines()
    assert header == "start.time, end.time, " + HEADER
    assert re.fullmatch(r"%s, %s, 0\.4768, \d+\.\d{4}, 5000, \d+\.\d{4}, \d+, \d+, \d+\.\d{4}, \d+\.\d{4}" % (DATE, DATE), row)
    detailed = broker.tool("kafka-consumer-perf-test.sh", *args, "--show-detailed-stats", "--reporting-interval", "1",
                           "--date-format", "yyyy'y'").stdout.splitlines()
    assert detailed[0] == "time, threadId, " + HEADER
    assert re.fullmatch(r"\d{4}y, 0, \d+\.\d{4}, \d+\.\d{4}, \d+, \d+\.\d{4}, \d+, -?\d+, \d+\.\d{4}, \d+\.\d{4}", detailed[1])
    idle = "2000" if SLOW == 1 else "5000"
    for group in ("p0", "p1", "p2", "p3", "p4"):    # it begins before the group is joined: a machine may stand still for longer
        short = broker.tool("kafka-consumer-perf-test.sh", "--topic", "t", "--messages", "5001", "--hide-header", "--timeout", idle,
                            "--group", group, "--print-metrics").stdout.split("\n")
        if ", 5000, " in short[1]:
            break
    assert short[0].startswith("WARNING: Exiting before consuming the expected number of messages: timeout (%s ms) exceeded." % idle)
    assert ", 5000, " in short[1] and short[2] == "" and re.fullmatch(r"Metric Name +Value", short[3])
    assert any(re.fullmatch(r"consumer-fetch-manager-metrics:records-consumed-total:\{client-id=perf-consumer-client\} +: "
                            r"5000\.000", line) for line in short)
    assert committed(broker, group) == {("t", 0): 5000}


def test_payloads(broker, tmp_path):
    """The letters are those of Apache Kafka's tool, which begins its random numbers anew each time."""
    perf(broker, "--num-records", "1", "--record-size", "20", "--throughput", "-1")
    perf(broker, "--num-records", "3", "--payload-monotonic", "--throughput", "-1")
    (tmp_path / "payload").write_text("one,,two,,")
    done = perf(broker, "--num-records", "30", "--payload-file", str(tmp_path / "payload"), "--payload-delimiter", ",",
                "--throughput", "1000", "--print-metrics")
    assert done.stdout.startswith("Reading payloads from: %s\nNumber of messages read: 3\n30 records sent, " % (tmp_path / "payload"))
    assert re.search(r"^producer-metrics:record-send-total:\{client-id=perf-producer-client\} +: 30\.000$", done.stdout, re.M)
    got = consume(broker, "t", "--from-beginning", "--max-messages", "34").stdout.split("\n")[:-1]
    assert got[:4] == ["YQHHNEBSEPDNSEIFGAMS", "0", "1", "2"] and set(got[4:]) == {"one", "", "two"}


@pytest.mark.parametrize("name, args, text", [
    ("kafka-verifiable-producer.sh", ["--topic", "t"],
     "verifiable-producer: error: one of the arguments --bootstrap-server --broker-list is required"),
    ("kafka-verifiable-producer.sh", ["--topic", "t", "--bootstrap-server", "h:1", "--broker-list", "h:1"],
     "verifiable-producer: error: argument --broker-list: not allowed with argument --bootstrap-server"),
    ("kafka-verifiable-producer.sh", ["--topic", "t", "--bootstrap-server", "h:1", "--max-messages", "x"],
     "argument --max-messages: could not convert 'x' to Integer"),
    ("kafka-verifiable-producer.sh", ["--topic", "t", "--bootstrap-server", "h:1", "--acks", "2"],
     "argument --acks: invalid choice: '2' (choose from {0,1,-1})"),
    ("kafka-verifiable-consumer.sh", ["--topic", "t", "--bootstrap-server", "h:1"], "argument --group-id is required"),
    ("kafka-verifiable-consumer.sh", ["--topic", "t", "--bootstrap-server", "h:1", "--group-id", "g", "--group-protocol",
                                      "consumer"], "there is only the classic protocol here"),
    ("kafka-verifiable-consumer.sh", ["--topic", "t", "--bootstrap-server", "h:1", "--group-id", "g", "--assignment-strategy",
                                      "a.B"], "no class a.B here"),
    ("kafka-producer-perf-test.sh", ["--topic", "t", "--num-records", "1", "--throughput", "-1", "--producer-props", "a=b"],
     "one of the arguments --record-size --payload-file --payload-monotonic is required"),
    ("kafka-producer-perf-test.sh", ["--topic", "t", "--num-records", "1", "--throughput", "-1", "--record-size", "1"],
     "Either --producer-props or --producer.config must be specified."),
    ("kafka-producer-perf-test.sh", ["--topic", "t", "--num-records", "1", "--throughput", "-1", "--record-size", "1",
                                     "--producer-props", "a=b", "bad"], "Invalid property: bad"),
    ("kafka-producer-perf-test.sh", ["--topic", "t", "--num-records", "1", "--throughput", "-1", "--payload-file", "/none",
                                     "--producer-props", "a=b"], "File does not exist or empty file provided."),
    ("kafka-consumer-perf-test.sh", ["--topic", "t", "--messages", "1"], "Missing required option(s) [bootstrap-server]"),
    ("kafka-consumer-perf-test.sh", ["--bootstrap-server", "h:1", "--topic", "t"], 'Missing required argument "[messages]"'),
    ("kafka-consumer-perf-test.sh", ["--bootstrap-server", "h:1", "--topic", "t", "--messages", "1", "--reporting-interval", "0"],
     "Reporting interval must be greater than 0."),
    ("kafka-consumer-perf-test.sh", ["--bootstrap-server", "h:1", "--topic", "t", "--messages", "1", "--date-format", "b"],
     "Illegal pattern character 'b'"),
])
def test_mistakes(name, args, text):
    done = tool(name, *args, check=False)
    assert done.returncode == 1 and text in done.stderr, done


@pytest.mark.parametrize("name", ["kafka-verifiable-producer.sh", "kafka-verifiable-consumer.sh", "kafka-producer-perf-test.sh"])
def test_help_of_the_other_parser(name):
    for args in ([], ["--help"]):
        done = tool(name, *args)
        assert "--topic" in done.stdout and done.stderr == ""


def test_transactions_of_the_perf_test_need_a_broker_that_has_them(broker):
    done = perf(broker, "--num-records", "1", "--record-size", "1", "--throughput", "-1", "--transaction-duration-ms", "10",
                check=False)
    assert done.returncode == 1 and "transaction" in done.stderr
