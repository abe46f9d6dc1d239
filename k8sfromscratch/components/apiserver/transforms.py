"""What Accept can turn objects into: PartialObjectMetadata, or the rows of a Table, which is what `kubectl get` prints.

Columns and cells are `api.columns`'; here is the wire form.  Source: meta.k8s.io/v1 Table.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from k8sfromscratch.api import columns
from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.api.registry import PODS
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.conversion import to_served
from k8sfromscratch.components.apiserver.entries import Entry, Object
from k8sfromscratch.components.apiserver.replies import list_json
from k8sfromscratch.process.clock import Clock

_INCLUDE = ("", "None", "Metadata", "Object")


class Transformer:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def one(self, call: Call, entry: Entry, *, headed: bool = True) -> Object:
        """`headed` false leaves out a Table's headings: of a watch, only the first event has them."""
        obj = to_served(call.served, entry.decode())
        if call.output.transform != "Table":
            return self._partial(call, obj)
        return self._table(call, [obj], {"resourceVersion": obj["metadata"].get("resourceVersion", "")}, headed=headed)

    def many(self, call: Call, entries: Sequence[Entry], metadata: Mapping[str, Any]) -> bytes:
        """JSON.  Each object is decoded, turned and encoded before the next one: thousands of decoded objects at once would keep the
        garbage collector busier than all the rest."""
        if call.output.transform == "Table":
            whole, member, now = self._table(call, [], metadata), "rows", self._clock.now()
            parts = [orjson.dumps(self._row(call, to_served(call.served, entry.decode()), now)) for entry in entries]
        else:
            whole, member = {"kind": "PartialObjectMetadataList", "apiVersion": _version(call), "metadata": dict(metadata)}, "items"
            parts = [orjson.dumps(self._partial(call, to_served(call.served, entry.decode()))) for entry in entries]
        whole.pop(member, None)
        return list_json(orjson.dumps(whole), member, parts)

    def scale(self, call: Call, scale: Object) -> Object:
        """A Scale is not of the path's kind: it has columns of its own."""
        if call.output.transform != "Table":
            return self._partial(call, scale)
        row: Object = {"cells": columns.cells(columns.SCALES, scale, self._clock.now())}
        included = self._row_object(call, scale)
        if included is not None:
            row["object"] = included
        metadata, headings = {"resourceVersion": scale["metadata"].get("resourceVersion", "")}, _headings(columns.columns(columns.SCALES))
        return {"kind": "Table", "apiVersion": _version(call), "metadata": metadata, "columnDefinitions": headings, "rows": [row]}

    def bookmark(self, call: Call, obj: Object) -> Object:
        """A bookmark has a version and no object: a Table tells it in its row's object."""
        if call.output.transform != "Table":
            return self._partial(call, obj)
        table = self._table(call, [], {"resourceVersion": obj["metadata"]["resourceVersion"]}, headed=False)
        return {**table, "rows": [{"cells": [], "object": self._row_object(call, obj)}]}

    def _partial(self, call: Call, obj: Object) -> Object:
        return {"kind": "PartialObjectMetadata", "apiVersion": _version(call), "metadata": obj["metadata"]}

    def _table(self, call: Call, objs: Sequence[Object], metadata: Mapping[str, Any], *, headed: bool = True) -> Object:
        resource, custom = call.served.resource, call.served.custom
        headings = _headings(columns.columns(resource) if custom is None else custom.columns.columns)
        now = self._clock.now()
        rows = [self._row(call, obj, now) for obj in objs]
        return {"kind": "Table", "apiVersion": _version(call), "metadata": dict(metadata), "columnDefinitions": headings if headed else None, "rows": rows}

    def _row(self, call: Call, obj: Object, now: datetime) -> Object:
        resource = call.served.resource
        custom = call.served.custom
        row: Object = {"cells": columns.cells(resource, obj, now) if custom is None else custom.columns.cells(obj, now)}
        if resource == PODS and (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            phase = obj["status"]["phase"]
            message = "The pod has completed successfully." if phase == "Succeeded" else "The pod failed."
            row["conditions"] = [{"type": "Completed", "status": "True", "reason": phase, "message": message}]
        included = self._row_object(call, obj)
        if included is not None:
            row["object"] = included
        return row

    def _row_object(self, call: Call, obj: Object) -> Object | None:
        include = call.request.arg("includeObject")
        if include not in _INCLUDE:
            raise BadRequest(f'includeObject: Unsupported value: "{include}": supported values: "Metadata", "None", "Object"')
        if include == "None":
            return None
        return obj if include == "Object" else self._partial(call, obj)


def _headings(of: Iterable[columns.Column]) -> list[Object]:
    return [{"name": one.name, "type": one.type, "format": one.format, "description": one.description, "priority": one.priority} for one in of]


def _version(call: Call) -> str:
    return f"meta.k8s.io/{call.output.transform_version}"
