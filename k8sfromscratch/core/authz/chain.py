"""Authorizers one after the other: the first that allows or denies decides; with none, the request is refused.

Members of system:masters may do anything, before any authorizer is asked: how a cluster is repaired whose roles are broken.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from k8sfromscratch.core.authz.node import NodeAuthorizer
from k8sfromscratch.core.authz.rbac import RbacAuthorizer
from k8sfromscratch.core.authz.types import Attributes, Decision
from k8sfromscratch.core.authz.view import CachedView

MASTERS_GROUP = "system:masters"
_MASTER = Decision(True)


class Authorizer(Protocol):
    def authorize(self, a: Attributes, view: CachedView) -> Decision: ...


class AlwaysAllow:
    def authorize(self, a: Attributes, view: CachedView) -> Decision:
        return Decision(True)


class AlwaysDeny:
    def authorize(self, a: Attributes, view: CachedView) -> Decision:
        return Decision(False, "Everything is forbidden.")


MODES: Mapping[str, Callable[[], Authorizer]] = {
    "Node": NodeAuthorizer,
    "RBAC": RbacAuthorizer,
    "AlwaysAllow": AlwaysAllow,
    "AlwaysDeny": AlwaysDeny,
}
"""The values of --authorization-mode."""


class AuthorizerChain:
    """Has state (indexes of what it has seen), so one for each view."""

    def __init__(self, modes: Sequence[str] = ("Node", "RBAC")) -> None:
        """Raises ValueError for a mode that is unknown or given twice."""
        for mode in modes:
            if mode not in MODES:
                raise ValueError(f'"{mode}" is not a valid authorization mode: known are {", ".join(MODES)}')
            if list(modes).count(mode) > 1:
                raise ValueError(f'authorization mode "{mode}" is given more than once')
        if not modes:
            raise ValueError("at least one authorization mode is needed")
        self.modes = tuple(modes)
        self._authorizers = tuple(MODES[mode]() for mode in modes)

    @property
    def rbac(self) -> RbacAuthorizer | None:
        """The one that knows roles, where there is one."""
        return next((a for a in self._authorizers if isinstance(a, RbacAuthorizer)), None)

    def authorize(self, a: Attributes, view: CachedView) -> Decision:
        if MASTERS_GROUP in a.user.groups:
            return _MASTER
        reasons = []
        for authorizer in self._authorizers:
            decision = authorizer.authorize(a, view)
            if decision.allowed or decision.denied:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, ", ".join(reasons))
