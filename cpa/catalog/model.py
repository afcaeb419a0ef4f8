"""A model as the catalogue knows it."""

from __future__ import annotations

from msgspec import Struct

from cpa.conversation.models import ModelLimits, ThinkingSupport


class Model(Struct, kw_only=True):
    """One model an account offers."""

    id: str
    """The name clients use (alias or upstream name, without prefix)."""
    upstream: str = ""
    """The upstream's name; empty means ``id``."""
    display_name: str = ""
    owned_by: str = ""
    type: str = ""
    """Family shown in lists: ``openai``, ``claude``, ``gemini`` ..."""
    created: int = 0
    """Unix seconds; 0 unknown."""
    description: str = ""
    version: str = ""
    context_length: int | None = None
    max_output_tokens: int | None = None
    thinking: ThinkingSupport | None = None
    user_defined: bool = False
    """From a configuration ``models:`` list; not validated against the catalogue."""
    generation_methods: tuple[str, ...] = ()
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()
    supported_parameters: tuple[str, ...] = ()
    image_only: bool = False
    """Answers only on the images routes."""
    suffix: str | None = None
    """Reasoning suffix that the upstream's name was given with, which wins over the request's."""
    force_mapping: bool = False
    stand_in: bool = False
    """Asked only when the account's other models of the same ``id`` cannot be used."""
    retired: bool = False
    """Known, but offered only when a configuration names it."""

    def limits(self) -> ModelLimits:
        """What translating a request for this model must respect."""
        return ModelLimits(
            known=not self.user_defined,
            thinking=self.thinking,
            context_length=self.context_length,
            max_output_tokens=self.max_output_tokens,
            input_modalities=self.input_modalities,
            output_modalities=self.output_modalities,
        )
