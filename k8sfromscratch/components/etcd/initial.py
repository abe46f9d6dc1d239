"""The members that a cluster begins with, `--initial-cluster`, and the identifiers that all of them derive from it alike.

    a=http://10.0.0.1:2380,b=http://10.0.0.2:2380          a member with several URLs is named several times
        │ each member's URLs and the token                     sha1, the first eight bytes
        ├─► member a 8e9e05c52164694d ┐
        └─► member b 91bc3c398fb3c146 ┴─► cluster cdf818194e3a8c32

So members that were started with the same flags know one another, and those of another cluster do not.  The rules are upstream's, and so are the
identifiers: an upstream member with the same flags has the same.  Imports nothing that runs: pyinfra's roles read the flags.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

Urls = tuple[str, ...]
"""Peer URLs of one member, sorted."""


class InitialClusterError(ValueError):
    """The flags contradict one another, or the cluster that is there; the message says which and how."""


def check_url(url: str) -> str:
    """Raises ValueError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None:
        raise ValueError(f"{url!r} is not of the form http://host:port or https://host:port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} must have no path")
    return url


def parse_initial_cluster(text: str) -> dict[str, Urls]:
    """Name → URLs, in the order of the names.  Raises InitialClusterError."""
    found: dict[str, set[str]] = {}
    seen: set[str] = set()
    for part in filter(None, (word.strip() for word in text.split(","))):
        name, equals, url = part.partition("=")
        if not equals or not name:
            raise InitialClusterError(f"--initial-cluster has {part!r}, which is not of the form name=url")
        try:
            check_url(url)
        except ValueError as error:
            raise InitialClusterError(f"--initial-cluster: {error}") from error
        if url in seen:
            raise InitialClusterError(f"initial cluster {text} has duplicate url")
        seen.add(url)
        found.setdefault(name, set()).add(url)
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def check_own_part(name: str, advertised: Sequence[str], cluster: Mapping[str, Urls]) -> None:
    """This member must be in the cluster, with the URLs under which it lets itself be reached.  Raises InitialClusterError."""
    listed = cluster.get(name)
    if listed is None:
        raise InitialClusterError(f"couldn't find local name {name!r} in the initial cluster configuration")
    if missing := sorted(set(listed) - set(advertised)):
        raise InitialClusterError(
            f"--initial-cluster has {name}={missing[0]} but missing from --initial-advertise-peer-urls={','.join(sorted(advertised))} ({missing[0]})"
        )
    if missing := sorted(set(advertised) - set(listed)):
        raise InitialClusterError(f"--initial-advertise-peer-urls has {missing[0]} but missing from --initial-cluster={_text(cluster)} ({missing[0]})")


def member_id(peer_urls: Iterable[str], token: str, added_at_s: int | None = None) -> int:
    """`added_at_s`, Unix time, is of a member that is added later: one that comes again at the same URLs is another member."""
    text = "".join(sorted(peer_urls)) + token + ("" if added_at_s is None else str(added_at_s))
    return _number(text.encode())


def cluster_id(members: Iterable[int]) -> int:
    return _number(b"".join(member.to_bytes(8, "big") for member in sorted(members)))


def same_members(cluster: Mapping[str, Urls], existing: Mapping[int, Urls]) -> dict[str, int]:
    """The identifiers that a running cluster has given the members of `--initial-cluster`, by their names.  Raises InitialClusterError."""
    if len(cluster) != len(existing):
        raise InitialClusterError(f"error validating peerURLs: member count is unequal: {len(cluster)} in --initial-cluster, {len(existing)} in the cluster")
    by_urls = {tuple(sorted(urls)): member for member, urls in existing.items()}
    found = {}
    for name, urls in cluster.items():
        member = by_urls.get(urls)
        if member is None:
            raise InitialClusterError(f"error validating peerURLs: unmatched member while checking PeerURLs: the cluster has no member with {','.join(urls)}")
        found[name] = member
    return found


def _number(text: bytes) -> int:
    return int.from_bytes(hashlib.sha1(text, usedforsecurity=False).digest()[:8], "big")


def _text(cluster: Mapping[str, Urls]) -> str:
    return ",".join(f"{name}={url}" for name, urls in cluster.items() for url in urls)
