"""The values admission plugins work on.

A plugin is pure: it sees the request and a `View` of the cached cluster, changes `request.obj` in place (mutating phase) or raises
an ApiError (either phase).  The chain's order is one table in `core.admission.chain`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from k8sfromscratch.api import errors
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.authz.types import UserInfo

Object = dict[str, Any]


class View(Protocol):
    """What the apiserver's caches hold now.  The objects are shared: never change them."""

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None: ...

    def list(self, resource: Resource, namespace: str | None = None) -> Sequence[Object]: ...


@dataclass(slots=True)
class AdmissionRequest:
    """`obj` is None for DELETE; `old` is None for CREATE.  CONNECT is exec, attach, portforward, proxy.
    `warnings` become Warning headers of the answer.  `requested` is the version that the client speaks, where that is not the stored one;
    `options` makes its CreateOptions and their kin; `retyped` makes a typed, defaulted, stored object of one that a webhook has patched."""

    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
    resource: Resource
    subresource: str
    namespace: str
    name: str
    user: UserInfo
    obj: Object | None
    old: Object | None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    requested: Resource | None = None
    options: Callable[[], Object] = dict
    retyped: Callable[[Object], Object] | None = None

    def refused(self, why: str) -> errors.Forbidden:
        """The error for a plugin to raise: `pods "x" is forbidden: WHY`."""
        name = self.name or (self.obj or {}).get("metadata", {}).get("name", "")
        return errors.forbidden(self.resource.plural, name, self.resource.group, why)

    def warn(self, text: str) -> None:
        """Once, though a write that is tried again is admitted again."""
        if text not in self.warnings:
            self.warnings.append(text)

    def creates(self, resource: Resource) -> bool:
        """Whether a new object of that kind comes in."""
        return self.operation == "CREATE" and self.resource == resource and not self.subresource and self.obj is not None


class Plugin(Protocol):
    """`name` is upstream's (NamespaceLifecycle, ServiceAccount, …).  Either method may do nothing."""

    name: str

    def mutate(self, request: AdmissionRequest, view: View) -> None: ...

    def validate(self, request: AdmissionRequest, view: View) -> None: ...
