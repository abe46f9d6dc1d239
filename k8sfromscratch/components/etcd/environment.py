"""etcd's flags from where else they may stand: the environment, and a file.

    --data-dir=x              wins
    ETCD_DATA_DIR=x           counts where the flag is not given
    --config-file=etcd.yaml   its keys are the flags' names; nothing else counts then, as upstream has it

A variable ETCD_… that is no flag is told in the log and otherwise ignored: container images and service managers set such.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from k8sfromscratch.components.etcd.config import EtcdFlags
from k8sfromscratch.process.flags import FlagError

PREFIX = "ETCD_"
SECTIONS = {"client-transport-security": "", "peer-transport-security": "peer-"}
"""Of a file: what is below is a flag with this before its name."""


def flags_of(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[EtcdFlags, list[str]]:
    """The flags, and what is to be warned of.  Raises FlagError."""
    known = {PREFIX + field.upper(): field for field in EtcdFlags.model_fields}
    given = _given(argv)
    warnings = [f"unrecognized environment variable {name}={value}" for name, value in sorted(environ.items()) if name.startswith(PREFIX) and name not in known]
    words = []
    for name, field in known.items():
        value = environ.get(name, "")
        if not value:
            continue
        if field in given:
            warnings.append(f"recognized environment variable {name}, but unused: shadowed by corresponding flag")
        else:
            words.append(f"--{field.replace('_', '-')}={value}")
    try:
        flags = EtcdFlags.parse([*words, *argv])
    except FlagError as error:
        raise FlagError(f"{error}{' (the environment counts too)' if words else ''}") from error
    if flags.config_file:
        return EtcdFlags.parse(file_words(Path(flags.config_file))), warnings
    return flags, warnings


def file_words(path: Path) -> list[str]:
    """The file as a command line.  Raises FlagError."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FlagError(f"--config-file {path} cannot be read: {error}".replace("\n", " ")) from error
    if not isinstance(content, dict):
        raise FlagError(f"--config-file {path} is not a mapping of flags to values")
    words = []
    for key, value in content.items():
        if key in SECTIONS and isinstance(value, dict):
            words += [_word(f"{SECTIONS[key]}{below}", each) for below, each in value.items()]
        elif value is not None:
            words.append(_word(str(key), value))
    return words


def _given(argv: Sequence[str]) -> set[str]:
    """The fields that a command line sets, whatever it says about them."""
    found = set()
    words = iter(argv)
    for word in words:
        name, equals, _ = word.removeprefix("--").partition("=")
        field = EtcdFlags.model_fields.get(name.replace("-", "_"))
        if word.startswith("--") and field is not None:
            found.add(name.replace("-", "_"))
            if not equals and field.annotation is not bool:
                next(words, None)
    return found


def _word(name: str, value: Any) -> str:
    if isinstance(value, dict):
        raise FlagError(f"--config-file: {name} cannot be a mapping")
    if isinstance(value, bool):
        return f"--{name}={str(value).lower()}"
    return f"--{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
