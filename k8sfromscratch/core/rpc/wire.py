"""How protobuf writes numbers: seven bits a byte, the lowest first, the top bit where more follow."""

SHORT = [bytes((n,)) if n < 0x80 else bytes((n & 0x7F | 0x80, n >> 7)) for n in range(0x4000)]
"""Of one and two bytes, for where a call would take longer than the rest."""


def varint(number: int) -> bytes:
    if 0 <= number < 0x4000:
        return SHORT[number]
    if 0 < number < 0x200000:  # revisions and the lengths of values: three bytes
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    number &= 0xFFFFFFFFFFFFFFFF  # negative numbers are written as 64 bits
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
