"""The config map kube-system/extension-apiserver-authentication: how other servers tell who calls them, as this apiserver does.

Add-on servers read it to check client certificates and the front proxy's headers.  Kept by each apiserver at its start, in
upstream's post-start hook start-cluster-authentication-info-controller.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from k8sfromscratch.api.errors import AlreadyExists, Conflict
from k8sfromscratch.api.registry import CONFIG_MAPS
from k8sfromscratch.components.apiserver.authentication import FrontProxy

if TYPE_CHECKING:
    from k8sfromscratch.components.apiserver.server import ApiServer

Object = dict[str, Any]

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"


@dataclass(frozen=True, slots=True)
class AuthenticationInfo:
    """PEM bundles; an empty one is not published."""

    client_ca: str
    front_proxy_ca: str
    front_proxy: FrontProxy | None

    def data(self) -> dict[str, str]:
        published: dict[str, str] = {}
        if self.client_ca:
            published["client-ca-file"] = self.client_ca
        if self.front_proxy_ca and self.front_proxy is not None:
            proxy = self.front_proxy
            published["requestheader-client-ca-file"] = self.front_proxy_ca
            for key, names in (
                ("requestheader-allowed-names", proxy.allowed_names),
                ("requestheader-username-headers", proxy.username_headers),
                ("requestheader-group-headers", proxy.group_headers),
                ("requestheader-uid-headers", proxy.uid_headers),
                ("requestheader-extra-headers-prefix", proxy.extra_prefixes),
            ):
                published[key] = orjson.dumps(names).decode()
        return published

    async def publish(self, server: "ApiServer") -> None:
        """The post-start hook.  The system's namespaces must be there."""
        data = self.data()
        present = server.view.get(CONFIG_MAPS, NAME, NAMESPACE)
        if not data or (present is not None and present.get("data") == data):
            return
        try:
            if present is None:
                metadata = {"name": NAME, "namespace": NAMESPACE}
                await server.loopback.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
            else:
                await server.loopback.update(CONFIG_MAPS, {**present, "data": data})
        except (AlreadyExists, Conflict):
            # Another apiserver that started now: it knows the same.
            return
