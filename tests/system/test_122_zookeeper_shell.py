"""zookeeper-shell.sh against a real ZooKeeper: what ZooKeeper 3.8's own shell prints, to the letter."""
import re

import pytest

from harness import free_ports, tool

HEAD = "Connecting to %s\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null\n"
STAT = re.compile(
    r"cZxid = 0x[0-9a-f]+\nctime = \w{3} \w{3} \d\d \d\d:\d\d:\d\d \S+ \d{4}\nmZxid = 0x[0-9a-f]+\n"
    r"mtime = \w{3} \w{3} \d\d \d\d:\d\d:\d\d \S+ \d{4}\npZxid = 0x[0-9a-f]+\ncversion = (\d+)\ndataVersion = (\d+)\n"
    r"aclVersion = (\d+)\nephemeralOwner = 0x([0-9a-f]+)\ndataLength = (\d+)\nnumChildren = (\d+)\n")


@pytest.fixture
def shell(zookeeper):
    """shell("ls", "/") gives (output after the head, errors, status); lines= are read from standard input."""
    at = zookeeper.connect + zookeeper.chroot()
    zookeeper.client.ensure_path(at[at.index("/"):])

    def run(*args, lines=None, server=at):
        done = tool("zookeeper-shell.sh", server, *args, stdin=lines, check=False)
        head = HEAD % server
        out = done.stdout[len(head):] if done.stdout.startswith(head) else done.stdout
        return out, done.stderr, done.returncode
    run.at = at
    return run


def test_what_each_command_prints(shell):
    assert shell("ls", "/") == ("[]\n", "", 0)
    assert shell("create", "/a", "hello") == ("", "Created /a\n", 0)
    assert shell("create", "/a") == ("", "Node already exists: /a\n", 1)
    assert shell("get", "/a") == ("hello\n", "", 0)
    assert shell("get", "/none") == ("", "Node does not exist: /none\n", 1)
    assert shell("create", "/a/empty") == ("", "Created /a/empty\n", 0)
    assert shell("get", "/a/empty") == ("null\n", "", 0)
    assert shell("create", "-s", "/a/q", "x") == ("", "Created /a/q0000000001\n", 0)
    assert shell("create", "-s", "/a/", "x") == ("", "Created /a/0000000002\n", 0)
    assert shell("create", "/a/empty/deep", "") == ("", "Created /a/empty/deep\n", 0)
    assert shell("ls", "/a") == ("[0000000002, empty, q0000000001]\n", "", 0)
    assert shell("ls", "-R", "/a") == ("/a\n/a/0000000002\n/a/empty\n/a/q0000000001\n/a/empty/deep\n", "", 0)
    assert shell("getAllChildrenNumber", "/a") == ("4\n", "", 0)
    assert shell("delete", "/a") == ("", "Node not empty: /a\n", 1)
    assert shell("set", "/a", "other") == ("", "", 0)
    assert shell("set", "-v", "7", "/a", "x") == ("", "version No is not valid : /a\n", 1)
    assert shell("set", "/a", "third", "-v", "1") == ("", "", 0)
    for args, first in ((("stat", "/a"), ""), (("get", "-s", "/a"), "third\n"),
                        (("ls", "-s", "/a"), "[0000000002, empty, q0000000001]\n"),
                        (("set", "-s", "/a", "fifth"), "")):
        out, err, status = shell(*args)
        assert out.startswith(first) and (err, status) == ("", 0)
        found = STAT.fullmatch(out[len(first):])
        assert found and found.group(1) == "3" and found.group(4) == "0" and found.group(6) == "3", out
    assert shell("getAcl", "/a") == ("'world,'anyone\n: cdrwa\n", "", 0)
    assert shell("setAcl", "-R", "/a", "world:anyone:cdra") == ("", "", 0)
    assert shell("getAcl", "/a/empty/deep") == ("'world,'anyone\n: cdra\n", "", 0)
    assert shell("set", "/a", "x") == ("", "Insufficient permission : /a\n", 1)
    assert shell("sync", "/") == ("Sync is OK\n", "", 0)
    assert shell("getEphemerals") == ("[]\n", "", 0)
    assert shell("delete", "-v", "0", "/a/0000000002") == ("", "", 0)
    assert shell("deleteall", "/a") == ("", "", 0)
    assert shell("deleteall", "/a") == ("", "Node does not exist: /a\n", 1)
    assert shell("ls", "/") == ("[]\n", "", 0)


def test_words_that_are_wrong_need_no_server(shell):
    alone = "Connecting to %s\n" % shell.at
    assert shell("ls") == (alone, "ls [-s] [-w] [-R] path\n", 1)
    assert shell("create", "-v", "/x") == (alone, "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: -v\n", 1)
    assert shell("set", "/x", "y", "-v") == (alone, "org.apache.commons.cli.MissingArgumentException: "
                                             "Missing argument for option: v\n", 1)
    for path, why in (("x", "Path must start with / character"), ("/x/", "Path must not end with / character"),
                      ("/x//y", 'Invalid path string "/x//y" caused by empty node name specified @3'),
                      ("/x/../y", 'Invalid path string "/x/../y" caused by relative paths not allowed @4'),
                      ("/.", 'Invalid path string "/." caused by relative paths not allowed @1')):
        assert shell("get", path) == (alone, why + "\n", 1)
    out, err, status = shell("nosuch")
    assert out == alone and status == 127 and err.endswith("Command not found: Command not found nosuch\n")
    assert "\n\tls [-s] [-w] [-R] path\n" in err
    assert shell("create", "-c", "-e", "/x")[1] == ("-c cannot be combined with -s or -e. Containers cannot be ephemeral or "
                                                    "sequential.\n")
    port, = free_ports(1)
    out, err, status = shell("ls", "/", server="127.0.0.1:%d" % port)
    assert status == 1 and err == "KeeperErrorCode = ConnectionLoss for / (127.0.0.1:%d: Connection refused)\n" % port


def test_lines_of_standard_input(shell):
    out, err, status = shell(lines="""ls /
create /i one

create /i/a "two words"
get '/i/a'
history
redo 0
get -w /i
set /i three
printwatches off
get -w /i
set /i four
printwatches
create -e /e x
getEphemerals /
nosuch
close
ls /
connect
redo 99
redo 6
delete /i
quit
create /never x
""")
    head = "Connecting to %s\nWelcome to ZooKeeper!\nJLine support is disabled\n" % shell.at
    assert out.startswith(head)
    out = out[len(head):].replace(HEAD[HEAD.index("\n") + 1:], "")
    assert out == ("[]\ntwo words\n0 - ls /\n1 - create /i one\n2 - create /i/a \"two words\"\n3 - get '/i/a'\n4 - history\n"
                   "[i]\none\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:NodeDataChanged path:/i\nthree\n"
                   "printwatches is off\n[/e]\nNot connected\nfour\n"), out
    lines = [line for line in err.splitlines() if not line.startswith("\t")]
    assert lines == ["Created /i", "Created /i/a", "Created /e", "ZooKeeper -server host:port cmd args",
                     "Command not found: Command not found nosuch", "Command index out of range", "Node not empty: /i"]
    assert status == 1
    assert shell("ls", "/") == ("[i]\n", "", 0)


def test_no_redoing_of_redos(shell):
    """However it is written: the first could not be done, the others would be that for ever."""
    _, err, status = shell(lines=' redo 0\n redo 0\n"redo" 1\n')
    assert (err.splitlines(), status) == (["Command index out of range", "No redoing redos", "No redoing redos"], 1)


def test_usage(zookeeper):
    done = tool("zookeeper-shell.sh", check=False)
    assert done.returncode == 1 and "zookeeper_host:port[/path]" in done.stdout
    done = tool("zookeeper-shell.sh", zookeeper.connect, "-zk-tls-config-file", "x", check=False)
    assert done.returncode == 1 and "no TLS" in done.stderr
    done = tool("zookeeper-shell.sh", "-server", zookeeper.connect, "ls", "/zookeeper")
    assert done.stdout.endswith("[config, quota]\n")
