"""D4, D9, D10: every situation of group_cells.py in every version of its request; the codes are Apache Kafka's."""
from group_cells import PROPERTIES, differences, expected, observe_all, prepare
from groups import run


def test_every_cell_answers_as_apache_kafka_does(brokers):
    b = brokers(PROPERTIES).start()
    prepare(b.port)
    seen = run(observe_all(b.port), 300)
    assert not differences(seen, expected()), "\n".join(differences(seen, expected()))
    assert len(seen) == len(expected())
    print(sum(len(versions) for versions in seen.values()), "cells")
