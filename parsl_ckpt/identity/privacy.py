"""What of the arguments may be seen in a checkpoint: previews, and secrets.

A leaf of at most 40 bytes is the value itself, in clear: a preview.  ``previews=False`` records its
digest instead; addresses stay as they are.  But short values can be guessed from digests, by trying
them all.  A *secret* parameter therefore counts by a digest that is keyed: nobody without the key
can tell, from the leaf or from the address, which value it was.

Rule of this file: pure.  The key comes from elsewhere (``keys.py``); addresses of secret arguments
hold as long as it stays the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from blake3 import blake3

from .keys import SECRETS, KeySource, derive, signing_secret, user_secret

SECRET = b"\xff"
"""Tag of a secret leaf; no leaf of a value begins with it."""


@dataclass(frozen=True)
class Privacy:
    """What is hidden of the arguments.

    Args:
        names: parameters that are secret, in whatever app.
        previews: False hides short values of all parameters in what is recorded.
        source: where the key comes from: a signing key, else the user's own is used.
        key: the key, once it is needed.
    """

    names: frozenset[str] = frozenset()
    previews: bool = True
    source: KeySource | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)

    def of(self, secret: str | Iterable[str] | None) -> Privacy:
        """The same for one app, with parameters that it says are secret.

        Raises:
            KeyFileError: something is secret, and there is no key for it.
        """
        more = frozenset([secret] if isinstance(secret, str) else secret or ())
        names = self.names | more
        key = self.key
        if names and key is None:
            given = signing_secret(self.source)
            key = derive(user_secret() if given is None else given, SECRETS)
        return replace(self, names=names, key=key)

    def secret(self, leaf: bytes) -> bytes:
        """The leaf of a secret argument."""
        assert self.key is not None
        return SECRET + blake3(leaf, key=self.key).digest()

    def shown(self, leaves: Iterable[bytes]) -> tuple[bytes, ...]:
        """Leaves as they are recorded."""
        if not self.previews:
            return tuple([without_preview(leaf) for leaf in leaves])
        return tuple([without_preview(x) if self._may_hold(x) else x for x in leaves])

    def names_secret(self, data: bytes) -> bool:
        """Whether an encoded value may have a part of a secret name: a key, a field."""
        return any(name.encode("utf-8", "surrogatepass") in data for name in self.names)

    def _may_hold(self, leaf: bytes) -> bool:
        return not leaf[0] & 0x80 and self.names_secret(leaf)


def without_preview(leaf: bytes) -> bytes:
    """A leaf that shows nothing of a value, in place of one that may be the value itself.

    >>> without_preview(without_preview(b"s" + b"hello")) == without_preview(b"s" + b"hello")
    True
    """
    if leaf[0] & 0x80 or leaf[:1] == b"L":  # a digest already, or the key of another call
        return leaf
    return bytes([leaf[0] | 0x80]) + blake3(leaf).digest()
