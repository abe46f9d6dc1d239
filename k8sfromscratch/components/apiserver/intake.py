"""From a client's JSON to a typed, defaulted object in the stored version, and the checks of its meaning."""

from k8sfromscratch.api import errors
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.conversion import to_served, to_stored
from k8sfromscratch.components.apiserver.entries import Object


class Intake:
    def new_object(self, call: Call, body: Object) -> Object:
        """Of a create.  Raises BadRequest for a body of another type or namespace."""
        obj = self._typed(call, body)
        self._check_namespace(call, obj)
        return to_stored(call.served, obj)

    def outgoing(self, call: Call, old: Object) -> Object:
        """The present object as the path's version has it: what a patch is applied to."""
        return to_served(call.served, old)

    def changed_object(self, call: Call, body: Object, old: Object) -> Object:
        obj = self._typed(call, body)
        self._check_namespace(call, obj)
        return to_stored(call.served, obj)

    def validate_new(self, call: Call, obj: Object) -> None:
        pass

    def validate_changed(self, call: Call, obj: Object, old: Object) -> None:
        pass

    def _typed(self, call: Call, body: Object) -> Object:
        resource = call.served.resource
        if not isinstance(body, dict):
            raise errors.BadRequest(f"the body must be a {resource.kind} object")
        kind, api_version = body.get("kind") or resource.kind, body.get("apiVersion") or resource.api_version
        if kind != resource.kind:
            raise errors.BadRequest(
                f'{kind} in version "{api_version}" cannot be handled as a {resource.kind}: the kind in the data does not match the expected one'
            )
        if api_version != resource.api_version:
            raise errors.BadRequest(f"the API version in the data ({api_version}) does not match the expected API version ({resource.api_version})")
        metadata = body.get("metadata")
        if metadata is None:
            metadata = {}
        if not isinstance(metadata, dict):
            raise errors.BadRequest(f"{kind}.metadata: must be an object")
        return {**body, "apiVersion": api_version, "kind": kind, "metadata": metadata}

    def _check_namespace(self, call: Call, obj: Object) -> None:
        metadata = obj["metadata"]
        if not call.served.resource.namespaced:
            metadata.pop("namespace", None)
            return
        given = metadata.setdefault("namespace", call.namespace)
        if given == "":
            metadata["namespace"] = call.namespace
        elif given != call.namespace:
            raise errors.BadRequest(f"the namespace of the provided object does not match the namespace sent on the request ({given} is not {call.namespace})")
