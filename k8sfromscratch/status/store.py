"""What only the control host can ask: etcd's members, with the certificates that a deploy has left beside the kubeconfig.

No user of the API sees etcd, and no certificate of it but the apiserver's own.  A deploy keeps all of them in `pki/` beside the kubeconfig;
where that is not, or may not be read, there is nothing to tell, and that is no fault of the cluster.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.tls import TlsFiles, client_context
from k8sfromscratch.storage.channel import Channel, RpcError
from k8sfromscratch.storage.interface import StorageError

ANSWER_S = 5.0
"""A member that is down must not keep the whole picture waiting."""


@dataclass(frozen=True, slots=True)
class Member:
    """Of etcd.  `why` says why it is not well; "" where it is."""

    name: str
    url: str
    version: str = ""
    leader: bool = False
    learner: bool = False
    size_bytes: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    of: str
    days_left: float


def certificates(pki: Path, now: datetime) -> list[Certificate]:
    """Of a deploy's directory: each by its file's name without the suffix, those that end first at the top."""
    found = []
    for file in sorted(pki.rglob("*.crt")):
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        found.append(Certificate(str(file.relative_to(pki).with_suffix("")), days(certificate, now)))
    return sorted(found, key=lambda each: each.days_left)


def days(certificate: x509.Certificate, now: datetime) -> float:
    return (certificate.not_valid_after_utc - now).total_seconds() / 86400


async def members(pki: Path, addresses: Sequence[str], *, answer_s: float = ANSWER_S) -> list[Member]:
    """`addresses` are the masters'.  Whoever of them answers says who the members are; each is then asked for itself."""
    context = client_context(
        ca_file=str(pki / "etcd" / "ca.crt"), alpn=("h2",), files=TlsFiles(str(pki / "apiserver-etcd-client.crt"), str(pki / "apiserver-etcd-client.key"))
    )
    refused: list[str] = []
    for address in addresses:
        url = f"https://{address}:2379"
        try:
            listed = m.MemberListResponse.FromString(await _asked(url, context, "Cluster/MemberList", b"", answer_s))
        except (RpcError, StorageError, OSError, TimeoutError) as error:
            refused.append(f"{url}: {_said(error, answer_s)}")
            continue
        return list(await asyncio.gather(*(_member(each.name, each.ID, list(each.clientURLs), context, answer_s) for each in listed.members)))
    raise StorageError("; ".join(refused) or "no master is known")


async def _member(name: str, identifier: int, urls: list[str], context: ssl.SSLContext, answer_s: float) -> Member:
    if not urls:
        return Member(name or f"{identifier:x}", "", why="it has not started yet")
    try:
        status = m.StatusResponse.FromString(await _asked(urls[0], context, "Maintenance/Status", b"", answer_s))
    except (RpcError, StorageError, OSError, TimeoutError) as error:
        return Member(name, urls[0], why=_said(error, answer_s))
    return Member(name, urls[0], status.version, status.leader == identifier, status.isLearner, status.dbSize, "; ".join(status.errors))


async def _asked(url: str, context: ssl.SSLContext, method: str, message: bytes, answer_s: float) -> bytes:
    channel = Channel([url], context)
    try:
        async with asyncio.timeout(answer_s):
            return await channel.call(f"/etcdserverpb.{method}", message)
    finally:
        await channel.close()


def _said(error: Exception, answer_s: float) -> str:
    return f"it did not answer within {answer_s:g} s" if isinstance(error, TimeoutError) else str(error)
