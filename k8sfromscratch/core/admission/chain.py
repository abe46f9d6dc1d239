"""The order of admission, in one table.

A mutating plugin sees what those before it wrote; all validating ones see the final object.  Names are upstream's, for
--enable-admission-plugins and --disable-admission-plugins.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from k8sfromscratch.api.registry import (
    CERTIFICATE_SIGNING_REQUESTS,
    INGRESSES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    PRIORITY_CLASSES,
    VOLUME_ATTRIBUTES_CLASSES,
)
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.certificates import Authorize, CertificateApproval, CertificateSigning, CertificateSubjectRestriction
from k8sfromscratch.core.admission.default_ingress_class import DefaultIngressClass
from k8sfromscratch.core.admission.default_storage_class import DefaultStorageClass
from k8sfromscratch.core.admission.default_toleration_seconds import DefaultTolerationSeconds
from k8sfromscratch.core.admission.extended_resource_toleration import ExtendedResourceToleration
from k8sfromscratch.core.admission.limit_ranger import LimitRanger
from k8sfromscratch.core.admission.namespace_lifecycle import NamespaceLifecycle
from k8sfromscratch.core.admission.noderestriction import NodeRestriction
from k8sfromscratch.core.admission.pod_security import TEMPLATES, PodSecurity
from k8sfromscratch.core.admission.priority import Priority
from k8sfromscratch.core.admission.pvc_resize import PersistentVolumeClaimResize
from k8sfromscratch.core.admission.runtime_class import RuntimeClass
from k8sfromscratch.core.admission.serviceaccount import ServiceAccount
from k8sfromscratch.core.admission.storage_object_in_use import StorageObjectInUseProtection
from k8sfromscratch.core.admission.taint_nodes import TaintNodesByCondition
from k8sfromscratch.core.admission.types import AdmissionRequest, Plugin, View
from k8sfromscratch.core.authz.types import Decision

RandomSuffix = Callable[[], str]
"""Five characters, new ones each time."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What plugins are made from."""

    random_suffix: RandomSuffix
    authorize: Authorize


# In the order in which they run, which is upstream's.  NodeRestriction is off by default there, though no cluster should be without it.
PLUGINS: Mapping[str, Callable[[Needs], Plugin]] = {
    "NamespaceLifecycle": lambda needs: NamespaceLifecycle(),
    "LimitRanger": lambda needs: LimitRanger(),
    "ServiceAccount": lambda needs: ServiceAccount(needs.random_suffix),
    "NodeRestriction": lambda needs: NodeRestriction(),
    "TaintNodesByCondition": lambda needs: TaintNodesByCondition(),
    "PodSecurity": lambda needs: PodSecurity(),
    "Priority": lambda needs: Priority(),
    "DefaultTolerationSeconds": lambda needs: DefaultTolerationSeconds(),
    "ExtendedResourceToleration": lambda needs: ExtendedResourceToleration(),
    "DefaultStorageClass": lambda needs: DefaultStorageClass(),
    "StorageObjectInUseProtection": lambda needs: StorageObjectInUseProtection(),
    "PersistentVolumeClaimResize": lambda needs: PersistentVolumeClaimResize(),
    "RuntimeClass": lambda needs: RuntimeClass(),
    "CertificateApproval": lambda needs: CertificateApproval(needs.authorize),
    "CertificateSigning": lambda needs: CertificateSigning(needs.authorize),
    "CertificateSubjectRestriction": lambda needs: CertificateSubjectRestriction(),
    "DefaultIngressClass": lambda needs: DefaultIngressClass(),
}

KINDS: Mapping[str, Collection[Resource]] = {
    "LimitRanger": (PODS, PERSISTENT_VOLUME_CLAIMS),
    "ServiceAccount": (PODS,),
    "TaintNodesByCondition": (NODES,),
    "PodSecurity": (PODS, NAMESPACES, *TEMPLATES),
    "Priority": (PODS, PRIORITY_CLASSES),
    "DefaultTolerationSeconds": (PODS,),
    "ExtendedResourceToleration": (PODS,),
    "DefaultStorageClass": (PERSISTENT_VOLUME_CLAIMS,),
    "StorageObjectInUseProtection": (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES),
    "PersistentVolumeClaimResize": (PERSISTENT_VOLUME_CLAIMS,),
    "RuntimeClass": (PODS,),
    "CertificateApproval": (CERTIFICATE_SIGNING_REQUESTS,),
    "CertificateSigning": (CERTIFICATE_SIGNING_REQUESTS,),
    "CertificateSubjectRestriction": (CERTIFICATE_SIGNING_REQUESTS,),
    "CertificateRequester": (CERTIFICATE_SIGNING_REQUESTS,),
    "DefaultIngressClass": (INGRESSES,),
}
"""What each plugin looks at; one that is not listed looks at everything.  Asking all of them about everything cost a write 6 µs."""

OFF_BY_DEFAULT = frozenset({"ExtendedResourceToleration"})

NOT_SUPPORTED = frozenset({
    "AlwaysAdmit", "AlwaysDeny", "AlwaysPullImages", "ClusterTrustBundleAttest", "DenyServiceExternalIPs", "EventRateLimit", "ImagePolicyWebhook",
    "LimitPodHardAntiAffinityTopology", "MutatingAdmissionPolicy", "NamespaceAutoProvision", "NamespaceExists", "NodeDeclaredFeatureValidator",
    "OwnerReferencesPermissionEnforcement", "PodNodeSelector", "PodTolerationRestriction", "PodTopologyLabels",
})  # fmt: skip
"""Upstream's, which are not here: to disable one of them changes nothing, to enable one is refused."""


RESOURCE_QUOTA = "ResourceQuota"
"""Has to write, so it is not pure: it runs after all others, see the apiserver's `quota`."""


VALIDATING_ADMISSION_POLICY = "ValidatingAdmissionPolicy"
"""Waits for caches of parameters, so it is not pure either: see the apiserver's `admission_policies`."""


class UnknownPlugin(ValueError):
    """The message names it, and those there are."""


class Chain:
    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = tuple(plugins)
        self.names = tuple(plugin.name for plugin in self._plugins)
        self._by_kind: dict[tuple[str, str], tuple[Plugin, ...]] = {}
        """The plugins that look at a kind, by its group and plural; as many as there are kinds."""

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        for plugin in self._looking_at(request.resource):
            plugin.mutate(request, view)

    def validate(self, request: AdmissionRequest, view: View) -> None:
        for plugin in self._looking_at(request.resource):
            plugin.validate(request, view)

    def _looking_at(self, resource: Resource) -> tuple[Plugin, ...]:
        kind = resource.group, resource.plural
        found = self._by_kind.get(kind)
        if found is None:
            found = tuple(plugin for plugin in self._plugins if plugin.name not in KINDS or resource in KINDS[plugin.name])
            self._by_kind[kind] = found
        return found


def _allow(*_: object) -> Decision:
    return Decision(True)


def chain(
    random_suffix: RandomSuffix,
    *,
    authorize: Authorize = _allow,
    enable: Collection[str] = (),
    disable: Collection[str] = (),
    always: Sequence[Plugin] = (),
) -> Chain:
    """The default plugins and those of `enable`, without those of `disable`, then those that run always.  Raises UnknownPlugin."""
    known = (*PLUGINS, RESOURCE_QUOTA, VALIDATING_ADMISSION_POLICY)
    for name in (*enable, *disable):
        if name in NOT_SUPPORTED and name in enable:
            raise UnknownPlugin(f'admission plugin "{name}" is not supported: there are {", ".join(known)}')
        if name not in known and name not in NOT_SUPPORTED:
            raise UnknownPlugin(f'admission plugin "{name}" is unknown: there are {", ".join(known)}')
    needs = Needs(random_suffix, authorize)
    on = [name for name in PLUGINS if (name not in OFF_BY_DEFAULT or name in enable) and name not in disable]
    return Chain([*(PLUGINS[name](needs) for name in on), *always])
