"""The values admission plugins work on.

A plugin is pure: it sees the request and a `View` of the cached cluster, changes `request.obj` in place (mutating phase) or raises
an ApiError (either phase).  The chain's order is one table in `core.admission.chain`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.authz.types import UserInfo

Object = dict[str, Any]


class View(Protocol):
    """What the apiserver's caches hold now.  The objects are shared: never change them."""

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None: ...

    def list(self, resource: Resource, namespace: str | None = None) -> Sequence[Object]: ...


@dataclass(slots=True)
class AdmissionRequest:
    """`obj` is None for DELETE; `old` is None for CREATE.  CONNECT is exec, attach, portforward, proxy."""

    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
    resource: Resource
    subresource: str
    namespace: str
    name: str
    user: UserInfo
    obj: Object | None
    old: Object | None
    dry_run: bool = False


class Plugin(Protocol):
    """`name` is upstream's (NamespaceLifecycle, ServiceAccount, …).  Either method may do nothing."""

    name: str

    def mutate(self, request: AdmissionRequest, view: View) -> None: ...

    def validate(self, request: AdmissionRequest, view: View) -> None: ...
