"""kubeconfig files, and the credentials of a pod.

Inline data, files beside the kubeconfig, client certificates and tokens are understood; what we cannot do (run a program for credentials, go
through a proxy, act as somebody else) is refused by name.
"""

import base64
import binascii
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from k8sfromscratch.client.https import HttpsTransport
from k8sfromscratch.client.rest import Client
from k8sfromscratch.process.errors import Fatal
from k8sfromscratch.process.tls import CertificateReload, TlsFiles, client_context

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(Fatal):
    """The message names the file and what is wrong in it."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a kubeconfig's context says: where the server is and who we are.  A client certificate is data, or files that may be renewed."""

    server: str
    namespace: str = "default"
    ca_file: str = ""
    ca_data: bytes = b""
    insecure: bool = False
    cert_data: bytes = b""
    key_data: bytes = b""
    cert_files: TlsFiles | None = None
    token: str = ""
    token_file: str = ""


def load_kubeconfig(path: str | Path, *, context: str | None = None) -> Access:
    """Raises KubeconfigError."""
    file = Path(path)
    try:
        config = yaml.safe_load(file.read_text())
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {file} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise KubeconfigError(f"kubeconfig {file} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise KubeconfigError(f"kubeconfig {file} is not a mapping")
    wanted = context or config.get("current-context")
    if not wanted:
        raise KubeconfigError(f"kubeconfig {file} has no current-context; name one")
    chosen = _named(file, config, "contexts", "context", wanted)
    cluster = _named(file, config, "clusters", "cluster", chosen.get("cluster"))
    user = _named(file, config, "users", "user", chosen["user"]) if chosen.get("user") else {}
    for unsupported in ("exec", "auth-provider", "username", "as", "as-uid", "as-groups", "as-user-extra"):
        if user.get(unsupported) not in (None, ""):
            raise KubeconfigError(f"kubeconfig {file}: user {chosen['user']!r} has {unsupported!r}, which is not supported: use a certificate or a token")
    for unsupported in ("proxy-url", "tls-server-name"):
        if cluster.get(unsupported) not in (None, ""):
            raise KubeconfigError(f"kubeconfig {file}: cluster {chosen.get('cluster')!r} has {unsupported!r}, which is not supported")
    has_cert, has_key = (any(user.get(f"{name}{form}") for form in ("", "-data")) for name in ("client-certificate", "client-key"))
    if has_cert != has_key:
        raise KubeconfigError(f"kubeconfig {file}: user {chosen['user']!r} has only one of client-certificate and client-key")
    if not cluster.get("server"):
        raise KubeconfigError(f"kubeconfig {file}: cluster {chosen.get('cluster')!r} has no server")
    in_files = "client-certificate-data" not in user and "client-key-data" not in user and has_cert
    cert_files = TlsFiles(str(file.parent / user["client-certificate"]), str(file.parent / user["client-key"])) if in_files else None
    return Access(
        server=cluster["server"],
        namespace=chosen.get("namespace") or "default",
        ca_data=_blob(file, cluster, "certificate-authority"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        cert_data=_blob(file, user, "client-certificate") if cert_files is None else b"",
        key_data=_blob(file, user, "client-key") if cert_files is None else b"",
        cert_files=cert_files,
        token=user.get("token") or "",
        token_file=str(file.parent / user["tokenFile"]) if user.get("tokenFile") else "",
    )


def in_cluster() -> Access:
    """A pod's own access, from its service account.  Raises KubeconfigError outside of one."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    token = SERVICE_ACCOUNT_DIR / "token"
    if not host or not port or not token.exists():
        raise KubeconfigError(f"not in a pod: KUBERNETES_SERVICE_HOST and _PORT and {token} are needed; give a kubeconfig")
    namespace = SERVICE_ACCOUNT_DIR / "namespace"
    return Access(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        ca_file=str(SERVICE_ACCOUNT_DIR / "ca.crt"),
        token_file=str(token),
    )


def transport_for(access: Access) -> HttpsTransport:
    """Raises TlsError where a certificate cannot be used."""
    tls, certificate = None, None
    if access.server.startswith("https://"):
        # Python's ssl takes certificates from files only; this one lives as long as the call.
        with tempfile.TemporaryDirectory(prefix="kfs-") as folder:
            files = access.cert_files
            if access.cert_data:
                files = TlsFiles(str(Path(folder) / "tls.crt"), str(Path(folder) / "tls.key"))
                Path(files.cert_file).write_bytes(access.cert_data)
                Path(files.key_file).write_bytes(access.key_data)
            tls = client_context(ca_file=access.ca_file, ca_data=access.ca_data, files=files, insecure=access.insecure)
            if access.cert_files is not None:
                certificate = CertificateReload(tls, access.cert_files)
    return HttpsTransport(access.server, tls=tls, token=access.token, token_file=access.token_file, certificate=certificate)


def client_from_kubeconfig(path: str | Path, *, context: str | None = None, token: str | None = None, user_agent: str = "kfs") -> Client:
    access = load_kubeconfig(path, context=context)
    if token is not None:
        access = replace(access, token=token, token_file="", cert_data=b"", key_data=b"", cert_files=None)
    return Client(transport_for(access), user_agent=user_agent)


def client_in_cluster(*, user_agent: str = "kfs") -> Client:
    return Client(transport_for(in_cluster()), user_agent=user_agent)


def _named(file: Path, config: dict[str, Any], listed: str, kind: str, name: Any) -> dict[str, Any]:
    for entry in config.get(listed) or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return dict(entry.get(kind) or {})
    raise KubeconfigError(f"kubeconfig {file}: there is no {kind} {name!r}")


def _blob(file: Path, section: dict[str, Any], key: str) -> bytes:
    inline = section.get(f"{key}-data")
    if inline:
        try:
            return base64.b64decode(inline, validate=True)
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(f"kubeconfig {file}: {key}-data is not base64") from error
    if section.get(key):
        beside = file.parent / section[key]
        try:
            return beside.read_bytes()
        except OSError as error:
            raise KubeconfigError(f"kubeconfig {file}: {key} {beside} cannot be read: {error.strerror}") from error
    return b""
