"""The B+tree file: what is read of it while some of it is only on its way there."""

from pathlib import Path

import pytest

from k8sfromscratch.core.mvcc.types import KeyValue
from k8sfromscratch.storage.lmdb_backend import LmdbBackend, Meta


def value(main: int, *, lease: int = 0) -> KeyValue:
    return KeyValue(b"key%d" % main, b"x" * main, main, main, 1, lease)


def test_many_values_come_in_the_order_asked_wherever_they_are(tmp_path: Path) -> None:
    backend = LmdbBackend(tmp_path, 2**30)
    try:
        for main in (2, 3):
            backend.put((main, 0), value(main, lease=-main))
        backend.begin_commit()
        backend.commit(Meta(1, 3, 0), {}, {})
        backend.end_commit()
        backend.put((4, 0), value(4))
        backend.begin_commit()
        backend.put((5, 0), value(5))
        filed, all_of_them = [(3, 0), (2, 0)], [(5, 0), (2, 0), (4, 0), (3, 0)]
        assert backend.get_all(filed) == [value(3, lease=-3), value(2, lease=-2)]
        assert backend.get_all(all_of_them) == [value(5), value(2, lease=-2), value(4), value(3, lease=-3)]
        assert backend.get_all([]) == []
        with pytest.raises(KeyError):
            backend.get_all([(3, 0), (6, 0)])
        backend.commit(Meta(2, 4, 0), {}, None)
        backend.end_commit()
        assert backend.get_all(all_of_them) == [backend.get(revision) for revision in all_of_them]
    finally:
        backend.close()
