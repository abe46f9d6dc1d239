"""The calm behind the storm: a leader that changes once more, as the machine had no time for it, is no fault."""

import asyncio
from typing import Any

import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_checker.client import Client, Refused, Unknown
from k8sfromscratch.testing.etcd_checker.history import History, Outcome
from k8sfromscratch.testing.etcd_checker.replay import Fault
from k8sfromscratch.testing.etcd_checker.run import _last_write, _told


class Restless(Client):
    """Of a member that answers some questions otherwise, by their number."""

    def __init__(self, wrong: dict[int, Exception]) -> None:
        super().__init__(1)
        self._wrong, self._asked = wrong, 0

    async def call(self, method: str, request: Any, *, timeout_s: float = 1.0) -> Any:
        self._asked += 1
        if self._asked in self._wrong:
            raise self._wrong[self._asked]
        return m.PutResponse(header=m.ResponseHeader(revision=100 + self._asked))


def test_the_last_write_is_done_anew_until_all_of_it_is_known_to_be_done() -> None:
    history = History()
    revision = asyncio.run(_last_write(history, Restless({1: Unknown("leader changed"), 3: Unknown("no answer in time")})))
    u, ok = Outcome.UNKNOWN, Outcome.OK
    assert [(each.method, each.outcome) for each in history.operations] == [("Put", u), ("Put", ok), ("Txn", u), ("Put", ok), ("Txn", ok)]
    assert revision == 105
    values = [each.request.value for each in history.operations if each.method == "Put"]
    assert len(set(values)) == 3, "each value tells whose it is"


def test_what_is_refused_is_a_fault() -> None:
    assert asyncio.run(_told(Restless({1: Unknown("leader changed")}), "Range", m.RangeRequest(key=b"a"))).header.revision == 102
    with pytest.raises(Fault, match="refuses"):
        asyncio.run(_last_write(History(), Restless({1: Refused("no space")})))
    with pytest.raises(Fault, match="no space"):
        asyncio.run(_told(Restless({1: Refused("no space")}), "Range", m.RangeRequest(key=b"a")))
