"""What a namespace's labels ask of its pods, and which checks that means.

    pod-security.kubernetes.io/enforce: restricted         pods that violate it are refused
    pod-security.kubernetes.io/enforce-version: v1.29      by the standard as it was then; `latest` where nothing is said
    …/audit, …/warn                                        told in the audit log, or to the client; nothing is refused

A label that cannot be read counts as restricted when enforced, and as nothing otherwise.
Source: k8s.io/pod-security-admission/{api,policy}.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from k8sfromscratch.api.errors import Cause
from k8sfromscratch.core.admission.pod_security_baseline import BASELINE, Check, Finding, Subject, Versions
from k8sfromscratch.core.admission.pod_security_restricted import REPLACES, RESTRICTED

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
LATEST = 10_000
"""Newer than any version."""

_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Standard:
    """`minor`: of the policy's version v1.MINOR."""

    level: str = "privileged"
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"

    @property
    def strictness(self) -> int:
        return LEVELS.index(self.level)


@dataclass(frozen=True, slots=True)
class Policy:
    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()


ALLOWS_ALL = Policy()


def policy_of(labels: Mapping[str, str] | None) -> tuple[Policy, list[Cause]]:
    """The policy that holds, whether or not the labels are right, and what is wrong with them."""
    if not labels or not any(key.startswith(PREFIX) for key in labels):
        return ALLOWS_ALL, []
    causes: list[Cause] = []
    enforce, audit, warn = (_standard(labels, mode, causes) for mode in ("enforce", "audit", "warn"))
    return Policy(enforce, audit, warn), causes


def _standard(labels: Mapping[str, str], mode: str, causes: list[Cause]) -> Standard:
    level, minor = labels.get(PREFIX + mode, "privileged"), LATEST
    if level not in LEVELS:
        causes.append(_invalid(PREFIX + mode, level, f"must be one of {', '.join(LEVELS)}"))
        level = "restricted" if mode == "enforce" else "privileged"
    version = labels.get(f"{PREFIX}{mode}-version", "latest")
    if version != "latest":
        found = _VERSION.fullmatch(version)
        if found is None:
            causes.append(_invalid(f"{PREFIX}{mode}-version", version, 'must be "latest" or "v1.x"'))
        else:
            minor = min(int(found.group(1)), LATEST - 1)
    return Standard(level, minor)


def _invalid(label: str, value: str, why: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "{value}": {why}', f"metadata.labels[{label}]")


def evaluate(subject: Subject, standard: Standard) -> list[Finding]:
    """Empty where the pod meets it."""
    return [finding for check in checks(standard) if (finding := check(subject)) is not None]


def told(findings: list[Finding]) -> str:
    return ", ".join(f"{finding.reason} ({finding.detail})" if finding.detail else finding.reason for finding in findings)


@lru_cache(maxsize=128)
def checks(standard: Standard) -> tuple[Check, ...]:
    if standard.level == "privileged":
        return ()
    stricter = {name: check for name, versions in RESTRICTED.items() if (check := _at(versions, standard.minor)) is not None}
    if standard.level == "baseline":
        stricter = {}
    replaced = {REPLACES[name] for name in stricter if name in REPLACES}
    basic = {name: check for name, versions in BASELINE.items() if name not in replaced and (check := _at(versions, standard.minor)) is not None}
    return (*basic.values(), *stricter.values())


def _at(versions: Versions, minor: int) -> Check | None:
    known = [first for first in versions if first <= minor]
    return versions[max(known)] if known else None
