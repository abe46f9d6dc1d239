"""Which webhook gets which request, and as which version of it.  Pure.

    rules              operation, group, version, resource/subresource, scope           the request as it came, or (matchPolicy Equivalent)
                                                                                        as another version of the same objects
    namespaceSelector  the labels of the request's namespace; of the object itself where that is a namespace
    objectSelector     the labels of the new object or of the old one
    matchConditions    CEL: `webhook_conditions`

Configurations are read once a change of theirs, into `Webhook`s in the order of calling: by the configuration's name, then as listed.

Source: apiserver/pkg/admission/plugin/webhook (generic, predicates, rules).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES, VALIDATING_WEBHOOK_CONFIGURATIONS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.types import AdmissionRequest, Object, View
from k8sfromscratch.core.selectors.labels import EVERYTHING, Selector, from_object

_ADMISSION_GROUP = "admissionregistration.k8s.io"
_NEVER_SENT = frozenset({
    "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
})  # fmt: skip
"""Whoever breaks admission must be able to take it away again: these are never shown to webhooks."""

CONFIGURATIONS = (MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS)
REVIEW_VERSIONS = ("v1", "v1beta1")
_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Rule:
    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """(resource, subresource) with `*` for any; no subresource is the empty one."""
    scope: str = "*"
    names: frozenset[str] = frozenset()
    """Of the objects; any, where there are none.  Policies alone have them."""

    def matches(self, request: AdmissionRequest, resource: Resource) -> bool:
        """Whether it covers the request, were its object of `resource`."""
        if not ("*" in self.operations or request.operation in self.operations):
            return False
        if not ("*" in self.groups or resource.group in self.groups) or not ("*" in self.versions or resource.version in self.versions):
            return False
        if self.names and request.name not in self.names:
            return False
        # A namespace is no part of itself: its requests are cluster-wide.
        if self.scope != "*" and (self.scope == "Namespaced") != (bool(request.namespace) and resource != NAMESPACES):
            return False
        return any(plural in ("*", resource.plural) and sub in ("*", request.subresource) for plural, sub in self.resources)


class Matching(Protocol):
    """What decides whether a request is some webhook's or policy's concern."""

    @property
    def rules(self) -> tuple[Rule, ...]: ...

    @property
    def equivalent(self) -> bool: ...

    @property
    def namespace_selector(self) -> Selector: ...

    @property
    def object_selector(self) -> Selector: ...


@dataclass(frozen=True, slots=True)
class Webhook:
    """`key` tells it from all others.  `client` is its clientConfig.  `failure_closed`: failurePolicy Fail."""

    key: str
    name: str
    client: Object
    rules: tuple[Rule, ...] = ()
    equivalent: bool = True
    namespace_selector: Selector = EVERYTHING
    object_selector: Selector = EVERYTHING
    conditions: tuple[tuple[str, str], ...] = ()
    """(name, expression)"""
    failure_closed: bool = True
    timeout_s: int = _TIMEOUT_S
    side_effects: str = "None"
    reinvoked: bool = False
    review_version: str = field(default="v1")

    @property
    def safe_to_dry_run(self) -> bool:
        return self.side_effects in ("None", "NoneOnDryRun")


def read(configurations: Iterable[Object]) -> list[Webhook]:
    """Of one kind of configuration, in the order of calling."""
    ordered = sorted(configurations, key=lambda configuration: str(configuration["metadata"]["name"]))
    return [_webhook(configuration["metadata"]["name"], webhook) for configuration in ordered for webhook in configuration.get("webhooks") or ()]


def _webhook(configuration: str, of: Object) -> Webhook:
    return Webhook(
        f"{configuration}/{of['name']}",
        of["name"],
        of.get("clientConfig") or {},
        tuple(read_rule(rule) for rule in of.get("rules") or ()),
        of.get("matchPolicy", "Equivalent") == "Equivalent",
        from_object(of.get("namespaceSelector") or {}) or EVERYTHING,
        from_object(of.get("objectSelector") or {}) or EVERYTHING,
        tuple((condition["name"], condition["expression"]) for condition in of.get("matchConditions") or ()),
        of.get("failurePolicy", "Fail") == "Fail",
        of.get("timeoutSeconds", _TIMEOUT_S),
        of.get("sideEffects", "Unknown"),
        of.get("reinvocationPolicy") == "IfNeeded",
        next((version for version in of.get("admissionReviewVersions") or () if version in REVIEW_VERSIONS), "v1"),
    )


def read_rule(of: Object) -> Rule:
    resources = []
    for text in of.get("resources") or ():
        plural, _, sub = text.partition("/")
        resources.append((plural, sub))
    operations, groups, versions = (frozenset[str](of.get(key) or ()) for key in ("operations", "apiGroups", "apiVersions"))
    return Rule(operations, groups, versions, tuple(resources), of.get("scope") or "*", frozenset[str](of.get("resourceNames") or ()))


def asked(request: AdmissionRequest) -> bool:
    """Whether webhooks may be asked about the request at all."""
    return not (request.resource.group == _ADMISSION_GROUP and request.resource.plural in _NEVER_SENT)


def match(webhook: Matching, request: AdmissionRequest, view: View, equivalents: Callable[[], Sequence[Resource]]) -> Resource | None:
    """The version of the resource to send to the webhook (or to show to the policy); None where it is not concerned.

    `equivalents` are the served versions of the same objects, the request's own among them.  Raises NotFound where the namespace, whose
    labels are asked for, is not there.
    """
    if not _object_matches(webhook.object_selector, request):
        return None
    own = request.requested or request.resource
    sent = own if any(rule.matches(request, own) for rule in webhook.rules) else None
    if sent is None and webhook.equivalent:
        # Rules first, versions second: what is listed first is preferred.
        sent = next((other for rule in webhook.rules for other in equivalents() if other != own and rule.matches(request, other)), None)
    if sent is None or not _namespace_matches(webhook.namespace_selector, request, view):
        return None
    return sent


def _object_matches(selector: Selector, request: AdmissionRequest) -> bool:
    return selector.empty or any(selector.matches(_labels(obj)) for obj in (request.obj, request.old) if obj is not None and "metadata" in obj)


def _namespace_matches(selector: Selector, request: AdmissionRequest, view: View) -> bool:
    if selector.empty:
        return True
    if request.resource == NAMESPACES and request.operation in ("CREATE", "UPDATE") and not request.subresource:
        # The cache does not have it yet, or has the one that is replaced.
        return selector.matches(_labels(request.obj or {}))
    name = request.name if request.resource == NAMESPACES else request.namespace
    if not name:
        return True
    namespace = view.get(NAMESPACES, name)
    if namespace is None:
        raise errors.not_found(NAMESPACES.plural, name)
    return selector.matches(_labels(namespace))


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    metadata = obj.get("metadata")
    return (metadata.get("labels") or {}) if isinstance(metadata, dict) else {}


class Reinvocation:
    """Which mutating webhooks are to be asked a second time: those with reinvocationPolicy IfNeeded whose object was changed after them.

    called A*, B (changes), C* (changes)       A once more; C too, if a plugin changes what C left
    """

    def __init__(self) -> None:
        self._called: set[str] = set()
        self.again: set[str] = set()
        self.changed = False

    def after(self, webhook: Webhook, *, changed: bool) -> None:
        if changed:
            self.changed = True
            self.others_changed()
        if webhook.reinvoked:
            self._called.add(webhook.key)

    def others_changed(self) -> None:
        """Someone has changed the object who is none of those called since."""
        self.again |= self._called
        self._called = set()
