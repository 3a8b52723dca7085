"""Objects of an S3 store: listed, sent in parts that can be taken up again, fetched by ranges.

Every upload carries its MD5, which the store compares. An object's ETag is the MD5 of its bytes, or
of the MD5s of its parts: so a listing tells what is there. Where the store encrypts by KMS it is
not; then the SHA-256 noted with the object stands in, and parts are sent anew.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kindred.artifacts import s3_client
from kindred.artifacts.layout import Entry, sha256_of
from kindred.artifacts.meter import Meter
from kindred.artifacts.s3_client import REFUSED, Broken, NotThere, clear, connect
from kindred.errors import ArtifactError

#: Bytes from which an upload goes in parts, and of each part; more where there were over 10,000.
PART = 8 << 20
_CHUNK = 1 << 20


def split_url(url: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``; raises :class:`ArtifactError`."""
    scheme, found, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    key = key.strip("/")
    if scheme != "s3" or not found or not bucket or not key:
        raise ArtifactError(f"{url!r} is not an address in S3. It must be s3://BUCKET/KEY.")
    return bucket, key


@dataclass(frozen=True)
class Found:
    """An object as a listing shows it."""

    size: int
    etag: str


class Bucket:
    """One bucket; safe to share between threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._client = connect()
        self.place = self._client.meta.endpoint_url.rpartition("@")[2]

    def list(self, prefix: str) -> dict[str, Found]:
        """Every object below a prefix."""
        with self._clear(f"listing s3://{self.name}/{prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix
            )
            return {
                item["Key"]: Found(item["Size"], item["ETag"].strip('"'))
                for page in pages
                for item in page.get("Contents", ())
            }

    def read(self, key: str, *, limit: int) -> bytes | None:
        """A small object's bytes, or None where there is no such object."""
        try:
            with self._clear(f"reading s3://{self.name}/{key}"):
                answer = self._client.get_object(Bucket=self.name, Key=key)
                with closing(answer["Body"]) as body:
                    if answer["ContentLength"] > limit:
                        raise ArtifactError(f"s3://{self.name}/{key} is larger than {limit} bytes.")
                    data: bytes = body.read()
                    return data
        except NotThere:
            return None

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        for key in keys:
            with self._clear(f"removing s3://{self.name}/{key}"):
                self._client.delete_object(Bucket=self.name, Key=key)

    # -- sending ---------------------------------------------------------------------------
    def has(self, key: str, found: Found | None, path: Path, entry: Entry) -> bool:
        """Whether an object has a file's bytes."""
        if found is None or found.size != entry.bytes:
            return False
        if found.etag == _etag(path, entry.bytes):
            return True
        with self._clear(f"looking at s3://{self.name}/{key}"):
            head = self._client.head_object(Bucket=self.name, Key=key)
        by_kms = str(head.get("ServerSideEncryption", "")).startswith("aws:kms")
        return by_kms and head["Metadata"].get("sha256") == entry.sha256

    def put(self, path: Path, key: str, entry: Entry, meter: Meter) -> None:
        """Send a file; a large one in parts, of which those are kept that an earlier try sent."""
        if entry.bytes > PART:
            self._put_parts(path, key, entry, meter)
            return
        data = path.read_bytes()
        with self._clear(f"sending {path.name} to s3://{self.name}/{key}"):
            self._client.put_object(
                Bucket=self.name,
                Key=key,
                Body=data,
                ContentMD5=_base64(data),
                Metadata={"sha256": entry.sha256},
            )
        meter.add(len(data), path.name)

    def _put_parts(self, path: Path, key: str, entry: Entry, meter: Meter) -> None:
        size = _part_size(entry.bytes)
        numbers = range(1, -(-entry.bytes // size) + 1)
        where = {"Bucket": self.name, "Key": key}
        with self._clear(f"sending {path.name} to s3://{self.name}/{key}"):
            upload, etags = self._begun(path, key, size)
            if not upload:
                answer = self._client.create_multipart_upload(
                    **where, Metadata={"sha256": entry.sha256}
                )
                upload = answer["UploadId"]

            def send(number: int) -> None:
                data = _part(path, number, size)
                if number not in etags:
                    answer = self._client.upload_part(
                        **where,
                        UploadId=upload,
                        PartNumber=number,
                        Body=data,
                        ContentMD5=_base64(data),
                    )
                    etags[number] = answer["ETag"]
                meter.add(len(data), path.name)

            meter.in_threads(partial(send, number) for number in numbers)
            parts = [{"PartNumber": number, "ETag": etags[number]} for number in numbers]
            self._client.complete_multipart_upload(
                **where, UploadId=upload, MultipartUpload={"Parts": parts}
            )

    def _begun(self, path: Path, key: str, size: int) -> tuple[str, dict[int, str]]:
        """The upload of this file that was begun last, and the ETags of its parts.

        One with a part that differs is of another file, and is dropped.
        """
        from botocore.exceptions import ClientError

        try:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.name, Prefix=key
            )
            begun = [up for page in pages for up in page.get("Uploads", ()) if up["Key"] == key]
            if not begun:
                return "", {}
            upload = max(begun, key=lambda up: up["Initiated"])["UploadId"]
            where = {"Bucket": self.name, "Key": key, "UploadId": upload}
            pages = self._client.get_paginator("list_parts").paginate(**where)
            etags = {
                part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", ())
            }
            for number, etag in etags.items():
                if etag.strip('"') != _md5(_part(path, number, size)).hex():
                    self._client.abort_multipart_upload(**where)
                    return "", {}
        except ClientError as error:  # listing may be forbidden where sending is not
            if error.response["Error"]["Code"] in REFUSED:
                return "", {}
            raise
        return upload, etags

    # -- fetching --------------------------------------------------------------------------
    def get(self, key: str, target: Path, entry: Entry, meter: Meter) -> None:
        """Fetch an object; goes on where ``<target>.part`` ends.

        Without a SHA-256 in ``entry`` it begins anew, and only its size is compared.

        Raises
        ------
        ArtifactError
            When it has other bytes; they are deleted.
        """
        part = target.with_name(f"{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not entry.sha256:
            part.unlink(missing_ok=True)
        resumed = part.exists()
        self._fetch(key, part, entry.bytes, meter)
        if entry.sha256 and sha256_of(part) != entry.sha256:
            part.unlink()
            if not resumed:
                raise ArtifactError(
                    f"s3://{self.name}/{key} has other bytes than were sent there (its SHA-256"
                    " differs). Push it again."
                )
            meter.add(-entry.bytes, target.name)  # perhaps it was replaced since: once more
            self.get(key, target, entry, meter)
            return
        os.replace(part, target)

    def size(self, key: str) -> int:
        """Bytes of an object."""
        with self._clear(f"looking at s3://{self.name}/{key}"):
            return int(self._client.head_object(Bucket=self.name, Key=key)["ContentLength"])

    def _fetch(self, key: str, part: Path, size: int, meter: Meter) -> None:
        """Append to ``part`` what it lacks of an object."""
        name, left = part.name.removesuffix(".part"), s3_client.ATTEMPTS
        with part.open("ab") as file:
            if file.tell() > size:
                file.seek(0)
                file.truncate()
            if file.tell():
                meter.add(file.tell(), name)
            while (start := file.tell()) < size:
                try:
                    with closing(self._chunks(key, start, size)) as chunks:
                        for chunk in chunks:
                            file.write(chunk)
                            meter.add(len(chunk), name)
                except Broken as error:
                    left = s3_client.ATTEMPTS if file.tell() > start else left - 1
                    if left < 1:
                        raise ArtifactError(str(error)) from error.__cause__
                    time.sleep(0.2)

    def _chunks(self, key: str, start: int, size: int) -> Generator[bytes, None, None]:
        """Yield an object's bytes from ``start`` on."""
        doing = f"fetching s3://{self.name}/{key}"
        with self._clear(doing):
            answer = self._client.get_object(Bucket=self.name, Key=key, Range=f"bytes={start}-")
        with closing(answer["Body"]) as body:
            reach, _, total = answer.get("ContentRange", "").rpartition("/")
            if reach != f"bytes {start}-{size - 1}":
                raise ArtifactError(
                    f"s3://{self.name}/{key} has {total or 'an unknown number of'} bytes, {size}"
                    " were sent there. Push it again."
                )
            with self._clear(doing, broken=Broken):
                yield from body.iter_chunks(_CHUNK)

    def _clear(
        self, doing: str, *, broken: type[Exception] = ArtifactError
    ) -> AbstractContextManager[None]:
        return clear(self.place, self.name, doing, broken=broken)


def _part_size(size: int) -> int:
    """Bytes of a part, in whole MiB, so that there are 10,000 at most."""
    return max(PART, -(-size // (10_000 << 20)) << 20)


def _part(path: Path, number: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek((number - 1) * size)
        return file.read(size)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _base64(data: bytes) -> str:
    """The MD5 as the Content-MD5 header wants it."""
    return base64.b64encode(_md5(data)).decode()


def _etag(path: Path, size: int) -> str:
    """The ETag of a file that was sent by :meth:`Bucket.put`."""
    if size <= PART:
        return _md5(path.read_bytes()).hex()
    step = _part_size(size)
    count = -(-size // step)
    digests = b"".join(_md5(_part(path, number, step)) for number in range(1, count + 1))
    return f"{_md5(digests).hex()}-{count}"
