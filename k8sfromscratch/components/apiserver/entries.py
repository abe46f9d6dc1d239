"""One object as the watch cache holds it: the JSON that is sent, and little more.

Objects are stored without their resourceVersion, since that is the revision at which the store wrote them.  What is sent has
it, spliced into the bytes (no decoding): `encode` writes `apiVersion`, `kind`, `metadata` first, so that every
stored value has the same head.

    stored at revision 7   {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}
    sent                   {"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"7","name":"a"},"data":{"k":"v"}}
"""

import re
from typing import Any

import orjson

Object = dict[str, Any]

_HEAD_KEYS = frozenset({"apiVersion", "kind", "metadata"})
_HEAD = re.compile(rb'\{"apiVersion":"[^"]*","kind":"[^"]*","metadata":\{')


def encode(obj: Object) -> bytes:
    """An object as it is stored: without resourceVersion, type and metadata first, everything else in order of keys.
    Equal objects have equal bytes, which is how an update that changes nothing is told."""
    metadata = obj["metadata"]
    if "resourceVersion" in metadata:
        metadata = {key: value for key, value in metadata.items() if key != "resourceVersion"}
    others = [key for key in obj if key not in _HEAD_KEYS]
    if not others or min(others) > "metadata":
        return _dump({**obj, "metadata": metadata})  # the order of keys is the order wanted, as of most kinds: spec, status
    head = b'{"apiVersion":%b,"kind":%b,"metadata":%b' % (_dump(obj["apiVersion"]), _dump(obj["kind"]), _dump(metadata))
    return head + b"," + _dump({key: obj[key] for key in others})[1:]


def _dump(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def with_revision(stored: bytes, revision: int) -> bytes:
    """The bytes that are sent for a value stored at `revision`."""
    head = _HEAD.match(stored)
    if head is None:
        # Written by someone else (`etcdctl put`): any order of keys, any white space.
        return with_revision(encode(orjson.loads(stored)), revision)
    cut = head.end()
    return b'%b"resourceVersion":"%d",%b' % (stored[:cut], revision, stored[cut:])


class Entry:
    """An object at one revision.  `key` is `namespace/name` or `name`; `raw` is the JSON that is sent."""

    __slots__ = ("_decoded", "_selectable", "key", "raw", "revision")

    def __init__(self, key: str, raw: bytes, revision: int) -> None:
        self.key = key
        self.raw = raw
        self.revision = revision
        self._decoded: Object | None = None
        self._selectable: tuple[dict[str, str], dict[str, str]] | None = None

    @classmethod
    def from_stored(cls, key: str, stored: bytes, revision: int) -> "Entry":
        return cls(key, with_revision(stored, revision), revision)

    def decode(self) -> Object:
        """A new dict, the caller's own."""
        obj: Object = orjson.loads(self.raw)
        return obj

    def shared(self) -> Object:
        """The one decoded copy of this entry, kept as long as the entry is: for those who only read (admission, authorization)."""
        if self._decoded is None:
            self._decoded = orjson.loads(self.raw)
        return self._decoded

    def selectable(self, fields_of: "FieldsOf") -> tuple[dict[str, str], dict[str, str]]:
        """Labels and the values of selectable fields.  Decoded once; the dict itself is not kept, for it is ten times its JSON."""
        if self._selectable is None:
            obj = self._decoded or orjson.loads(self.raw)
            self._selectable = (obj["metadata"].get("labels") or {}, fields_of(obj))
        return self._selectable


class FieldsOf:
    """Which fields of a resource a field selector may name, and how to read them: `path` pairs, dotted."""

    def __init__(self, paths: dict[str, tuple[tuple[str, ...], str]]) -> None:
        self._paths = paths

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._paths)

    def __call__(self, obj: Object) -> dict[str, str]:
        return {name: _read(obj, path, absent) for name, (path, absent) in self._paths.items()}


def _read(obj: Object, path: tuple[str, ...], absent: str) -> str:
    value: Any = obj
    for segment in path:
        value = value.get(segment) if isinstance(value, dict) else None
        if value is None:
            return absent
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
