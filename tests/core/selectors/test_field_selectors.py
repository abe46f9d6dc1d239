"""Field selectors: `=`, `==`, `!=`, and backslashes before what would end a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.core.selectors.fields import parse

POD = {"metadata.name": "web", "status.phase": "Running", "spec.nodeName": ""}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("metadata.name=web", True),
        ("metadata.name==web", True),
        ("metadata.name!=web", False),
        ("metadata.name=web,status.phase!=Failed", True),
        ("metadata.name=web,status.phase=Failed", False),
        ("spec.nodeName=", True),
        ("spec.nodeName!=", False),
        ("absent=", True),
        ("metadata.name=web,", True),
    ],
)
def test_every_syntax_of_kubectl(text: str, holds: bool) -> None:
    assert parse(text).matches(POD) is holds


@pytest.mark.parametrize("text", ["name", "=x", "a=b=c", "a=\\x", "a in (b)"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="invalid selector"):
        parse(text)


def test_it_says_which_fields_it_names_and_which_value_one_must_have() -> None:
    selector = parse("metadata.name=web,status.phase!=Failed")
    assert selector.fields == ("metadata.name", "status.phase")
    assert selector.required("metadata.name") == "web"
    assert selector.required("status.phase") is None


@given(st.text(alphabet="ab,=\\ ", max_size=8))
def test_any_value_can_be_escaped(value: str) -> None:
    escaped = "".join("\\" + character if character in ",=\\" else character for character in value)
    assert parse(f"field={escaped},other!=x").matches({"field": value})
