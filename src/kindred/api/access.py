"""Who may ask: everybody on this machine, or who has the key.

A key that is set is always asked for. Beyond localhost there is no API without one.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from kindred.api.errors import Refusal
from kindred.errors import ConfigError

_MAKE = "Set KINDRED_API_KEY, for example to what `openssl rand -hex 32` prints"
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The key.")
_bearer = HTTPBearer(auto_error=False, description="The key as a bearer token.")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Access:
    """The key, if there is one, and whether the API may be asked without."""

    key: bytes = b""
    is_open: bool = True

    @classmethod
    def at(cls, host: str, key: SecretStr) -> Access:
        """Access to an API that listens on an address."""
        secret = key.get_secret_value().strip().encode()
        return cls(secret, not secret and is_loopback(host))

    @property
    def is_closed(self) -> bool:
        """Whether nobody may ask, since the address is beyond localhost and there is no key."""
        return not self.key and not self.is_open

    def demand(self, host: str) -> None:
        """Raise :class:`ConfigError` for an API that nobody could ask."""
        if self.is_closed:
            raise ConfigError(
                f"{host} is reached from other machines, and there is no API key. {_MAKE}, or"
                " listen on 127.0.0.1."
            )

    async def check(
        self,
        header: Annotated[str | None, Security(_header)] = None,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
    ) -> None:
        """The routes' dependency: raise :class:`Refusal` unless the request has the key."""
        if self.is_open:
            return
        if self.is_closed:
            raise _unauthorized(
                f"The API is closed: this server listens beyond localhost without a key. {_MAKE},"
                " and start it again."
            )
        given = header or (bearer.credentials if bearer else "")
        if not hmac.compare_digest(given.encode("latin-1", "replace"), self.key):
            wrong = "The API key is wrong." if given else "This needs the API key."
            raise _unauthorized(
                f"{wrong} Send it as the header X-API-Key, or Authorization: Bearer."
            )


def _unauthorized(message: str) -> Refusal:
    return Refusal(401, "Unauthorized", message, {"WWW-Authenticate": "Bearer"})
