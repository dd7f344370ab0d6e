"""tests/system/cluster_fixtures.py - fixtures: one ZooKeeper for the tests of a file, clusters that are taken down."""
import pytest

from cluster import Cluster, peer_missing
from cluster_zk import ZooKeeper, why_not


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory):
    reason = why_not() or peer_missing()
    if reason:
        pytest.skip(reason)
    with ZooKeeper(tmp_path_factory.mktemp("zookeeper")) as zk:
        yield zk


@pytest.fixture
def clusters(zookeeper, tmp_path):
    """A function that makes a cluster (not started): clusters(brokers=3, **properties with '_' for '.'). If the test went
    well its brokers must also stop well."""
    made = []

    def make(brokers=3, dirs=1, **properties):
        made.append(Cluster(zookeeper, tmp_path / ("cluster%d" % len(made)), brokers,
                            {k.replace("_", "."): str(v) for k, v in properties.items()}, dirs))
        return made[-1]

    try:
        yield make
        for cluster in made:
            cluster.finish()
    finally:
        for cluster in made:
            cluster.end()
