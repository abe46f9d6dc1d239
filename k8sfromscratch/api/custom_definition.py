"""May this be a CustomResourceDefinition?  Names, versions, schemas, subresources, columns; and what an update may not change.

    definition_faults(new, old)     causes in upstream's words; `old` None for a new one

Its CEL rules are `core.custom_rules`'.  Conversion by webhook is refused: see `_conversion`.
Source: apiextensions-apiserver's pkg/apis/apiextensions/validation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.jsonpath import PathError, compile_path, field_names
from k8sfromscratch.api.structural_rules import schema_faults
from k8sfromscratch.api.validation.field import Object, checked, duplicate, forbidden, immutable, indexed, invalid, not_supported, one_of, required

SELECTABLE_MAX = 8
_APPROVAL = "api-approved.kubernetes.io"
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SELECTABLE_TYPES = ("boolean", "integer", "string")


def definition_faults(new: Object, old: Object | None = None) -> list[Cause]:
    spec = new.get("spec") or {}
    causes = _name(new, spec) + _group(new, spec, old) + one_of("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    causes += _versions(spec) + _names(spec.get("names") or {}) + _conversion(spec.get("conversion") or {})
    if spec.get("preserveUnknownFields"):
        detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        causes.append(invalid("spec.preserveUnknownFields", True, detail))
    for at, version in indexed(spec, "versions", "spec"):
        causes += _version(version, at)
    return causes if old is None else causes + _update(spec, new, old)


def stored_versions_faults(definition: Object) -> list[Cause]:
    """Of an update of the status: versions may be taken out of the list, but none that is there must be unknown."""
    stored = (definition.get("status") or {}).get("storedVersions") or []
    if not stored:
        return [invalid("status.storedVersions", stored, "must have at least one stored version")]
    known = {one.get("name"): one for one in (definition.get("spec") or {}).get("versions") or ()}
    causes = [invalid(f"status.storedVersions[{index}]", name, "must appear in spec.versions") for index, name in enumerate(stored) if name not in known]
    for name, version in known.items():
        if version.get("storage") and name not in stored:
            causes.append(invalid("status.storedVersions", stored, f"must have the storage version {name}"))
    return causes


def _name(new: Object, spec: Object) -> list[Cause]:
    name, wanted = (new.get("metadata") or {}).get("name", ""), f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    return [] if name == wanted else [invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')]


def _group(new: Object, spec: Object, old: Object | None) -> list[Cause]:
    group = spec.get("group") or ""
    if not group:
        return [required("spec.group")]
    causes = checked("spec.group", group, names.dns_subdomain)
    if "." not in group:
        causes.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    protected = group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))
    if protected and old is None:
        at, text = f"metadata.annotations[{_APPROVAL}]", ((new.get("metadata") or {}).get("annotations") or {}).get(_APPROVAL, "")
        more = "see https://github.com/kubernetes/enhancements/pull/1111"
        if not text:
            causes.append(required(at, f'protected groups must have approval annotation "{_APPROVAL}", {more}'))
        elif not text.startswith(("https://", "http://", "unapproved")):
            detail = 'protected groups must have approval annotation "{}" with either a URL or a reason starting with "unapproved", {}'
            causes.append(invalid(at, text, detail.format(_APPROVAL, more)))
    return causes


def _versions(spec: Object) -> list[Cause]:
    versions = spec.get("versions") or []
    if not versions:
        return [required("spec.versions", "must have at least one version")]
    causes: list[Cause] = []
    all_names = [one.get("name", "") for one in versions]
    if len(set(all_names)) != len(all_names):
        causes.append(invalid("spec.versions", all_names, "must contain unique version names"))
    if sum(bool(one.get("storage")) for one in versions) != 1:
        causes.append(invalid("spec.versions", all_names, "must have exactly one version marked as storage version"))
    return causes


def _names(of: Object) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("plural", "singular"):
        causes += checked(f"spec.names.{key}", of[key], names.dns_1035_label) if of.get(key) else [required(f"spec.names.{key}")]
    for key in ("kind", "listKind"):
        value = of.get(key) or ""
        if not value:
            causes.append(required(f"spec.names.{key}"))
        causes += [
            invalid(f"spec.names.{key}", value, f"may have mixed case, but should otherwise match: {message}")
            for message in (names.dns_1035_label(value.lower()) if value else [])
        ]
    for key in ("shortNames", "categories"):
        for index, one in enumerate(of.get(key) or ()):
            causes += checked(f"spec.names.{key}[{index}]", one, names.dns_1035_label)
    if of.get("kind") and of.get("kind") == of.get("listKind"):
        causes.append(invalid("spec.names.listKind", of["listKind"], "kind and listKind may not be the same"))
    return causes


def _conversion(conversion: Object) -> list[Cause]:
    """All versions differ in their schemas alone.  Asking a webhook is not there yet: better refused than objects that were never converted."""
    strategy = conversion.get("strategy") or ""
    if not strategy:
        return [required("spec.conversion.strategy")]
    if strategy != "None":
        return [not_supported("spec.conversion.strategy", strategy, ("None",))]
    if conversion.get("webhook"):
        return [forbidden("spec.conversion.webhook", "should not be set when strategy is not set to Webhook")]
    return []


def _version(version: Object, at: str) -> list[Cause]:
    causes = checked(f"{at}.name", version.get("name", ""), names.dns_1035_label)
    if version.get("deprecationWarning") is not None and not version.get("deprecated"):
        causes.append(invalid(f"{at}.deprecationWarning", version["deprecationWarning"], "can only be set for deprecated versions"))
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        causes.append(required(f"{at}.schema.openAPIV3Schema", "schemas are required"))
        schema = {}
    else:
        causes += schema_faults(schema, f"{at}.schema.openAPIV3Schema")
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        causes += _scale(scale, f"{at}.subresources.scale")
    for where, column in indexed(version, "additionalPrinterColumns", at):
        causes += _column(column, where)
    return causes + _selectable(version.get("selectableFields") or [], schema, f"{at}.selectableFields")


def _scale(scale: Object, at: str) -> list[Cause]:
    causes: list[Cause] = []
    for key, prefixes, words in (
        ("specReplicasPath", (".spec.",), "should be a json path under .spec"),
        ("statusReplicasPath", (".status.",), "should be a json path under .status"),
        ("labelSelectorPath", (".spec.", ".status."), "should be a json path under either .spec or .status"),
    ):
        path = scale.get(key) or ""
        if not path:
            if key != "labelSelectorPath":
                causes.append(required(f"{at}.{key}"))
        elif field_names(path) is None or "[" in path:
            causes.append(invalid(f"{at}.{key}", path, "should be a simple json path without arrays"))
        elif not path.startswith(prefixes):
            causes.append(invalid(f"{at}.{key}", path, words))
    return causes


def _column(column: Object, at: str) -> list[Cause]:
    causes = [required(f"{at}.{key}") for key in ("name", "type", "jsonPath") if not column.get(key)]
    if column.get("type") and column["type"] not in _COLUMN_TYPES:
        causes.append(invalid(f"{at}.type", column["type"], f"must be one of {','.join(_COLUMN_TYPES)}"))
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        causes.append(invalid(f"{at}.format", column["format"], f"must be one of {','.join(_COLUMN_FORMATS)}"))
    if column.get("jsonPath"):
        try:
            compile_path(column["jsonPath"])
        except PathError as error:
            causes.append(invalid(f"{at}.jsonPath", column["jsonPath"], str(error)))
    return causes


def _selectable(fields: Sequence[Object], schema: Mapping[str, Any], at: str) -> list[Cause]:
    if len(fields) > SELECTABLE_MAX:
        return [Cause("FieldValueTooMany", f"Too many: {len(fields)}: must have at most {SELECTABLE_MAX} items", at)]
    causes: list[Cause] = []
    for index, one in enumerate(fields):
        where, path = f"{at}[{index}].jsonPath", one.get("jsonPath") or ""
        steps = field_names(path)
        if not path:
            causes.append(required(where))
        elif steps is None or "[" in path:
            causes.append(invalid(where, path, "must be a simple json path without arrays"))
        elif steps[0] == "metadata":
            causes.append(invalid(where, path, "must not point to fields in metadata"))
        else:
            of = _described(schema, steps)
            if of is None:
                causes.append(invalid(where, path, "does not exist in the schema"))
            elif of.get("type") not in _SELECTABLE_TYPES:
                causes.append(invalid(where, path, f"must point to a field of type {', '.join(_SELECTABLE_TYPES[:-1])} or {_SELECTABLE_TYPES[-1]}"))
        if path and any(other.get("jsonPath") == path for other in fields[:index]):
            causes.append(duplicate(where, path))
    return causes


def _described(schema: Mapping[str, Any], steps: Sequence[str]) -> Mapping[str, Any] | None:
    at: Any = schema
    for step in steps:
        at = (at.get("properties") or {}).get(step)
        if at is None:
            return None
    return at


def _update(spec: Object, new: Object, old: Object) -> list[Cause]:
    before = old.get("spec") or {}
    causes = immutable("spec.group", spec.get("group"), before.get("group"))
    of, of_old = spec.get("names") or {}, before.get("names") or {}
    causes += immutable("spec.names.plural", of.get("plural"), of_old.get("plural"))
    conditions = (old.get("status") or {}).get("conditions") or ()
    if any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions):
        causes += immutable("spec.scope", spec.get("scope"), before.get("scope"))
        causes += immutable("spec.names.kind", of.get("kind"), of_old.get("kind"))
    known = {one.get("name") for one in spec.get("versions") or ()}
    for index, name in enumerate((new.get("status") or {}).get("storedVersions") or ()):
        if name not in known:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures "
                f"no data remains persisted in {name} and removes {name} from status.storedVersions"
            )
            causes.append(invalid(f"status.storedVersions[{index}]", name, detail))
    return causes
