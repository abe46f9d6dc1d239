"""The Common Expression Language as Kubernetes uses it: validation rules, match conditions, admission policies.

    text ─lexer─► tokens ─parser, macros─► tree ─compiler, against the variables' types─► Program ─evaluate(values)─► plain value

Compilation is static: a misspelt field or an overload that does not exist is refused when the rule is written, in cel-go's words.
Nothing here reads a clock, a file or the network; hostile text and values cost bounded time (see `parser`, `compiler`, `library.regexes`).
No library on PyPI checks types at compile time and bounds cost; hence our own.

>>> schema = {"type": "object", "properties": {"replicas": {"type": "integer"}, "maxReplicas": {"type": "integer"}}}
>>> rule = compile_expression("self.replicas <= self.maxReplicas", {"self": schema_type(schema)}, result=BOOL)
>>> rule.evaluate({"self": {"replicas": 3, "maxReplicas": 5}})
True
>>> compile_expression("self.replica > 0", {"self": schema_type(schema)})
Traceback (most recent call last):
    ...
k8sfromscratch.core.cel.errors.CelError: ERROR: <input>:1:5: undefined field 'replica'
 | self.replica > 0
 | ....^
"""

from k8sfromscratch.core.cel.errors import CelError, CelEvaluationError, CostExceeded
from k8sfromscratch.core.cel.overload import Overload
from k8sfromscratch.core.cel.program import Program, compile_expression
from k8sfromscratch.core.cel.schema import escape_property, schema_type
from k8sfromscratch.core.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    CelType,
    list_of,
    map_of,
    object_of,
    opaque,
    optional_of,
)

__all__ = [
    "BOOL",
    "BYTES",
    "DOUBLE",
    "DURATION",
    "DYN",
    "INT",
    "NULL",
    "STRING",
    "TIMESTAMP",
    "TYPE",
    "UINT",
    "CelError",
    "CelEvaluationError",
    "CelType",
    "CostExceeded",
    "Overload",
    "Program",
    "compile_expression",
    "escape_property",
    "list_of",
    "map_of",
    "object_of",
    "opaque",
    "optional_of",
    "schema_type",
]
