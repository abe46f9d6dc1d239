import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.rpc.etcd_messages import messages as etcd
from k8sfromscratch.core.rpc.protobuf import ProtoError, load_proto

MESSAGES = load_proto(
    """
    message Outer {
        enum Kind { NONE = 0; SOME = 1; }
        message Inner { bool yes = 1; }
        bytes key = 1; repeated int64 numbers = 2; map<string, Inner> named = 3; Kind kind = 4; Inner inner = 5; // a comment
        oneof choice { string text = 6; Other other = 7; }
        optional int32 maybe = 8;
        reserved 9;
    }
    message Other { Outer.Inner inner = 1; }
    """,
    package="test",
)


@given(st.binary(), st.lists(st.integers(-(2**63), 2**63 - 1)), st.dictionaries(st.text(), st.booleans()))
def test_what_is_written_is_read_again(key: bytes, numbers: list[int], named: dict[str, bool]) -> None:
    message = MESSAGES.Outer(key=key, numbers=numbers, named={k: MESSAGES.Outer.Inner(yes=v) for k, v in named.items()})
    again = MESSAGES.Outer.FromString(message.SerializeToString())
    assert again.key == key and list(again.numbers) == numbers and {k: v.yes for k, v in again.named.items()} == named


def test_presence_and_oneof() -> None:
    message = MESSAGES.Outer(other=MESSAGES.Other())
    assert message.WhichOneof("choice") == "other" and not message.HasField("maybe")
    message.maybe = 0
    assert MESSAGES.Outer.FromString(message.SerializeToString()).HasField("maybe")


def test_etcds_numbers_on_the_wire() -> None:
    """Bytes as upstream's protoc writes them."""
    assert etcd.PutRequest(key=b"k", value=b"v", lease=1).SerializeToString() == b"\x0a\x01k\x12\x01v\x18\x01"
    assert etcd.Compare(key=b"k", target=2, mod_revision=0, range_end=b"z").SerializeToString() == b"\x10\x02\x1a\x01k\x30\x00\x82\x04\x01z"
    assert etcd.WatchResponse(watch_id=1, events=[etcd.Event(type=1)]).SerializeToString() == b"\x10\x01\x5a\x02\x08\x01"


@pytest.mark.parametrize("text", ["message A { Missing x = 1; }", "message A { int64 x 1; }", "message A {", "service A {}", "message A { int64 x = 1 } ?"])
def test_a_wrong_text_is_refused(text: str) -> None:
    with pytest.raises(ProtoError, match="wrong"):
        load_proto(text, package="wrong")
