"""Who asks, and for what: the values that authentication makes and authorization and admission judge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class UserInfo:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = UserInfo("system:anonymous", ("system:unauthenticated",))
LOOPBACK = UserInfo("system:apiserver", ("system:masters", "system:authenticated"))
"""The apiserver itself, and what is embedded with it."""


class Attributes(NamedTuple):
    """One request as RBAC sees it.  `verb` is the API's (get list watch create update patch delete deletecollection, or the lower-case
    HTTP method of a non-resource path, impersonate, bind, …).  For a non-resource request only user, verb and path are set."""

    user: UserInfo
    verb: str
    namespace: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    path: str = ""
    field_selector: str = ""
    """Of a list or a watch, as it was sent: kubelets may list the pods that it binds to their node, and no others."""

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)


@dataclass(frozen=True, slots=True)
class Decision:
    """`denied` ends the chain of authorizers; neither allowed nor denied means no opinion."""

    allowed: bool
    reason: str = ""
    denied: bool = False
