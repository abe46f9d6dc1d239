"""`python -m k8sfromscratch.components.pki ensure --dir D --spec FILE.json [--dry-run]`: a cluster's certificates, made and kept good.

Prints `{"changed": [{"path": "apiserver.crt", "reason": "missing"}, …]}`; an empty list means that all was in order.
Exit codes: 0 done, 1 failed (what and why on stderr), 2 wrong use or a wrong spec (the field is named).
What the spec may hold is in `config.py`.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from k8sfromscratch.components.pki.app import ensure
from k8sfromscratch.components.pki.config import PkiFlags, PkiSpec
from k8sfromscratch.process.clock import SystemClock
from k8sfromscratch.process.flags import FlagError
from k8sfromscratch.process.pki import PkiError


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0] != "ensure":
        print("pki: usage: ensure --dir DIRECTORY --spec FILE [--dry-run]", file=sys.stderr)
        return 2
    try:
        flags = PkiFlags.parse(argv[1:])
        spec = PkiSpec.model_validate_json(Path(flags.spec).read_bytes())
    except (FlagError, OSError) as error:
        print(f"pki: {error}", file=sys.stderr)
        return 2
    except ValidationError as error:
        for problem in error.errors():
            print(f"pki: {flags.spec}: {'.'.join(str(part) for part in problem['loc']) or 'spec'}: {problem['msg']}", file=sys.stderr)
        return 2
    try:
        changes = ensure(Path(flags.dir), spec, SystemClock().now(), dry_run=flags.dry_run)
    except (PkiError, OSError) as error:
        print(f"pki: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"changed": [dataclasses.asdict(change) for change in changes]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
