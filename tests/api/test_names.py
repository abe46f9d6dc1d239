"""Names: accepted, refused, and refused in upstream's words."""

from collections.abc import Callable

import pytest

from k8sfromscratch.api import names

Check = Callable[[str], list[str]]
LONG_LABEL = "a" * 64


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.dns_label, ["a", "web-1", "1a", "a" * 63], ["", "Web", "-a", "a-", "a.b", "a_b", "a\n", LONG_LABEL]),
        (names.dns_subdomain, ["a", "a.b-c.d", "1"], ["", "a..b", ".a", "a.", "A", "a" * 254]),
        (names.dns_1035_label, ["a", "a1", "a-b"], ["1a", "a-", "A", "", LONG_LABEL]),
        (names.wildcard_dns_subdomain, ["*.a.b"], ["*", "a.b", "*.", "a.*.b"]),
        (names.qualified_name, ["a", "A_b.c", "example.com/A"], ["", "/a", "a/", "a/b/c", "-a", "Ex/a", LONG_LABEL]),
        (names.label_value, ["", "a", "A_b.1"], ["-a", "a b", "a/b", LONG_LABEL]),
        (names.port_name, ["http", "a-1"], ["", "HTTP", "1", "a--b", "-a", "a-", "a" * 16]),
        (names.environment_name, ["A", "a.b-c", "1 2"], ["", "A=B", "é", "a\n"]),
        (names.config_key, ["a", "A.b_c-d", ".a"], ["", "a/b", ".", "..", "..a"]),
        (names.percent, ["1%", "100%"], ["", "%", "1", "-1%"]),
        (names.path_segment, ["a:b", "System"], [".", "..", "a/b", "a%"]),
        (names.ip_address, ["10.0.0.1", "2001:db8::1"], ["", "10.0.0", "10.0.0.01", "a", "::ffff:1.2.3.4", "fe80::1%eth0"]),
        (names.cidr, ["10.0.0.0/8", "2001:db8::/64"], ["", "10.0.0.0", "10.0.0.0/33"]),
    ],
)
def test_accepts_and_refuses(check: Check, good: list[str], bad: list[str]) -> None:
    assert {value: check(value) for value in good} == {value: [] for value in good}
    assert [value for value in bad if not check(value)] == []


def test_messages_are_upstream_s() -> None:
    assert names.dns_label("A") == [
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character "
        "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    ]
    assert names.dns_label(LONG_LABEL) == ["must be no more than 63 bytes"]
    assert names.qualified_name("/a")[0] == "prefix part must be non-empty"
    assert names.port_number(0) == ["must be between 1 and 65535, inclusive"]
