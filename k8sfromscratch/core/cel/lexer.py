"""Text to tokens: the lexical grammar of the CEL specification, with offsets."""

import re
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.core.cel.errors import Problem
from k8sfromscratch.core.cel.values import INT_MAX, UINT_MAX, UInt

RESERVED = frozenset(
    ("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while")
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    """`int`, `uint`, `double`, `string`, `bytes`, `name`, `end`, or the operator itself."""
    text: str
    at: int
    value: Any = None


_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f]+|//[^\n]*)+)
    |(?P<double>(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?))
    |(?P<int>0[xX][0-9a-fA-F]+|[0-9]+)(?P<unsigned>[uU])?
    |(?P<prefix>[rR][bB]?|[bB][rR]?)?(?P<quote>\"\"\"|'''|"|')
    |(?P<name>[A-Za-z_][A-Za-z_0-9]*)
    |(?P<op>==|!=|<=|>=|&&|\|\||[-+*/%!<>?:.,()\[\]{}=])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\'\"`?])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.?))", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_DIGITS_MAX = 32
"""More digits than 64 bits can have: refused before Python parses a number of any length."""


def tokens(text: str) -> list[Token]:
    """All of them, closed by an `end`.  Raises Problem."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Problem(at, f"Syntax error: token recognition error at: '{text[at]}'")
        end = match.end()
        if match["quote"]:
            token, end = _string(text, at, end, (match["prefix"] or "").lower(), match["quote"])
            found.append(token)
        elif match["double"]:
            found.append(Token("double", match["double"], at, float(match["double"])))
        elif match["int"]:
            found.append(_integer(match["int"], match["unsigned"], at))
        elif match["name"]:
            found.append(Token(match["name"] if match["name"] in ("in", "true", "false", "null") else "name", match["name"], at))
        elif match["op"]:
            found.append(Token(match["op"], match["op"], at))
        at = end
    found.append(Token("end", "<EOF>", len(text)))
    return found


def _integer(digits: str, unsigned: str | None, at: int) -> Token:
    # A sign is an operator, so 2^63 is let through here; the parser admits it after a minus alone.
    value = int(digits, 16 if digits[1:2] in ("x", "X") else 10) if len(digits) <= _DIGITS_MAX else UINT_MAX + 1
    if unsigned:
        if value > UINT_MAX:
            raise Problem(at, "invalid uint literal")
        return Token("uint", digits + unsigned, at, UInt(value))
    if value > INT_MAX + 1:
        raise Problem(at, "invalid int literal")
    return Token("int", digits, at, value)


def _string(text: str, at: int, begin: int, prefix: str, quote: str) -> tuple[Token, int]:
    raw = "r" in prefix
    end = begin
    while not text.startswith(quote, end):
        if end >= len(text) or (len(quote) == 1 and text[end] in "\r\n"):
            raise Problem(at, f"Syntax error: token recognition error at: '{text[at:end]}'")
        end += 2 if text[end] == "\\" and not raw else 1
    body = text[begin:end]
    token_text = text[at : end + len(quote)]
    if "b" in prefix:
        return Token("bytes", token_text, at, body.encode("utf-8", "surrogatepass") if raw else _unescaped_bytes(body, at)), end + len(quote)
    value = body if raw else _ESCAPE.sub(lambda found: _unescaped(found, at), body)
    return Token("string", token_text, at, value), end + len(quote)


def _code(found: re.Match[str], at: int) -> int:
    digits = found[2] or found[3] or found[4]
    if digits is None and found[5] is None:
        raise Problem(at, f"Syntax error: token recognition error at: '{found[0]}'")
    code = int(digits, 16) if digits else int(found[5], 8)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise Problem(at, "invalid unicode code point")
    return code


def _unescaped(found: re.Match[str], at: int) -> str:
    return _SIMPLE.get(found[1], found[1]) if found[1] else chr(_code(found, at))


def _unescaped_bytes(body: str, at: int) -> bytes:
    r"""In bytes `\xff` and `\377` are one byte each, not a code point in UTF-8."""
    pieces: list[bytes] = []
    last = 0
    for found in _ESCAPE.finditer(body):
        pieces.append(body[last : found.start()].encode("utf-8", "surrogatepass"))
        if found[1]:
            pieces.append(_unescaped(found, at).encode())
        elif found[2] or found[5]:
            pieces.append(bytes((_code(found, at),)))
        else:
            pieces.append(chr(_code(found, at)).encode())
        last = found.end()
    pieces.append(body[last:].encode("utf-8", "surrogatepass"))
    return b"".join(pieces)
