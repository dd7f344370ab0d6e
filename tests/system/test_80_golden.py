"""tests/system/test_80_golden.py - each directory of ../shared/golden that Apache Kafka wrote is adopted, and clients read what
they read from Apache Kafka on it.

An extra: without ../shared these tests are skipped. Groups and open transactions are their coordinators' matter.
"""
import pytest

import golden
from harness import Broker, wait_for
from wire import Wire

STATES = golden.states()
SHOWN = 60
COORDINATOR = "the transaction coordinator, which aborts at its start what was being aborted"
# Not as Apache Kafka mends it: the coordinators' own topics, written to at the start; a batch that stands there twice, of
# which it keeps both.
OWN_WAY = ["^__transaction_state", "^__consumer_offsets", "^d27-"]


@pytest.fixture(scope="module", params=STATES or [None])
def opened(request, tmp_path_factory):
    """A state, and the broker that has adopted it."""
    if request.param is None:
        pytest.skip("no data directories in ../shared/golden beside the checkout")
    folder = tmp_path_factory.mktemp(request.param)
    state = golden.State(request.param, folder)
    broker = Broker(folder, state.properties).start()
    wait_for(lambda: all_lead(broker), what="all partitions are loaded")     # who starts slowly serves before
    state.seen = {}
    state.broker = broker
    yield state
    if broker.process is not None:
        assert broker.stop() == 0, broker.log()[-4000:]


def all_lead(broker):
    with Wire(broker.port) as c:
        return all(p["LeaderId"] >= 0 for t in c.call("Metadata", 12, Topics=None)["Topics"] for p in t["Partitions"])


def none(faults, state, later=None):
    """later: what is still to be built, so that differences are no failure yet."""
    if faults and later:
        pytest.xfail("%s: %d differences: %s" % (state.name, len(faults), later))
    if faults:
        pytest.fail("%s: %d differences\n%s" % (state.name, len(faults), "\n".join("    " + f[:400] for f in faults[:SHOWN])),
                    pytrace=False)


def test_topics(opened):
    none(golden.compare_topics(opened.broker, opened.expected("topics"), opened.version < "2.8"), opened)


@pytest.mark.parametrize("isolation", ["read_uncommitted", "read_committed"])
def test_records(opened, isolation):
    got, faults = golden.read_records(opened.broker, opened.partitions(), isolation == "read_committed", opened.seen)
    none(faults + golden.compare_records(opened.expected("records." + isolation), got), opened)


def test_offsets(opened):
    none(golden.compare_offsets(opened.broker, opened.expected("list-offsets"),
                                golden.written_at_start(opened)), opened)


def test_producers(opened):
    if opened.version < "2.8":
        pytest.skip("DescribeProducers came with 2.8")
    none(golden.compare_producers(opened.broker, opened.partitions(), opened.expected("producers")), opened,
         COORDINATOR if golden.written_at_start(opened) else None)


def test_files_after_a_clean_stop(opened):
    """Runs last. After a clean stop of Apache Kafka nothing is to be changed; what was damaged is mended as it mends it."""
    assert opened.broker.stop() == 0, opened.broker.log()[-4000:]
    if opened.kind != "damaged":
        assert "damaged" not in opened.broker.log()
    if opened.kind == "clean":
        none(golden.compare_files(opened.broker.data, opened.expected("files")), opened)
    elif opened.kind == "damaged":
        none(golden.compare_files(opened.broker.data, opened.expected("after.files"), OWN_WAY), opened)
