"""D4, D9, D10: every situation of group_cells.py in every version of its request; the codes are Apache Kafka's."""
from group_cells import PROPERTIES, expected, lasting_differences, observe_all, prepare
from groups import run


def test_every_cell_answers_as_apache_kafka_does(brokers):
    b = brokers(PROPERTIES).start()
    prepare(b.port)
    wanted = expected()
    seen = run(observe_all(b.port), 300)
    left = lasting_differences(b.port, seen, wanted)
    assert not left, "\n".join(left)
    assert len(seen) == len(wanted)
    print(sum(len(versions) for versions in seen.values()), "cells")
