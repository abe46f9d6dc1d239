"""One HTTPS POST to a webhook: an AdmissionReview goes, an AdmissionReview comes back.

    clientConfig.url       https://host[:port]/path, as it stands
    clientConfig.service   dialled where `service_resolver` says; the certificate must be that of NAME.NAMESPACE.svc

Nothing that the other side does is a fault of ours: it may hang, answer with megabytes, with HTML or a redirect (which is not followed:
it would lead us where nobody configured us to go), and each is a `CallFailed` that says so.  Connections are kept open and bounded.
"""

import asyncio
import base64
import ssl
from collections import OrderedDict
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from k8sfromscratch.components.apiserver.service_resolver import ServiceResolver, Unresolved
from k8sfromscratch.core.admission.types import Object
from k8sfromscratch.core.admission.webhooks import Webhook
from k8sfromscratch.process.tls import TlsError, client_context

ANSWER_BYTES_MAX = 8 * 1024 * 1024
"""A patch that replaces the largest object, in base64, twice over."""
_CONNECTIONS_MAX = 256
_CONNECTIONS_PER_HOST_MAX = 32
_IDLE_S = 60.0
_CONTEXTS_MAX = 128
"""As many CA bundles are kept parsed: clusters have a few dozen webhooks."""

_HEADERS = {"Accept": "application/json, */*", "Content-Type": "application/json", "User-Agent": "kube-apiserver-admission"}


class CallFailed(Exception):
    """The webhook gave no answer that can be used; the message says why."""


class WebhookClient:
    def __init__(self, services: ServiceResolver) -> None:
        self._services = services
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    async def call(self, webhook: Webhook, review: Object) -> Any:
        """The decoded body of its answer.  Raises CallFailed."""
        url, shown, name = self._target(webhook)
        context = self._context(webhook.client.get("caBundle") or "")
        headers = _HEADERS if name is None else {**_HEADERS, "Host": urlsplit(shown).netloc}
        try:
            async with (
                asyncio.timeout(webhook.timeout_s),
                self._open().post(url, data=orjson.dumps(review), headers=headers, ssl=context, server_hostname=name, allow_redirects=False) as answer,
            ):
                return await _read(answer)
        except TimeoutError as error:
            raise CallFailed(f'failed to call webhook: Post "{shown}": context deadline exceeded: no answer within {webhook.timeout_s}s') from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CallFailed(f'failed to call webhook: Post "{shown}": {_words(error)}') from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _target(self, webhook: Webhook) -> tuple[URL, str, str | None]:
        """Where to dial, the URL as messages show it, and the name its certificate must have if it is not the URL's."""
        query = f"timeout={webhook.timeout_s}s"
        url, service = webhook.client.get("url"), webhook.client.get("service")
        if url:
            return URL(f"{url}?{query}"), f"{url}?{query}", None
        if not isinstance(service, dict):
            raise CallFailed("the webhook configuration must have either service or URL")
        name, namespace, port = service["name"], service["namespace"], service.get("port") or 443
        path = f"/{(service.get('path') or '').lstrip('/')}"
        try:
            host, number = self._services.resolve(namespace, name, port)
        except Unresolved as error:
            raise CallFailed(f"failed to call webhook: {error}") from error
        server = f"{name}.{namespace}.svc"
        return URL.build(scheme="https", host=host, port=number, path=path, query_string=query), f"https://{server}:{port}{path}?{query}", server

    def _context(self, bundle: str) -> ssl.SSLContext:
        """The same one for the same CA, since connections are kept by context."""
        context = self._contexts.get(bundle)
        if context is None:
            try:
                context = client_context(ca_data=base64.b64decode(bundle)) if bundle else client_context()
            except (TlsError, ValueError) as error:
                raise CallFailed(f"failed to call webhook: its caBundle cannot be used: {error}") from error
            self._contexts[bundle] = context
            if len(self._contexts) > _CONTEXTS_MAX:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(bundle)
        return context

    def _open(self) -> aiohttp.ClientSession:
        """Made with the first call: most clusters have no webhooks."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, limit_per_host=_CONNECTIONS_PER_HOST_MAX, keepalive_timeout=_IDLE_S)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=None), trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


async def _read(answer: aiohttp.ClientResponse) -> Any:
    """Raises CallFailed, aiohttp.ClientError."""
    if not 200 <= answer.status < 300:
        raise CallFailed(f"failed to call webhook: the server answered with {answer.status} {answer.reason or ''}".rstrip())
    if answer.content_type != "application/json":
        raise CallFailed(f"failed to call webhook: serializer for {answer.headers.get('Content-Type', '')[:100] or 'no content type'} doesn't exist")
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise CallFailed(f"failed to call webhook: its answer is larger than {ANSWER_BYTES_MAX} bytes")
    try:
        return orjson.loads(bytes(body))
    except orjson.JSONDecodeError as error:
        raise CallFailed(f"failed to call webhook: its answer is not JSON: {error}") from error


def _words(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return f"tls: failed to verify certificate: {error.__cause__ or error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"dial tcp {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    return str(error) or type(error).__name__
