"""What may be a name, a label or a port: each check returns upstream's messages, none where the value is fine.

    dns_label("Web")        ["a lowercase RFC 1123 label must consist of …"]
    qualified_name("a/b")   []

Source: apimachinery's util/validation.  Which of these a kind's name must obey is said in `api.validation.metadata`.
"""

import ipaddress
import re
from functools import lru_cache

DNS_LABEL_LENGTH_MAX = 63
DNS_SUBDOMAIN_LENGTH_MAX = 253
LABEL_LENGTH_MAX = 63
PORT_NAME_LENGTH_MAX = 15

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_UNDERSCORED_LABEL = "[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?"
_UNDERSCORED_SUBDOMAIN = rf"{_UNDERSCORED_LABEL}(\.{_UNDERSCORED_LABEL})*"
_DNS_1035_LABEL = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_PERCENT = "[0-9]+%"
_HTTP_HEADER = "[-A-Za-z0-9]+"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_PRINTABLE_ASCII = re.compile(r"[ -<>-~]+")


def max_length_message(length: int) -> str:
    return f"must be no more than {length} bytes"


def _form_message(what: str, pattern: str, *examples: str) -> str:
    """`… (e.g. 'my-name',  or '123-abc', regex used for validation is '…')`, doubled space included."""
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{what} (e.g. {listed}regex used for validation is '{pattern}')"


_LABEL_MESSAGE = _form_message(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
    _LABEL, "my-name", "123-abc",
)  # fmt: skip
_SUBDOMAIN_MESSAGE = _form_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN, "example.com",
)  # fmt: skip
_UNDERSCORED_SUBDOMAIN_MESSAGE = _form_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _UNDERSCORED_SUBDOMAIN, "example.com",
)  # fmt: skip
_DNS_1035_MESSAGE = _form_message(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
    _DNS_1035_LABEL, "my-name", "abc-123",
)  # fmt: skip
_QUALIFIED_MESSAGE = _form_message(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _QUALIFIED, "MyName", "my.name", "123-abc",
)  # fmt: skip
_LABEL_VALUE_MESSAGE = _form_message(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _LABEL_VALUE, "MyValue", "my_value", "12345",
)  # fmt: skip
_CONFIG_KEY_MESSAGE = _form_message(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'", _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"
)
_PERCENT_MESSAGE = _form_message("a valid percent string must be a numeric string followed by an ending '%'", _PERCENT, "1%", "93%")
_HTTP_HEADER_MESSAGE = _form_message("a valid HTTP header must consist of alphanumeric characters or '-'", _HTTP_HEADER, "X-Header-Name")
_IP_MESSAGE = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_MESSAGE = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_C_IDENTIFIER_MESSAGE = _form_message(
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
    _C_IDENTIFIER, "my_name", "MY_NAME", "MyName",
)  # fmt: skip


_compiled = lru_cache(maxsize=None)(re.compile)  # re's own memory takes longer to ask than most names take to match


def _checked(value: str, pattern: str, message: str, length_max: int) -> list[str]:
    size = len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
    found = [max_length_message(length_max)] if size > length_max else []
    if _compiled(pattern).fullmatch(value) is None:
        found.append(message)
    return found


def dns_label(value: str) -> list[str]:
    """RFC 1123 label: the names of containers, namespaces, pods' host names."""
    found = _checked(value, _LABEL, _LABEL_MESSAGE, DNS_LABEL_LENGTH_MAX)
    if found and "." in value and _compiled(_SUBDOMAIN).fullmatch(value) is not None:
        found[-1] = "must not contain dots"
    return found


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain: the names of most objects."""
    return _checked(value, _SUBDOMAIN, _SUBDOMAIN_MESSAGE, DNS_SUBDOMAIN_LENGTH_MAX)


def dns_subdomain_with_underscores(value: str) -> list[str]:
    """Search domains of resolvers, where names of services (`_tcp`) may stand."""
    return _checked(value, _UNDERSCORED_SUBDOMAIN, _UNDERSCORED_SUBDOMAIN_MESSAGE, DNS_SUBDOMAIN_LENGTH_MAX)


def dns_1035_label(value: str) -> list[str]:
    return _checked(value, _DNS_1035_LABEL, _DNS_1035_MESSAGE, DNS_LABEL_LENGTH_MAX)


def wildcard_dns_subdomain(value: str) -> list[str]:
    """`*.example.com`: hosts of an Ingress rule."""
    pattern = r"\*\." + _SUBDOMAIN
    message = _form_message(
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, "
        "'-' or '.' and end with an alphanumeric character",
        pattern, "*.example.com",
    )  # fmt: skip
    return _checked(value, pattern, message, DNS_SUBDOMAIN_LENGTH_MAX)


def path_segment(value: str) -> list[str]:
    """What may stand in a URL's path: the names of RBAC objects, which may hold colons and capitals."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{character}'" for character in "/%" if character in value]


@lru_cache(maxsize=4096)
def _qualified_name(value: str) -> tuple[str, ...]:
    parts = value.split("/")
    found: list[str] = []
    if len(parts) > 2:
        return (f"a qualified name {_QUALIFIED_MESSAGE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",)
    if len(parts) == 2:
        found += [f"prefix part {message}" for message in (dns_subdomain(parts[0]) if parts[0] else ["must be non-empty"])]
    name = parts[-1]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > LABEL_LENGTH_MAX:
        found.append(f"name part {max_length_message(LABEL_LENGTH_MAX)}")
    if re.fullmatch(_QUALIFIED, name) is None:
        found.append(f"name part {_QUALIFIED_MESSAGE}")
    return tuple(found)


def qualified_name(value: str) -> list[str]:
    """Keys of labels and annotations, names of extended resources: `[prefix.example.com/]Name`."""
    return list(_qualified_name(value))


@lru_cache(maxsize=4096)
def _label_value(value: str) -> tuple[str, ...]:
    return tuple(_checked(value, _LABEL_VALUE, _LABEL_VALUE_MESSAGE, LABEL_LENGTH_MAX))


def label_value(value: str) -> list[str]:
    return list(_label_value(value))


def port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]


def port_name(value: str) -> list[str]:
    """An IANA service name (RFC 6335)."""
    found: list[str] = []
    if len(value) > PORT_NAME_LENGTH_MAX:
        found.append(max_length_message(PORT_NAME_LENGTH_MAX))
    if re.fullmatch("[-a-z0-9]+", value) is None:
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if re.search("[a-z]", value) is None:
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def environment_name(value: str) -> list[str]:
    """Any printable ASCII but `=` (KEP-4369)."""
    if _PRINTABLE_ASCII.fullmatch(value) is None:
        return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]
    return []


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret: it can become a file's name."""
    found = _checked(value, _CONFIG_KEY, _CONFIG_KEY_MESSAGE, DNS_SUBDOMAIN_LENGTH_MAX)
    if value in (".", ".."):
        found.append(f"must not be '{value}'")
    elif value.startswith(".."):
        found.append("must not start with '..'")
    return found


def percent(value: str) -> list[str]:
    return [] if re.fullmatch(_PERCENT, value) else [_PERCENT_MESSAGE]


def http_header(value: str) -> list[str]:
    return [] if re.fullmatch(_HTTP_HEADER, value) else [_HTTP_HEADER_MESSAGE]


def ip_address(value: str) -> list[str]:
    try:
        parsed = ipaddress.ip_address(value)
    except ValueError:
        return [_IP_MESSAGE]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            return [_IP_MESSAGE]
        if parsed.ipv4_mapped is not None:
            return ["must not be an IPv4-mapped IPv6 address"]
    return []


def cidr(value: str) -> list[str]:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return [_CIDR_MESSAGE]
    return [] if "/" in value else [_CIDR_MESSAGE]
