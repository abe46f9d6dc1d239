"""Read, change, write, and again where somebody else wrote in between."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from k8sfromscratch.api.errors import Conflict

T = TypeVar("T")

TRIES_MAX = 5
PAUSE_S = 0.01
"""client-go's DefaultRetry: five tries, 10 ms apart."""


async def retry_on_conflict(attempt: Callable[[], Awaitable[T]]) -> T:
    """`attempt` reads the object anew, changes it and writes it.  Raises the last Conflict."""
    for _ in range(TRIES_MAX - 1):
        try:
            return await attempt()
        except Conflict:
            await asyncio.sleep(PAUSE_S)
    return await attempt()
