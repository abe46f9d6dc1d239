"""The pod-template-hash: a name for a pod template that two templates share only by accident.

FNV-1a over the template's canonical JSON, spelled with letters that cannot form words.  Upstream hashes a Go memory dump instead, so the
values differ; nothing may depend on them but their stability.  A collision is settled by counting it in (`status.collisionCount`).
"""

import json
from typing import Any

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def fnv1a_32(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def safe_encode(text: str) -> str:
    return "".join(ALPHABET[ord(character) % len(ALPHABET)] for character in text)


def compute_hash(value: Any, collision_count: int | None = None) -> str:
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    if collision_count:
        data += collision_count.to_bytes(8, "little")
    return safe_encode(str(fnv1a_32(data)))
