"""What holds for every expression: arithmetic as in Python within 64 bits, no other error than ours, && and || commute."""

import math

from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.cel import DYN, INT, CelError, CelEvaluationError, compile_expression

INT64 = st.integers(-(2**63), 2**63 - 1)
PIECES = st.sampled_from(
    ["a", "x", "1", "2u", "1.5", "'s'", "b'y'", "null", "true", "[", "]", "(", ")", "{", "}", ",", ":", "?", ".", "+", "-", "*", "/", "%", "==", "<", "in",
     "&&", "||", "!", "has(", ".all(x,", ".map(x, x)", ".size()", "dyn(x)", ".?a", "[?", "\\", '"', "'''", "\n", "é", "format", "timestamp(", "type("]
)  # fmt: skip
OPERATIONS = {name: compile_expression(f"a {name} b", {"a": INT, "b": INT}) for name in ("+", "-", "*", "/", "%", "<", "==")}


@given(INT64, INT64)
def test_arithmetic_agrees_with_python_where_it_fits(a: int, b: int) -> None:
    truth = {"+": a + b, "-": a - b, "*": a * b, "<": a < b, "==": a == b}
    if b:
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        truth |= {"/": quotient, "%": a - quotient * b}
    for name, program in OPERATIONS.items():
        try:
            found = program.evaluate({"a": a, "b": b})
        except CelEvaluationError:
            assert name not in truth or not -(2**63) <= truth[name] < 2**63 or (name == "%" and b == -1)
        else:
            assert found == truth[name]


@given(st.text(max_size=60) | st.lists(PIECES, max_size=25).map("".join) | st.lists(PIECES, max_size=25).map(" ".join))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        program = compile_expression(text, {"x": DYN, "a": DYN})
    except CelError as error:
        assert error.position[0] >= 1
        return
    for values in ({"x": [1, {"a": "b"}], "a": {"a": 1.5}}, {"x": None, "a": "text"}):
        try:
            program.evaluate(values, cost_limit=10_000)
        except CelEvaluationError:
            continue


OPERANDS = st.sampled_from(["true", "false", "1 / x > 0", "y.missing", "[1][x + 5] == 1"])


@given(OPERANDS, OPERANDS, st.sampled_from(["&&", "||"]))
def test_conjunction_and_disjunction_commute_in_errors(a: str, b: str, operator: str) -> None:
    def outcome(text: str) -> object:
        try:
            return compile_expression(text, {"x": INT, "y": DYN}).evaluate({"x": 0, "y": {}})
        except CelEvaluationError:
            return "error"

    assert outcome(f"{a} {operator} {b}") == outcome(f"{b} {operator} {a}")


@given(st.floats(), st.floats())
def test_double_division_is_ieee(a: float, b: float) -> None:
    found = compile_expression("a / b", {"a": DYN, "b": DYN}).evaluate({"a": a, "b": b})
    if b:
        assert found == a / b or (math.isnan(found) and math.isnan(a / b))
    else:
        assert math.isnan(found) or math.isinf(found)
