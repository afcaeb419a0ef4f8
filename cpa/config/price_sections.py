"""Sections of the configuration that say what models cost, in USD per million tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from cpa.config.section import Section
from cpa.config.tidied import Trimmed

MOST_EXPENSIVE = 1_000_000
"""USD per million tokens; a price above it is a mistake."""
Usd = Annotated[float, Meta(ge=0, le=MOST_EXPENSIVE)]
Times = Annotated[float, Meta(ge=0, le=1_000_000)]
"""What a price is multiplied by."""


class LongPrompts(Section, frozen=True):
    """What longer prompts cost, the whole of them, in USD per million tokens."""

    tokens: Annotated[int, Meta(ge=1)] = 200_000
    """Prompts of more tokens than this are longer ones."""
    input: Usd = 0.0
    output: Usd = 0.0
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None


class PriceEntry(Section, frozen=True):
    """What a model costs, in USD per million tokens. Of input and output one may be left out: it costs nothing."""

    model: Trimmed = ""
    input: Usd | None = None
    output: Usd | None = None
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None
    multiplier: Times = 1.0
    style: Literal["", "openai", "claude"] = ""
    """How programs that know three prices only are to count cached tokens: within the input, or beside it."""
    above: LongPrompts | None = None


class PriceFactor(Section, frozen=True):
    """A factor on what matching attempts cost; ``*`` in a pattern stands for any text."""

    factor: Times = 1.0
    model: Trimmed = ""
    provider: Trimmed = ""
    account: Trimmed = ""
    executor_type: Trimmed = ""
    """What collectors of usage call the provider: ``CodexExecutor``."""
    api_group_key: Trimmed = ""
    """The id of the client's key; the provider where there is none."""
    auth_index: Trimmed = ""
    model_alias: Trimmed = ""
    """The name the client asked for."""
    endpoint: Trimmed = ""
    service_tier: Trimmed = ""
    """The tier that was asked for."""
    response_service_tier: Trimmed = ""
    """The tier that served."""
    reasoning_effort: Trimmed = ""


LITELLM_URL = "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json"
MODELS_DEV_URL = "https://models.dev/api.json"


class PriceSources(Section, frozen=True):
    """Where price lists are read, when somebody asks for it."""

    litellm: Trimmed = LITELLM_URL
    models_dev: Trimmed = MODELS_DEV_URL
