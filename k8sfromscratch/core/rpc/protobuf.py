"""Protocol Buffers messages from a text like a .proto file's, without a compiler step.

The text is the wire contract as people know it: message, enum, oneof, map, repeated, nested types, field numbers.  It becomes descriptors of the
`protobuf` library, whose C parser then reads and writes the messages.

    messages = load_proto('''
        message Pair { bytes key = 1; repeated int64 counts = 2; map<string, string> labels = 3; }
    ''', package="demo")
    messages.Pair(key=b"a").SerializeToString()
"""

import re
from collections.abc import Iterator
from types import SimpleNamespace

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TOKEN = re.compile(r"\s*(?://[^\n]*|([A-Za-z_][\w.]*|\d+|[{}=;<>,\[\]]))")

_SCALARS = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "fixed64": 6, "fixed32": 7, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
    "sfixed32": 15, "sfixed64": 16, "sint32": 17, "sint64": 18,
}  # fmt: skip
_MESSAGE, _ENUM = 11, 14
_OPTIONAL, _REPEATED = 1, 3


class ProtoError(ValueError):
    """The text is not understood; the message says where."""


def load_proto(text: str, *, package: str) -> SimpleNamespace:
    """A namespace of message classes (nested ones as attributes of theirs) and of the enums' numbers by name.

    proto3 rules: fields have defaults and repeated numbers are packed; `optional` fields know whether they were set.
    Each call has a pool of its own, so that two texts may use the same names.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    _Parser(text, package).parse_file(file)
    _resolve(file, package)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = SimpleNamespace()
    for message in file.message_type:
        setattr(found, message.name, message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{message.name}")))
    for enum in file.enum_type:
        setattr(found, enum.name, SimpleNamespace(**{value.name: value.number for value in enum.value}))
        for value in enum.value:
            setattr(found, value.name, value.number)
    return found


class _Parser:
    def __init__(self, text: str, package: str) -> None:
        self._text, self._package = text, package
        self._tokens = list(self._scan())
        self._at = 0

    def parse_file(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        while self._at < len(self._tokens):
            kind = self._next()
            if kind == "message":
                self._message(file.message_type.add())
            elif kind == "enum":
                self._enum(file.enum_type.add())
            else:
                raise self._wrong(f"{kind!r} where message or enum was expected")

    def _message(self, message: descriptor_pb2.DescriptorProto) -> None:
        message.name = self._next()
        self._expect("{")
        synthetic: list[descriptor_pb2.FieldDescriptorProto] = []
        while (word := self._next()) != "}":
            if word == "message":
                self._message(message.nested_type.add())
            elif word == "enum":
                self._enum(message.enum_type.add())
            elif word == "oneof":
                self._oneof(message)
            elif word == "map":
                self._map(message)
            elif word == "reserved":
                while self._next() != ";":
                    continue
            else:
                label = word if word in ("repeated", "optional") else ""
                field = self._field(message, self._next() if label else word, repeated=label == "repeated")
                if label == "optional":
                    field.proto3_optional = True
                    synthetic.append(field)
        for field in synthetic:  # a oneof of one field each: how proto3 stores presence; they stand behind the real ones
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")

    def _oneof(self, message: descriptor_pb2.DescriptorProto) -> None:
        index = len(message.oneof_decl)
        message.oneof_decl.add(name=self._next())
        self._expect("{")
        while (word := self._next()) != "}":
            self._field(message, word, repeated=False).oneof_index = index

    def _map(self, message: descriptor_pb2.DescriptorProto) -> None:
        """`map<K, V> name = n` is a repeated message of key and value."""
        self._expect("<")
        key = self._next()
        self._expect(",")
        value = self._next()
        self._expect(">")
        name = self._next()
        entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        for number, (label, kind) in enumerate((("key", key), ("value", value)), 1):
            _typed(entry.field.add(name=label, number=number, label=_OPTIONAL), kind)
        field = message.field.add(name=name, label=_REPEATED)
        self._expect("=")
        field.number = int(self._next())
        _typed(field, entry.name)
        self._expect(";")

    def _field(self, message: descriptor_pb2.DescriptorProto, kind: str, *, repeated: bool) -> descriptor_pb2.FieldDescriptorProto:
        field = message.field.add(name=self._next(), label=_REPEATED if repeated else _OPTIONAL)
        self._expect("=")
        field.number = int(self._next())
        _typed(field, kind)
        self._expect(";")
        return field

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto) -> None:
        enum.name = self._next()
        self._expect("{")
        while (name := self._next()) != "}":
            self._expect("=")
            enum.value.add(name=name, number=int(self._next()))
            self._expect(";")

    def _scan(self) -> Iterator[str]:
        at, text = 0, self._text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise ProtoError(f"{self._package}: {text[at : at + 30]!r} is not understood")
            if found.group(1):
                yield found.group(1)
            at = found.end()

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise self._wrong("the text ends in the middle")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, token: str) -> None:
        found = self._next()
        if found != token:
            raise self._wrong(f"{found!r} where {token!r} was expected")

    def _wrong(self, what: str) -> ProtoError:
        return ProtoError(f"{self._package}: {what}, behind {' '.join(self._tokens[max(self._at - 8, 0) : self._at])!r}")


def _typed(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]  # type: ignore[assignment]
    else:
        field.type_name = kind  # resolved when all names are known


def _resolve(file: descriptor_pb2.FileDescriptorProto, package: str) -> None:
    """Gives every field of a named type its full name: looked up from the inside out, as protoc does."""
    kinds: dict[str, int] = {}

    def collect(scope: str, message: descriptor_pb2.DescriptorProto) -> None:
        name = f"{scope}.{message.name}"
        kinds[name] = _MESSAGE
        for enum in message.enum_type:
            kinds[f"{name}.{enum.name}"] = _ENUM
        for nested in message.nested_type:
            collect(name, nested)

    def settle(scope: str, message: descriptor_pb2.DescriptorProto) -> None:
        name = f"{scope}.{message.name}"
        for field in message.field:
            if field.type_name:
                full = _lookup(kinds, name, field.type_name)
                if full is None:
                    raise ProtoError(f"{name}.{field.name}: there is no type {field.type_name!r}")
                field.type_name, field.type = full, kinds[full]  # type: ignore[assignment]
        for nested in message.nested_type:
            settle(name, nested)

    root = f".{package}"
    for enum in file.enum_type:
        kinds[f"{root}.{enum.name}"] = _ENUM
    for message in file.message_type:
        collect(root, message)
    for message in file.message_type:
        settle(root, message)


def _lookup(kinds: dict[str, int], scope: str, name: str) -> str | None:
    while True:
        if f"{scope}.{name}" in kinds:
            return f"{scope}.{name}"
        if not scope:
            return None
        scope = scope.rpartition(".")[0]
