"""Kubernetes' URL, IP and CIDR libraries.

    url('https://example.com:80/a?b=1').getHost() == 'example.com:80'
    cidr('10.0.0.0/8').containsIP('10.1.2.3')

An address written as IPv4 mapped into IPv6, with a zone, or with leading zeros is no address here, as upstream has it.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from k8sfromscratch.core.cel.errors import CelEvaluationError
from k8sfromscratch.core.cel.library.regexes import compiled
from k8sfromscratch.core.cel.overload import Overload, traversal
from k8sfromscratch.core.cel.types import BOOL, CIDR, INT, IP, STRING, URL, CelType, list_of, map_of
from k8sfromscratch.core.cel.values import Opaque

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_URL_FORM = r"^[^\x00-\x20\x7f]+$"


@dataclass(frozen=True, slots=True)
class Url(Opaque):
    text: str
    scheme: str
    host: str
    hostname: str
    port: str
    path: str
    query: str
    cel_type = URL

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Ip(Opaque):
    address: Address
    cel_type = IP

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Cidr(Opaque):
    address: Address
    network: Network
    cel_type = CIDR

    def __str__(self) -> str:
        return f"{self.address}/{self.network.prefixlen}"


def parse_url(text: str) -> Url:
    """Absolute, or an absolute path, as a request line may hold."""
    if compiled(_URL_FORM).search(text.encode("utf-8", "replace").decode()) is None or text.startswith(("//", ":")):
        raise CelEvaluationError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    try:
        parts = urlsplit(text)
        port = parts.netloc.rpartition("@")[2].rpartition(":")[2] if parts.port is not None else ""
    except ValueError:
        raise CelEvaluationError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request') from None
    if not parts.scheme and not text.startswith("/"):
        raise CelEvaluationError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    host = parts.netloc.rpartition("@")[2]
    name = host[: -len(port) - 1] if port else host.removesuffix(":")
    return Url(text, parts.scheme, host, name.removeprefix("[").removesuffix("]"), port, unquote(parts.path), parts.query)


def _query(url: Url) -> dict[str, list[str]]:
    try:
        return parse_qs(url.query, keep_blank_values=True, max_num_fields=10_000)
    except ValueError:
        raise CelEvaluationError("too many fields in a URL's query") from None


def _address(text: str) -> Address:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise CelEvaluationError(f'IP Address "{text}" parse error during conversion from string: unable to parse IP') from None
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            raise CelEvaluationError(f'IP Address "{text}" parse error during conversion from string: IP address with zone value is not allowed')
        if found.ipv4_mapped is not None:
            raise CelEvaluationError(f'IP Address "{text}" parse error during conversion from string: IPv4-mapped IPv6 address is not allowed')
    return found


def _cidr(text: str) -> Cidr:
    address, slash, bits = text.partition("/")
    if not slash or not (bits.isascii() and bits.isdigit()) or (len(bits) > 1 and bits[0] == "0"):
        raise CelEvaluationError(f'CIDR address parse error during conversion from string: netip.ParsePrefix("{text}"): no "/" or a bad length')
    found = _address(address)
    if len(bits) > 3 or int(bits) > found.max_prefixlen:
        raise CelEvaluationError(f'CIDR address parse error during conversion from string: netip.ParsePrefix("{text}"): prefix length out of range')
    return Cidr(found, ipaddress.ip_network((found, int(bits)), strict=False))


def parses(parse: object, text: str) -> bool:
    assert callable(parse)
    try:
        parse(text)
    except CelEvaluationError:
        return False
    return True


def _contains_ip(cidr: Cidr, ip: Ip) -> bool:
    return ip.address in cidr.network


def _contains_cidr(outer: Cidr, inner: Cidr) -> bool:
    if outer.network.version != inner.network.version:
        return False
    return inner.network.prefixlen >= outer.network.prefixlen and inner.network.network_address in outer.network


def _reader(name: str, owner: CelType, result: CelType, call: object) -> Overload:
    assert callable(call)
    return Overload(name, (owner,), result, call, member=True)


OVERLOADS: tuple[Overload, ...] = (
    Overload("url", (STRING,), URL, parse_url, cost=traversal),
    Overload("isURL", (STRING,), BOOL, lambda text: parses(parse_url, text), cost=traversal),
    _reader("getScheme", URL, STRING, lambda url: url.scheme),
    _reader("getHost", URL, STRING, lambda url: url.host),
    _reader("getHostname", URL, STRING, lambda url: url.hostname),
    _reader("getPort", URL, STRING, lambda url: url.port),
    _reader("getEscapedPath", URL, STRING, lambda url: urlsplit(url.text).path),
    _reader("getQuery", URL, map_of(STRING, list_of(STRING)), _query),
    Overload("ip", (STRING,), IP, lambda text: Ip(_address(text)), cost=traversal),
    Overload("isIP", (STRING,), BOOL, lambda text: parses(_address, text), cost=traversal),
    Overload("ip.isCanonical", (STRING,), BOOL, lambda text: str(_address(text)) == text, cost=traversal),
    Overload("string", (IP,), STRING, str),
    _reader("family", IP, INT, lambda ip: ip.address.version),
    _reader("isUnspecified", IP, BOOL, lambda ip: ip.address.is_unspecified),
    _reader("isLoopback", IP, BOOL, lambda ip: ip.address.is_loopback),
    _reader("isLinkLocalMulticast", IP, BOOL, lambda ip: _link_local_multicast(ip.address)),
    _reader("isLinkLocalUnicast", IP, BOOL, lambda ip: ip.address.is_link_local),
    _reader("isGlobalUnicast", IP, BOOL, lambda ip: _global_unicast(ip.address)),
    Overload("cidr", (STRING,), CIDR, _cidr, cost=traversal),
    Overload("isCIDR", (STRING,), BOOL, lambda text: parses(_cidr, text), cost=traversal),
    Overload("string", (CIDR,), STRING, str),
    Overload("containsIP", (CIDR, IP), BOOL, _contains_ip, member=True),
    Overload("containsIP", (CIDR, STRING), BOOL, lambda cidr, text: _contains_ip(cidr, Ip(_address(text))), member=True),
    Overload("containsCIDR", (CIDR, CIDR), BOOL, _contains_cidr, member=True),
    Overload("containsCIDR", (CIDR, STRING), BOOL, lambda cidr, text: _contains_cidr(cidr, _cidr(text)), member=True),
    _reader("ip", CIDR, IP, lambda cidr: Ip(cidr.address)),
    _reader("masked", CIDR, CIDR, lambda cidr: Cidr(cidr.network.network_address, cidr.network)),
    _reader("prefixLength", CIDR, INT, lambda cidr: cidr.network.prefixlen),
)


def _link_local_multicast(address: Address) -> bool:
    return address in ipaddress.ip_network("224.0.0.0/24") if address.version == 4 else address in ipaddress.ip_network("ff02::/16")


def _global_unicast(address: Address) -> bool:
    """Go's meaning: private addresses are in, broadcast is not."""
    broadcast = address == ipaddress.IPv4Address("255.255.255.255")
    return not (broadcast or address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local)
