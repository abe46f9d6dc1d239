"""From a client's bytes to a typed, defaulted object in the stored version, and the checks of its meaning."""

from collections.abc import Sequence
from typing import Any

from k8sfromscratch.api import errors, json_body, schema, structural_decode, warnings
from k8sfromscratch.api.custom_definition import definition_faults, stored_versions_faults
from k8sfromscratch.api.defaults import set_defaults
from k8sfromscratch.api.registry import CUSTOM_RESOURCE_DEFINITIONS
from k8sfromscratch.api.validation import validate_create, validate_update
from k8sfromscratch.components.apiserver import negotiation
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.conversion import to_served, to_stored
from k8sfromscratch.components.apiserver.entries import Object
from k8sfromscratch.core.custom_rules import definition_faults as rule_faults

_NOTHING_WHEN_EMPTY = ("annotations", "finalizers", "labels", "managedFields", "ownerReferences")


def _checked(call: Call, value: Any, field_validation: schema.FieldValidation, doubled: Sequence[str] = ()) -> tuple[Object, list[str]]:
    """Raises BadRequest."""
    resource, custom = call.served.resource, call.served.custom
    if custom is None:
        return schema.check(resource, value, field_validation=field_validation)
    return structural_decode.check(resource, value, custom.schema, doubled=doubled, field_validation=field_validation)


def _faults_of_definition(call: Call, obj: Object, old: Object | None) -> list[errors.Cause]:
    """Its own half of a CustomResourceDefinition's validation.  CEL rules are looked at when their schemas are right."""
    if call.served.stored != CUSTOM_RESOURCE_DEFINITIONS:
        return []
    if call.info.subresource:
        return stored_versions_faults(obj)
    if old is not None and old["spec"] == obj["spec"]:
        return []
    return definition_faults(obj, old) or rule_faults(obj)


class Intake:
    def body(self, call: Call) -> Object:
        """The request's body as an object of the path's kind.  Raises BadRequest, UnsupportedMediaType, RequestEntityTooLarge."""
        if negotiation.is_json(call.request):
            negotiation.check_size(call.request.body)
            if call.served.custom is None:
                obj, said = schema.decode(call.served.resource, call.request.body, field_validation=call.field_validation)
            else:
                value, doubled = json_body.parse(call.request.body)
                obj, said = _checked(call, value, call.field_validation, doubled)
            call.warnings += said
        else:
            obj, said = _checked(call, negotiation.decode_body(call.request), call.field_validation)
            call.warnings += said
        return self._completed(call, obj)

    def typed(self, call: Call, value: Any) -> Object:
        """A patched object as one of the path's kind."""
        obj, said = _checked(call, value, call.field_validation)
        self._warn(call, said)
        return self._completed(call, obj)

    def patched(self, call: Call, value: Any) -> Object:
        """Raises Invalid for what a patch has made of the object, if it is none of this kind any more."""
        try:
            obj, said = _checked(call, value, call.field_validation)
        except errors.BadRequest as error:
            if error.message.startswith("strict decoding error"):
                raise
            cause = errors.Cause("FieldValueInvalid", f"Invalid value: {error.message}", "patch")
            raise errors.invalid("", "", "", [cause]) from error
        self._warn(call, said)
        return self._completed(call, obj)

    def applied(self, call: Call, value: Any) -> Object:
        """What server-side apply sends: only what its manager wants, hence without defaults."""
        resource = call.served.resource
        stated = {key: value.get(key) or "" for key in ("apiVersion", "kind")} if isinstance(value, dict) else {}
        if stated and stated["apiVersion"] != resource.api_version:
            why = f"Specified patch version: {stated['apiVersion']}, expected: {resource.api_version}"
            raise errors.BadRequest(f"Incorrect version specified in apply patch. {why}")
        if stated and not stated["kind"]:
            raise errors.BadRequest("failed to create typed patch object: kind must be set")
        # Whose a field is that nobody knows cannot be said: here unknown fields are refused, whatever fieldValidation says.
        obj, _ = _checked(call, value, "Strict")
        if call.info.subresource == "status":
            obj = {key: obj[key] for key in ("apiVersion", "kind", "metadata", "status") if key in obj}
        elif "status" in call.served.resource.subresources:
            obj.pop("status", None)
        obj = self._in_place(call, obj)
        name = obj["metadata"].setdefault("name", call.info.name)
        if name != call.info.name:
            raise errors.BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.info.name})")
        return obj

    def stored(self, call: Call, obj: Object) -> Object:
        """A typed object as it is stored, but for what the server itself writes."""
        return to_stored(call.served, obj)

    def outgoing(self, call: Call, old: Object) -> Object:
        """The present object as the path's version has it: what a patch is applied to."""
        return to_served(call.served, old)

    def validate_new(self, call: Call, obj: Object) -> None:
        """Raises Invalid."""
        custom = call.served.custom
        if custom is None:
            self._refuse(call, obj, validate_create(call.served.stored, obj) + _faults_of_definition(call, obj, None))
            return self._warn(call, warnings.of_creation(call.served.stored, obj))
        if custom.terminating:
            raise errors.MethodNotAllowed(
                "create not allowed while custom resource definition is terminating",
                details={"group": custom.resource.group, "kind": custom.resource.plural},
            )
        self._refuse(call, obj, validate_create(call.served.stored, obj) + custom.faults(obj, None))
        return self._warn(call, warnings.of_custom(obj, None))

    def validate_changed(self, call: Call, obj: Object, old: Object) -> None:
        """Raises Invalid."""
        causes = validate_update(call.served.stored, obj, old, call.info.subresource)
        if call.served.custom is not None:
            causes += call.served.custom.faults(obj, old)
        else:
            causes += _faults_of_definition(call, obj, old)
        self._refuse(call, obj, causes)
        if not call.info.subresource:
            self._warn(call, warnings.of_update(call.served.stored, obj, old) if call.served.custom is None else warnings.of_custom(obj, old))

    @staticmethod
    def _warn(call: Call, texts: list[str]) -> None:
        """An update that is tried again says what it has to say once."""
        call.warnings += [text for text in texts if text not in call.warnings]

    @staticmethod
    def _refuse(call: Call, obj: Object, causes: list[errors.Cause]) -> None:
        if causes:
            raise errors.invalid(call.served.resource.kind, obj["metadata"].get("name") or "", call.served.resource.group, causes)

    def _completed(self, call: Call, obj: Object) -> Object:
        """With upstream's defaults, in its place."""
        metadata = obj.setdefault("metadata", {})
        for key in _NOTHING_WHEN_EMPTY:
            if key in metadata and not metadata[key]:
                del metadata[key]
        if call.served.custom is None:
            set_defaults(call.served.resource, obj)
        else:
            call.served.custom.schema.default(obj)
        return self._in_place(call, obj)

    @staticmethod
    def _in_place(call: Call, obj: Object) -> Object:
        """In the namespace of its path.  Raises BadRequest where it states another."""
        metadata = obj.setdefault("metadata", {})
        if not call.served.resource.namespaced:
            metadata.pop("namespace", None)
            return obj
        given = metadata.get("namespace") or call.namespace
        if given != call.namespace:
            if call.info.name:
                why = f"the namespace of the object ({given}) does not match the namespace on the request ({call.namespace})"
                raise errors.BadRequest(why)
            raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        metadata["namespace"] = call.namespace
        return obj
