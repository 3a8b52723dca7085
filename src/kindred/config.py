"""The one table of settings: name, default and help.

Each field is read from the environment (``KINDRED_HOME``, ``KINDRED_ENCODER``, ...) or from a
``.env`` file in the working directory. ``kindred doctor`` prints the table as it is in force.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from kindred.errors import ConfigError


class Settings(BaseSettings):
    """Settings in force for one process; immutable once read."""

    model_config = SettingsConfigDict(
        env_prefix="KINDRED_", env_file=".env", extra="ignore", frozen=True
    )

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
        50_000, ge=1, description="From this many tracks on, FAISS HNSW answers, not exact search."
    )
    max_upload_mb: int = Field(200, ge=1, description="Largest uploaded file, in MiB.")
    host: str = Field("127.0.0.1", description="Address `kindred serve` listens on.")
    port: int = Field(8501, ge=1, le=65535, description="Port `kindred serve` listens on.")

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
            values[name] = item["input"]
        lines = [
            f"{name}: {', or: '.join(messages)} (got {values[name]!r})"
            for name, messages in found.items()
        ]
        raise ConfigError(
            "These settings cannot be used; correct or unset them:\n" + "\n".join(lines)
        ) from error
