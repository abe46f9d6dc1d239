"""Keys of service account tokens: how they are read, named (`kid`) and published (JWKS, RFC 7517).

A key's `kid` is derived from the public key as upstream does it, so that tokens outlive a change from one implementation to the other.
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_ECDSA_BY_CURVE = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class KeyFileError(Exception):
    """A key file cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    key: PublicKey
    kid: str
    algorithm: str

    @classmethod
    def of(cls, key: PublicKey) -> "VerificationKey":
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        kid = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
        return cls(key, kid, "RS256" if isinstance(key, rsa.RSAPublicKey) else _ECDSA_BY_CURVE[key.curve.name])

    def jwk(self) -> dict[str, Any]:
        own = RSAAlgorithm.to_jwk(self.key, as_dict=True) if isinstance(self.key, rsa.RSAPublicKey) else ECAlgorithm.to_jwk(self.key, as_dict=True)
        own.pop("key_ops", None)
        return {"use": "sig", **own, "kid": self.kid, "alg": self.algorithm}


@dataclass(frozen=True, slots=True)
class SigningKey:
    key: PrivateKey
    public: VerificationKey

    @classmethod
    def of(cls, key: PrivateKey) -> "SigningKey":
        return cls(key, VerificationKey.of(key.public_key()))


def jwks(keys: Iterable[VerificationKey]) -> dict[str, Any]:
    return {"keys": [key.jwk() for key in {key.kid: key for key in keys}.values()]}


def read_signing_key(path: str) -> SigningKey:
    """--service-account-signing-key-file.  Raises KeyFileError."""
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{path} is not an unencrypted PEM private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise KeyFileError(f"{path}: only RSA and EC keys are supported")
    return SigningKey.of(key)


def read_verification_keys(path: str) -> list[VerificationKey]:
    """--service-account-key-file: one or more PEM keys, public or private.  Raises KeyFileError."""
    keys: list[VerificationKey] = []
    for block in _pem_blocks(_read(path)):
        try:
            if b"PRIVATE KEY" in block:
                private = serialization.load_pem_private_key(block, password=None)
                if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
                    raise KeyFileError(f"{path}: only RSA and EC keys are supported")
                public: Any = private.public_key()
            else:
                public = serialization.load_pem_public_key(block)
        except (ValueError, TypeError) as error:
            raise KeyFileError(f"{path} holds something that is not a PEM key: {error}") from error
        if not isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise KeyFileError(f"{path}: only RSA and EC keys are supported")
        keys.append(VerificationKey.of(public))
    if not keys:
        raise KeyFileError(f"{path} holds no PEM key")
    return keys


def _pem_blocks(data: bytes) -> list[bytes]:
    blocks = []
    for part in data.split(b"-----BEGIN ")[1:]:
        label = part.split(b"-----", 1)[0]
        end = b"-----END " + label + b"-----"
        blocks.append(b"-----BEGIN " + part.split(end, 1)[0] + end + b"\n")
    return blocks


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from error
