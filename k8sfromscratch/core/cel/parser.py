"""Tokens to a tree: the grammar of the CEL specification by recursive descent, binary operators by precedence.

    expr   = or ["?" or ":" expr]            unary   = {"!" | "-"} member
    binary = unary {operator unary}          member  = primary {"." name ["(" args ")"] | "[" expr "]" | "{" fields "}"}

Hostile text is bounded in length and in depth: the depth of brackets while parsing, and that of the finished tree, on which the checker
and the evaluator recurse.  Macros are expanded by `macros` as their calls are met.
"""

from k8sfromscratch.core.cel.errors import Problem
from k8sfromscratch.core.cel.lexer import RESERVED, Token, tokens
from k8sfromscratch.core.cel.macros import expanded
from k8sfromscratch.core.cel.syntax import Call, Ident, ListLiteral, Literal, Logic, MapLiteral, MessageLiteral, Node, Select, Ternary, children
from k8sfromscratch.core.cel.types import BOOL, BYTES, DOUBLE, INT, NULL, STRING, UINT, CelType
from k8sfromscratch.core.cel.values import INT_MAX

SIZE_MAX = 100_000
"""Code points; upstream's bound."""
DEPTH_MAX = 64
"""Nested brackets, and levels of the tree.  Upstream allows 250; six Python frames a level must fit beside the caller's in its limit of 1,000."""

_PRECEDENCE = {"||": 1, "&&": 2} | dict.fromkeys(("<", "<=", ">", ">=", "==", "!=", "in"), 3) | {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
_LITERALS: dict[str, CelType] = {"int": INT, "uint": UINT, "double": DOUBLE, "string": STRING, "bytes": BYTES}
_CONSTANTS: dict[str, tuple[object, CelType]] = {"true": (True, BOOL), "false": (False, BOOL), "null": (None, NULL)}
_EXPECTED = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"


def parse(text: str) -> Node:
    """Raises Problem."""
    if len(text) > SIZE_MAX:
        raise Problem(0, f"expression code point size exceeds limit: size: {len(text)}, limit {SIZE_MAX}")
    parser = _Parser(tokens(text))
    node = parser.expression()
    if parser.now.kind != "end":
        raise Problem(parser.now.at, f"Syntax error: mismatched input '{parser.now.text}' expecting <EOF>")
    _bound_depth(node)
    return node


def _bound_depth(root: Node) -> None:
    level: list[Node] = [root]
    for _ in range(DEPTH_MAX):
        level = [child for node in level for child in children(node)]
        if not level:
            return
    raise Problem(level[0].at, f"expression recursion limit exceeded: {DEPTH_MAX}")


class _Parser:
    def __init__(self, read: list[Token]) -> None:
        self.tokens = read
        self.index = 0
        self.now = read[0]
        self.depth = 0

    def advance(self) -> Token:
        token = self.now
        self.index = min(self.index + 1, len(self.tokens) - 1)
        self.now = self.tokens[self.index]
        return token

    def accept(self, kind: str) -> bool:
        if self.now.kind == kind:
            self.advance()
            return True
        return False

    def expect(self, kind: str) -> Token:
        if self.now.kind != kind:
            wanted = "IDENTIFIER" if kind == "name" else f"'{kind}'"
            raise Problem(self.now.at, f"Syntax error: mismatched input '{self.now.text}' expecting {wanted}")
        return self.advance()

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise Problem(self.now.at, f"expression recursion limit exceeded: {DEPTH_MAX}")
        node = self.binary(1)
        if self.now.kind == "?":
            at = self.advance().at
            then = self.binary(1)
            self.expect(":")
            node = Ternary(at, node, then, self.expression())
        self.depth -= 1
        return node

    def binary(self, weakest: int) -> Node:
        left = self.unary()
        while (precedence := _PRECEDENCE.get(self.now.kind, 0)) >= weakest:
            operator = self.advance()
            # Recursion is bounded by the number of precedences: the right side takes only stronger operators.
            right = self.binary(precedence + 1)
            if precedence <= 2:
                conjunction = precedence == 2
                earlier = left.parts if isinstance(left, Logic) and left.all is conjunction else (left,)
                left = Logic(operator.at, conjunction, (*earlier, right)) if len(earlier) < 2 else self.chain(left, operator, right)
            else:
                name = "@in" if operator.kind == "in" else f"_{operator.kind}_"
                left = Call(operator.at, name, None, (left, right))
        return left

    def chain(self, left: Node, operator: Token, right: Node) -> Node:
        """The rest of `left && right && …` is read in one go, so that a long chain is not copied at every step."""
        assert isinstance(left, Logic)
        parts = [*left.parts, right]
        precedence = _PRECEDENCE[operator.kind]
        while self.now.kind == operator.kind:
            self.advance()
            parts.append(self.binary(precedence + 1))
        return Logic(left.at, left.all, tuple(parts))

    def unary(self) -> Node:
        operators: list[Token] = []
        while self.now.kind in ("!", "-"):
            operators.append(self.advance())
        if operators and len(operators) > DEPTH_MAX:
            raise Problem(operators[0].at, f"expression recursion limit exceeded: {DEPTH_MAX}")
        if operators and operators[-1].kind == "-" and self.now.kind in ("int", "double"):
            number = self.advance()
            node: Node = self.members(Literal(operators.pop().at, -number.value, _LITERALS[number.kind]))
        else:
            node = self.members(self.primary())
        for operator in reversed(operators):
            node = Call(operator.at, "-_" if operator.kind == "-" else "!_", None, (node,))
        return node

    def members(self, node: Node) -> Node:
        while True:
            if self.now.kind == ".":
                at = self.advance().at
                optional = self.accept("?")
                field = self.expect("name")
                if self.now.kind == "(" and not optional:
                    open_at = self.advance().at
                    node = expanded(Call(open_at, field.text, node, self.arguments(")")))
                else:
                    node = Select(at, node, field.text, optional)
            elif self.now.kind == "[":
                at = self.advance().at
                name = "_[?_]" if self.accept("?") else "_[_]"
                node = Call(at, name, None, (node, self.expression()))
                self.expect("]")
            elif self.now.kind == "{" and (message := _dotted(node)) is not None:
                node = self.message(message)
            else:
                return node

    def arguments(self, closing: str) -> tuple[Node, ...]:
        read: list[Node] = []
        while self.now.kind != closing:
            read.append(self.expression())
            if not self.accept(","):
                break
        self.expect(closing)
        return tuple(read)

    def primary(self) -> Node:
        token = self.now
        if token.kind in _LITERALS:
            if token.kind == "int" and token.value > INT_MAX:
                raise Problem(token.at, "invalid int literal")
            self.advance()
            return Literal(token.at, token.value, _LITERALS[token.kind])
        if token.kind in _CONSTANTS:
            self.advance()
            return Literal(token.at, *_CONSTANTS[token.kind])
        if token.kind == "(":
            self.advance()
            node = self.expression()
            self.expect(")")
            return node
        if token.kind == "[":
            return self.list()
        if token.kind == "{":
            return self.map()
        self.accept(".")
        if self.now.kind != "name":
            raise Problem(self.now.at, f"Syntax error: mismatched input '{self.now.text}' expecting {_EXPECTED}")
        name = self.advance()
        if self.now.kind == "(":
            at = self.advance().at
            return expanded(Call(at, name.text, None, self.arguments(")")))
        if name.text in RESERVED:
            raise Problem(name.at, f"reserved identifier: {name.text}")
        return Ident(name.at, name.text)

    def list(self) -> Node:
        at = self.advance().at
        items: list[Node] = []
        optional: set[int] = set()
        while self.now.kind != "]":
            if self.accept("?"):
                optional.add(len(items))
            items.append(self.expression())
            if not self.accept(","):
                break
        self.expect("]")
        return ListLiteral(at, tuple(items), frozenset(optional))

    def map(self) -> Node:
        at = self.advance().at
        entries: list[tuple[Node, Node, bool]] = []
        while self.now.kind != "}":
            optional = self.accept("?")
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression(), optional))
            if not self.accept(","):
                break
        self.expect("}")
        return MapLiteral(at, tuple(entries))

    def message(self, name: str) -> Node:
        at = self.advance().at
        entries: list[tuple[int, str, Node, bool]] = []
        while self.now.kind != "}":
            optional = self.accept("?")
            field = self.expect("name")
            colon = self.expect(":")
            entries.append((colon.at, field.text, self.expression(), optional))
            if not self.accept(","):
                break
        self.expect("}")
        return MessageLiteral(at, name, tuple(entries))


def _dotted(node: Node) -> str | None:
    """`a.b.c`, if that is all the node says."""
    names: list[str] = []
    while isinstance(node, Select) and not node.optional and not node.test:
        names.append(node.field)
        node = node.operand
    return ".".join((node.name, *reversed(names))) if isinstance(node, Ident) else None
