"""What can be wrong with an expression: its text (CelError, at compile time) or the values it meets (CelEvaluationError).

ValueError
├── CelError                the text: syntax, unknown names, types; one block per problem, as cel-go prints it
└── CelEvaluationError      the values: `no such key: x`, `division by zero`
    └── CostExceeded        too much work; unlike the others never absorbed by && and ||
"""


class CelError(ValueError):
    """`position` is the (line, column) of the first problem, line from 1, column from 0; (1, 0) where the whole expression is meant."""

    def __init__(self, message: str, position: tuple[int, int] = (1, 0)) -> None:
        super().__init__(message)
        self.position = position


class CelEvaluationError(ValueError):
    pass


class CostExceeded(CelEvaluationError):
    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class Problem(Exception):
    """One problem at an offset of the text, before the text is known; becomes a CelError."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message


def located(text: str, problems: list[Problem]) -> CelError:
    """cel-go's report: message, the source line, a caret.

    >>> print(located("a +", [Problem(2, "Syntax error")]))
    ERROR: <input>:1:3: Syntax error
     | a +
     | ..^
    """
    blocks = []
    positions = []
    for problem in problems:
        before = text[: problem.offset]
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1)
        source = text.split("\n")[line - 1].replace("\t", " ")
        positions.append((line, column))
        blocks.append(f"ERROR: <input>:{line}:{column + 1}: {problem.message}\n | {source}\n | {'.' * column}^")
    return CelError("\n".join(blocks), positions[0])
