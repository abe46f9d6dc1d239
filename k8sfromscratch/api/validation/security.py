"""Security contexts of pods and containers: users, groups, sysctls, seccomp, privileges.

Source: validatePodSecurityContext and ValidateSecurityContext in pkg/apis/core/validation.
"""

import re
from collections.abc import Mapping
from typing import Any

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.validation.field import Object, checked, duplicates, indexed, invalid, one_of, optional_one_of, required

ID_MAX = 2**31 - 1

_ID_RANGE = f"must be between 0 and {ID_MAX}, inclusive"
_SYSCTL_LENGTH_MAX = 253
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
# Both spellings are the kernel's: net.ipv4.x and net/ipv4/x.
_SYSCTL = re.compile(rf"({_SYSCTL_SEGMENT}[./])*{_SYSCTL_SEGMENT}")
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")


def pod_security(spec: Object, path: str) -> list[Cause]:
    of = spec.get("securityContext") or {}
    at = f"{path}.securityContext"
    causes = _ids(of, at)
    for index, group in enumerate(of.get("supplementalGroups") or ()):
        if not 0 <= group <= ID_MAX:
            causes.append(invalid(f"{at}.supplementalGroups[{index}]", group, _ID_RANGE))
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        causes.append(invalid(f"{at}.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled"))
    for at_sysctl, one in indexed(of, "sysctls", at):
        name = one.get("name", "")
        if not name:
            causes.append(required(f"{at_sysctl}.name"))
        elif len(name) > _SYSCTL_LENGTH_MAX or _SYSCTL.fullmatch(name) is None:
            form = rf"({_SYSCTL_SEGMENT}[\./])*{_SYSCTL_SEGMENT}"
            causes.append(invalid(f"{at_sysctl}.name", name, f"must have at most {_SYSCTL_LENGTH_MAX} characters and match regex {form}"))
    causes += duplicates((f"{at_sysctl}.name", one.get("name", "")) for at_sysctl, one in indexed(of, "sysctls", at))
    causes += optional_one_of(f"{at}.fsGroupChangePolicy", of.get("fsGroupChangePolicy"), ("Always", "OnRootMismatch"))
    return causes + _profiles(of, at) + _windows(of.get("windowsOptions") or {}, f"{at}.windowsOptions")


def container_security(of: Object, path: str) -> list[Cause]:
    causes = _ids(of, path) + _profiles(of, path)
    if of.get("privileged") and of.get("allowPrivilegeEscalation") is False:
        causes.append(invalid(path, of, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
    # What the kernel calls CAP_SYS_ADMIN is SYS_ADMIN here; this rule alone has always taken the other name.
    if of.get("allowPrivilegeEscalation") is False and "CAP_SYS_ADMIN" in ((of.get("capabilities") or {}).get("add") or ()):
        causes.append(invalid(path, of, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
    causes += optional_one_of(f"{path}.procMount", of.get("procMount"), ("Default", "Unmasked"))
    return causes + _windows(of.get("windowsOptions") or {}, f"{path}.windowsOptions")


def _ids(of: Mapping[str, Any], path: str) -> list[Cause]:
    return [invalid(f"{path}.{key}", of[key], _ID_RANGE) for key in ("runAsUser", "runAsGroup", "fsGroup") if not 0 <= of.get(key, 0) <= ID_MAX]


def _profiles(of: Mapping[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key, words in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile = of.get(key)
        if profile is None:
            continue
        at, kind, file = f"{path}.{key}", profile.get("type", ""), profile.get("localhostProfile")
        if not kind:
            causes.append(required(f"{at}.type", f"type is required when {key} is set"))
            continue
        causes += one_of(f"{at}.type", kind, _PROFILES)
        if kind == "Localhost" and not file:
            causes.append(required(f"{at}.localhostProfile", f"must be set when {words} type is Localhost"))
        elif kind != "Localhost" and file is not None:
            causes.append(invalid(f"{at}.localhostProfile", profile, f"can only be set when {words} type is Localhost"))
    return causes


def _windows(of: Mapping[str, Any], path: str) -> list[Cause]:
    name = of.get("gmsaCredentialSpecName")
    return [] if name is None else checked(f"{path}.gmsaCredentialSpecName", name, names.dns_subdomain)
