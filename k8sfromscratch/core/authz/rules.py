"""One RBAC rule: what it allows, and whether a set of rules covers another (nobody may grant more than they hold).

Source: rbac.authorization.k8s.io/v1 PolicyRule; the semantics of `*`, `*/status` and trailing `*` are upstream's
(plugin/pkg/auth/authorizer/rbac, component-helpers/auth/rbac/validation).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from k8sfromscratch.core.authz.types import Attributes

_ALL = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """`names` empty means every name; `urls` are for requests of no resource."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Self:
        return cls(
            frozenset(obj.get("verbs") or ()),
            frozenset(obj.get("apiGroups") or ()),
            frozenset(obj.get("resources") or ()),
            frozenset(obj.get("resourceNames") or ()),
            frozenset(obj.get("nonResourceURLs") or ()),
        )

    def to_object(self) -> dict[str, Any]:
        """The PolicyRule; absent parts left out, as the wire form has them."""
        parts = {
            "verbs": sorted(self.verbs),
            "apiGroups": sorted(self.groups),
            "resources": sorted(self.resources),
            "resourceNames": sorted(self.names),
            "nonResourceURLs": sorted(self.urls),
        }
        return {key: value for key, value in parts.items() if value or key == "verbs"}

    def allows(self, a: Attributes) -> bool:
        if a.verb not in self.verbs and _ALL not in self.verbs:
            return False
        if not a.is_resource:
            return any(_url_matches(pattern, a.path) for pattern in self.urls)
        if a.group not in self.groups and _ALL not in self.groups:
            return False
        return _resource_matches(self.resources, a.resource, a.subresource) and (not self.names or a.name in self.names)

    def atoms(self) -> Iterator["Rule"]:
        """The rule as rules of one verb, group, resource and name each: one rule may be covered by several together."""
        for verb in self.verbs:
            for url in self.urls:
                yield Rule(frozenset({verb}), urls=frozenset({url}))
            for group in self.groups:
                for resource in self.resources:
                    one = frozenset({verb}), frozenset({group}), frozenset({resource})
                    if not self.names:
                        yield Rule(*one)
                    for name in self.names:
                        yield Rule(*one, frozenset({name}))

    def covers(self, atom: "Rule") -> bool:
        """Everything `atom` (of `atoms`) allows, this rule allows."""
        if not _has_all(self.verbs, atom.verbs):
            return False
        if atom.urls:
            return all(any(_url_matches(mine, wanted) for mine in self.urls) for wanted in atom.urls)
        if not _has_all(self.groups, atom.groups) or (self.names and not (atom.names and atom.names <= self.names)):
            return False
        return all(_resource_covered(self.resources, wanted) for wanted in atom.resources)


def uncovered(held: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The parts of `wanted` that none of `held` allows, one verb, group, resource and name each; empty where all is covered."""
    owned = list(held)
    atoms = {atom: None for rule in wanted for atom in rule.atoms()}
    return [atom for atom in atoms if not any(rule.covers(atom) for rule in owned)]


def covers(held: Iterable[Rule], wanted: Iterable[Rule]) -> bool:
    return not uncovered(held, wanted)


def _has_all(mine: frozenset[str], wanted: frozenset[str]) -> bool:
    return _ALL in mine or wanted <= mine


def _resource_matches(patterns: frozenset[str], resource: str, subresource: str) -> bool:
    if _ALL in patterns:
        return True
    if not subresource:
        return resource in patterns
    return f"{resource}/{subresource}" in patterns or f"*/{subresource}" in patterns


def _resource_covered(mine: frozenset[str], wanted: str) -> bool:
    if _ALL in mine or wanted in mine:
        return True
    _, slash, subresource = wanted.partition("/")
    return bool(slash) and f"*/{subresource}" in mine


def _url_matches(pattern: str, path: str) -> bool:
    return pattern == path or (pattern.endswith(_ALL) and path.startswith(pattern.rstrip(_ALL)))
