"""Real Elasticsearch nodes without its distribution: the published jars, resolved by Maven, and a launcher of our own.

They lack scripts, x-pack, some analyzers and some field types: what cannot be tested here the product does without.
Jars, compiled launcher and the image of a started JVM stand in the user's cache, built once for all checkouts and runs.
"""

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec
from elasticsearch import ApiError, Elasticsearch, TransportError

from tests.servers.process import (
    LOOPBACK,
    Leash,
    Server,
    ServerFailedError,
    ServerMissingError,
    cache_folder,
    free_port,
    is_open,
    locked,
)

_HERE = Path(__file__).parent
_POM = _HERE / "pom.xml"
_LAUNCHER = _HERE / "EsNode.java"
_OLDEST_JAVA = 21

_NETTY = re.compile(r"(netty|transport-netty4)-.*\.jar")
"""The jars of the one module a node needs; all others are on the class path."""

_LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
# Both miss native code that these jars come without.
logger.vectorization.name = org.apache.lucene.internal.vectorization
logger.vectorization.level = error
logger.simdvec.name = org.elasticsearch.simdvec
logger.simdvec.level = error
"""

_NETTY_MODULE = """\
name=transport-netty4
description=HTTP and transport by Netty
version={version}
elasticsearch.version={version}
java.version=21
classname=org.elasticsearch.transport.netty4.Netty4Plugin
extended.plugins=
has.native.controller=false
licensed=false
"""

_SETTINGS = {
    "network.host": LOOPBACK,
    "http.type": "netty4",
    "transport.type": "netty4",
    "action.auto_create_index": "false",  # a mistyped alias is an error and no index
    "cluster.routing.allocation.disk.threshold_enabled": "false",  # a full disk would make every index read-only
}

_FAST_FAULT_DETECTION = {
    # A node that hangs is out of the cluster after some 5 s and not after a minute.
    "cluster.fault_detection.follower_check.interval": "500ms",
    "cluster.fault_detection.follower_check.timeout": "1s",
    "cluster.fault_detection.leader_check.interval": "500ms",
    "cluster.fault_detection.leader_check.timeout": "1s",
    "cluster.publish.timeout": "5s",
}


class Installation(msgspec.Struct, frozen=True):
    """What nodes are started from."""

    java: Path
    java_version: int
    folder: Path

    @property
    def image(self) -> Path:
        """A started JVM, to start others from (an AOT cache): a node is ready in a third of the time."""
        return self.folder / "node.aot"

    def command(
        self, heap: str, settings: Mapping[str, str], *, full_jit: bool = False, train: Path | None = None
    ) -> list[str]:
        """The command of a node; with `train` one that leaves its image there when it ends."""
        options = [
            f"-Xms{heap}",
            f"-Xmx{heap}",
            "-XX:+UseSerialGC",
            "--enable-native-access=ALL-UNNAMED",
            f"-Des.nativelibs.path={self.folder / 'native'}",
            "-Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false",
        ]
        if not full_jit:
            options.append("-XX:TieredStopAtLevel=1")
        if self.java_version >= 23:
            options.append("--sun-misc-unsafe-memory-access=allow")
        if train is not None:
            options.append(f"-XX:AOTCacheOutput={train}")
        elif self.image.exists():
            options += [f"-XX:AOTCache={self.image}", "-Xlog:disable", "-Xlog:all=error:stderr"]
        # An image is good for this very class path.
        class_path = os.pathsep.join(str(jar) for jar in sorted((self.folder / "jars").iterdir()))
        given = {"path.home": str(self.folder / "home"), **_SETTINGS, **settings}
        assignments = [f"{name}={value}" for name, value in given.items()]
        return [str(self.java / "bin" / "java"), *options, "-cp", class_path, "EsNode", *assignments]


class ElasticsearchNode(Server):
    """A node: a cluster of its own, or one of the nodes of an ElasticsearchCluster.

    `settings` are lines of elasticsearch.yml by name. Unless it may use its `full_jit`, it starts for half the CPU time
    and answers half as fast once it is warm.
    """

    ready_within_s = 90.0

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "elasticsearch",
        heap: str = "256m",
        full_jit: bool = False,
        settings: Mapping[str, str] | None = None,
        leash: Leash | None = None,
    ) -> None:
        super().__init__(folder, leash)
        self.name = name
        self.heap = heap
        self.full_jit = full_jit
        self.port = free_port()
        self._settings = {
            "discovery.type": "single-node",
            "cluster.name": name,
            "node.name": name,
            "path.data": str(folder / "data"),
            "path.logs": str(folder),
            "path.repo": str(folder / "snapshots"),
            "http.port": str(self.port),
            "transport.port": str(free_port()),
            **(settings or {}),
        }

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def client(self, timeout_s: float = 10) -> Elasticsearch:
        """A blocking client that tries once: for what a test does behind the back of the code under test."""
        return Elasticsearch(self.url, request_timeout=timeout_s, max_retries=0)

    def _command(self) -> Sequence[str]:
        return installation().command(self.heap, self._settings, full_jit=self.full_jit)

    def _is_ready(self) -> bool:
        if not is_open(self.port):
            return False
        try:
            with self.client() as client:
                return not client.cluster.health(wait_for_status="yellow", timeout="1s")["timed_out"]
        except (ApiError, TransportError):
            return False


class ElasticsearchCluster:
    """Nodes that are one cluster, each to be killed and frozen and started again. It notices a dead node quickly."""

    ready_within_s = 120.0

    def __init__(
        self,
        folder: Path,
        size: int = 3,
        *,
        heap: str = "320m",
        full_jit: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        transport_ports = {f"elasticsearch-{number}": free_port() for number in range(1, size + 1)}
        common = {
            **_FAST_FAULT_DETECTION,
            "cluster.name": "elasticsearch",
            "cluster.initial_master_nodes": ",".join(transport_ports),
            "discovery.type": "multi-node",
            "discovery.seed_hosts": ",".join(f"{LOOPBACK}:{port}" for port in transport_ports.values()),
            "path.repo": str(folder / "snapshots"),
            **(settings or {}),
        }
        self.nodes = [
            ElasticsearchNode(
                folder / name,
                name=name,
                heap=heap,
                full_jit=full_jit,
                settings=common | {"transport.port": str(port)},
            )
            for name, port in transport_ports.items()
        ]

    @property
    def urls(self) -> list[str]:
        """Where clients find its nodes, those that are down included."""
        return [node.url for node in self.nodes]

    def start(self) -> Self:
        """Start the nodes that do not run, and wait until all are one cluster with every copy in its place."""
        for node in self.nodes:
            node.resume()
            if not node.is_running:
                node.launch()
        for node in self.nodes:
            node.wait_until_ready()
        self.wait_until_whole()
        return self

    def wait_until_whole(self) -> None:
        """Return when the nodes that run, and are not paused, are one cluster and every copy is in its place."""
        well = [node for node in self.nodes if node.is_running and not node.is_paused]
        deadline = time.perf_counter() + self.ready_within_s
        reason: Exception | None = None
        with well[0].client() as client:
            while time.perf_counter() < deadline:
                try:
                    client.cluster.health(wait_for_nodes=str(len(well)), wait_for_status="green", timeout="2s")
                    return
                except (ApiError, TransportError) as error:  # there is no master yet, or the two seconds are over
                    reason = error
                time.sleep(0.1)
        raise ServerFailedError(f"the cluster is not whole after {self.ready_within_s} s: {reason}")

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """End all nodes at once (SIGKILL)."""
        for node in self.nodes:
            node.kill()

    def master(self) -> ElasticsearchNode:
        """The node that the others follow."""
        with self._any_client() as client:
            state = client.cluster.state(metric="master_node,nodes")
        return self._node(state["nodes"][state["master_node"]]["name"])

    def holder_of_primary(self, index: str, shard: int = 0) -> ElasticsearchNode:
        """The node that holds the primary of a shard; `index` may be an alias of one index."""
        with self._any_client() as client:
            found = client.search_shards(index=index)
        (primary,) = (copy for copy in found["shards"][shard] if copy["primary"])
        return self._node(found["nodes"][primary["node"]]["name"])

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _any_client(self) -> Elasticsearch:
        return Elasticsearch(self.urls, request_timeout=10, retry_on_timeout=True)

    def _node(self, name: str) -> ElasticsearchNode:
        return next(node for node in self.nodes if node.name == name)


def installation() -> Installation:
    """The installation in the user's cache, made if it is not there; raises ServerMissingError, each time the same."""
    made = _made_or_missing()
    if isinstance(made, ServerMissingError):
        raise made
    return made


@functools.cache
def _made_or_missing() -> Installation | ServerMissingError:
    try:
        return _make()
    except ServerMissingError as missing:
        return missing


def _make() -> Installation:
    java = find_java(_java_homes())
    if java is None:
        raise ServerMissingError(
            f"no JDK {_OLDEST_JAVA} or newer for Elasticsearch in JAVA_HOME, on the path or among the system's own"
        )
    zstd = _find_zstd()
    version = _version()
    ingredients = (
        _POM.read_text(encoding="utf-8"),
        _LAUNCHER.read_text(encoding="utf-8"),
        _LOGGING,
        _NETTY_MODULE,
        _release(java),
        str(java),
        str(zstd),
    )
    digest = hashlib.sha256("\0".join(ingredients).encode()).hexdigest()
    cache = cache_folder("servers")
    made = Installation(java, _java_version(java), cache / f"elasticsearch-{version}-{digest[:12]}")
    with locked(cache / "lock"):
        if not made.folder.exists():
            _assemble(made, version, zstd)
        if made.java_version >= 25 and not made.image.exists():
            _train(made)
    return made


def find_java(homes: Iterable[Path]) -> Path | None:
    """The first home of a JDK that is new enough."""
    return next(
        (home for home in homes if (home / "bin" / "javac").exists() and _java_version(home) >= _OLDEST_JAVA), None
    )


def _java_homes() -> list[Path]:
    """Where JDKs are: the one that was chosen, the one on the path, then the system's, newest first."""
    chosen = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    on_path = [Path(java).resolve().parents[1]] if (java := shutil.which("java")) else []
    system = [
        *Path("/usr/lib/jvm").glob("*"),
        *Path("/Library/Java/JavaVirtualMachines").glob("*/Contents/Home"),
    ]
    return [*chosen, *on_path, *sorted(system, key=_java_version, reverse=True)]


def _release(home: Path) -> str:
    """What a JDK says of itself; nothing where there is none."""
    release = home / "release"
    return release.read_text(encoding="utf-8") if release.is_file() else ""


def _java_version(home: Path) -> int:
    found = re.search(r'^JAVA_VERSION="(\d+)', _release(home), re.MULTILINE)
    return int(found[1]) if found else 0


def _find_zstd() -> Path:
    """The system's zstd, without which a node cannot write with the codec best_compression."""
    names = ("libzstd.so.1", "libzstd.1.dylib")
    folders = (Path("/usr/lib"), *Path("/usr/lib").glob("*-linux-*"), Path("/usr/lib64"), Path("/opt/homebrew/lib"))
    for path in (folder / name for folder in folders for name in names):
        if path.exists():
            return path
    raise ServerMissingError("the library libzstd is not there for Elasticsearch (Debian and Ubuntu: libzstd1)")


def _version() -> str:
    found = re.search(r"<elasticsearch.version>(.+)</", _POM.read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def _assemble(made: Installation, version: str, zstd: Path) -> None:
    """Lay the installation out beside its place, then move it there whole."""
    building = made.folder.with_name("building")
    shutil.rmtree(building, ignore_errors=True)
    jars, home, module = building / "jars", building / "home", building / "home/modules/transport-netty4"
    for folder in (jars, module, home / "config", home / "lib", home / "plugins", building / "native"):
        folder.mkdir(parents=True)
    _resolve(jars, made.java)
    for jar in jars.iterdir():
        if _NETTY.fullmatch(jar.name):
            jar.rename(module / jar.name)
    (module / "plugin-descriptor.properties").write_text(_NETTY_MODULE.format(version=version), encoding="utf-8")
    (home / "config" / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")
    (building / "native" / f"libzstd{'.dylib' if zstd.suffix == '.dylib' else '.so'}").symlink_to(zstd)
    tools = made.java / "bin"
    classes = building / "classes"
    subprocess.run([tools / "javac", "-d", classes, "-cp", f"{jars}/*", _LAUNCHER], check=True)
    subprocess.run([tools / "jar", "--create", "--file", jars / "es-node.jar", "-C", classes, "."], check=True)
    building.rename(made.folder)


def _resolve(jars: Path, java: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerMissingError("mvn is not on the path, to resolve Elasticsearch (Debian and Ubuntu: maven)")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    finished = subprocess.run(
        [maven, "--batch-mode", "--quiet", "--file", _POM, *goal],
        env=os.environ | {"JAVA_HOME": str(java)},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        reason = next((line for line in finished.stdout.splitlines() if "[ERROR]" in line), finished.stderr.strip())
        raise ServerMissingError(f"Maven could not resolve Elasticsearch: {reason}")


class _Trainee(ElasticsearchNode):
    """A node that leaves its image when it stops, which takes a while."""

    stops_within_s = 120.0

    def __init__(self, folder: Path, made: Installation) -> None:
        super().__init__(folder)
        self._made = made

    def _command(self) -> Sequence[str]:
        return self._made.command(self.heap, self._settings, train=self.folder / "aot")


def _train(made: Installation) -> None:
    """Keep the image of a node that was started and stopped. Where there is none, nodes only start more slowly."""
    with tempfile.TemporaryDirectory(dir=made.folder) as name:
        folder = Path(name)
        _Trainee(folder, made).start().stop()
        if (folder / "aot").exists():
            (folder / "aot").rename(made.image)
