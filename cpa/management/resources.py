"""Every route of the management API."""

from __future__ import annotations

from cpa.management import ampcode, api_keys, model_routes, oauth_models, prompt_rules, provider_keys, scalars, whole
from cpa.management.route import Route
from cpa.management.services import Management

RESOURCES = (whole, scalars, api_keys, provider_keys, oauth_models, prompt_rules, model_routes, ampcode)
"""Modules with a function ``routes(management)``."""


def all_routes(management: Management) -> list[Route]:
    """The routes of every resource."""
    return [route for resource in RESOURCES for route in resource.routes(management)]
