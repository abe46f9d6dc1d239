"""Image names as the container world reads them: `busybox` is `docker.io/library/busybox:latest`.

Source: the grammar and defaults of distribution's reference package.
"""

import re
from dataclasses import dataclass

_HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")

DEFAULT_HOST = "docker.io"
DEFAULT_TAG = "latest"


@dataclass(frozen=True, slots=True)
class ImageName:
    """`tag` is empty only if there is a digest."""

    host: str
    path: str
    tag: str
    digest: str

    def __str__(self) -> str:
        return f"{self.host}/{self.path}" + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_image_name(text: str) -> ImageName:
    """Raises ValueError for what is no image name."""
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError(f"invalid image name {text!r}: invalid digest")
    tag = ""
    colon = name.rfind(":")
    if colon > name.rfind("/"):
        name, tag = name[:colon], name[colon + 1 :]
        if not _TAG.fullmatch(tag):
            raise ValueError(f"invalid image name {text!r}: invalid tag")
    host, slash, path = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost" or host.lower() != host):
        host, path = DEFAULT_HOST, name
    if host in ("index.docker.io", DEFAULT_HOST):
        host = DEFAULT_HOST
        path = path if "/" in path else f"library/{path}"
    if not _HOST.fullmatch(host) or not _PATH.fullmatch(path):
        raise ValueError(f"invalid image name {text!r}: invalid reference format")
    return ImageName(host, path, tag or ("" if digest else DEFAULT_TAG), digest)


def pull_policy(container_image: str, policy: str | None) -> str:
    """The container's own, or the default: Always for `latest`, else IfNotPresent."""
    if policy:
        return policy
    name = parse_image_name(container_image)
    return "Always" if name.tag == DEFAULT_TAG and not name.digest else "IfNotPresent"
