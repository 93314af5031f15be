"""The server process: it serves until it is told to stop, and takes a changed configuration."""

from __future__ import annotations

import asyncio
import gc

import structlog

from consentry import log as log_set_up
from consentry.compose import Running, start
from consentry.config import Config, ConfigError, load_config
from consentry.ports import StoreError
from consentry.web import faults
from consentry.web.app import create_app

log = structlog.get_logger()
PRUNE_EVERY_S = 3600.0
STORE_PAUSE_S = 1.0


def spare_the_collector() -> None:
    """Let Python look for cycles seldom, and never among what was there at the start.

    An event is some fifty objects that die together and hold no cycle. By default Python would
    look through the living thousands of times a second, at the cost of half of all it does.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def serve(config_path: str, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; a changed file is taken without a restart.

    Raises ConfigError, StoreLocked, BadStore before it listens.
    """
    import uvicorn

    from consentry.web.listener import Limits, Listener

    log_set_up.set_up()
    faults.quote_nobody(asyncio.get_running_loop())
    config = load_config(config_path)
    for warning in config.warnings:
        log.warning("configuration", message=str(warning))
    running = await start(config)
    spare_the_collector()
    background = [
        asyncio.create_task(_prune_now_and_then(running)),
        asyncio.create_task(_follow(running, config_path)),
    ]

    async def stop() -> None:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await running.stop()

    limits = Limits.of_process()
    # Streams stay open: three of four connections are left to those who come and go.
    running.site.most_streams = min(running.site.most_streams, limits.connections // 4)
    server = Listener(
        uvicorn.Config(
            create_app(running.site, stop),
            host=host,
            port=port,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=10,
        ),
        running.site.closing.set,
        limits,
    )
    log.info("serving", workspace=config.workspace, port=port, shadow=config.shadow)
    await server.serve()


async def _prune_now_and_then(running: Running) -> None:
    while True:
        await asyncio.sleep(PRUNE_EVERY_S)
        try:
            gone = await running.prune()
        except Exception as fault:
            log.error("prune_failed", error=type(fault).__name__)
        else:
            log.info("pruned", count=gone)


async def _follow(running: Running, path: str) -> None:
    """Take a changed configuration; keep the old one where the new one is bad."""
    from consentry.config.watch import watch

    async def changed(_text: str) -> None:
        try:
            config = load_config(path)
            _refuse_what_needs_a_restart(running.config, config)
        except ConfigError as error:
            for problem in error.problems:
                log.error("configuration_refused", message=str(problem), line=problem.line)
            return
        while True:
            try:
                await running.take_config(config)
                return
            except StoreError as error:
                log.error("configuration_waits", error=type(error).__name__)
                await asyncio.sleep(STORE_PAUSE_S)
            except Exception as fault:
                log.error("configuration_failed", error=type(fault).__name__)
                return

    def unreadable(message: str) -> None:
        log.error("configuration_unreadable", message=message)

    while True:
        try:
            await watch(path, changed, on_error=unreadable)
        except Exception as fault:
            log.error("configuration_watch_failed", error=type(fault).__name__)
        await asyncio.sleep(STORE_PAUSE_S)


def _refuse_what_needs_a_restart(old: Config, new: Config) -> None:
    from consentry.config.problem import Problem

    fixed: dict[str, tuple[object, object]] = {
        "workspace.name": (old.workspace, new.workspace),
        "store.url": (old.store_url, new.store_url),
        "server.allow_private_destinations": (
            old.server.allow_private_destinations,
            new.server.allow_private_destinations,
        ),
    }
    problems = [
        Problem("error", "cannot change while serving; restart to take it", field, None)
        for field, (before, after) in fixed.items()
        if before != after
    ]
    if problems:
        raise ConfigError(problems)
