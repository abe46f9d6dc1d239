"""What Accept can turn an object into: PartialObjectMetadata, or a row of a Table."""

from collections.abc import Mapping, Sequence
from typing import Any

from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.entries import Entry, Object


class Transformer:
    def one(self, call: Call, entry: Entry, *, headed: bool = True) -> Object:
        return self._partial(call, entry.decode())

    def many(self, call: Call, entries: Sequence[Entry], metadata: Mapping[str, Any]) -> Object:
        return {
            "kind": "PartialObjectMetadataList",
            "apiVersion": f"meta.k8s.io/{call.output.transform_version}",
            "metadata": dict(metadata),
            "items": [self._partial(call, entry.decode()) for entry in entries],
        }

    def bookmark(self, call: Call, obj: Object) -> Object:
        return self._partial(call, obj)

    def _partial(self, call: Call, obj: Object) -> Object:
        return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{call.output.transform_version}", "metadata": obj["metadata"]}
