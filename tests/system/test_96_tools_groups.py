"""kafka-consumer-groups.sh: against our broker, and against brokers that are old, odd or hostile."""
import os
import re
import struct

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from harness import SLOW, tool, wait_for
from told import Told

QUICK = {"group_initial_rebalance_delay_ms": "0"}


def put(address, counts, timestamp=1600000000000):
    """counts: {(topic, partition): records}, a second apart."""
    p = Producer({"bootstrap.servers": address})
    for (topic, partition), n in counts.items():
        for i in range(n):
            p.produce(topic, b"v", partition=partition, timestamp=timestamp + i * 1000)
    assert p.flush(60 * SLOW) == 0


def commit(address, group, offsets):
    c = Consumer({"bootstrap.servers": address, "group.id": group, "enable.auto.commit": False})
    c.commit(offsets=[TopicPartition(t, p, o) for (t, p), o in offsets.items()], asynchronous=False)
    c.close()


class Member:
    """One consumer that has its partitions."""

    def __init__(self, address, group, topics, **more):
        self.consumer = Consumer(dict({"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest",
                                       "heartbeat.interval.ms": 100, "enable.auto.commit": False}, **{k.replace("_", "."): v for k, v in more.items()}))
        self.consumer.subscribe(topics)

    def settled(self, n):
        self.consumer.poll(0.02)
        return len(self.consumer.assignment()) == n


@pytest.fixture
def started(brokers):
    b = brokers({k.replace("_", "."): v for k, v in QUICK.items()}).start()
    b.create_topic("a", partitions=3, retention_ms="-1")
    b.create_topic("b", retention_ms="-1")
    put(b.address, {("a", 0): 10, ("a", 1): 20, ("b", 0): 5})
    return b


@pytest.fixture
def groups(started):
    """groups(args...) -> (status, standard output, standard error)."""
    def run(*args):
        done = started.tool("kafka-consumer-groups.sh", "--timeout", "60000", *args, check=False)     # else 5 s
        return done.returncode, done.stdout, done.stderr
    return run


def table(text):
    """{(topic, partition): (current, end, lag)} of --describe."""
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("GROUP")]
    assert "Error" not in text, text
    return {(r[1], int(r[2])): tuple(r[3:6]) for r in rows}


def planned(text):
    """{(topic, partition): offset} of --reset-offsets, whose rows have no line breaks between them."""
    return {(t, int(p)): int(o) for t, p, o in re.findall(r"\S+ +(\S+) +(\d+) +(\d+) +", text.split("NEW-OFFSET")[1])}


def test_a_group_without_members(started, groups):
    assert groups("--list") == (0, "", "")
    commit(started.address, "g", {("a", 0): 4, ("b", 0): 5})
    assert groups("--list") == (0, "g\n", "")
    assert groups("--list", "--state", "--type")[1].splitlines()[1].split() == ["g", "Classic", "Empty"]
    assert len(groups("--list", "--state", "stable")[1].splitlines()) == 1
    assert groups("--list", "--type", "classic")[1].splitlines()[1].split() == ["g", "Classic"]
    status, out, err = groups("--describe", "--group", "g")
    assert (status, err) == (0, "\nConsumer group 'g' has no active members.\n")
    assert table(out) == {("a", 0): ("4", "10", "6"), ("b", 0): ("5", "5", "0")}
    assert out.startswith("\nGROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     "
                          "HOST            CLIENT-ID\n") and not out.endswith("\n")
    assert groups("--describe", "--all-groups", "--state")[1].splitlines()[2].split()[-2:] == ["Empty", "0"]
    assert groups("--describe", "--group", "none") == (0, "\nError: Consumer group 'none' does not exist.\n", "")


def test_members(started, groups):
    one, two = Member(started.address, "g", ["a"], client_id="c1"), Member(started.address, "g", ["a"], client_id="c2",
                                                                           group_instance_id="i2")
    wait_for(lambda: one.settled(2) + two.settled(1) == 2 or one.settled(1) + two.settled(2) == 2, 30, "both have partitions")
    status, out, _ = groups("--describe", "--group", "g", "--members", "--verbose")
    head, first, second = [line.split() for line in out.splitlines()[1:]]
    assert status == 0 and head == ["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "ASSIGNMENT"]
    by_client = {r[-3]: r for r in (first, second)}
    assert sorted(r[-1] for r in (first, second)) in (["(0)", "(1,2)"], ["(0,1)", "(2)"])
    assert by_client["c2"][1].startswith("i2-") and by_client["c2"][2] == "i2" and by_client["c1"][1].startswith("c1-")
    out = groups("--describe", "--group", "g")[1]
    assert set(table(out)) == {("a", 0), ("a", 1), ("a", 2)} and table(out)[("a", 1)] == ("-", "20", "-")
    out = groups("--describe", "--group", "g", "--state")[1].splitlines()
    assert out[2].split()[-3:] == ["range", "Stable", "2"] and started.address + "  (0)" in out[2]
    assert "inactive, but the current state is Stable." in groups("--reset-offsets", "--group", "g", "--all-topics", "--to-latest",
                                                                  "--execute")[1]
    out = groups("--delete", "--group", "g", "--group", "other")[1]
    assert "* Group 'g' could not be deleted due to: java.util.concurrent.ExecutionException: " \
        "org.apache.kafka.common.errors.GroupNotEmptyException: The group is not empty.\n" in out
    assert "* Group 'other' could not be deleted due to: java.util.concurrent.ExecutionException: " \
        "org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist.\n" in out
    assert "GroupSubscribedToTopicException" in groups("--delete-offsets", "--group", "g", "--topic", "a")[1]
    one.consumer.close()
    two.consumer.close()


def test_history(started, groups):
    one = Member(started.address, "g", ["a"], client_id="c1")
    wait_for(lambda: one.settled(3), 30, "it has all")
    two = Member(started.address, "g", ["a"], client_id="c2")
    wait_for(lambda: not one.settled(3) and one.settled(len(one.consumer.assignment())) and two.consumer.poll(0.02) is None and
             len(one.consumer.assignment()) + len(two.consumer.assignment()) == 3 and two.consumer.assignment(), 60, "they share")
    two.consumer.close()
    wait_for(lambda: one.settled(3), 30, "it has all again")
    status, out, _ = groups("--describe", "--group", "g", "--history")
    lines = out.splitlines()[1:]
    assert status == 0 and lines[0].split() == ["GROUP", "TIME", "EVENT", "GENERATION", "#MEMBERS", "TOOK-MS", "CONSUMER-ID", "HOST",
                                                "CLIENT-ID", "REASON"]
    events = [line.split(None, 9) for line in lines[1:]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", e[1]) for e in events)
    assert [e[1] for e in events] == sorted(e[1] for e in events)
    assert [(e[2], e[8]) for e in events if e[2] in ("joined", "left")] == [("joined", "c1"), ("joined", "c2"), ("left", "c2")]
    ended = [e for e in events if e[2] == "rebalance-ended"]
    assert [e[3] for e in ended] == ["1", "2", "3"] and [e[4] for e in ended] == ["1", "2", "1"]
    assert all(e[5].isdigit() for e in ended) and all(e[5] == "-" for e in events if e not in ended)
    assert "does not exist" in groups("--describe", "--group", "none", "--history")[1]
    one.consumer.close()


def test_reset(started, groups, tmp_path):
    def plan(*args):
        status, out, err = groups("--reset-offsets", "--group", "g", *args)
        assert status == 0 and "Error" not in out, (out, err)
        return planned(out)

    commit(started.address, "g", {("a", 0): 4, ("b", 0): 5})
    dry = ("--all-topics", "--dry-run")
    assert plan("--to-earliest", *dry) == {("a", 0): 0, ("b", 0): 0}
    assert plan("--to-latest", *dry) == {("a", 0): 10, ("b", 0): 5}
    assert plan("--to-current", *dry) == {("a", 0): 4, ("b", 0): 5}
    assert plan("--to-current", "--topic", "a", "--dry-run") == {("a", 0): 4, ("a", 1): 20, ("a", 2): 0}
    assert plan("--to-offset", "15", "--topic", "a:0,1", "--topic", "b", "--dry-run") == {("a", 0): 10, ("a", 1): 15, ("b", 0): 5}
    assert plan("--shift-by", "-3", *dry) == {("a", 0): 1, ("b", 0): 2}
    assert plan("--shift-by", "9223372036854775807", *dry) == {("a", 0): 10, ("b", 0): 5}
    assert plan("--to-datetime", "2020-09-13T12:26:43.000", *dry) == {("a", 0): 3, ("b", 0): 3}
    assert plan("--to-datetime", "2020-09-13T14:26:42.500+02:00", *dry) == {("a", 0): 3, ("b", 0): 3}
    assert plan("--by-duration", "PT1H", *dry) == {("a", 0): 10, ("b", 0): 5}
    assert plan("--by-duration", "P19000D", "--topic", "a:1", "--dry-run") == {("a", 1): 0}
    assert table(groups("--describe", "--group", "g")[1])[("a", 0)][0] == "4"       # nothing has changed so far

    status, out, err = groups("--reset-offsets", "--group", "g", "--topic", "a", "--to-latest", "--export")
    assert status == 0 and err.startswith("WARN: No action will be performed as the --execute option is missing.")
    assert sorted(out.split()) == ["a,0,10", "a,1,20", "a,2,0"]
    file = tmp_path / "plan.csv"
    file.write_text("a,0,7\na,1,99\n\"a\",2,0\n")
    assert plan("--from-file", str(file), "--execute") == {("a", 0): 7, ("a", 1): 20, ("a", 2): 0}
    assert {k: v[0] for k, v in table(groups("--describe", "--group", "g")[1]).items()} == \
        {("a", 0): "7", ("a", 1): "20", ("a", 2): "0", ("b", 0): "5"}
    file.write_text("g,a,0,1\nh,b,0,2\n")
    status, out, _ = groups("--reset-offsets", "--group", "g", "--group", "h", "--from-file", str(file), "--execute", "--export")
    assert status == 0 and sorted(out.split()) == ["g,a,0,1", "h,b,0,2"]
    assert table(groups("--describe", "--group", "h")[1]) == {("b", 0): ("2", "5", "3")}


def test_reset_refuses(groups, tmp_path):
    def error(*args):
        status, out, err = groups("--reset-offsets", "--group", "g", "--dry-run", *args)
        return (out if status == 0 else err).strip().splitlines()[0]

    failed = "Error: Executing consumer group command failed due to "
    assert error("--all-topics", "--to-offset", "x") == failed + "Cannot parse argument 'x' of option to-offset"
    assert error("--to-latest") == "One of the reset scopes should be defined: --all-topics, --topic."
    assert error("--all-topics").startswith("Option '[reset-offsets]' requires one of the following scenarios: [[to-offset], ")
    assert error("--topic", "a", "--shift-by", "1").startswith("Cannot shift offset for partition a-")
    assert error("--topic", "a:7", "--to-latest") == failed + "java.util.concurrent.ExecutionException: " \
        "org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Topic a has no partition 7."
    assert error("--topic", "none", "--to-latest") == failed + "java.util.concurrent.ExecutionException: " \
        "org.apache.kafka.common.errors.UnknownTopicOrPartitionException: This server does not host this topic-partition."
    assert error("--topic", "a:0:1", "--to-latest") == "Invalid topic arg 'a:0:1', expected topic name and partitions"
    assert error("--topic", "a:0,", "--to-latest", "--to-earliest") == 'Option "[to-earliest]" can\'t be used with option "[to-latest]"'
    assert error("--topic", "a:0,x", "--to-latest") == "Invalid partition 'x' specified in topic arg 'a:0,x''"
    assert error("--topic", "a:0,0", "--to-latest") == failed + "Duplicate key a-0"
    assert error("--topic", "a", "--to-datetime", "2020-01-01") == failed + "java.text.ParseException: Error parsing timestamp. " \
        "It does not contain a 'T' according to ISO8601 format"
    assert error("--topic", "a", "--to-datetime", "2020-13-01T00:00:00.0") == failed + \
        'java.text.ParseException: Unparseable date: "2020-13-01T00:00:00.0Z"'
    assert error("--topic", "a", "--by-duration", "1D") == failed + "Text cannot be parsed to a Duration"
    assert error("--from-file", str(tmp_path / "no")) == failed + "java.io.IOException: Unable to read file %s" % (tmp_path / "no")
    file = tmp_path / "bad.csv"
    for text, line in (("", 1), ("a,0\n", 1), ("a,0,1\n\na,1,1\n", 2), ("a,0,1\na,x,1\n", 2), ("a,0,1\na,0,1,1\n", 2),
                       ("a,0,1\n\"a,0,1\n", 2), ("a,0,99999999999999999999\n", 1), ("a,99999999999,1\n", 1)):
        file.write_text(text)
        assert "%s, line %d: '" % (file, line) in error("--from-file", str(file)), text
    file.write_text("other,a,0,1\n")
    assert error("--from-file", str(file)) == "Error: No reset plan for group g found"


def test_deleting(started, groups):
    for g in ("g", "h", "i"):
        commit(started.address, g, {("a", 0): 4, ("a", 1): 1, ("b", 0): 5})
    status, out, _ = groups("--delete-offsets", "--group", "g", "--topic", "a:0", "--topic", "b")
    assert status == 0 and out.startswith("Request succeed for deleting offsets with topic a:0, b group g\n")
    assert out.count("Successful") == 2
    assert set(table(groups("--describe", "--group", "g")[1])) == {("a", 1)}
    out = groups("--delete-offsets", "--group", "g", "--topic", "none", "--topic", "a:9")[1]
    assert out.startswith("\nError: Encounter some partition level error, see the follow-up details:\n")
    assert re.search(r"none +Not Provided +Error: :org.apache.kafka.common.errors.UnknownTopicOrPartitionException", out)
    assert "\nError: 'nobody' does not exist.\n" in groups("--delete-offsets", "--group", "nobody", "--topic", "a:0")[1]
    assert groups("--delete", "--group", "h") == (0, "Deletion of requested consumer groups ('h') was successful.\n", "")
    assert sorted(groups("--list")[1].split()) == ["g", "i"]
    assert groups("--delete", "--all-groups")[0] == 0 and groups("--list")[1] == ""


def test_our_own_name(started):
    """`klamm consumer-groups` ends its lines, and says by its status that something failed."""
    def own(*args):
        return tool(os.path.join(os.pardir, "klamm"), "consumer-groups", "--bootstrap-server", started.address,
                    "--timeout", "60000", *args, check=False)

    commit(started.address, "g", {("a", 0): 4, ("b", 0): 5})
    done = own("--describe", "--group", "g")
    assert done.returncode == 0 and done.stdout.endswith("-\n")
    done = own("--reset-offsets", "--group", "g", "--all-topics", "--to-earliest", "--dry-run")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 4 and done.stdout.endswith("\n")
    for args in (["--describe", "--group", "none"], ["--delete", "--group", "none"], ["--list", "--command-config", "/none"],
                 ["--delete-offsets", "--group", "none", "--topic", "a"]):
        done = own(*args)
        assert done.returncode == 1 and "Error: " in done.stdout, args


def test_command_lines():
    def error(*args):
        done = tool("kafka-consumer-groups.sh", *args, check=False)
        assert done.returncode == 1 and done.stdout == "", (args, done)
        return done.stderr.splitlines()[0]

    at = ("--bootstrap-server", "127.0.0.1:1")
    assert error("--list") == 'Missing required argument "[bootstrap-server]"'
    assert error(*at) == "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets"
    assert error(*at, "--list", "--delete", "--all-groups").startswith("Command must include exactly one action")
    assert error(*at, "--describe").startswith("Option [describe] takes one of these options: ")
    assert error(*at, "--describe", "--group", "g", "--members", "--state") == \
        "Option [describe] takes at most one of these options: [members], [offsets], [state]"
    assert "[history]" in error(*at, "--describe", "--group", "g", "--members", "--history")
    assert error(*at, "--list", "--history") == \
        "Option(s) [history] are unavailable given other options on the command line"
    assert error(*at, "--delete", "--group", "g", "--state", "--type") == \
        "Option(s) [state, type] are unavailable given other options on the command line"
    assert error(*at, "--describe", "--group", "g", "--state", "stable") == "Option [describe] does not take a value for [state]"
    assert error(*at, "--list", "--group", "g") == 'Option "[group]" can\'t be used with option "[list]"'
    assert error(*at, "--describe", "--group", "g", "--all-groups") == 'Option "[group]" can\'t be used with option "[all-groups]"'
    assert error(*at, "--describe", "--group", "g", "--topic", "t") == 'Option "[topic]" can\'t be used with option "[describe]"'
    assert error(*at, "--delete", "--all-groups", "--topic", "t") == \
        "The consumer does not support topic-specific offset deletion from a consumer group."
    assert error(*at, "--delete-offsets", "--group", "g") == "Option [delete-offsets] takes the following options: [all-groups], [group]"
    assert error(*at, "--reset-offsets", "--dry-run", "--execute", "--group", "g") == \
        "Option [reset-offsets] only accepts one of [execute] and [dry-run]"
    assert error(*at, "--bogus") == "bogus is not a recognized option"


def test_nobody_there():
    done = tool("kafka-consumer-groups.sh", "--bootstrap-server", "127.0.0.1:1", "--list", "--timeout", "200", check=False)
    assert done.returncode == 0 and done.stdout == "\nError: Executing consumer group command failed due to " \
        "java.util.concurrent.ExecutionException: org.apache.kafka.common.KafkaException: Failed to find brokers to send ListGroups\n"
    done = tool("kafka-consumer-groups.sh", "--bootstrap-server", "127.0.0.1:1", "--describe", "--group", "g", "--timeout", "200",
                check=False)
    assert done.stdout == "\nError: Executing consumer group command failed due to org.apache.kafka.common.errors.TimeoutException: " \
        "Timed out waiting for a node assignment. Call: describeConsumerGroups(api=FIND_COORDINATOR)\n"


# ---- brokers that answer as they are told --------------------------------------------------------------------------

OLDEST = {"Metadata": (0, 4), "FindCoordinator": (0, 0), "ListGroups": (0, 0), "DescribeGroups": (0, 0), "OffsetFetch": (0, 2),
          "ListOffsets": (0, 0), "OffsetCommit": (0, 2), "DeleteGroups": (0, 0)}
MIDDLE = {"Metadata": (0, 5), "FindCoordinator": (0, 3), "ListGroups": (0, 3), "DescribeGroups": (0, 4), "OffsetFetch": (0, 7),
          "ListOffsets": (0, 3), "OffsetCommit": (0, 8), "DeleteGroups": (0, 2), "OffsetDelete": (0, 0)}
NEWEST = {"Metadata": (0, 12), "FindCoordinator": (0, 6), "ListGroups": (0, 5), "DescribeGroups": (0, 6), "OffsetFetch": (0, 9),
          "ListOffsets": (0, 9), "OffsetCommit": (0, 9), "DeleteGroups": (0, 2), "OffsetDelete": (0, 0)}


def assignment(topics, version=0):
    out = struct.pack(">hi", version, len(topics))
    for name, partitions in topics.items():
        out += struct.pack(">h", len(name)) + name.encode() + struct.pack(">i%di" % len(partitions), len(partitions), *partitions)
    return out + struct.pack(">i", -1)


def offsets_answer(q, version):
    if version >= 8:
        parts = [{"PartitionIndex": p, "CommittedOffset": 3 - p, "Metadata": ""} for p in (0, 1)]
        return {"Groups": [{"GroupId": g["GroupId"], "Topics": [{"Name": "t", "Partitions": parts}]} for g in q["Groups"]]}
    assert q["Topics"] is None
    return {"Topics": [{"Name": "t", "Partitions": [{"PartitionIndex": p, "CommittedOffset": 3 - p, "Metadata": ""} for p in (0, 1)]}]}


def ends_answer(q, version):
    def part(p):
        return dict({"PartitionIndex": p["PartitionIndex"]}, **({"OldStyleOffsets": [9]} if version == 0 else {"Offset": 9}))
    return {"Topics": [{"Name": t["Name"], "Partitions": [part(p) for p in t["Partitions"]]} for t in q["Topics"]]}


def described(q, _version=0, **more):
    member = {"MemberId": "m", "ClientId": "c", "ClientHost": "/h", "MemberAssignment": assignment({"t": [0]})}
    return {"Groups": [dict({"GroupId": g, "GroupState": "Stable", "ProtocolType": "consumer", "ProtocolData": "range",
                             "Members": [member]}, **more) for g in q["Groups"]]}


@pytest.fixture(params=["oldest", "middle", "newest"])
def told(request):
    with Told({"oldest": OLDEST, "middle": MIDDLE, "newest": NEWEST}[request.param]) as b:
        b.name = request.param
        b.topics["t"] = 2
        b.answers.update({
            "ListGroups": {"Groups": [{"GroupId": "g", "ProtocolType": "consumer"}, {"GroupId": "c", "ProtocolType": "connect"}]},
            "DescribeGroups": described, "OffsetFetch": offsets_answer, "ListOffsets": ends_answer,
            "OffsetCommit": lambda q, v: {"Topics": [{"Name": t["Name"], "Partitions": [
                {"PartitionIndex": p["PartitionIndex"]} for p in t["Partitions"]]} for t in q["Topics"]]},
            "DeleteGroups": lambda q, v: {"Results": [{"GroupId": g} for g in q["GroupsNames"]]}})
        yield b


def ask(b, *args):
    timeout = [] if "--timeout" in args else ["--timeout", "60000"]
    done = tool("kafka-consumer-groups.sh", "--bootstrap-server", b.address, *timeout, *args, check=False)
    assert done.returncode in (0, 1), done
    return done.stdout


def test_brokers_of_every_age(told):
    assert ask(told, "--list") == "g\n"
    assert ask(told, "--list", "--state", "--type").splitlines()[1].split() == ["g", "Unknown", "Unknown"]
    out = ask(told, "--list", "--type", "classic")
    assert ("we need v5 or newer to request groups by type." in out) == (told.name != "newest")
    assert table(ask(told, "--describe", "--group", "g")) == {("t", 0): ("3", "9", "6"), ("t", 1): ("2", "9", "7")}
    assert ask(told, "--describe", "--all-groups", "--members", "--verbose").splitlines()[2].split() == ["g", "m", "/h", "c", "1", "(0)"]
    assert "There is no history of consumer group 'g': broker 7" in ask(told, "--describe", "--group", "g", "--history")
    told.answers["DescribeGroups"] = lambda q, v: described(q, GroupState="Empty", Members=[])
    out = ask(told, "--reset-offsets", "--group", "g", "--all-topics", "--shift-by", "1", "--execute")
    assert planned(out) == {("t", 0): 9, ("t", 1): 9}               # start and end are 9
    sent = [f for name, _, f in told.asked if name == "OffsetCommit"][0]
    assert sent["GroupId"] == "g" and sent.get("MemberId", "") == "" and sent.get("GenerationIdOrMemberEpoch", -1) == -1
    assert ask(told, "--delete", "--group", "g") == "Deletion of requested consumer groups ('g') was successful.\n"


@pytest.fixture
def newest():
    with Told(NEWEST) as b:
        b.topics["t"] = 2
        b.answers.update({"DescribeGroups": described, "OffsetFetch": offsets_answer, "ListOffsets": ends_answer})
        yield b


def test_a_coordinator_that_moves_or_loads(newest, tmp_path):
    config = tmp_path / "client.properties"
    config.write_text("retry.backoff.ms=10\n")
    newest.answers["FindCoordinator"] = [
        {"Coordinators": [{"Key": "g", "ErrorCode": 15, "NodeId": -1}]}, {"Coordinators": []}, newest.coordinator]
    newest.answers["DescribeGroups"] = [lambda q, v: described(q, ErrorCode=14), lambda q, v: described(q, ErrorCode=16), described]
    newest.answers["OffsetFetch"] = [{"Groups": [{"GroupId": "g", "ErrorCode": 16}]}, {"Groups": []}, offsets_answer]
    assert set(table(ask(newest, "--describe", "--group", "g", "--command-config", str(config)))) == {("t", 0), ("t", 1)}
    newest.answers["DescribeGroups"] = lambda q, v: described(q, ErrorCode=14)
    describe = ("--describe", "--group", "g", "--timeout", "3000" if SLOW == 1 else "4500")
    wait_for(lambda: "TimeoutException: Timed out waiting for the coordinator of group 'g'" in ask(newest, *describe))
    newest.answers["FindCoordinator"] = {"Coordinators": [{"Key": "g", "ErrorCode": 24}]}
    assert "InvalidGroupIdException: FindCoordinator request for key `CoordinatorKey(idValue='g', type=GROUP)` failed due to an " \
        "unexpected error" in ask(newest, "--describe", "--group", "g")


def test_a_coordinator_out_of_reach_fails_its_own_groups_only(newest):
    newest.answers["FindCoordinator"] = lambda q, v: {"Coordinators": [
        {"Key": k, "NodeId": 7 if k == "g" else 9, "Host": "127.0.0.1", "Port": newest.port} for k in q["CoordinatorKeys"]]}
    newest.answers["DeleteGroups"] = lambda q, v: {"Results": [{"GroupId": g} for g in q["GroupsNames"]]}
    delete = ("--delete", "--group", "h", "--group", "g", "--timeout", "2000" if SLOW == 1 else "4000")
    wait_for(lambda: ask(newest, *delete) == "\nError: Deletion of some consumer groups failed:\n* Group 'h' could not be deleted due "
             "to: java.util.concurrent.ExecutionException: org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node "
             "assignment. Call: deleteConsumerGroups\n\nThese consumer groups were deleted successfully: 'g', '\n")


FAILED = "\nError: Executing consumer group command failed due to "


def test_odd_groups(newest):
    def members(**more):
        newest.answers["DescribeGroups"] = lambda q, v: described(q, **more)
        return ask(newest, "--describe", "--group", "g", "--members", "--verbose")

    def member(data):
        return {"MemberId": "m", "ClientId": "c", "ClientHost": "/h", "MemberAssignment": data}

    assert members(ProtocolType="connect") == \
        FAILED + "java.lang.IllegalArgumentException: GroupId g is not a consumer group (connect).\n"
    assert members(ErrorCode=30) == FAILED + "org.apache.kafka.common.errors.GroupAuthorizationException: Group authorization failed.\n"
    assert members(GroupState="Nonsense") == FAILED + "Expected a valid consumer group state, but found 'Unknown'.\n"
    for state, err in (("PreparingRebalance", "\nWarning: Consumer group 'g' is rebalancing.\n"), ("stable", "")):
        newest.answers["DescribeGroups"] = lambda q, v, s=state: described(q, GroupState=s)
        done = tool("kafka-consumer-groups.sh", "--bootstrap-server", newest.address, "--describe", "--group", "g")
        assert len(table(done.stdout)) == 2 and done.stderr == err
    whole = assignment({"t": [1, 0, 10, 2], "u": [0]})
    assert members(Members=[member(whole)]).splitlines()[2].split(None, 5)[4:] == ["5", "(0), (0,1,10,2)"]
    assert "(1)" in members(Members=[member(assignment({"t": [1, 1, 1]}))])
    assert "(1)" in members(Members=[member(assignment({"t": [1]}, version=99) + b"and what is to come")])
    for data in [whole[:n] for n in range(1, len(whole) - 4)] + [
            struct.pack(">hi", 0, 0x7FFFFFFF), struct.pack(">hi", -1, 0), b"\xff" * 40,
            struct.pack(">hihci", 0, 1, 1, b"t", 0x7FFFFFFF)][::3]:
        assert "The assignment of member m cannot be read" in members(Members=[member(data)]), data


def test_odd_history(newest):
    event = {"TimestampMs": 1600000000007, "Kind": "joined", "Generation": 3, "MemberId": "m\x1b[31m", "ClientId": "", "ClientHost": "/h",
             "Reason": "wörd\n\r\x07x", "MembersCount": 2}
    def history(*events):
        newest.answers["DescribeGroups"] = lambda q, v: described(q, KlammHistory=list(events))
        return ask(newest, "--describe", "--group", "g", "--history")

    assert history(event).splitlines()[2].split(None, 9) == ["g", "2020-09-13T12:26:40.007Z", "joined", "3", "2", "-", "m?[31m", "/h", "-",
                                                            "wörd???x"]
    assert [q["KlammIncludeHistory"] for name, _, q in newest.asked if name == "DescribeGroups"] == [True]
    assert history() == ""
    for t in (-1, -(1 << 63), (1 << 63) - 1, 0):
        assert len(history(dict(event, TimestampMs=t, DurationMs=t, Generation=-5, MembersCount=-5)).splitlines()) == 3
    ask(newest, "--describe", "--group", "g", "--members")
    assert not [q for name, _, q in newest.asked if name == "DescribeGroups"][-1]["KlammIncludeHistory"]


def test_groups_of_the_newer_protocol():
    """ConsumerGroupDescribe, which Apache Kafka has for them; what it does not know is asked the old way."""
    def newer(q, _version):
        member = {"MemberId": "m", "InstanceId": "i", "ClientId": "c", "ClientHost": "/h", "Assignment": {"TopicPartitions": [
            {"TopicName": "t", "Partitions": [1, 0, 1]}]}, "TargetAssignment": {"TopicPartitions": []}}
        return {"Groups": [{"GroupId": g, "GroupState": "Reconciling", "AssignorName": "uniform", "Members": [member]} if g == "n" else
                           {"GroupId": g, "ErrorCode": 69, "ErrorMessage": "none"} for g in q["GroupIds"]]}

    with Told(dict(NEWEST, ConsumerGroupDescribe=(0, 0))) as b:
        b.topics["t"] = 2
        b.answers.update({"ConsumerGroupDescribe": newer, "DescribeGroups": described, "OffsetFetch": offsets_answer,
                          "ListOffsets": ends_answer})
        args = ("--describe", "--group", "n", "--group", "g", "--members", "--verbose")
        rows = [line.split() for line in ask(b, *args).splitlines()]
        assert ["g", "m", "/h", "c", "1", "(0)"] in rows and ["n", "m", "i", "/h", "c", "2", "(0,1)"] in rows
        assert table(ask(b, "--describe", "--group", "n"))[("t", 1)] == ("2", "9", "7")
        assert ask(b, "--describe", "--group", "n", "--state").splitlines()[2].split()[-3:] == ["uniform", "Reconciling", "1"]
        assert "There is no history of consumer group 'n'" in ask(b, "--describe", "--group", "n", "--history")
        b.answers["ConsumerGroupDescribe"] = {"Groups": [{"GroupId": "n", "ErrorCode": 30, "ErrorMessage": "not for you"}]}
        assert "GroupAuthorizationException: not for you" in ask(b, "--describe", "--group", "n")


def test_a_group_on_two_brokers_is_listed_once(newest):
    newest.answers["ListGroups"] = {"Groups": [{"GroupId": g, "ProtocolType": p, "GroupState": s, "GroupType": "Classic"} for g, p, s in (
        ("a", "consumer", "Empty"), ("b", "", "Stable"), ("a", "consumer", "Stable"), ("c", "connect", "Stable"))]}
    assert ask(newest, "--list") == "a\nb\n"
    assert [line.split() for line in ask(newest, "--list", "--state").splitlines()[1:]] == [["a", "Stable"], ["b", "Stable"]]


def test_hostile_answers(newest):
    """Never a crash, never a hang."""
    actions = {"ListGroups": ["--list"], "FindCoordinator": ["--describe", "--group", "g"],
               "DescribeGroups": ["--describe", "--group", "g"], "OffsetFetch": ["--describe", "--group", "g"],
               "ListOffsets": ["--describe", "--group", "g"], "DeleteGroups": ["--delete", "--group", "g"],
               "OffsetDelete": ["--delete-offsets", "--group", "g", "--topic", "t"],
               "OffsetCommit": ["--reset-offsets", "--group", "g", "--topic", "t", "--to-latest", "--execute"]}
    for api, args in actions.items():
        whole = newest.answers.get(api)
        for bad in (b"", b"\0" * 7, b"\xff" * 64, b"\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x07"):
            newest.answers[api] = bad
            if api == "OffsetCommit":
                newest.answers["DescribeGroups"] = lambda q, v: described(q, GroupState="Empty", Members=[])
            done = tool("kafka-consumer-groups.sh", "--bootstrap-server", newest.address, "--timeout", "300", *args, check=False)
            assert done.returncode == 0 and ("rror" in done.stdout or api in ("OffsetDelete", "OffsetCommit", "ListGroups")), (api, bad, done)
        newest.answers[api] = whole
