"""Which rows of a request the canary answers.

The choice is a hash of the endpoint's salt and the row's entity: the same entity meets the same arm in every process
and after every restart, and growing the share only ever moves entities from live to canary.
"""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["goes_to_canary"]


def goes_to_canary(salt: str, entity: str, share: float) -> bool:
    """Whether this entity belongs to the canary's share, in [0, 1].

    >>> goes_to_canary("s", "anybody", 0.0), goes_to_canary("s", "anybody", 1.0)
    (False, True)
    """
    digest = blake2b(entity.encode(), digest_size=8, key=blake2b(salt.encode(), digest_size=16).digest()).digest()
    return int.from_bytes(digest, "big") < share * 2.0**64
