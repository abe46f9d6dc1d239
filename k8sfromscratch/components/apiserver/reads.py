"""GET and LIST, answered from the watch cache's bytes.

resourceVersion says how new the answer must be (KEP-2340): none, the latest (waits for the cache); "0", whatever is cached;
N, at least N, or with resourceVersionMatch=Exact just N.  A continued or an exact list is read from the store at its revision:
the store keeps old revisions until it is compacted, the cache keeps none.
"""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Sequence

import orjson

from k8sfromscratch.api import errors
from k8sfromscratch.components.apiserver import replies
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.conversion import as_served
from k8sfromscratch.components.apiserver.entries import Entry
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.selection import Selection, selection
from k8sfromscratch.components.apiserver.transforms import Transformer
from k8sfromscratch.core.mvcc.types import RangeOp, prefix_end
from k8sfromscratch.process.http import Response
from k8sfromscratch.storage.interface import Compacted, FutureRevision, Storage, StorageError

_STORE_PAGE = 500
# A page that a selector thins out is filled by reading on; the factor bounds what one request may read at once.
_LIMIT_MAX = 100_000


class Reads:
    def __init__(self, storage: Storage, feed: Feed, transformer: Transformer) -> None:
        self._storage = storage
        self._feed = feed
        self._transformer = transformer

    async def get(self, call: Call) -> Response:
        revision = parse_revision(call.request.arg("resourceVersion"))
        if revision is None:
            await self._feed.caught_up()
        elif revision:
            await self._feed.reach(revision)
        entry = call.served.cache.get(call.key)
        if entry is None:
            raise errors.not_found(call.served.resource.plural, call.info.name, call.served.resource.group)
        return self.one(call, entry)

    def one(self, call: Call, entry: Entry, status: int = 200) -> Response:
        """One object as the client wants it."""
        if call.output.transform:
            return replies.of(self._transformer.one(call, entry), call.output, status)
        return replies.raw(as_served(call.served, entry.raw), call.output, status)

    async def list_objects(self, call: Call) -> Response:
        request = call.request
        chosen = selection(request, call.served, call.namespace)
        limit = _limit(request.arg("limit"))
        parse_seconds(request.arg("timeoutSeconds"))
        token = request.arg("continue")
        match = request.arg("resourceVersionMatch")
        revision = parse_revision(request.arg("resourceVersion"))
        if match and match not in ("Exact", "NotOlderThan"):
            raise _bad_match("FieldValueNotSupported", f'Unsupported value: {orjson.dumps(match).decode()}: supported values: "Exact", "NotOlderThan", ""')
        if match and revision is None:
            raise _bad_match("FieldValueForbidden", "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided")
        if match == "Exact" and revision == 0:
            raise _bad_match("FieldValueForbidden", 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
        if token:
            if revision:
                raise errors.BadRequest("specifying resource version is not allowed when using continue")
            at, start = decode_continue(token)
            entries, more, remaining = await self._from_store(call, chosen, at, start, limit)
        elif match == "Exact" and revision is not None and revision != self._feed.revision:
            at = revision
            entries, more, remaining = await self._from_store(call, chosen, at, "", limit)
        else:
            if revision is None:
                at = await self._feed.caught_up()
            else:
                await self._feed.reach(revision)
                at = self._feed.revision
            entries, more, remaining = _from_cache(call, chosen, limit)
        next_token = encode_continue(at, entries[-1].key) if more and entries else ""
        return self._list_response(call, entries, at, next_token, remaining if chosen.everything else None)

    def as_list(self, call: Call, entries: Sequence[Entry], revision: int) -> Response:
        """Any entries as a List."""
        return self._list_response(call, entries, revision, "", None)

    def _list_response(self, call: Call, entries: Sequence[Entry], revision: int, token: str, remaining: int | None) -> Response:
        metadata: dict[str, object] = {"resourceVersion": str(revision)}
        if token:
            metadata["continue"] = token
            if remaining:
                metadata["remainingItemCount"] = remaining
        if call.output.transform:
            return replies.raw(self._transformer.many(call, entries, metadata), call.output)
        resource = call.served.resource
        head = orjson.dumps({"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata})
        raws = [entry.raw for entry in entries]
        if call.served.resource is not call.served.stored:
            raws = [as_served(call.served, raw) for raw in raws]
        return replies.raw(replies.list_json(head, "items", raws), call.output)

    async def _from_store(self, call: Call, chosen: Selection, revision: int, after: str, limit: int) -> tuple[list[Entry], bool, int]:
        """The objects at an old revision, behind the key `after`."""
        served = call.served
        prefix = served.storage_key(f"{chosen.namespace}/" if chosen.namespace else "")
        cut = len(served.storage_key(""))
        key = served.storage_key(after) + b"\0" if after else prefix
        found: list[Entry] = []
        while True:
            try:
                page = await self._storage.range(
                    RangeOp(key=key, range_end=prefix_end(prefix), limit=min(limit or _STORE_PAGE, _STORE_PAGE) + 1, revision=revision)
                )
            except Compacted as error:
                raise errors.Gone(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter."
                    if after
                    else f"The resourceVersion for the provided list is too old: {revision}"
                ) from error
            except FutureRevision as error:
                raise errors.Timeout(f"Too large resource version: {revision}, current: {self._feed.revision}", retry_after_s=1) from error
            except StorageError as error:
                raise errors.ServiceUnavailable(f"the store cannot be read: {error}", retry_after_s=1) from error
            for index, kv in enumerate(page.kvs):
                entry = served.cache.entry(kv.key[cut:].decode(), kv.value, kv.mod_revision)
                if chosen.matches(entry):
                    if limit and len(found) == limit:
                        return found, True, page.count - index
                    found.append(entry)
            if not page.more:
                return found, False, 0
            key = page.kvs[-1].key + b"\0"


def _from_cache(call: Call, chosen: Selection, limit: int) -> tuple[list[Entry], bool, int]:
    """(entries, whether there are more, how many more at most)."""
    cache = call.served.cache
    if call.info.name and not chosen.everything:
        entry = cache.get(call.served.key(call.info.name, call.namespace)) if call.namespace or not call.served.resource.namespaced else None
        if entry is not None:
            return ([entry] if chosen.matches(entry) else []), False, 0
    if not limit:
        entries = cache.entries(chosen.namespace)
        return (entries if chosen.everything else [entry for entry in entries if chosen.matches(entry)]), False, 0
    found: list[Entry] = []
    names = cache.keys(chosen.namespace)
    for key in names:
        entry = cache.get(key)
        if entry is not None and chosen.matches(entry):
            if len(found) == limit:
                return found, True, len(names) - bisect_right(names, found[-1].key)
            found.append(entry)
    return found, False, 0


def _bad_match(reason: str, message: str) -> errors.Invalid:
    return errors.invalid_options("ListOptions", errors.Cause(reason, message, "resourceVersionMatch"))


def parse_seconds(text: str) -> float:
    """timeoutSeconds; 0 where it is not given.  Raises BadRequest."""
    if not text:
        return 0.0
    try:
        return max(0.0, float(int(text)))
    except ValueError as error:
        raise errors.BadRequest(f'strconv.ParseInt: parsing "{text[:64]}": invalid syntax') from error


def parse_revision(text: str) -> int | None:
    """None where it is not given.  Raises BadRequest."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise errors.BadRequest(f'resourceVersion: Invalid value: "{text[:64]}": must be a non-negative number')
    return int(text)


def encode_continue(revision: int, key: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": key})).decode().rstrip("=")


def decode_continue(token: str) -> tuple[int, str]:
    """(revision, the last key of the page before).  Raises BadRequest."""
    try:
        value = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if (
            value["v"] != "meta.k8s.io/v1"
            or not isinstance(value["rv"], int)
            or not 0 < value["rv"] < 1 << 63
            or not value["start"]
            or ".." in value["start"].split("/")
        ):
            raise ValueError("not a token of this server")
        return value["rv"], str(value["start"])
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.BadRequest(f"continue key is not valid: {error}") from error


def _limit(text: str) -> int:
    if not text:
        return 0
    try:
        limit = int(text)
    except ValueError as error:
        raise errors.BadRequest(f'strconv.ParseInt: parsing "{text[:64]}": invalid syntax') from error
    return min(max(limit, 0), _LIMIT_MAX)
