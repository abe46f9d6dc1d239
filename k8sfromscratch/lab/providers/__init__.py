"""How machines come to be: one interface (`base.Provider`), one module a kind of machine."""

from k8sfromscratch.lab.providers.base import Provider
from k8sfromscratch.lab.providers.libvirt import LibvirtProvider
from k8sfromscratch.lab.providers.nspawn import NspawnProvider
from k8sfromscratch.lab.providers.vagrant import VagrantProvider
from k8sfromscratch.lab.spec import ClusterSpec

PROVIDERS: dict[str, type[Provider]] = {
    "nspawn": NspawnProvider,
    "libvirt": LibvirtProvider,
    "vagrant": VagrantProvider,
}


def provider_for(spec: ClusterSpec) -> Provider:
    return PROVIDERS[spec.provider](spec)


__all__ = ["PROVIDERS", "Provider", "provider_for"]
