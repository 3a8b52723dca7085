"""The secret of a library's audits, and the links and names made with it.

An invitation's link, a trial's id and a clip's name say nothing and cannot be guessed without the
secret; the server makes them again to compare, so nothing about them has to be stored.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from kindred.errors import AuditError

SECRET_BYTES = 32
_NAME_DIGITS = 32
_LONGEST_TOKEN = 200


def load_secret(path: Path, *, make: bool = True) -> bytes:
    """Read the secret, or make it where there is none.

    Parameters
    ----------
    path : Path
        Of the file; only its owner may read it.
    make : bool
        Off once links were sent out: a new secret would make every one of them invalid.

    Raises
    ------
    AuditError
        When it is missing and may not be made, is not 32 bytes, or cannot be read or written.
    """
    try:
        if make and not path.exists():
            _make(path)
        secret = path.read_bytes()
        if path.stat().st_mode & 0o077:
            os.chmod(path, 0o600)
    except OSError as error:
        raise AuditError(
            f"The secret of the listening studies cannot be read from {path} ({error.strerror})."
            " Put the file back from a backup; with another secret no invitation link works."
        ) from error
    if len(secret) != SECRET_BYTES:
        raise AuditError(
            f"{path} is damaged: it has {len(secret)} bytes, not {SECRET_BYTES}. Put it back from a"
            " backup; or remove it and invite everybody again."
        )
    return secret


def _make(path: Path) -> None:
    """Write a new secret, unless another process is faster; nobody ever reads a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(secrets.token_bytes(SECRET_BYTES))
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
    finally:
        temporary.unlink(missing_ok=True)


def make_token(secret: bytes, invitation_id: str) -> str:
    """The part of an invitation's link that is its own."""
    return str(_serializer(secret).dumps(invitation_id))


def read_token(secret: bytes, token: str) -> str | None:
    """The invitation's id; ``None`` for a token that was not made with this secret."""
    from itsdangerous import BadData

    if len(token) > _LONGEST_TOKEN or not token.isascii():
        return None
    try:
        invitation_id = str(_serializer(secret).loads(token))
    except BadData:
        return None
    # base64 leaves bits unused: several texts decode to one signature, and one of them is ours.
    same = hmac.compare_digest(make_token(secret, invitation_id), token)
    return invitation_id if same else None


def _serializer(secret: bytes):  # type: ignore[no-untyped-def]
    from itsdangerous import URLSafeSerializer

    return URLSafeSerializer(
        secret,
        salt="invitation",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )


def opaque(secret: bytes, *parts: str | int) -> str:
    """32 hexadecimal digits that name something: HMAC-SHA256 of its parts."""
    text = "\0".join(str(part) for part in parts)
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:_NAME_DIGITS]
