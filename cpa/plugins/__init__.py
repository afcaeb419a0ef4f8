"""The public plugin API of cpa.

A plugin is a module or object with functions marked :data:`hookimpl`, announced by an entry point in group ``cpa``.
See ``docs/plugins.md``.
"""

from cpa.accounts.account import Account, ModelMapping, account_id, account_index, mask
from cpa.accounts.file_fields import expires_at, file_account, last_refresh, provider_of
from cpa.accounts.projects import project_accounts, split_projects
from cpa.accounts.quota import QuotaWindow
from cpa.catalog.model import Model
from cpa.plugins.faults import classify, retry_after_of, server_time
from cpa.plugins.hookspecs import hookimpl
from cpa.plugins.provider import HttpClient, Provider, UpstreamAnswer, UpstreamRequest
from cpa.plugins.values import ClientIdentity, ClientRequest, ExchangeRecord, Host, UsageRecord

__all__ = [
    "Account",
    "ClientIdentity",
    "ClientRequest",
    "ExchangeRecord",
    "Host",
    "HttpClient",
    "Model",
    "ModelMapping",
    "Provider",
    "QuotaWindow",
    "UpstreamAnswer",
    "UpstreamRequest",
    "UsageRecord",
    "account_id",
    "account_index",
    "classify",
    "expires_at",
    "file_account",
    "hookimpl",
    "last_refresh",
    "mask",
    "project_accounts",
    "provider_of",
    "retry_after_of",
    "server_time",
    "split_projects",
]
