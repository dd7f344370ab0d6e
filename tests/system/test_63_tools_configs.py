"""kafka-configs.sh, with the words of Apache Kafka 3.9.1's."""
import pytest

from harness import tool


@pytest.fixture
def configs(broker):
    """configs(args...) -> (status, standard output, first line of standard error)."""
    broker.create_topic("t", partitions=1)

    def run(*args):
        done = tool("kafka-configs.sh", "--bootstrap-server", broker.address, *args, check=False)
        return done.returncode, done.stdout, (done.stderr.splitlines() or [""])[0]

    return run


def test_add_change_delete(configs):
    def own():
        status, out, err = configs("--describe", "--topic", "t")
        assert status == 0 and out.startswith("Dynamic configs for topic t are:\n"), (out, err)
        return [line.split(" sensitive")[0].strip() for line in out.splitlines()[1:]]

    done = (0, "Completed updating config for topic t.\n", "")
    assert own() == []
    assert configs("--alter", "--topic", "t", "--add-config", "retention.ms=5, cleanup.policy = [compact,delete],") == done
    assert own() == ["cleanup.policy=compact,delete", "retention.ms=5"]
    assert configs("--alter", "--entity-type", "topics", "--entity-name", "t", "--add-config", "segment.ms=7",
                   "--delete-config", "retention.ms,cleanup.policy") == done
    assert own() == ["segment.ms=7"]
    status, out, _ = configs("--describe", "--all", "--topic", "t")
    assert status == 0 and out.startswith("All configs for topic t are:\n")
    assert "  segment.ms=7 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:segment.ms=7" in out
    assert "  retention.ms=604800000 sensitive=false synonyms={}" in out
    status, out, _ = configs("--describe", "--entity-type", "topics")
    assert status == 0 and "Dynamic configs for topic t are:\n  segment.ms=7 sensitive=false" in out


def test_from_a_file(configs, tmp_path):
    f = tmp_path / "f.properties"
    f.write_text("# comment\nretention.ms = 9\ncleanup.policy=compact,delete\nmessage.format.version=2.7\n")
    status, out, err = configs("--alter", "--topic", "t", "--add-config-file", str(f))
    assert (status, err) == (0, "") and out.startswith("WARNING: The configuration message.format.version=2.7 is specified.")
    assert out.endswith("Completed updating config for topic t.\n")
    assert "  cleanup.policy=compact,delete sensitive" in configs("--describe", "--topic", "t")[1]
    assert configs("--alter", "--topic", "t", "--add-config-file", str(tmp_path / "none"))[0] == 1


KEY_VAL = "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\"."


def test_what_is_refused(configs):
    def error(*args):
        status, out, err = configs(*args)
        assert status == 1 and out == "", (args, out, err)
        return err

    alter = ("--alter", "--topic", "t")
    for text in ("", "a", "a=b,c", "a=b=c", "=,x", "[a=b]"):
        assert error(*alter, "--add-config", text) == KEY_VAL, text
    assert error(*alter, "--add-config", "a b=c") == "Invalid character found for config key: a b"
    assert error(*alter, "--delete-config", "retention.ms,no.such") == "Invalid config(s): retention.ms,no.such"
    args = "--bootstrap-server %s --alter --topic t --add-config a=b"
    assert error(*alter, "--add-config", "a=b").startswith("Error while executing config command with args '--bootstrap-server")
    assert args
    assert error("--alter", "--topic", "none", "--add-config", "a=b").endswith("--alter --topic none --add-config a=b'")
    assert error("--alter", "--describe") == "Command must include exactly one action: --describe, --alter"
    assert error("--describe", "--topic", "t", "--add-config", "a=b") == \
        "Option \"[describe]\" can't be used with option \"[add-config]\""
    assert error("--alter", "--topic", "t") == \
        "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter"
    assert error("--alter", "--entity-type", "topics", "--add-config", "a=b") == \
        "an entity name must be specified with --alter of topics"
    assert error("--alter", "--entity-type", "topics", "--entity-default", "--add-config", "a=b") == \
        "an entity name must be specified with --alter of topics"
    assert error("--describe") == "At least one entity type must be specified"
    assert error("--describe", "--topic", "t", "--broker", "0") == \
        "Only 'users' and 'clients' entity types may be specified together"
    assert error("--describe", "--topic", "t", "--entity-name", "0") == \
        "--entity-{type,name,default} should not be used in conjunction with specific entity flags"
    assert error("--describe", "--broker", "x") == \
        "The entity name for brokers must be a valid integer broker id, but it is: x"
    assert error("--describe", "--entity-type", "things").startswith("Invalid entity type things, the entity type must be one of")
    assert "not available yet" in error("--describe", "--entity-type", "users")
    assert "not available yet" in error("--alter", "--client", "c", "--add-config", "producer_byte_rate=1")


def test_brokers_and_loggers(configs):
    status, out, _ = configs("--describe", "--entity-type", "brokers")
    assert (status, out) == (0, "Dynamic configs for broker 0 are:\nDefault configs for brokers in the cluster are:\n")
    status, out, _ = configs("--describe", "--all", "--broker", "0")
    assert status == 0 and "  log.segment.bytes=1073741824 sensitive=false synonyms={DEFAULT_CONFIG:" in out
    assert configs("--alter", "--broker", "0", "--add-config", "broker.rack=r")[0] == 1
    assert configs("--describe", "--broker-logger", "0") == (0, "Dynamic configs for broker-logger 0 are:\n"
                                                             "  root=INFO sensitive=false synonyms={}\n", "")
    assert configs("--alter", "--broker-logger", "0", "--add-config", "root=WARN") == \
        (0, "Completed updating config for broker-logger 0.\n", "")
    assert configs("--alter", "--broker-logger", "0", "--add-config", "other=WARN") == \
        (1, "", "Invalid broker logger(s): other")
