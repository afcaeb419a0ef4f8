"""The public plugin API of cpa.

A plugin is a module or object with functions marked :data:`hookimpl`, announced by an entry point in group ``cpa``.
See ``docs/plugins.md``.
"""

from cpa.accounts.account import Account, ModelMapping, account_id, account_index, mask
from cpa.accounts.file_fields import expires_at, file_account, last_refresh, provider_of, read_time
from cpa.accounts.login.device import DeviceCode, device_code_of
from cpa.accounts.login.pkce import Pkce, new_pkce
from cpa.accounts.login.stored import name_part
from cpa.accounts.projects import project_accounts, split_projects
from cpa.accounts.quota import QuotaWindow
from cpa.catalog.model import Model
from cpa.patterns import compile_pattern
from cpa.plugins.described import described
from cpa.plugins.faults import classify, retry_after_of, server_time, wait_of
from cpa.plugins.hookspecs import hookimpl
from cpa.plugins.login import Choice, Login, LoginOffer, LoginOptions, NewLogin
from cpa.plugins.native import NativeFiles, NativeSource
from cpa.plugins.provider import HttpClient, Provider, UpstreamAnswer, UpstreamRequest
from cpa.plugins.values import ClientIdentity, ClientRequest, ExchangeRecord, Host, UsageRecord

__all__ = [
    "Account",
    "Choice",
    "ClientIdentity",
    "ClientRequest",
    "DeviceCode",
    "ExchangeRecord",
    "Host",
    "HttpClient",
    "Login",
    "LoginOffer",
    "LoginOptions",
    "Model",
    "ModelMapping",
    "NativeFiles",
    "NativeSource",
    "NewLogin",
    "Pkce",
    "Provider",
    "QuotaWindow",
    "UpstreamAnswer",
    "UpstreamRequest",
    "UsageRecord",
    "account_id",
    "account_index",
    "classify",
    "compile_pattern",
    "described",
    "device_code_of",
    "expires_at",
    "file_account",
    "hookimpl",
    "last_refresh",
    "mask",
    "name_part",
    "new_pkce",
    "project_accounts",
    "provider_of",
    "read_time",
    "retry_after_of",
    "server_time",
    "split_projects",
    "wait_of",
]
