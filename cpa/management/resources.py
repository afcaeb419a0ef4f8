"""Every route of the management API."""

from __future__ import annotations

from cpa.management import (
    account_states,
    accounts,
    ampcode,
    api_call,
    api_key_limits,
    api_keys,
    auth_files,
    histories,
    latest_version,
    logins,
    logs,
    model_definitions,
    model_prices,
    model_routes,
    oauth_models,
    plugin_routes,
    plugins,
    price_revaluation,
    prompt_rules,
    provider_keys,
    scalars,
    usage,
    usage_queue,
    vertex_import,
    whole,
)
from cpa.management.mount import PREFIX
from cpa.management.openapi import description_route
from cpa.management.route import Route
from cpa.management.services import Management

RESOURCES = (
    whole,
    scalars,
    api_keys,
    provider_keys,
    oauth_models,
    prompt_rules,
    model_routes,
    ampcode,
    auth_files,
    logins,
    account_states,
    accounts,
    api_call,
    model_definitions,
    model_prices,
    price_revaluation,
    latest_version,
    logs,
    histories,
    plugins,
    usage,
    usage_queue,
    api_key_limits,
    vertex_import,
    plugin_routes,
)
"""Modules with a function ``routes(management)``."""


def all_routes(management: Management) -> list[Route]:
    """The routes of every resource, and the one that describes them."""
    routes = [route for resource in RESOURCES for route in resource.routes(management)]
    return [*routes, description_route(routes, PREFIX)]
