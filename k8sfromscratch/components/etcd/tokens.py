"""Simple tokens, as etcd's `--auth-token simple`: a member remembers which are whose, for as long as they are used.

Who shows a password to one member gets a token that is good on all: the member draws it, and tells the others by a record of the log.  Each member
remembers for itself how long ago it was shown a token, and none remembers any after a start, as upstream: a client then shows its password again.

A token is worth nothing any more when its user is gone or has another password, and all are when authentication is switched off.
"""

import string
from dataclasses import dataclass

from k8sfromscratch.core.mvcc.auth import AuthStore
from k8sfromscratch.core.mvcc.auth_errors import InvalidAuthToken
from k8sfromscratch.process.clock import Env

LETTERS = 16
"""A token's length: 91 bits."""
TOKENS_MAX = 100_000
"""Held at a time; then the one that has been unused for longest goes."""


@dataclass(slots=True)
class _Token:
    username: str
    password_hash: bytes
    expires_at: float


class Tokens:
    """invariant: the dict is in the order of `expires_at`: what is used moves to its end."""

    def __init__(self, env: Env, ttl_s: float) -> None:
        self._env, self._ttl_s = env, ttl_s
        self._tokens: dict[str, _Token] = {}

    def draw(self) -> str:
        return "".join(self._env.rng.choice(string.ascii_letters) for _ in range(LETTERS))

    def give(self, text: str, username: str, auth: AuthStore) -> None:
        """From now on it is this user's."""
        now = self._env.clock.monotonic()
        while self._tokens:
            oldest = next(iter(self._tokens))
            if len(self._tokens) < TOKENS_MAX and self._tokens[oldest].expires_at > now:
                break
            del self._tokens[oldest]
        self._tokens[text] = _Token(username, auth.user(username).password_hash, now + self._ttl_s)

    def user(self, text: str, auth: AuthStore) -> str:
        """Whose it is; it lives on from now.  Raises InvalidAuthToken."""
        token = self._tokens.pop(text, None)
        now = self._env.clock.monotonic()
        if token is None or token.expires_at <= now:
            raise InvalidAuthToken
        user = auth.users.get(token.username)
        if user is None or user.password_hash != token.password_hash:
            raise InvalidAuthToken
        token.expires_at = now + self._ttl_s
        self._tokens[text] = token
        return token.username

    def clear(self) -> None:
        self._tokens.clear()

    def __len__(self) -> int:
        return len(self._tokens)
