"""What pods refer to: ConfigMaps, Secrets, and tokens of their service accounts.

ConfigMaps and Secrets are read one by one (the node may read only those of its own pods) and remembered for a while, so that fifty pods with
one ConfigMap cost one request a minute.  Tokens are remembered until 80 % of their life is over.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.api.errors import NotFound
from k8sfromscratch.api.registry import CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS
from k8sfromscratch.client import Client
from k8sfromscratch.core.pods.environment import Reference
from k8sfromscratch.core.pods.times import parse
from k8sfromscratch.core.pods.volumes import TokenRequest
from k8sfromscratch.process.clock import Env

Object = dict[str, Any]

FRESH_S = 2.0
"""For a container that is about to start: old enough to serve all containers of a pod at once."""

REFRESH_S = 60.0
ENTRIES_MAX = 2000
TOKEN_LIFE_USED = 0.8


@dataclass(frozen=True, slots=True)
class _Seen:
    moment: datetime
    object: Object | None


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    renew_at: datetime


class Sources:
    def __init__(self, client: Client, env: Env) -> None:
        self._client = client
        self._env = env
        self._objects: dict[tuple[str, str, str], _Seen] = {}
        self._tokens: dict[tuple[str, str, str, TokenRequest], _Token] = {}

    async def fetch(self, namespace: str, references: Iterable[Reference], age_max_s: float = FRESH_S) -> tuple[dict[str, Object], dict[str, Object]]:
        """ConfigMaps and Secrets by name; those that do not exist are absent.  Raises ApiError, TransportError."""
        config_maps: dict[str, Object] = {}
        secrets: dict[str, Object] = {}
        for reference in references:
            found = await self._get(reference.kind, namespace, reference.name, age_max_s)
            if found is not None:
                (config_maps if reference.kind == "ConfigMap" else secrets)[reference.name] = found
        return config_maps, secrets

    async def _get(self, kind: str, namespace: str, name: str, age_max_s: float) -> Object | None:
        key = (kind, namespace, name)
        now = self._env.clock.now()
        seen = self._objects.get(key)
        if seen is not None and now - seen.moment <= timedelta(seconds=age_max_s):
            return seen.object
        try:
            found: Object | None = await self._client.get(CONFIG_MAPS if kind == "ConfigMap" else SECRETS, name, namespace)
        except NotFound:
            found = None
        if len(self._objects) >= ENTRIES_MAX:
            self._objects = {k: s for k, s in self._objects.items() if now - s.moment <= timedelta(seconds=REFRESH_S)}
        self._objects[key] = _Seen(now, found)
        return found

    async def token(self, pod: Object, request: TokenRequest) -> str:
        """Bound to the pod: it is worth nothing once the pod is gone.  Raises ApiError, TransportError."""
        meta = pod["metadata"]
        account = pod["spec"].get("serviceAccountName") or "default"
        key = (meta["namespace"], account, meta["uid"], request)
        now = self._env.clock.now()
        held = self._tokens.get(key)
        if held is not None and now < held.renew_at:
            return held.value
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": account, "namespace": meta["namespace"]},
            "spec": {
                "audiences": [request.audience] if request.audience else [],
                "expirationSeconds": request.expiration_s,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
            },
        }
        answer = await self._client.create(SERVICE_ACCOUNTS, body, namespace=meta["namespace"], name=account, subresource="token")
        expires = parse(answer["status"]["expirationTimestamp"]) or now
        self._tokens[key] = _Token(answer["status"]["token"], now + (expires - now) * TOKEN_LIFE_USED)
        return self._tokens[key].value

    def forget_pod(self, uid: str) -> None:
        self._tokens = {key: token for key, token in self._tokens.items() if key[2] != uid}
