"""Bearer tokens that are plain secrets: the static file of --token-auth-file, and bootstrap tokens, by which new nodes join.

token,user,uid,"group1,group2"                                        a line of the file
07401b.f395accd246ae52d   Secret kube-system/bootstrap-token-07401b   user system:bootstrap:07401b, group system:bootstrappers
"""

import base64
import binascii
import csv
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from k8sfromscratch.api.registry import SECRETS
from k8sfromscratch.components.apiserver.tokens import InvalidToken
from k8sfromscratch.core.admission.types import View
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process.clock import parse_rfc3339

BOOTSTRAP_TYPE = "bootstrap.kubernetes.io/token"
BOOTSTRAP_GROUP = "system:bootstrappers"

_BOOTSTRAP_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_BOOTSTRAP_EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class TokenFileError(Exception):
    """The message names the file and the line."""


def read_token_file(path: str) -> Mapping[str, UserInfo]:
    """Raises TokenFileError."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileError(f"{path} cannot be read: {error}") from error
    users: dict[str, UserInfo] = {}
    for number, fields in enumerate(csv.reader(text.splitlines(), skipinitialspace=True), 1):
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) < 3:
            raise TokenFileError(f"{path}:{number}: needs at least 3 columns: token, user name, user uid")
        token, user, uid = (field.strip() for field in fields[:3])
        if not token or not user:
            raise TokenFileError(f"{path}:{number}: token and user name must not be empty")
        groups = tuple(group.strip() for group in fields[3].split(",") if group.strip()) if len(fields) > 3 else ()
        users[token] = UserInfo(user, (*groups, "system:authenticated"), uid)
    return users


def bootstrap_user(token: str, view: View, now: datetime) -> UserInfo | None:
    """None: not of a bootstrap token's form, or there is none of that name.  Raises InvalidToken."""
    match = _BOOTSTRAP_TOKEN.fullmatch(token)
    if match is None:
        return None
    identity, secret_part = match.groups()
    secret = view.get(SECRETS, f"bootstrap-token-{identity}", "kube-system")
    if secret is None or secret.get("type") != BOOTSTRAP_TYPE or secret["metadata"].get("deletionTimestamp"):
        return None
    data = _decoded(secret)
    if not hmac.compare_digest(data.get("token-secret", "").encode(), secret_part.encode()) or data.get("token-id") != identity:
        raise InvalidToken("the bootstrap token's secret is another")
    expiration = data.get("expiration")
    if expiration and _has_passed(expiration, now):
        raise InvalidToken("the bootstrap token has expired")
    if data.get("usage-bootstrap-authentication") != "true":
        raise InvalidToken("the bootstrap token is not for authentication")
    groups = [group.strip() for group in data.get("auth-extra-groups", "").split(",") if group.strip()]
    for group in groups:
        if not _BOOTSTRAP_EXTRA_GROUP.fullmatch(group):
            raise InvalidToken(f"the bootstrap token names a group it may not: {group}")
    return UserInfo(f"system:bootstrap:{identity}", (BOOTSTRAP_GROUP, *groups, "system:authenticated"))


def _has_passed(expiration: str, now: datetime) -> bool:
    try:
        return parse_rfc3339(expiration) <= now
    except (ValueError, TypeError) as error:
        raise InvalidToken(f"the bootstrap token's expiration is no time: {expiration}") from error


def _decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    decoded = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(value or "", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidToken(f"the bootstrap token's field {key} cannot be decoded") from error
    return decoded
