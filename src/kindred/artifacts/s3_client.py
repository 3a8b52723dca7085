"""The boto3 client of an S3 store, and what it raises in one clear line.

boto3 finds credentials, region and endpoint as it always does (environment, profile, role;
``AWS_ENDPOINT_URL`` for stores other than Amazon's). No message shows a credential.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from kindred.errors import ArtifactError, MissingPackage

#: Times a request is made, and a broken download is taken up without a byte having come.
ATTEMPTS = 4
#: Seconds to connect, and between two bytes.
TIMEOUT = 20.0
CONNECTIONS = 16  # kept open, for the threads of a transfer

_AGAIN = "Run the same command again: it goes on where it stopped."
#: Codes of the store by which it refuses, and by which it has no such object.
REFUSED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden"}
REFUSED |= {"ExpiredToken", "InvalidToken", "AllAccessDisabled", "AccountProblem", "401"}
_MISSING = {"404", "NoSuchKey", "NotFound"}


class NotThere(ArtifactError):
    """There is no such object."""


class Broken(Exception):
    """The connection broke while bytes came."""


def connect() -> Any:
    """A client, safe to share between threads; made once for one environment.

    Raises
    ------
    MissingPackage, ArtifactError
    """
    own = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    return _client(tuple(own), ATTEMPTS, TIMEOUT)


@lru_cache(maxsize=4)
def _client(environment: tuple[tuple[str, str], ...], attempts: int, timeout: float) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise MissingPackage(
            "S3 needs the package boto3. Run `pip install -r requirements.txt`."
        ) from error
    config = Config(
        connect_timeout=timeout,
        read_timeout=timeout,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=CONNECTIONS,
        # Checksums newer than MD5 are unknown to some stores; ours are compared in any case.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.session.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise ArtifactError(
            f"boto3 cannot be set up ({type(error).__name__}). Check AWS_PROFILE, AWS_REGION and"
            " AWS_ENDPOINT_URL."
        ) from error


@contextmanager
def clear(
    place: str, bucket: str, doing: str, *, broken: type[Exception] = ArtifactError
) -> Iterator[None]:
    """Turn what boto3 raises while ``doing`` something into one clear line.

    A connection that broke, or a fault of the store, becomes ``broken``.
    """
    from botocore import exceptions as boto
    from urllib3.exceptions import HTTPError

    try:
        yield
    except boto.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _MISSING:
            raise NotThere(f"There is nothing at the address: {doing} ({code}).") from error
        if code == "NoSuchBucket":
            message = f"{place} has no bucket {bucket!r}. Create it, or correct the"
            raise ArtifactError(f"{message} address.") from error
        if code == "InvalidRange":
            raise ArtifactError(
                f"It is shorter than what was sent there: {doing}. Push it again."
            ) from error
        if code in REFUSED:
            raise ArtifactError(
                f"{place} refused {doing} ({code}). Check the credentials that boto3 finds"
                " and what they allow in this bucket."
            ) from error
        raise broken(f"{place} failed while {doing} ({code}). {_AGAIN}") from error
    except (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.CredentialRetrievalError,
        boto.TokenRetrievalError,
        boto.SSOError,
    ) as error:
        raise ArtifactError(
            "There are no usable S3 credentials. Set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or anything else boto3 reads."
        ) from error
    except boto.ParamValidationError as error:
        raise ArtifactError(f"S3 takes no such name: {doing}. Correct the address.") from error
    except (boto.BotoCoreError, HTTPError) as error:
        raise broken(
            f"{place} stopped answering while {doing} ({type(error).__name__}). {_AGAIN}"
        ) from error
