"""Gauges of how the daemon and its accounts fare, read when somebody asks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cpa import __version__
from cpa.accounts.account import Account, account_index
from cpa.accounts.pool import AccountPool
from cpa.config.store import ConfigStore
from cpa.metrics.labels import Bounded
from cpa.usage.store import UsageStore
from cpa.usage.usage_queue import UsageQueue

MOST_ACCOUNTS = 500
"""Accounts with series of their own; all of them are in the sums of ``cpa_accounts``."""
MOST_REASONS = 30
MOST_WINDOWS = 50


class ConnectionCounts(Struct):
    """Connections of clients."""

    open: int
    idle: int
    """Those of them that wait for another request."""
    refused: int
    """Since the start, for want of a place."""


class Sources(Struct, kw_only=True):
    """Where the figures are read."""

    pool: AccountPool
    store: ConfigStore
    usage: UsageStore
    usage_queue: UsageQueue
    histories: Callable[[], tuple[int, int]]
    """Request histories that wait, and how many were lost since the start."""
    running: Callable[[], int]
    """Model requests that are under way."""
    connections: Callable[[], ConnectionCounts]
    login_again: Callable[[Account], bool]
    """Whether only another login helps an account."""
    refreshes: Callable[[], Mapping[tuple[str, str], int]]
    """Token refreshes since the start by provider and result."""


class StateCollector(Collector):
    """Reads everything on the event loop, in one go."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._reason = Bounded(MOST_REASONS)
        self._window = Bounded(MOST_WINDOWS)

    def collect(self) -> Iterator[Metric]:
        """All gauges and counters that live elsewhere."""
        sources = self._sources
        yield _gauge("cpa_build_info", "Version of the daemon.", {"version": __version__}, 1)
        yield _gauge("cpa_inflight_requests", "Model requests that are under way.", {}, sources.running())
        yield _gauge("cpa_asyncio_tasks", "Tasks of the event loop.", {}, len(asyncio.all_tasks()))
        yield from self._connections()
        yield from self._accounts()
        yield from self._quota()
        yield from self._configuration()
        yield from self._usage()
        refreshes = CounterMetricFamily(
            "cpa_token_refresh", "Token refreshes of logins by result.", labels=("provider", "result")
        )
        for (provider, result), count in sources.refreshes().items():
            refreshes.add_metric((provider, result), count)
        yield refreshes

    def _connections(self) -> Iterator[Metric]:
        counts = self._sources.connections()
        connections = GaugeMetricFamily("cpa_connections", "Connections of clients.", labels=("state",))
        connections.add_metric(("open",), counts.open)
        connections.add_metric(("idle",), counts.idle)
        yield connections
        refused = CounterMetricFamily("cpa_connections_refused", "Connections that found no place.")
        refused.add_metric((), counts.refused)
        yield refused

    def _accounts(self) -> Iterator[Metric]:
        pool = self._sources.pool
        now = pool.clock()
        states: Counter[tuple[str, str]] = Counter()
        cooldowns: Counter[str] = Counter()
        single = GaugeMetricFamily(
            "cpa_account_state",
            "1 for the state an account is in: ready, limited (some of its models are cooling down), cooling, "
            "login_again or disabled.",
            labels=("account", "provider", "state"),
        )
        for number, account in enumerate(pool):
            cooling = dict(pool.health(account.id).running(now))
            cooldowns.update(self._reason(cooldown.reason) for cooldown in cooling.values())
            state = self._state(account, "" in cooling, bool(cooling))
            states[account.provider, state] += 1
            if number < MOST_ACCOUNTS:
                single.add_metric((_name(account), account.provider, state), 1)
        yield single
        sums = GaugeMetricFamily("cpa_accounts", "Accounts by provider and state.", labels=("provider", "state"))
        for (provider, state), count in states.items():
            sums.add_metric((provider, state), count)
        yield sums
        active = GaugeMetricFamily(
            "cpa_cooldowns_active", "Cooldowns of accounts and of their models that are running.", labels=("reason",)
        )
        for reason, count in cooldowns.items():
            active.add_metric((reason,), count)
        yield active

    def _state(self, account: Account, cooling: bool, limited: bool) -> str:
        if account.disabled:
            return "disabled"
        if account.kind == "oauth" and self._sources.login_again(account):
            return "login_again"
        return "cooling" if cooling else "limited" if limited else "ready"

    def _quota(self) -> Iterator[Metric]:
        labels = ("account", "provider", "window")
        used = GaugeMetricFamily("cpa_account_quota_ratio", "Used part of a quota window, 0 to 1.", labels=labels)
        resets = GaugeMetricFamily(
            "cpa_account_quota_reset_timestamp_seconds", "When a quota window starts anew, Unix time.", labels=labels
        )
        pool = self._sources.pool
        for number, account in enumerate(pool):
            if number >= MOST_ACCOUNTS:
                break
            for window in pool.quota(account.id):
                values = (_name(account), account.provider, self._window(window.name))
                if window.used_ratio is not None:
                    used.add_metric(values, window.used_ratio)
                if window.resets_at is not None:
                    resets.add_metric(values, window.resets_at)
        yield used
        yield resets

    def _configuration(self) -> Iterator[Metric]:
        store = self._sources.store
        reloads = CounterMetricFamily(
            "cpa_config_reloads", "Changes of the configuration file by result.", labels=("result",)
        )
        reloads.add_metric(("success",), store.applied)
        reloads.add_metric(("failure",), store.refused)
        yield reloads
        yield _gauge(
            "cpa_config_last_success_timestamp_seconds",
            "When the configuration in force was read, Unix time.",
            {},
            store.applied_at,
        )

    def _usage(self) -> Iterator[Metric]:
        usage, queue = self._sources.usage.status(), self._sources.usage_queue
        depth = GaugeMetricFamily(
            "cpa_usage_queue_depth",
            "Usage records that wait: for the database to write them, or for collectors to take them; and histories.",
            labels=("queue",),
        )
        dropped = CounterMetricFamily(
            "cpa_usage_dropped", "Usage records that were lost because too many waited.", labels=("queue",)
        )
        for name, waiting, lost in (
            ("database", usage.waiting, usage.dropped),
            ("collectors", len(queue), queue.dropped),
            ("histories", *self._sources.histories()),
        ):
            depth.add_metric((name,), waiting)
            dropped.add_metric((name,), lost)
        yield depth
        yield dropped
        yield _gauge(
            "cpa_usage_store_healthy", "1 while usage can be written to its database.", {}, 1 if usage.healthy else 0
        )


def _gauge(name: str, text: str, labels: Mapping[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(name, text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family


def _name(account: Account) -> str:
    """What the management API calls ``auth_index``: it says nothing of the account to others."""
    return account.index or account_index(f"id:{account.id}")
