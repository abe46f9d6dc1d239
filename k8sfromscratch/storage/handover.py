"""The leadership is given to another member (thesis §3.10): begun by the one that leads, done when the other is known to lead."""

import asyncio
from collections.abc import Callable

from k8sfromscratch.core.raft.node import RawNode
from k8sfromscratch.core.raft.types import ProposalDropped
from k8sfromscratch.storage.group import TransferTimedOut


async def hand_over(node: RawNode, to: int, listeners: list[Callable[[int], None]], wake: Callable[[], None], within_s: float) -> None:
    """`listeners` are called with whoever leads now.  Meanwhile nothing that is proposed is begun; should the other not take over, this one leads on.
    Raises TransferTimedOut."""
    moved = asyncio.Event()

    def changed(leader: int) -> None:
        if leader == to:
            moved.set()

    listeners.append(changed)
    try:
        node.transfer_leadership(to)
        wake()
        async with asyncio.timeout(within_s):
            await moved.wait()
    except (TimeoutError, ProposalDropped) as error:
        raise TransferTimedOut from error
    finally:
        listeners.remove(changed)
