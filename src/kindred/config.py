"""The one table of settings: name, default and help.

Each field is read from the environment (``KINDRED_HOME``, ``KINDRED_ENCODER``, ...), from a
``.env`` file in the working directory, or from Streamlit's ``.streamlit/secrets.toml`` there or in
the home folder, in this order. Names that other programs use too (``DATABASE_URL``,
``ASTRA_DB_ID``, ...) work with and without the prefix. ``kindred doctor`` prints the table as it is
in force, without the secrets.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from kindred.errors import ConfigError


def _shared(name: str) -> AliasChoices:
    """The names of a setting that other programs use too."""
    return AliasChoices(name, f"kindred_{name}")


class SecretsFile(TomlConfigSettingsSource):
    """Streamlit's secrets, whose names are those of the environment."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        try:
            found = super()._read_file(file_path)
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{file_path} cannot be read as TOML: {error}.") from error
        return {name.lower().removeprefix("kindred_"): value for name, value in found.items()}


class Settings(BaseSettings):
    """Settings in force for one process; immutable once read."""

    model_config = SettingsConfigDict(
        env_prefix="KINDRED_",
        env_file=".env",
        toml_file=(Path("~/.streamlit/secrets.toml"), Path(".streamlit/secrets.toml")),
        extra="ignore",
        frozen=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Streamlit's secrets come last."""
        return (init_settings, env_settings, dotenv_settings, SecretsFile(settings_cls))

    home: Path = Field(Path("data/library"), description="Folder of the library.")
    encoder: str = Field("descriptors", description="Encoder that makes the vectors in use.")
    model_dir: Path = Field(
        Path("~/.kindred/models"), description="Folder where model weights are kept."
    )
    clap_model: str = Field(
        "laion/larger_clap_music",
        description="CLAP weights: a Hugging Face id, a folder, or a .pt checkpoint of LAION's.",
    )
    clap_revision: str | None = Field(
        None, description="Commit of the CLAP weights; the pinned one when left empty."
    )
    clap_windows: Literal["all"] | Annotated[int, Field(ge=1, le=24)] = Field(
        "all",
        description="Windows of 10 s CLAP hears of a track, evenly spaced: all, or how many.",
    )
    mert_model: str = Field(
        "m-a-p/MERT-v1-95M", description="MERT weights: a Hugging Face id or a folder."
    )
    mert_revision: str | None = Field(
        None, description="Commit of the MERT weights; the pinned one when left empty."
    )
    mert_layers: str = Field(
        "3-9", description="Hidden layers of MERT that make the track vector, such as 3-9 or 4,6."
    )
    mert_windows: Literal["all"] | Annotated[int, Field(ge=1, le=48)] = Field(
        "all", description="Windows of 5 s MERT hears of a track, evenly spaced: all, or how many."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where models run: auto takes a GPU when there is one."
    )
    workers: int = Field(
        0, ge=0, le=64, description="Threads that decode audio; 0: one fewer than cores."
    )
    ann_threshold: int = Field(
        50_000, ge=1, description="From this many tracks on, an approximate index answers."
    )
    storage_backend: Literal["local", "postgres", "astra"] = Field(
        "local",
        validation_alias=_shared("storage_backend"),
        description="Where the library is kept: in its folder, in Postgres or in Astra DB.",
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        validation_alias=_shared("database_url"),
        description="Postgres with pgvector: postgresql://user:password@host/database.",
    )
    astra_db_id: str = Field(
        "", validation_alias=_shared("astra_db_id"), description="Id of the Astra database."
    )
    astra_db_region: str = Field(
        "", validation_alias=_shared("astra_db_region"), description="Its region, e.g. us-east-2."
    )
    astra_db_api_endpoint: str = Field(
        "",
        validation_alias=_shared("astra_db_api_endpoint"),
        description="URL of the Data API; made of id and region when left empty.",
    )
    astra_db_keyspace: str = Field(
        "default_keyspace",
        validation_alias=_shared("astra_db_keyspace"),
        description="Keyspace of the Data API.",
    )
    astra_db_application_token: SecretStr = Field(
        SecretStr(""),
        validation_alias=_shared("astra_db_application_token"),
        description="Token of Astra DB, AstraCS:...",
    )
    astra_db_username: str = Field(
        "",
        validation_alias=_shared("astra_db_username"),
        description="User of a Data API of one's own, in place of a token.",
    )
    astra_db_password: SecretStr = Field(
        SecretStr(""),
        validation_alias=_shared("astra_db_password"),
        description="Password of that user.",
    )
    stored_audio: Literal["blob", "none"] = Field(
        "blob",
        description="Whether uploaded audio is kept in Postgres or Astra DB too, or here only.",
    )
    storage_timeout: float = Field(
        10.0, gt=0, description="Seconds after which Postgres or Astra DB counts as not answering."
    )
    cache_dir: Path = Field(
        Path("~/.kindred/cache"), description="Folder of what is cached of Postgres or Astra DB."
    )
    cache_mb: int = Field(2_048, ge=16, description="Most that cache may take, in MiB.")
    max_upload_mb: int = Field(200, ge=1, description="Largest uploaded file, in MiB.")
    host: str = Field("127.0.0.1", description="Address `kindred serve` listens on.")
    port: int = Field(8501, ge=1, le=65535, description="Port `kindred serve` listens on.")
    api_key: SecretStr = Field(
        SecretStr(""),
        description="Key to the API, and to the pages beyond localhost.",
    )
    organisers: str = Field(
        "",
        description="Where people sign in: addresses, by comma, of those who may run audits.",
    )
    members: str = Field(
        "",
        description="Where people sign in: addresses or @domains that may come in; empty: whoever"
        " the provider lets in.",
    )
    public_url: str = Field(
        "", description="Address under which invitations to audits are reached, if not host:port."
    )

    @property
    def library(self) -> Path:
        """The library folder as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def models(self) -> Path:
        """The folder of model weights as an absolute path."""
        return self.model_dir.expanduser().absolute()


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment.

    Raises
    ------
    ConfigError
        When a value cannot be used; the message names each variable.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        found: dict[str, list[str]] = {}  # a setting of several types has a message for each
        values: dict[str, object] = {}
        for item in error.errors():
            name = f"KINDRED_{str(item['loc'][0]).upper()}"
            found.setdefault(name, []).append(item["msg"])
            field = Settings.model_fields.get(str(item["loc"][0]))
            secret = field is not None and field.annotation is SecretStr
            values[name] = "a secret" if secret else item["input"]
        lines = [
            f"{name}: {', or: '.join(messages)} (got {values[name]!r})"
            for name, messages in found.items()
        ]
        raise ConfigError(
            "These settings cannot be used; correct or unset them:\n" + "\n".join(lines)
        ) from error
