"""`forged`: sets the doors up, wires them to the core, and runs until told to end."""

import asyncio
import fcntl
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import forge
from forge import paths
from forge.core import events, wire
from forge.core.actions import LoadSettings
from forge.core.learned import Learned
from forge.core.state import State
from forge.core.units import MIB
from forge.daemon.config_watch import ConfigWatch
from forge.daemon.log import BugLog, DecisionLog
from forge.daemon.loop import Loop
from forge.daemon.notify import Notifier
from forge.daemon.perform import Performer
from forge.daemon.ports import Ports
from forge.daemon.server import Server
from forge.daemon.settings import load_settings
from forge.daemon.watches import Watches
from forge.errors import ConfigInvalid, ForgeError
from forge.host.build_cgroup import open_build_cgroups
from forge.host.database import Database
from forge.host.fifo import Jobservers, sweep
from forge.host.inference import InferenceWatcher
from forge.host.limits import raise_open_files
from forge.host.memories import Memories
from forge.host.memory import open_memory
from forge.host.ramdisk import RamDisk
from forge.host.state_dir import note_commands, private_dir
from forge.host.store import Store
from forge.host.workspaces import Workspaces

GUARD_EVERY_S = 5.0


def main() -> int:
    """Run the daemon in this process; with --foreground its decisions go to stderr as well."""
    foreground = "--foreground" in sys.argv[1:]
    unknown = [word for word in sys.argv[1:] if word != "--foreground"]
    if unknown:
        print(f"forged: unknown argument {unknown[0]!r}; it takes --foreground", file=sys.stderr)
        return os.EX_USAGE
    try:
        return asyncio.run(_run(dict(os.environ), foreground=foreground))
    except ForgeError as error:
        print(
            f"forged: {error.message}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr
        )
        return error.exit_code
    except KeyboardInterrupt:
        return 130


async def _run(env: Mapping[str, str], *, foreground: bool) -> int:
    state_dir = paths.state_dir(env)
    private_dir(state_dir)
    os.chdir("/")
    raise_open_files()
    lock = _take_lock(state_dir)
    if lock is None:
        print(f"forged: another daemon runs for {state_dir}", file=sys.stderr)
        return 0
    socket_path = paths.socket_path(env)
    if len(os.fsencode(socket_path)) > paths.SOCKET_PATH_LIMIT:
        raise ConfigInvalid(
            f"the socket's path is too long: {socket_path}",
            hint="set FORGE_STATE_DIR to a short one",
        )
    log = DecisionLog(os.path.join(state_dir, paths.LOG_NAME), echo=foreground)
    loop = asyncio.get_running_loop()
    then = "it is an index: builds go on"
    database = Database(
        os.path.join(state_dir, paths.STORE_NAME),
        lambda why: loop.call_soon_threadsafe(
            log.write, "store.failed", {"why": why, "then": then}
        ),
    )
    try:
        await _serve(env, socket_path, log, database)
    finally:
        database.close()
        log.close()
        os.close(lock)
    return 0


async def _serve(
    env: Mapping[str, str], socket_path: str, log: DecisionLog, database: Database
) -> None:
    asyncio_loop = asyncio.get_running_loop()
    ramdisk = open_ramdisk(env)
    config_file = paths.config_file(env)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio_loop.add_signal_handler(number, ended.set)
    asyncio_loop.set_exception_handler(BugLog(log))
    try:
        cfg, settings = load_settings(config_file, ramdisk, env)
    except ConfigInvalid as error:
        log.write("config.refused", {"reason": error.message, "kept": "the defaults"})
        cfg, settings = load_settings(os.path.join(paths.state_dir(env), "none"), ramdisk, env)
        settings = replace(settings, mount_at_start=False)  # it may be meant to be elsewhere
    log.limit(cfg["daemon.log_size"] * MIB)
    store, memories = Store(database), Memories(database)
    learned = Learned(memories.learned(time.time()))
    state = State(
        settings,
        next_build=store.next_build(),
        learned=learned,
        high_water=store.high_water(),
        pinned=store.pinned(),
        modes=store.target_modes(),
        spills=store.spills(),
    )
    loop: Loop
    server = Server(lambda event: loop.post(event), log.write)
    watches = Watches(lambda key, pid: loop.post(events.Gone(key, pid)))
    jobservers = Jobservers()
    build_cgroups = open_build_cgroups(Path(paths.state_dir(env)))
    for path in sweep(settings.jobserver_dir):
        log.write("jobserver.swept", {"path": path})
    identity = {
        "pid": os.getpid(), "version": forge.__version__, "protocol": wire.VERSION,
        "socket": socket_path, "log_file": os.path.join(paths.state_dir(env), paths.LOG_NAME),
    }  # fmt: skip
    ports = Ports(
        asyncio_loop,
        ramdisk,
        Workspaces(),
        jobservers,
        env,
        store,
        memories,
        open_memory(),
        build_cgroups,
        InferenceWatcher(),
        watches,
        server,
        log,
        config_file,
        identity,
    )
    performer = Performer(
        ports, lambda event: loop.post_from_thread(event), lambda event: loop.post(event), ended.set
    )
    loop = Loop(state, performer)
    asyncio_loop.add_signal_handler(signal.SIGTERM, lambda: loop.post(events.Ending()))
    log.write("daemon.started", {"pid": os.getpid(), "version": forge.__version__})
    await server.listen(socket_path)
    note_commands(paths.state_dir(env))
    notifier = Notifier(env)
    notifier.ready()
    asyncio_loop.add_signal_handler(signal.SIGHUP, lambda: performer.perform(LoadSettings()))
    watch = ConfigWatch(
        config_file,
        lambda: asyncio_loop.call_soon_threadsafe(performer.perform, LoadSettings()),
    )
    try:
        watch.start()
    except OSError as error:
        log.write("config.unwatched", {"reason": str(error), "instead": "`forge daemon restart`"})
    loop.post(events.Tick())
    guard = asyncio.create_task(_guard_socket(server, socket_path, log, ended))
    await ended.wait()
    guard.cancel()
    notifier.stopping()
    log.write("daemon.ended", {"builds": len(state.builds)})
    server.close()
    if not server.is_lost(socket_path):
        os.unlink(socket_path)
    await asyncio.sleep(0)  # lets the last replies leave
    watch.stop()
    loop.stop()
    watches.close()
    performer.close()
    ports.inference.close()
    jobservers.close(state.jobservers.tokens.withdrawn())
    build_cgroups.close()


async def _guard_socket(server: Server, path: str, log: DecisionLog, ended: asyncio.Event) -> None:
    """End the daemon when its socket is not there any more: nobody could reach it, ever."""
    while not ended.is_set():
        await asyncio.sleep(GUARD_EVERY_S)
        if server.is_lost(path):
            log.write("daemon.unreachable", {"socket": path})
            ended.set()


def open_ramdisk(env: Mapping[str, str]) -> RamDisk:
    """Return this platform's RAM disk door. FORGE_PLATFORM=darwin selects the simulated macOS."""
    state_dir = Path(paths.state_dir(env))
    if env.get("FORGE_PLATFORM", sys.platform) == "darwin":
        from forge.host.ramdisk_darwin import DarwinRamDisk

        return DarwinRamDisk(
            state_dir, volumes_root=Path(env.get("FORGE_VOLUMES_ROOT", "/Volumes"))
        )
    from forge.host.ramdisk_linux import LinuxRamDisk

    return LinuxRamDisk(state_dir, cache_dir=Path(paths.cache_dir(env)))


def _take_lock(state_dir: str) -> int | None:
    """Take the lock that makes this the only daemon; the kernel frees it when we die."""
    path = os.path.join(state_dir, paths.DAEMON_LOCK_NAME)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


if __name__ == "__main__":
    sys.exit(main())
