"""The daemon: builds every room, owns their lives, starts and stops them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from cpa import __version__, memory
from cpa.accounts.account import Account, tokens_of
from cpa.accounts.files import AuthDirectory
from cpa.accounts.persistence import FILE_NAME, CooldownKeeper
from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.config import Config, ConfigStore
from cpa.config.client_secrets import client_secrets
from cpa.config.diff import changed_paths, restart_required
from cpa.errors import CpaError
from cpa.exchange.announcer import Announcer
from cpa.exchange.auth_files import AuthFiles
from cpa.exchange.collectors import Collectors
from cpa.exchange.counters import restore_counters
from cpa.exchange.exchange import Exchange
from cpa.exchange.histories import Histories
from cpa.exchange.limits import ClientLimits
from cpa.exchange.login_sessions import LoginSessions
from cpa.exchange.price_fetch import PriceListReader
from cpa.exchange.price_sync import PriceSync
from cpa.exchange.quota_memory import FILE_NAME as QUOTA_FILE
from cpa.exchange.quota_memory import QuotaMemory
from cpa.exchange.quota_query import QuotaQueries
from cpa.exchange.renewal import Renewals
from cpa.exchange.roster import Roster
from cpa.exchange.state_file import StateFile
from cpa.exchange.usage_trail import UsageTrail
from cpa.formats.registry import builtin_formats
from cpa.logs import LogFiles, Secrets, get_logger, log_folder, set_level, take_structlog
from cpa.logs.masking import header_secrets, secret_parameters
from cpa.management.access import Gate
from cpa.management.control import ControlSocket
from cpa.management.hashing import hash_key_in_file, is_plain
from cpa.management.keep_alive import KeepAlive
from cpa.management.login_pages import add_callback_pages
from cpa.management.metrics import MetricsPage
from cpa.management.mount import mount
from cpa.management.resp import RespServer
from cpa.management.route import Route
from cpa.management.services import Management
from cpa.management.writing import ConfigWriter
from cpa.metrics.metrics import Metrics
from cpa.plugins.manager import Plugins
from cpa.plugins.values import Host, UsageRecord
from cpa.runtime import control_socket
from cpa.server.listener import Listener
from cpa.server.services import Services
from cpa.systemd import Notifier
from cpa.upstream.client import UpstreamClient
from cpa.usage.event import executor_of
from cpa.usage.price_list_cache import ListCache
from cpa.usage.prices import CurrentPrices
from cpa.usage.store import UsageStore
from cpa.usage.synced_prices import FILE_NAME as PRICES_FILE
from cpa.usage.synced_prices import SyncedPrices
from cpa.usage.usage_queue import UsageQueue
from cpa.watch import AuthWatcher, ConfigWatcher
from cpa.web.panel import ControlPanel


class Daemon:
    """One running cpa. ``start``, then ``stop``; it can live inside another asyncio program."""

    def __init__(
        self,
        store: ConfigStore,
        environ: Mapping[str, str] = os.environ,
        secrets: Secrets | None = None,
        *,
        local_password: str = "",
        log_files: LogFiles | None = None,
    ) -> None:
        """``local_password`` lets callers on this machine use the management API.

        With ``on_silence`` set before ``start`` it is called when nobody uses ``/keep-alive`` for a while.
        """
        self._environ = environ
        self.log_files = log_files or LogFiles()
        self._local_password = local_password
        self._control: ControlSocket | None = None
        self.on_silence: Callable[[], None] | None = None
        self._keep_alive: KeepAlive | None = None
        self._exchange: Exchange | None = None
        self.store = store
        self.log = get_logger("cpa")
        self.secrets = secrets or Secrets()
        self.plugins = Plugins(self.log)
        self.pool = AccountPool()
        self.catalog = Catalog(self.pool.listed)
        self.client = UpstreamClient(lambda: store.current.proxy_url, environ)
        self.formats = builtin_formats()
        self.announcer = Announcer(self.plugins, self.log)
        self.roster = Roster(self.plugins, self.pool, self.catalog, self.log, self.announcer)
        self.roster.subscribe(self._note_tokens)
        self.auth_files = AuthFiles(AuthDirectory(Path(store.current.auth_dir)), self.roster, self.log)
        self.renewals = Renewals(
            files=self.auth_files,
            roster=self.roster,
            plugins=self.plugins,
            http=self.client,
            log=get_logger("cpa.refresh"),
            workers=lambda: store.current.auth_auto_refresh_workers,
        )
        self.logins = LoginSessions(
            files=self.auth_files,
            plugins=self.plugins,
            http=self.client,
            log=get_logger("cpa.login"),
            origin=lambda: self.origin,
        )
        self.quota_queries = QuotaQueries(
            pool=self.pool,
            plugins=self.plugins,
            renewals=self.renewals,
            http=self.client,
            log=get_logger("cpa.quota"),
        )
        self.auth_watcher = AuthWatcher(self.auth_files, self.log)
        self.cooldowns = CooldownKeeper(self.auth_files.directory.path / FILE_NAME, self.pool, self.log)
        self.watcher = ConfigWatcher(store, self.log)
        self._synced_prices = SyncedPrices(_database(store).with_name(PRICES_FILE), self.log)
        self.prices = CurrentPrices(lambda: store.current, lambda: self._synced_prices.rows)
        reader = PriceListReader(
            self.client, lambda: store.current, ListCache(_database(store).parent, self.log), environ
        )
        self.price_sync = PriceSync(reader, self.prices, self._synced_prices)
        self.limits = ClientLimits(self.prices, unpriced=self._note_unpriced)
        self._limits_file = StateFile(
            _database(store).with_name("client-limits.json"),
            self.limits,
            self.log,
            what="what client keys have used",
            seconds=1.0,
        )
        self._quota_file = StateFile(
            _database(store).with_name(QUOTA_FILE),
            QuotaMemory(self.pool),
            self.log,
            what="what is known of quota",
            seconds=60.0,
        )
        self.gate = Gate(environ, local_password)
        self.usage_queue = UsageQueue(self.pool.clock)
        self._collectors = Collectors(self.usage_queue, self.pool, lambda: store.current)
        self.roster.subscribe(self._collectors.follow)
        self.usage = UsageStore(
            _database(store), self.log, lambda: store.current.usage_event_retention_days, self.prices
        )
        self._trail = UsageTrail(self.formats, self.usage.record, self.secrets.mask_text)
        self.metrics = Metrics(self._metric_sources, self._cost)
        self._services: Services | None = None
        self.histories = Histories(self.usage, self.secrets, lambda: store.current, get_logger("cpa.histories"))
        self._resp = RespServer(self.gate, self.usage_queue, lambda: store.current, self.log)
        self._notifier = Notifier(environ)
        self._listener: Listener | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._hashing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Stop it."""
        await self.stop()

    @property
    def addresses(self) -> list[str]:
        """``host:port`` of every socket, once started."""
        return self._listener.addresses if self._listener is not None else []

    @property
    def origin(self) -> str:
        """Where a browser on this machine reaches the daemon, once started: ``http://127.0.0.1:8317``."""
        scheme = "https" if self.store.current.tls.enable else "http"
        host, _, port = self.addresses[0].rpartition(":") if self.addresses else ("", "", "0")
        return f"{scheme}://{'127.0.0.1' if host in ('[::]', '0.0.0.0') else host}:{port}"  # noqa: S104 - compared

    async def start(self) -> None:
        """Load plugins and accounts, bind the port, watch the file. Raises OSError when the port is taken."""
        config, began = self.store.current, self.pool.wall()
        for warning in self.store.loaded.warnings:
            self.log.warning("configuration", key=warning.path, reason=warning.message)
        await self._hash_management_key()
        self.plugins.load(config)
        take_structlog()
        self.plugins.add_formats(self.formats)
        self._take(config)
        await self.auth_watcher.prepare()
        await self.auth_files.load()
        await self._quota_file.load()
        if config.save_cooldown_status:
            self.cooldowns.restore()
        await self._limits_file.load()
        await asyncio.to_thread(self._synced_prices.load)
        self.usage.open()
        exchange = self._exchange = Exchange(
            plugins=self.plugins,
            formats=self.formats,
            pool=self.pool,
            catalog=self.catalog,
            client=self.client,
            renewals=self.renewals,
            limits=self.limits,
            log=get_logger("cpa.exchange"),
        )
        self.store.subscribe(lambda old, new: self._reloaded(old, new, exchange))
        folder = self.store.path.absolute().parent
        self._listener = Listener(self._serving(exchange), config, self.log, folder, self._resp.protocol)
        self._follow_recording(config)
        live = self.histories.live = exchange.observers.live
        exchange.mask = live.mask = self.secrets.mask_text
        await self._listener.start()
        if self._control is not None:
            await self._control.start()
        self._tasks = [
            asyncio.create_task(self.watcher.run()),
            asyncio.create_task(self.auth_watcher.run()),
            asyncio.create_task(self.announcer.run()),
            asyncio.create_task(self._limits_file.run()),
            asyncio.create_task(self._quota_file.run()),
            asyncio.create_task(self.renewals.run()),
            asyncio.create_task(self.quota_queries.run(lambda: self.store.current.routing.strategy == "quota-aware")),
            asyncio.create_task(self.cooldowns.run(lambda: self.store.current.save_cooldown_status)),
            asyncio.create_task(self._listener.watch_certificate()),
            asyncio.create_task(self._notifier.watchdog(lambda: True)),
            asyncio.create_task(memory.give_back(memory.allocator_trim())),
            asyncio.create_task(restore_counters(self.pool, self.usage, self.log, began)),
        ]
        await self.plugins.call_all(
            "cpa_start", host=Host(config=lambda: self.store.current, http=self.client, log=self.log)
        )
        if self._keep_alive is not None:
            self._keep_alive.start()
        memory.settle()
        addresses = ", ".join(self.addresses)
        self.log.info(f"API server started successfully on: {addresses}", version=__version__)
        self._notifier.ready(f"serving on {addresses}")

    async def stop(self) -> None:
        """Stop accepting, drain, let plugins end, close everything."""
        self._notifier.stopping()
        if self._keep_alive is not None:
            self._keep_alive.cancel()
        if self.histories.live is not None:
            self.histories.live.close()
        if self._control is not None:
            await self._control.stop()
        self._collectors.stop()
        await self._resp.close()
        if self._listener is not None:
            await self._listener.stop()
        await self.logins.close()
        await self.plugins.call_all("cpa_stop")
        await self.metrics.stop()
        for task in self._tasks:
            task.cancel()
        hashing = [self._hashing] if self._hashing is not None else []
        await asyncio.gather(*self._tasks, *hashing, return_exceptions=True)
        await self._limits_file.save()
        await self._quota_file.save()
        await self.cooldowns.save(wanted=self.store.current.save_cooldown_status)
        await self.renewals.stop()
        await asyncio.to_thread(self.histories.close)
        await asyncio.to_thread(self.usage.close)
        await self.client.close()
        self.log.info("stopped")
        self.log_files.close()

    def reload(self) -> None:
        """Read the configuration again now."""
        self._notifier.reloading()
        self.watcher.check()
        self._notifier.ready("serving")

    def _serving(self, exchange: Exchange) -> Services:
        self._services = Services(
            exchange=exchange,
            formats=self.formats,
            catalog=self.catalog,
            config=lambda: self.store.current,
            log=get_logger("cpa.server"),
            authenticate_hook=self.plugins.hook("cpa_authenticate"),
            add_routes=self._add_routes,
            histories=self.histories,
        )
        return self._services

    def _follow_recording(self, config: Config) -> None:
        self.metrics.configure(enabled=config.metrics.enable)
        meter = self.metrics.meter
        if self._exchange is not None:
            self._exchange.trail = self._trail if config.usage_statistics_enabled else None
            self._exchange.observers.meter = meter
        if self._services is not None:
            self._services.count_answer = meter.answered if meter is not None else None

    def _metric_sources(self) -> Any:
        from cpa.metrics.state import ConnectionCounts, Sources

        def connections() -> ConnectionCounts:
            known = self._listener.connections if self._listener is not None else None
            if known is None:
                return ConnectionCounts(0, 0, 0)
            return ConnectionCounts(len(known.open), len(known.idle), known.refused)

        return Sources(
            connections=connections,
            pool=self.pool,
            store=self.store,
            usage=self.usage,
            usage_queue=self.usage_queue,
            histories=self.histories.count,
            running=lambda: self._exchange.observers.running if self._exchange is not None else 0,
            login_again=lambda account: (state := self.renewals.state(account)) is not None and state.login_again,
            refreshes=lambda: self.renewals.results,
        )

    def _cost(self, record: UsageRecord) -> int | None:
        """Nano-dollars of an attempt."""
        account = self.pool.get(record.account_id)
        return self.prices().cost(
            record.usage,
            model=record.model,
            requested=record.requested_model,
            provider=record.provider,
            account=account.label or account.id if account is not None else record.account_id,
            api_group_key=record.client_id or record.provider,
            auth_index=record.account_index,
            executor_type=executor_of(record.provider, record.upstream_format),
        )

    def _note_unpriced(self, model: str) -> None:
        self.log.warning(
            "a model has no price: it does not count towards the budgets of client keys",
            model=model,
            advice="cpa prices sync, or cpa prices set",
        )

    def _add_routes(self, router: Any) -> None:
        management = Management(
            store=self.store,
            writer=ConfigWriter(self.store),
            gate=self.gate,
            pool=self.pool,
            roster=self.roster,
            auth_files=self.auth_files,
            catalog=self.catalog,
            plugins=self.plugins,
            client=self.client,
            log_files=self.log_files,
            logins=self.logins,
            usage=self.usage,
            usage_queue=self.usage_queue,
            limits=self.limits,
            prices=self.prices,
            price_sync=self.price_sync,
            log=get_logger("cpa.management"),
            renewals=self.renewals,
            exchange=self._exchange,
            histories=self.histories,
            quota_queries=self.quota_queries,
        )
        routes = cache(lambda: _management_routes(management))
        mount(router, management, routes)
        self._control = ControlSocket(control_socket(self.store.path, self._environ), management, routes)
        if self._local_password and self.on_silence is not None:
            self._keep_alive = KeepAlive(self._local_password, self.on_silence)
            router.add_get("/keep-alive", self._keep_alive.handle)
        panel = ControlPanel(
            lambda: self.store.current,
            self.store.path,
            self._environ,
            lambda: self.gate.enabled(self.store.current),
        )
        panel.add_routes(router)
        router.add_get("/metrics", MetricsPage(self.metrics, self.gate, lambda: self.store.current).handle)
        add_callback_pages(router, self.logins, self.plugins.providers)
        for add in self.plugins.implementations("cpa_routes"):
            add(router=router)

    def _take(self, config: Config) -> None:
        """Make everything that follows the configuration what it says."""
        set_level(debug=config.debug)
        self.usage_queue.configure(
            enabled=config.usage_statistics_enabled and self.gate.enabled(config),
            retention=config.redis_usage_queue_retention_seconds,
        )
        self._trail.collect = self._collectors.take if self.usage_queue.enabled else None
        if not self.gate.enabled(config):
            self.usage_queue.close()
        self.log_files.configure(
            enabled=config.logging_to_file,
            folder=log_folder(self._environ, Path(config.auth_dir)),
            total_mb=config.logs_max_total_size_mb,
        )
        self.roster.apply_config(config)
        self.secrets.replace(_secret_values(config, self.pool))

    def _note_tokens(self, old: Account | None, new: Account | None) -> None:
        if new is not None and new.kind == "oauth":
            self.secrets.tokens.add(tokens_of(new))
        if old is not None and old.kind == "oauth":
            self.secrets.tokens.remove(tokens_of(old))

    def _reloaded(self, old: Config, new: Config, exchange: Exchange) -> None:
        self.log.info("configuration applied", changed=changed_paths(old, new))
        for path in restart_required(old, new):
            self.log.warning("restart required", key=path)
        for warning in self.store.loaded.warnings:
            self.log.warning("configuration", key=warning.path, reason=warning.message)
        if old.routing != new.routing:
            exchange.forget_sessions()
        self.plugins.reconfigure(new)
        self._take(new)
        self._follow_recording(new)
        self._collectors.look_again()
        if is_plain(new.remote_management.secret_key):
            self._hashing = asyncio.create_task(self._hash_management_key())

    async def _hash_management_key(self) -> None:
        """Replace a plain management key in the file by its hash, touching nothing else."""
        key = self.store.current.remote_management.secret_key
        try:
            if await asyncio.to_thread(hash_key_in_file, self.store.path, key):
                self.store.reload()
        except (OSError, CpaError) as fault:
            self.log.warning("the management key could not be hashed in the file", reason=str(fault))


def _management_routes(management: Management) -> list[Route]:
    """Fifty modules, which a daemon that nobody manages does without."""
    from cpa.management.resources import all_routes

    return all_routes(management)


def _database(store: ConfigStore) -> Path:
    """The usage database; a relative path begins at the folder of the configuration file."""
    return store.path.absolute().parent / Path(store.current.usage_database_path).expanduser()


def _secret_values(config: Config, pool: AccountPool) -> Iterator[str]:
    for account in pool:
        if account.kind != "oauth":
            yield account.secret
        yield from header_secrets(account.headers)
        yield _password(account.proxy_url)
        yield from secret_parameters(account.base_url)
    yield _password(config.proxy_url)
    for key in config.api_keys:
        yield key if isinstance(key, str) else key.key
    yield from client_secrets(config.plugins.configs)
    yield config.ampcode.upstream_api_key
    yield from (entry.upstream_api_key for entry in config.ampcode.upstream_api_keys)
    yield config.metrics.key
    yield config.remote_management.secret_key


def _password(url: str) -> str:
    """The password in a URL; nothing when there is none, or the URL is none."""
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return ""
