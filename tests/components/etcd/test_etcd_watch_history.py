"""A watch of a long past: told in slices, between which others are served, in order, once, and before any progress."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from k8sfromscratch.components.etcd import watch as watch_module
from k8sfromscratch.components.etcd.watch import WatchHub, WatchStream
from k8sfromscratch.core.mvcc.auth import AuthStore
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.mvcc.types import PutOp, TxnOp
from k8sfromscratch.core.rpc.etcd_messages import messages as m


class Reader:
    """The call's client: keeps what it is sent."""

    metadata = ()

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.unsent_bytes = 0

    def send(self, data: bytes) -> None:
        self.messages.append(m.WatchResponse.FromString(data))

    @property
    def revisions(self) -> list[int]:
        return [e.kv.mod_revision for message in self.messages for e in message.events]


class Served:
    """A store with a hub, and one stream on it."""

    def __init__(self, revisions: int) -> None:
        self.store = MvccStore()
        engine = SimpleNamespace(subscribe=lambda published: None, on_restored=lambda restored: None)
        member = SimpleNamespace(
            store=self.store,
            engine=engine,
            header=lambda revision: m.ResponseHeader(revision=revision),
            written_header=lambda revision: m.ResponseHeader(revision=revision).SerializeToString(),
            auth=AuthStore(),
            who=lambda call: None,
        )
        self.hub = WatchHub(member)  # type: ignore[arg-type]
        self.reader = Reader()
        self.stream = WatchStream(self.reader, self.hub)  # type: ignore[arg-type]
        self.write(revisions)

    def write(self, revisions: int) -> None:
        for _ in range(revisions):
            result, events = self.store.txn(TxnOp(success=[PutOp(b"k", b"v")]))
            self.hub.publish(result.revision, events)

    def ask(self, **request: Any) -> None:
        self.stream.message(m.WatchRequest(**request).SerializeToString())


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "CATCH_UP_EVENTS", 10)


WATCH = m.WatchCreateRequest(key=b"k", start_revision=2)
PROGRESS = m.WatchProgressRequest()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_long_history_is_told_over_turns_and_what_comes_meanwhile_behind_it() -> None:
    async def main() -> None:
        served = Served(35)
        served.ask(create_request=WATCH)
        served.ask(progress_request=PROGRESS)
        assert served.reader.revisions == list(range(2, 12))
        await turns(1)
        assert served.reader.revisions == list(range(2, 22))
        served.write(5)
        assert served.reader.revisions == list(range(2, 22)) and len(served.hub) == 0
        await turns(10)
        assert served.reader.revisions == list(range(2, 42)) and len(served.hub) == 1
        progress = served.reader.messages[-1]
        assert progress.watch_id == -1 and progress.header.revision == 41 and not progress.events
        served.write(1)
        assert served.reader.revisions[-1] == 42

    asyncio.run(main())


def test_what_is_compacted_before_it_is_told_ends_the_watch() -> None:
    async def main() -> None:
        served = Served(50)
        served.ask(create_request=WATCH)
        served.ask(progress_request=PROGRESS)
        served.store.compact(40)
        await turns(5)
        cancelled, progress = served.reader.messages[-2:]
        assert cancelled.canceled and cancelled.compact_revision == 40 and progress.watch_id == -1
        assert served.reader.revisions == list(range(2, 12)) and len(served.hub) == 0

    asyncio.run(main())


@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_a_watch_that_is_given_up_is_told_no_more(how: str) -> None:
    async def main() -> None:
        served = Served(50)
        served.ask(create_request=WATCH)
        if how == "closed":
            served.stream.closed()
        else:
            served.ask(cancel_request=m.WatchCancelRequest(watch_id=0))
            assert served.reader.messages[-1].canceled
        await turns(5)
        assert served.reader.revisions == list(range(2, 12)) and len(served.hub) == 0

    asyncio.run(main())


def test_a_slice_waits_for_a_client_that_has_not_read() -> None:
    async def main() -> None:
        served = Served(30)
        served.ask(create_request=WATCH)
        served.reader.unsent_bytes = watch_module.UNREAD_MAX_BYTES + 1
        await turns(5)
        assert served.reader.revisions == list(range(2, 12))
        served.reader.unsent_bytes = 0
        async with asyncio.timeout(10):
            while len(served.hub) == 0:
                await asyncio.sleep(watch_module.UNREAD_PAUSE_S)
        assert served.reader.revisions == list(range(2, 32))

    asyncio.run(main())
