"""tests/system/system_fixtures.py - fixtures: brokers that are taken down after each test, whatever happens."""
import pytest

from harness import Broker


@pytest.fixture
def brokers(tmp_path):
    """A function that makes a broker (not started): brokers(**overrides with '_' for '.')."""
    made = []

    def make(properties=None, **kw):
        broker = Broker(tmp_path / ("broker%d" % len(made)), properties, **kw)
        made.append(broker)
        return broker

    yield make
    failures = []
    for broker in made:
        if broker.process is None:
            continue
        alive = broker.alive()
        status = broker.stop()
        if not alive or status != 0:
            failures.append("klammd ended with status %s:\n%s" % (status, broker.log()[-8000:]))
    assert not failures, "\n".join(failures)


@pytest.fixture
def broker(brokers):
    """One started broker with every default."""
    return brokers().start()
