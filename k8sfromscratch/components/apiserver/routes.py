"""Which function answers (resource, subresource, verb): one table, read top to bottom.

A name for a resource beats `*`.  What other parts bring (tokens, access reviews, exec) is added by `ApiServerOptions.routes`.
"""

from collections.abc import Awaitable, Callable, Mapping

from k8sfromscratch.api import errors
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.deletes import Deletes
from k8sfromscratch.components.apiserver.reads import Reads
from k8sfromscratch.components.apiserver.subresources import Subresources
from k8sfromscratch.components.apiserver.watches import Watches
from k8sfromscratch.components.apiserver.writes import Writes
from k8sfromscratch.process.http import Response, Upgrade

Verb = Callable[[Call], Awaitable[Response | Upgrade]]
Route = tuple[str, str, str]
"""(`pods` or `deployments.apps` or `*`, subresource or "", verb)"""


_OF_ONE = ("get", "update", "patch", "delete")


class Routes:
    def __init__(self, reads: Reads, watches: Watches, writes: Writes, deletes: Deletes, subresources: Subresources, more: Mapping[Route, Verb]) -> None:
        table: dict[Route, Verb] = {
            ("*", "", "get"): reads.get,
            ("*", "", "list"): reads.list_objects,
            ("*", "", "watch"): watches.watch,
            ("*", "", "create"): writes.create,
            ("*", "", "update"): writes.update,
            ("*", "", "patch"): writes.patch,
            ("*", "", "delete"): deletes.delete,
            ("*", "", "deletecollection"): deletes.delete_collection,
            ("namespaces", "finalize", "update"): subresources.finalize,
            ("pods", "binding", "create"): subresources.bind,
            ("bindings", "", "create"): subresources.bind_by_body,
            ("pods", "eviction", "create"): subresources.evict,
            ("*", "scale", "get"): subresources.get_scale,
            ("*", "scale", "update"): subresources.update_scale,
            ("*", "scale", "patch"): subresources.patch_scale,
        }
        # The object itself, of which `strategies` lets only some fields change.
        for resource, subresource in (
            ("*", "status"),
            ("pods", "ephemeralcontainers"),
            ("pods", "resize"),
            ("certificatesigningrequests.certificates.k8s.io", "approval"),
        ):
            table[(resource, subresource, "get")] = reads.get
            table[(resource, subresource, "update")] = writes.update
            table[(resource, subresource, "patch")] = writes.patch
        self._table = {**table, **more}

    def find(self, call: Call) -> Verb:
        """Raises NotFound (no such subresource), MethodNotAllowed."""
        resource, info = call.served.resource, call.info
        if resource.namespaced and not info.namespace and info.name and info.verb not in ("list", "watch"):
            raise errors.NotFound("the server could not find the requested resource")
        if (info.verb in _OF_ONE and not info.name) or (info.verb == "create" and info.name and not info.subresource):
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        if resource.namespaced and not info.namespace and info.verb not in ("list", "watch"):
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        if info.subresource and info.subresource not in resource.subresources:
            raise errors.NotFound("the server could not find the requested resource")
        verb = self._table.get((resource.group_resource, info.subresource, info.verb)) or self._table.get(("*", info.subresource, info.verb))
        if verb is None or (not info.subresource and info.verb not in resource.verbs):
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        return verb
