"""Every setting of Chorus, with its default, in one frozen model.

Sources, strongest first: arguments, `CHORUS_*` variables, `chorus.toml` in the working directory.
A key that does not exist stops the start and is named, so that a typo never becomes a silent default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from records import dialects

PREFIX = "CHORUS_"
TOML = Path("chorus.toml")
SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vLLM's own list
# Where neither a setting nor a plan (adapters/plan.py) says otherwise; no plan serves a smaller rank.
LEAST_RANK, DEFAULT_SLOTS, DEFAULT_KEPT = 32, 16, 64


def _served(rank: int) -> int:
    if rank not in SERVED_RANKS:
        raise ValueError(f"use one of {', '.join(map(str, SERVED_RANKS))}")
    return rank


def _four_bit(wanted: bool) -> bool:
    if wanted and find_spec("bitsandbytes") is None:
        raise ValueError("this needs the package bitsandbytes; run: pip install 'bitsandbytes>=0.50'")
    return wanted


def _usable(url: str | None) -> str | None:
    if url is not None:
        dialects.check(url)
    return url


def enough(slots: int, wished: int) -> int:
    """Adapters in memory: never fewer than there are slots; nor than two, as an evaluation holds one while a
    model that grades its answers is asked."""
    return max(2, slots, wished)


class UnknownSetting(ValueError):
    """A `CHORUS_*` variable or a `chorus.toml` key that no setting has."""


class Settings(BaseSettings):
    """Field names are the setting names: `max_lora_rank` is `CHORUS_MAX_LORA_RANK`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        toml_file=TOML,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # a database URL holds a password
    )

    home: Path = Field(Path(".chorus"), description="Folder of all state: rows, files, versions.")
    database_url: Annotated[str | None, AfterValidator(_usable)] = Field(
        None, repr=False, description="Database (postgresql://...); default is SQLite inside home."
    )
    base: str = Field("tiny", description="Base model: `tiny`, a local path or a hub id.")
    host: str = Field("127.0.0.1", description="Address that the server listens on.")
    port: int = Field(
        8000, ge=0, le=65535, description="Port that the server listens on; 0 picks a free one."
    )
    admin_key: SecretStr | None = Field(None, description="Opens /admin/v1 and /metrics when set.")
    max_lora_rank: Annotated[int, AfterValidator(_served)] | None = Field(
        None, description="Largest adapter rank that the engine serves (a value of vLLM's); default: planned."
    )
    max_loras: int | None = Field(
        None, ge=1, description="Adapters that one engine step can mix (slots); default: planned."
    )
    max_cpu_loras: int | None = Field(
        None,
        ge=1,
        description="Adapters kept in CPU memory, at least as many as slots and two; default: planned.",
    )
    cpu_lora: Literal["native", "avx512_bf16", "avx512", "avx2", "generic", "torch", "stock"] = Field(
        "native",
        description="Adapters' products on CPU: our best kernel, one by name, torch's, or vLLM's (faulty).",
    )
    engine_hang_seconds: float = Field(
        30.0, gt=0, description="An engine that has work and does nothing for this long is started again."
    )
    engine_forkserver: bool = Field(
        True, description="Engine processes are forked from one that has imported vLLM; else they import it."
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None = Field(
        None, description="Numbers that the engine computes in; default: what is fast on this CPU."
    )
    max_file_bytes: int = Field(512 * 1024 * 1024, ge=1, description="Largest upload, in bytes.")
    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1, description="Largest JSON request body, in bytes.")
    lease_seconds: float = Field(30.0, gt=0, description="A worker silent for this long loses its job.")
    job_attempts: int = Field(5, ge=1, description="Attempts at a job before it fails for good.")
    job_state_seconds: float = Field(
        60.0, ge=0, description="A job's state is put on disk this often, besides after each epoch."
    )
    job_max_seconds: float | None = Field(
        None, gt=0, description="Training time of a job; then its best checkpoint is published."
    )
    job_max_bytes: int | None = Field(None, ge=1, description="Most that a job may write to disk, in bytes.")
    evaluation_wait_seconds: float = Field(
        60.0, ge=0, description="A job goes on without its evaluation when no server was seen for this long."
    )
    evaluation_seconds: float = Field(
        900.0, gt=0, description="Longest evaluation of a job; what is not asked by then is left out."
    )
    price_per_million_tokens: float | None = Field(
        None, ge=0, description="What a million training tokens cost, for quotes; in a currency of yours."
    )
    training_threads: int = Field(0, ge=0, description="CPU threads of a job; 0 leaves torch's default.")
    gradient_checkpointing: bool | None = Field(
        None, description="A job keeps fewer activations and computes them twice; default: on a GPU."
    )
    training_4bit: Annotated[bool, AfterValidator(_four_bit)] = Field(
        False, description="A job holds the base in 4 bits (NF4); it is served as ever. Needs bitsandbytes."
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
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def url(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{(self.home / 'chorus.db').absolute()}"

    @property
    def largest_rank(self) -> int:
        """The largest adapter rank in force."""
        return self.max_lora_rank or LEAST_RANK

    @property
    def slots(self) -> int:
        """The adapters that an engine step mixes at most."""
        return self.max_loras or DEFAULT_SLOTS

    @property
    def kept(self) -> int:
        """The adapters in memory."""
        return enough(self.slots, self.max_cpu_loras or DEFAULT_KEPT)


def load(**given: Any) -> Settings:
    """Read the settings; `given` (None means not given) wins over variables, variables over the file.

    Raises UnknownSetting for a key that does not exist, pydantic.ValidationError for a bad value.
    """
    known = set(Settings.model_fields)
    _refuse_unknown((n[len(PREFIX) :].lower() for n in os.environ if n.startswith(PREFIX)), known, PREFIX)
    if TOML.is_file():
        _refuse_unknown(tomllib.loads(TOML.read_text()), known, f"{TOML}: ")
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _refuse_unknown(names: Iterable[str], known: set[str], where: str) -> None:
    for name in names:
        if name not in known:
            spelt = str.upper if where == PREFIX else str
            near = [where + spelt(match) for match in get_close_matches(name, known, n=1)]
            hint = f"Did you mean {near[0]}?" if near else f"Known settings: {', '.join(sorted(known))}."
            raise UnknownSetting(f"There is no setting {where}{spelt(name)}. {hint}")
