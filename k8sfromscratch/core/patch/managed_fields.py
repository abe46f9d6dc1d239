"""Who owns which field: metadata.managedFields, and what server-side apply makes of it (KEP-555).

    an update   its manager comes to own what it changed; everyone else loses that
    an apply    its manager says all that it wants: that is merged into the object; what it said the last time and says no longer
                is removed unless someone else owns it; a field that another manager owns and that would change is a conflict,
                or, with force, taken over

Managers are told apart by name, operation (Apply or Update), API version and subresource.

Source: apimachinery/pkg/util/managedfields, structured-merge-diff's merge.Updater.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from k8sfromscratch.api.errors import BadRequest, Conflict
from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.core.patch.field_tree import LEAF, SELF, Tree, difference, intersection, is_tree, path_text, paths, union
from k8sfromscratch.core.patch.structured_merge import compare, fields_of, merge, prune

Object = dict[str, Any]

BEFORE_FIRST_APPLY = "before-first-apply"
ANCIENT_CHANGES = "ancient-changes"
# Update managers kept apart; older ones are put together.  Upstream's number.
UPDATE_MANAGERS_MAX = 10

# Nobody owns what the server writes, or what makes the object the one it is.
_UNOWNED: Tree = {
    "f:apiVersion": LEAF,
    "f:kind": LEAF,
    "f:metadata": {
        SELF: LEAF,
        "f:name": LEAF,
        "f:namespace": LEAF,
        "f:creationTimestamp": LEAF,
        "f:selfLink": LEAF,
        "f:uid": LEAF,
        "f:generation": LEAF,
        "f:managedFields": LEAF,
        "f:resourceVersion": LEAF,
        "f:deletionTimestamp": LEAF,
        "f:deletionGracePeriodSeconds": LEAF,
    },
}


class Manager(NamedTuple):
    """`operation` is Apply or Update."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


class Ownership(NamedTuple):
    manager: Manager
    fields: Tree
    time: str = ""


def read(value: Any) -> list[Ownership]:
    """From the metadata.managedFields of a stored object, or one that `check` has passed."""
    entries = []
    for item in value or []:
        fields = item.get("fieldsV1")
        if fields:
            manager = Manager(item.get("manager", ""), item["operation"], item.get("apiVersion", ""), item.get("subresource", ""))
            entries.append(Ownership(manager, fields, item.get("time", "")))
    return entries


def write(entries: Sequence[Ownership]) -> list[Object]:
    return [
        _as_object(entry)
        for entry in sorted(entries, key=lambda e: (e.manager.operation, e.time, e.manager.name, e.manager.api_version, e.manager.subresource))
    ]


def after_update(old: Object, new: Object, entries: Sequence[Ownership], manager: Manager, schema: SchemaNode | None, now: str) -> list[Ownership]:
    """The owners after `manager` made `new` of `old`; of nothing, when `old` is empty."""
    changed, removed = compare(_content(old), _content(new), schema)
    changed = _owned(changed)
    touched = _join(changed, removed)
    if touched is None:
        return list(entries)
    result, mine = [], None
    for entry in entries:
        if entry.manager == manager:
            mine = entry
            continue
        left = difference(entry.fields, touched)
        if left is not None:
            result.append(entry if left == entry.fields else entry._replace(fields=left))
    fields = _join(mine.fields if mine else None, changed)
    left = difference(fields, removed) if fields is not None and removed is not None else fields
    if left is not None:
        result.append(mine if mine is not None and left == mine.fields else Ownership(manager, left, now))
    return _capped(result)


def apply(
    live: Object,
    applied: Object,
    entries: Sequence[Ownership],
    manager: Manager,
    schema: SchemaNode | None,
    now: str,
    *,
    force: bool,
    yielding: Tree | None = None,
) -> tuple[Object, list[Ownership]]:
    """The object and its owners after an apply on a live object, or on nothing (empty).  `yielding`: fields taken over without force.  Raises Conflict."""
    if live and not entries:
        # The object is older than any owner's mark: whoever made it must not lose it in silence.
        whole = _owned(fields_of(_content(live), schema))
        entries = [Ownership(Manager(BEFORE_FIRST_APPLY, "Update", manager.api_version), whole, now)] if whole is not None else []
    mine = next((entry for entry in entries if entry.manager == manager), None)
    others = [entry for entry in entries if entry.manager != manager]
    wanted = _owned(fields_of(_content(applied), schema))
    result = merge(live, applied, schema)
    if mine is not None:
        kept: Tree = wanted or {SELF: LEAF}
        for entry in others:
            kept = union(kept, entry.fields)
        result = prune(result, mine.fields, kept, schema)
    changed, removed = compare(_content(live), _content(result), schema)
    if changed is not None:
        conflicts = [(entry, common) for entry in others if (common := intersection(entry.fields, changed)) is not None]
        refused = [] if force else [(entry, left) for entry, common in conflicts if (left := _without(common, yielding)) is not None]
        if refused:
            raise _conflict(refused)
        taken = {entry.manager: common for entry, common in conflicts}
        others = [entry._replace(fields=left) for entry in others if (left := _without(entry.fields, taken.get(entry.manager))) is not None]
    if removed is not None:
        others = [entry._replace(fields=left) for entry in others if (left := difference(entry.fields, removed)) is not None]
    if wanted is not None:
        others.append(mine if mine is not None and mine.fields == wanted else Ownership(manager, wanted, now))
    return result, others


def check(value: Any) -> None:
    """Raises BadRequest for a managedFields list that no server wrote."""
    for index, item in enumerate(value or []):
        if item.get("operation") not in ("Apply", "Update"):
            raise BadRequest(f"metadata.managedFields[{index}].operation: Invalid value: {item.get('operation')!r}: must be `Apply` or `Update`")
        if item.get("fieldsType") != "FieldsV1" or not is_tree(item.get("fieldsV1") or {}):
            raise BadRequest(f"metadata.managedFields[{index}].fieldsType: Invalid value: {item.get('fieldsType')!r}: must be `FieldsV1`")


def _content(obj: Mapping[str, Any]) -> Object:
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}


def _owned(tree: Tree | None) -> Tree | None:
    return None if tree is None else difference(tree, _UNOWNED)


def _without(fields: Tree, taken: Tree | None) -> Tree | None:
    return fields if taken is None else difference(fields, taken)


def _join(a: Tree | None, b: Tree | None) -> Tree | None:
    if a is None or b is None:
        return a if b is None else b
    return union(a, b)


def _capped(entries: list[Ownership]) -> list[Ownership]:
    if len(entries) <= UPDATE_MANAGERS_MAX:
        return entries
    updates = sorted((entry for entry in entries if entry.manager.operation == "Update" and not entry.manager.subresource), key=lambda entry: entry.time)
    surplus = updates[: len(updates) - UPDATE_MANAGERS_MAX + 1] if len(updates) > UPDATE_MANAGERS_MAX else []
    if not surplus:
        return entries
    together = surplus[0].fields
    for entry in surplus[1:]:
        together = union(together, entry.fields)
    newest = surplus[-1]
    ancient = Ownership(newest.manager._replace(name=ANCIENT_CHANGES), together, newest.time)
    return [ancient, *(entry for entry in entries if entry not in surplus)]


def _as_object(entry: Ownership) -> Object:
    manager = entry.manager
    item: Object = {
        "apiVersion": manager.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields,
        "manager": manager.name,
        "operation": manager.operation,
    }
    if manager.subresource:
        item["subresource"] = manager.subresource
    if entry.time:
        item["time"] = entry.time
    return item


def _conflict(conflicts: Sequence[tuple[Ownership, Tree]]) -> Conflict:
    found = [(_manager_text(entry), path_text(path)) for entry, common in conflicts for path in sorted(paths(common))]
    causes = [{"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": field} for who, field in found]
    if len(found) == 1:
        message = f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    else:
        by_manager: dict[str, list[str]] = {}
        for who, field in found:
            by_manager.setdefault(who, []).append(field)
        texts = [f"conflicts with {who}:" + "".join(f"\n- {field}" for field in fields) for who, fields in sorted(by_manager.items())]
        message = f"Apply failed with {len(found)} conflicts: " + "\n".join(texts)
    return Conflict(message, details={"causes": causes})


def _manager_text(entry: Ownership) -> str:
    manager = entry.manager
    if manager.operation == "Apply":
        return f'"{manager.name}"'
    subresource = f' with subresource "{manager.subresource}"' if manager.subresource else ""
    at = f" at {entry.time}" if entry.time else ""
    return f'"{manager.name}"{subresource} using {manager.api_version}{at}'
