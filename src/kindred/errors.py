"""The one tree of errors.

::

    KindredError
    +-- ConfigError              a setting has a value that cannot be used
    +-- MissingPackage           an optional package is not installed
    +-- AudioError               a file cannot be used as audio (has a ``code``)
    +-- LibraryError
    |   +-- TrackNotFound        no track has this id
    |   +-- LibraryBusy          another process is writing to the library
    |   +-- ImportRejected       a metadata file has rows that cannot be used
    |   +-- UploadRejected       an uploaded file is too large or not audio
    +-- EncoderError
    |   +-- UnknownEncoder       no encoder is registered under this name
    |   +-- WeightsMissing       a model's weights are not on this machine
    |   +-- SpaceMismatch        vectors of two embedding spaces were mixed
    +-- StorageError             the store refused or could not be read
    |   +-- StorageUnavailable   it cannot be reached now; the same call may work later
    +-- ArtifactError            an artifact is damaged, or cannot be written, sent or fetched
    +-- QueryError               a search was asked that has no answer
    +-- AuditError               a listening study, or an answer to it, cannot be used
    |   +-- InvitationRefused    a link to a sitting is not valid (has a ``code``)
    +-- ExpressiveError          clips, labels or a learned scorer cannot be made or used
    |   +-- GateRefused          a retriever that has not passed its gates was to be released
    +-- JobError                 a background job cannot be started or found

A message says what went wrong, where, what is allowed, what was got and what to do next.
"""

from __future__ import annotations


class KindredError(Exception):
    """Root of every error Kindred raises on purpose; its message is fit to show to a user."""


class ConfigError(KindredError):
    """A setting has a value that cannot be used."""


class MissingPackage(KindredError):
    """An optional package is needed and not installed; the message names the command."""


class AudioError(KindredError):
    """A file cannot be used as audio.

    Parameters
    ----------
    code : str
        Short, stable reason: ``empty``, ``not-audio``, ``not-a-file``, ``broken-link``,
        ``no-permission``, ``link-loop``, ``link-out``, ``damaged``, ``too-short``, ``silent``,
        ``not-finite``, ``changed``, ``no-vector``, ``unexpected``.
    message : str
        One sentence for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LibraryError(KindredError):
    """Something about the library as a whole."""


class TrackNotFound(LibraryError):
    """No track has this id."""

    def __init__(self, track_id: str) -> None:
        super().__init__(f"No track has the id {track_id!r}. `kindred tracks` lists the ids.")
        self.track_id = track_id


class LibraryBusy(LibraryError):
    """Another process is writing to the library."""


class ImportRejected(LibraryError):
    """A metadata file cannot be imported.

    ``problems`` holds one ``(line, message)`` pair for each bad row.
    """

    def __init__(self, message: str, problems: list[tuple[int, str]] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or []


class UploadRejected(LibraryError):
    """An uploaded file is too large or not audio."""


class EncoderError(KindredError):
    """Something about an encoder or its vectors."""


class UnknownEncoder(EncoderError):
    """No encoder is registered under this name."""


class WeightsMissing(EncoderError):
    """A model's weights are not on this machine; the message says how to fetch them."""


class SpaceMismatch(EncoderError):
    """Vectors of two embedding spaces were mixed."""


class StorageError(KindredError):
    """The store refused an operation or could not be read."""


class StorageUnavailable(StorageError):
    """The store cannot be reached or is asleep; the same call may work later."""


class ArtifactError(KindredError):
    """An artifact is damaged, or cannot be written, sent or fetched; the message names the file."""


class QueryError(KindredError):
    """A search was asked that has no answer."""


class ExpressiveError(KindredError):
    """Clips, labels or a learned scorer cannot be made or used."""


class GateRefused(ExpressiveError):
    """A retriever that has not passed its gates was to be released."""


class JobError(KindredError):
    """A background job cannot be started or found."""


class AuditError(KindredError):
    """A listening study, or an answer given in it, cannot be used."""


class InvitationRefused(AuditError):
    """A link to a sitting is not valid.

    ``code`` is ``unknown`` (a forged one too), ``expired``, ``revoked`` or ``closed``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
