"""metadata.managedFields of one request: whom it counts as, and the owners after it.

What owning means is `core.patch.managed_fields`'.
"""

import json
from collections.abc import Sequence

from k8sfromscratch.api import schema
from k8sfromscratch.api.errors import BadRequest, Cause, invalid_options
from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.entries import Object
from k8sfromscratch.core.patch import last_applied, managed_fields
from k8sfromscratch.core.patch.managed_fields import Manager, Ownership
from k8sfromscratch.process.clock import Clock, rfc3339

_APPLY_OPTIONS = "PatchOptions"
_MANAGER_MAX = 128


class Owners:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def created(self, call: Call, obj: Object) -> None:
        """Writes the owners of a new object, but for one that says them itself (as an apply does)."""
        if obj["metadata"].get("managedFields"):
            managed_fields.check(obj["metadata"]["managedFields"])
            return
        self._write(obj, managed_fields.after_update({}, obj, [], self._manager(call, "Update"), _schema(call), self._now()))

    def updated(self, call: Call, obj: Object, old: Object) -> None:
        """Writes the owners after an update.  Who sends a list of one empty entry starts anew; who sends another list means it."""
        sent, kept = obj["metadata"].get("managedFields"), old["metadata"].get("managedFields")
        if sent == [{}]:
            entries: list[Ownership] = []
        elif sent and sent != kept:
            managed_fields.check(sent)
            entries = managed_fields.read(sent)
        else:
            entries = managed_fields.read(kept)
        self._write(obj, managed_fields.after_update(old, obj, entries, self._manager(call, "Update"), _schema(call), self._now()))

    def applied_anew(self, call: Call, applied: Object) -> list[Ownership]:
        return managed_fields.apply({}, applied, [], self._manager(call, "Apply"), _schema(call), self._now(), force=True)[1]

    def applied(self, call: Call, live: Object, applied: Object) -> tuple[Object, list[Ownership]]:
        """The merged object and its owners.  Raises Conflict."""
        entries = managed_fields.read(live["metadata"].get("managedFields"))
        force = call.request.arg("force") in ("true", "1")
        manager, fields = self._manager(call, "Apply"), _schema(call)
        if manager.name != last_applied.MANAGER or manager.subresource:
            return managed_fields.apply(live, applied, entries, manager, fields, self._now(), force=force)
        yielding = last_applied.unchanged_since(live, fields)
        result, owners = managed_fields.apply(live, applied, entries, manager, fields, self._now(), force=force, yielding=yielding)
        return last_applied.noted(result, applied), owners

    def write(self, obj: Object, entries: Sequence[Ownership]) -> None:
        self._write(obj, entries)

    def _manager(self, call: Call, operation: str) -> Manager:
        return Manager(call.field_manager, operation, call.served.stored.api_version, call.info.subresource)

    def _write(self, obj: Object, entries: Sequence[Ownership]) -> None:
        if entries:
            obj["metadata"]["managedFields"] = managed_fields.write(entries)
        else:
            obj["metadata"].pop("managedFields", None)

    def _now(self) -> str:
        return rfc3339(self._clock.now())


def check_manager(call: Call) -> None:
    """Raises Invalid."""
    given = call.request.arg("fieldManager")
    kind = {"create": "CreateOptions", "update": "UpdateOptions"}.get(call.info.verb, _APPLY_OPTIONS)
    if len(given.encode()) > _MANAGER_MAX:
        raise invalid_options(kind, Cause("FieldValueTooLong", f"Too long: may not be more than {_MANAGER_MAX} bytes", "fieldManager"))
    for index, character in enumerate(given):
        if not character.isprintable():
            shown = f"Invalid value: {json.dumps(given)}: invalid character U+{ord(character):04X} (at position {index})"
            raise invalid_options(kind, Cause("FieldValueInvalid", shown, "fieldManager"))


def check_options(call: Call, *, applying: bool) -> None:
    """Raises Invalid."""
    check_manager(call)
    given = call.request.arg("fieldManager")
    if applying and not given:
        raise invalid_options(_APPLY_OPTIONS, Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager"))
    if not applying and call.request.arg("force"):
        raise invalid_options(_APPLY_OPTIONS, Cause("FieldValueForbidden", "Forbidden: may not be specified for non-apply patch", "force"))


def check_applied(applied: Object) -> None:
    if applied["metadata"].get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")


def _schema(call: Call) -> SchemaNode:
    return schema.field_schema(call.served.stored) if call.served.custom is None else call.served.custom.node
