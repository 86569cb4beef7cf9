"""Server processes on 127.0.0.1: they may be killed, frozen and started again, and never outlive who started them."""

import atexit
import contextlib
import fcntl
import functools
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Self

LOOPBACK = "127.0.0.1"

# Systems take the local ports of outgoing connections from above these: a server that is down keeps its port.
_PORTS = range(20_000, 32_768)
_POLL_S = 0.02


class ServerMissingError(Exception):
    """This machine cannot run such a server. The message is one line that says what is missing."""


class ServerFailedError(Exception):
    """The server was started and did not become ready; the message ends with what it logged."""


class Leash:
    """A group of processes that dies when the last holder of the leash is gone, however it went, kill -9 included.

    A shell leads the group and waits for the end of a pipe: the kernel closes the other end for a process that dies.
    """

    def __init__(self, waits_on: int, held: int) -> None:
        self._held = held
        self._leader = subprocess.Popen(
            ["/bin/sh", "-c", "trap '' HUP INT TERM; read -r _; kill -KILL 0"],
            stdin=waits_on,
            process_group=0,
        )
        os.close(waits_on)
        _kept.append(self)

    @property
    def group(self) -> int:
        """The process group, to be joined by those that shall die with it."""
        return self._leader.pid

    def end(self) -> None:
        """End the group, whoever else holds it."""
        os.killpg(self.group, signal.SIGKILL)
        self._leader.wait()
        os.close(self._held)


_kept: "list[Leash | Server]" = []
"""What lives until this process ends, and longer where it is shared: a collected Popen complains about that."""


@functools.cache
def own_leash() -> Leash:
    """The leash that this process alone holds."""
    leash = Leash(*os.pipe())
    atexit.register(leash.end)
    return leash


def cache_folder(name: str) -> Path:
    """A folder in the user's cache for what is made once for all checkouts and runs; it is there when this returns."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / f"chargegraph-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time, for as long as the block takes."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Server(ABC):
    """A server in a folder of its own. Its address stays the same over all restarts, and so does its data.

    The methods block, `start` and `restart` for as long as the server takes to be ready. Where a loop has to go on
    meanwhile: `await asyncio.to_thread(server.restart)`.
    """

    name: str
    ready_within_s: float
    stops_within_s = 15.0

    def __init__(self, folder: Path, leash: Leash | None = None) -> None:
        self.folder = folder
        self._leash = leash
        self.is_paused = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The program and its arguments; raises ServerMissingError."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """It answers requests."""

    @property
    def log(self) -> Path:
        """What it printed, over all its starts."""
        return self.folder / f"{self.name}.log"

    @property
    def is_running(self) -> bool:
        """There is a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        self.launch()
        self.wait_until_ready()
        return self

    def launch(self) -> None:
        """Start it and do not wait."""
        assert not self.is_running, f"{self.name} runs already"
        command = self._command()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=(self._leash or own_leash()).group,
            )

    def wait_until_ready(self) -> None:
        """Return when it answers; raise, and leave nothing running, when it does not."""
        try:
            self._poll()
        except BaseException:
            self.kill()
            raise

    def _poll(self) -> None:
        deadline = time.perf_counter() + self.ready_within_s
        while not self._is_ready():
            if not self.is_running:
                raise ServerFailedError(f"{self.name} ended while it started:\n{self._tail()}")
            if time.perf_counter() > deadline:
                raise ServerFailedError(f"{self.name} was not ready within {self.ready_within_s} s:\n{self._tail()}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End it in its own time; stopping what does not run changes nothing."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(self.stops_within_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.is_paused = False

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self) -> None:
        """Let it go on after a pause."""
        self._signal(signal.SIGCONT)
        self.is_paused = False

    def restart(self) -> Self:
        """Stop it if it runs, and start it on the data that it has."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def share(folder: Path, start: Callable[[Leash], Server]) -> str:
    """The URL of a server that all processes which name this folder use together.

    The first of them starts it, by `start`, with a leash that all of them hold until they end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    url, pipe = folder / "url", folder / "leash"
    with locked(folder / "lock"):
        if url.exists():
            with contextlib.suppress(OSError):  # nobody waits at the other end: the server went with its last user
                os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                return url.read_text(encoding="utf-8")
        url.unlink(missing_ok=True)
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        waits_on = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(waits_on, True)
        server = start(Leash(waits_on, os.open(pipe, os.O_WRONLY)))
        _kept.append(server)
        url.write_text(server.url, encoding="utf-8")
        return server.url


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, and which no outgoing connection will take."""
    # The system's own randomness: a seeded one would let two processes of one test run choose the same.
    for port in SystemRandom().sample(_PORTS, 100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ServerMissingError("none of a hundred ports of 127.0.0.1 was free")


def is_open(port: int) -> bool:
    """Something listens on a port of 127.0.0.1."""
    try:
        socket.create_connection((LOOPBACK, port)).close()
    except ConnectionError:
        return False
    return True
