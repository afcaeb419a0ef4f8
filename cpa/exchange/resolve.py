"""From the model name a client wrote to who can answer."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from cpa.catalog.catalog import Catalog, Offer
from cpa.conversation.effort import parse_suffix, split_suffix
from cpa.conversation.request import Reasoning
from cpa.errors import ApiError, ErrorInfo

LONGEST_NAME = 1024
"""Characters of a model's name with its suffix: clients write what they like, and names are remembered in places."""


class Resolution(Struct, frozen=True):
    """What a requested model name means."""

    requested: str
    """As the client wrote it, after ``auto`` was replaced."""
    name: str
    """The catalogue's name, without reasoning suffix."""
    suffix: Reasoning | None
    """The reasoning the suffix asks for."""
    offers: Mapping[str, Offer]
    """By account id."""
    routed: bool = False
    """Whether the client asked for another name, which a model route leads here."""


def resolve_model(catalog: Catalog, requested: str) -> Resolution:
    """Look a model name up, in any case when nobody offers it as it is written.

    Raises ApiError 404 ``model_not_found`` when nobody offers it.
    """
    if len(requested) > LONGEST_NAME:
        raise ApiError(unknown_model(f"{requested[:LONGEST_NAME]}..."))
    requested = _replace_auto(catalog, requested)
    base, suffix = split_suffix(requested)
    if offers := catalog.offers(base):
        return Resolution(requested, base, parse_suffix(suffix) if suffix is not None else None, offers)
    if suffix is not None and (offers := catalog.offers(requested)):
        return Resolution(requested, requested, None, offers)
    for name, effort in ((base, suffix), (requested, None)):
        if (known := catalog.spelled(name)) is not None:
            return Resolution(
                requested, known, parse_suffix(effort) if effort is not None else None, catalog.offers(known)
            )
    raise ApiError(unknown_model(requested))


def _replace_auto(catalog: Catalog, requested: str) -> str:
    base, suffix = split_suffix(requested)
    if base != "auto" or catalog.offers("auto"):
        return requested
    newest = catalog.newest()
    if newest is None:
        return requested
    return f"{newest}({suffix})" if suffix is not None else newest


def unknown_model(name: str) -> ErrorInfo:
    """The error for a model nobody offers."""
    message = f"unknown model {name!r}: no account offers it; GET /v1/models lists what is there"
    return ErrorInfo(404, message, type="invalid_request_error", code="model_not_found", param="model")
