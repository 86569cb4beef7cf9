"""What deploy/ says agrees with the program and with itself. No container engine runs here: these files are read."""

import ast
import json
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import typer

from app.cli import app
from app.main import SHUTDOWN_S
from app.settings import PREFIX, SETTINGS, read_settings
from app.web.admin import METRICS_PATH
from app.web.asgi import GRAPHQL_PATH
from app.web.health import PAGES
from indexers.profiles import load_profiles
from tests.conftest import REPOSITORY
from tests.guards.shapes import (
    Autoscaler,
    Budget,
    Compose,
    ComposeService,
    ConfigMap,
    Container,
    Deployment,
    KubernetesObject,
    Kustomization,
    NetworkPolicy,
    PersistentVolumeClaim,
    Probe,
    Secret,
    Selector,
    Service,
    StatefulSet,
    Workload,
)

_SERVERS = frozenset({"CHARGEGRAPH_STATION_INDEX_URL", "CHARGEGRAPH_LIVE_URL", "CHARGEGRAPH_RESERVATIONS_URL"})

_DEPLOY = REPOSITORY / "deploy"
_HUB = "chargegraph"
_ROLES = ("api", "indexers")
_DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}
"""What the ledger of reservations demands of Redis."""

T = TypeVar("T")


# ----------------------------------------------------------------------------------------------------- what is read


class Instruction(NamedTuple):
    word: str
    text: str


@cache
def dockerfile() -> list[Instruction]:
    text = (_DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [Instruction(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def said(word: str) -> list[str]:
    return [instruction.text for instruction in dockerfile() if instruction.word == word]


@cache
def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for text in said("ENV") for pair in text.split())


@cache
def compose() -> Compose:
    return msgspec.yaml.decode((_DEPLOY / "compose.yaml").read_bytes(), type=Compose)


@cache
def kustomization() -> Kustomization:
    return msgspec.yaml.decode((_DEPLOY / "kubernetes" / "kustomization.yaml").read_bytes(), type=Kustomization)


def manifest(name: str) -> list[KubernetesObject]:
    text = (_DEPLOY / "kubernetes" / name).read_text(encoding="utf-8")
    return [msgspec.yaml.decode(part, type=KubernetesObject) for part in re.split(r"^---$", text, flags=re.MULTILINE)]


@cache
def objects() -> list[KubernetesObject]:
    return [each for name in kustomization().resources for each in manifest(name)]


def every(kind: type[T]) -> list[T]:
    return [each for each in objects() if isinstance(each, kind)]


@cache
def workloads() -> dict[str, Workload]:
    found: list[Workload] = [*every(Deployment), *every(StatefulSet)]
    return {each.metadata.name: each for each in found}


def labels_of(workload: Workload) -> dict[str, str]:
    return workload.spec.template.metadata.labels


def container_of(workload: Workload) -> Container:
    (container,) = workload.spec.template.spec.containers
    return container


@cache
def hub_workloads() -> dict[str, Workload]:
    return {name: each for name, each in workloads().items() if container_of(each).image == _HUB}


@cache
def hub_services() -> dict[str, ComposeService]:
    return {name: each for name, each in compose().services.items() if each.build is not None}


def selected(selector: Selector) -> list[str]:
    return [name for name, workload in workloads().items() if selector.takes(labels_of(workload))]


@cache
def env_example(name: str) -> dict[str, str]:
    lines = (_DEPLOY / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(text: str, reference: str, values: Mapping[str, str]) -> str:
    return re.sub(reference, lambda match: values[match[1]], text)


@cache
def environments() -> dict[str, dict[str, str]]:
    """What each process of the hub finds in its environment but for the feeds' secrets, by where that is written."""
    found = {"image": image_environment()}
    values = {**env_example(".env.example"), "REDIS_PASSWORD": "secret"}
    for name, service in hub_services().items():
        found[f"compose {name}"] = {
            variable: filled(text, r"\$\{(\w+)(?::\?[^}]*)?\}", values)
            for variable, text in service.environment.items()
        }
    for name, workload in hub_workloads().items():
        found[f"kubernetes {name}"] = container_environment(container_of(workload))
    return found


def container_environment(container: Container) -> dict[str, str]:
    maps = {each.metadata.name: each.data for each in every(ConfigMap)}
    listed: dict[str, str] = {}
    # Kubernetes fills $(NAME) from what `env` defined before that line, and from nothing of `envFrom`.
    for variable in container.env:
        source = variable.value_from
        if variable.value is not None:
            listed[variable.name] = filled(variable.value, r"\$\((\w+)\)", listed)
        elif source is not None and source.config_map_key_ref is not None:
            listed[variable.name] = maps[source.config_map_key_ref.name][source.config_map_key_ref.key]
        elif source is not None and source.secret_key_ref is not None:
            listed[variable.name] = "secret"
    from_maps = [maps[source.config_map_ref.name] for source in container.env_from if source.config_map_ref]
    return {name: text for each in (*from_maps, listed) for name, text in each.items()}


def servers() -> Iterator[tuple[str, dict[str, str]]]:
    """The environments that name servers."""
    return ((where, each) for where, each in environments().items() if where != "image")


def check_command(words: Sequence[str]) -> None:
    """Raise where the command line would not take these words."""
    command: Any = typer.main.get_command(app)
    name, rest = "python -m app", list(words)
    while commands := getattr(command, "commands", None):
        name, *rest = rest
        command = commands[name]
    command.make_context(name, rest)


def seconds(text: str) -> float:
    assert re.fullmatch(r"\d+s", text), text
    return float(text[:-1])


# ------------------------------------------------------------------------------------------------------ the settings


def test_every_variable_of_ours_is_a_setting() -> None:
    known = {setting.name for setting in SETTINGS}
    for where, environment in environments().items():
        assert {name for name in environment if name.startswith(PREFIX)} <= known, where
    named = set(re.findall(rf"{PREFIX}[A-Z_]+\b", (_DEPLOY / "README.md").read_text(encoding="utf-8")))
    assert named - {PREFIX} <= known


def test_every_process_starts_with_the_settings_that_it_is_given() -> None:
    for where, environment in environments().items():
        merged = dict((image_environment() | environment).items())
        settings = read_settings(merged)
        assert settings.host == "0.0.0.0", where
        assert settings.feeds or where == "image", where


def test_every_process_is_told_of_the_same_feeds_and_servers() -> None:
    for kind in ("compose", "kubernetes"):
        told = [
            {name: text for name, text in environment.items() if name.startswith(PREFIX)}
            for where, environment in servers()
            if where.startswith(kind)
        ]
        assert len(told) > 1
        assert all(each == told[0] for each in told)
        assert told[0].keys() >= _SERVERS


def test_the_feeds_that_are_named_have_profiles_whose_secrets_are_listed() -> None:
    feeds = {where: environment["CHARGEGRAPH_FEEDS"] for where, environment in servers()}
    (names,) = {tuple(text.split(",")) for text in feeds.values()}
    listed = dict.fromkeys(env_example("feeds.env.example"), "text")
    assert [name for name, _ in load_profiles(names, (), listed)] == list(names)
    profiles = "".join((REPOSITORY / "indexers" / "profiles" / f"{name}.toml").read_text("utf-8") for name in names)
    assert set(listed) == set(re.findall(r"\$\{(\w+)\}", profiles))


def test_the_folder_of_the_image_is_the_volume_of_every_process() -> None:
    folder = image_environment()["CHARGEGRAPH_DATA_DIR"]
    assert any(folder in text for text in said("RUN")), "made by the build, and given to its user"
    for name, service in hub_services().items():
        assert any(volume.endswith(f":{folder}") for volume in service.volumes), name
    for name, workload in hub_workloads().items():
        assert folder in {mount.mount_path for mount in container_of(workload).volume_mounts}, name


# ------------------------------------------------------------------------------------------------------- the commands


def test_every_command_exists() -> None:
    (entry,), (default,) = said("ENTRYPOINT"), said("CMD")
    assert json.loads(entry) == ["python", "-m", "app"]
    commands = {
        "image": json.loads(default),
        **{f"compose {name}": service.command for name, service in hub_services().items()},
        **{f"kubernetes {name}": container_of(workload).args for name, workload in hub_workloads().items()},
    }
    for where, words in commands.items():
        assert words, where
        check_command(words)
    assert set(_ROLES) == hub_services().keys() == hub_workloads().keys()
    for workload in hub_workloads().values():
        assert not container_of(workload).command, "the image's entry point is the command"


@pytest.mark.parametrize("role", _ROLES)
def test_a_role_runs_the_same_command_everywhere(role: str) -> None:
    assert compose().services[role].command == container_of(workloads()[role]).args


def test_every_command_of_the_page_exists() -> None:
    page = (_DEPLOY / "README.md").read_text(encoding="utf-8")
    written = re.findall(r"python -m app ([^`\n#]+)", page) + re.findall(r"run --rm indexers ([^`\n#]+)", page)
    assert len(written) > 2
    for words in written:
        check_command(shlex.split(words))


def test_a_wrong_command_is_found() -> None:
    for words in (["serve", "--no-such-option"], ["sing"], ["keys", "create"]):
        with pytest.raises((KeyError, typer._click.exceptions.UsageError)):
            check_command(words)


# ---------------------------------------------------------------------------------------------------------- the image


def test_the_image_is_made_of_what_is_in_the_repository_and_let_in() -> None:
    sources = [shlex.split(text) for text in said("COPY") if not text.startswith("--from=")]
    copied = {source.rstrip("/") for *sources_of_one, _ in sources for source in sources_of_one}
    assert copied == {"requirements.txt", "app", "schema", "indexers"}
    assert all((REPOSITORY / source).exists() for source in copied)
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in ignored if not line.startswith("#")) == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_the_image_has_a_python_that_the_lock_is_for() -> None:
    (base,) = {text.split(" AS ")[0] for text in said("FROM")}
    found = re.fullmatch(r"python:3\.(\d+)-slim", base)
    assert found
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert int(found[1]) >= int(project["requires-python"].removeprefix(">=3."))


def test_the_image_installs_what_is_locked_and_nothing_else() -> None:
    installs = [text for text in said("RUN") if "pip" in text]
    assert len(installs) == 1
    assert {"--require-hashes", "--only-binary=:all:", "requirements.txt"} <= set(installs[0].split())


def test_the_image_does_not_run_as_root() -> None:
    user, group = said("USER")[-1].split(":")
    assert int(user) > 0 < int(group)
    last = max(place for place, each in enumerate(dockerfile()) if each.word == "USER")
    assert not [each for each in dockerfile()[last:] if each.word in {"RUN", "COPY"}]
    for name, workload in hub_workloads().items():
        security = workload.spec.template.spec.security_context
        assert [security.run_as_user, security.run_as_group, security.fs_group] == [
            int(user),
            int(group),
            int(group),
        ], name


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_of_the_image_tells_the_truth(status: int, code: int) -> None:
    (text,) = said("HEALTHCHECK")
    python, *words = json.loads(text[text.index("[") :])
    assert python == "python"
    asked = []

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            words = [word.replace(f":{hub_port()}/", f":{server.server_port}/") for word in words]
            # A proxy that is not there: it must not be asked.
            proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
            finished = subprocess.run([sys.executable, *words], env=proxy, capture_output=True, check=False, timeout=30)
        finally:
            server.shutdown()
            thread.join()
    assert (finished.returncode, asked) == (code, ["/livez"])


def test_images_are_named_alike_everywhere() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (ours,) = kustomization().images
    assert (ours.name, f"{ours.new_name}:{ours.new_tag}") == (_HUB, f"{_HUB}:{project['version']}")
    assert {service.image for service in hub_services().values()} == {f"{_HUB}:{project['version']}"}
    theirs = {service.image for name, service in compose().services.items() if name not in {*hub_services(), "gateway"}}
    assert theirs == {container_of(each).image for each in workloads().values()} - {_HUB}
    (elasticsearch,) = (image for image in theirs if image.startswith("elasticsearch:"))
    (client,) = (pin for pin in project["dependencies"] if pin.startswith("elasticsearch=="))
    assert elasticsearch.split(":")[1].split(".")[0] == client.split("==")[1].split(".")[0], "majors go together"


# --------------------------------------------------------------------------------------------- ports, paths, addresses


def hub_port() -> int:
    return int(image_environment()["CHARGEGRAPH_PORT"])


def admin_port() -> int:
    return int(image_environment()["CHARGEGRAPH_ADMIN_PORT"])


def test_everyone_knows_the_port_of_the_hub() -> None:
    assert said("EXPOSE") == [f"{hub_port()} {admin_port()}"]
    assert f"127.0.0.1:{hub_port()}/livez" in said("HEALTHCHECK")[0]
    for name, workload in hub_workloads().items():
        assert [port.container_port for port in container_of(workload).ports] == [hub_port(), admin_port()], name
    assert [service.ports for service in hub_services().values() if service.ports] == [[f"127.0.0.1:8080:{hub_port()}"]]


def test_the_gateway_asks_the_api_and_composes_the_schema_that_is_checked_in() -> None:
    configuration = (_DEPLOY / "gateway" / "gateway.config.mjs").read_text(encoding="utf-8")
    assert f"'http://api:{hub_port()}{GRAPHQL_PATH}'" in configuration
    assert "api" in hub_services()
    gateway = compose().services["gateway"]
    mounts = {target: source for source, target, _ in (volume.split(":") for volume in gateway.volumes)}
    assert (_DEPLOY / mounts["/gateway/schema.graphql"]).resolve() == REPOSITORY / "schema" / "schema.graphql"
    assert "schema: './schema.graphql'" in configuration
    tried = json.loads((REPOSITORY / "tests" / "conformance" / "hive" / "package.json").read_text(encoding="utf-8"))
    assert gateway.image == f"ghcr.io/graphql-hive/gateway:{tried['dependencies']['@graphql-hive/gateway']}"
    passed_on = re.findall(r"'?([\w-]+)'?: request\.headers\.get\('([\w-]+)'\)", configuration)
    assert passed_on == [(name, name) for name in ("authorization", "x-api-key")]


def probes(container: Container) -> dict[str, Probe]:
    return {
        "startup": container.startup_probe,
        "readiness": container.readiness_probe,
        "liveness": container.liveness_probe,
    }


def test_every_probe_asks_for_something_that_answers() -> None:
    for name, workload in workloads().items():
        container = container_of(workload)
        for kind, probe in probes(container).items():
            ways = [way for way in (probe.http_get, probe.tcp_socket, probe.exec) if way is not None]
            assert len(ways) == 1, (name, kind)
            if port := probe.http_get or probe.tcp_socket:
                assert container.port(port.port) is not None, (name, kind)
            if name in hub_workloads():
                assert probe.http_get is not None
                assert probe.http_get.path in PAGES, (name, kind)


@pytest.mark.parametrize("name", _ROLES)
def test_a_pod_is_asked_only_once_it_is_complete_and_not_ended_for_a_store_that_is_away(name: str) -> None:
    kinds = probes(container_of(hub_workloads()[name]))
    paths = {kind: probe.http_get.path for kind, probe in kinds.items() if probe.http_get}
    assert paths == {"startup": "/startupz", "readiness": "/livez", "liveness": "/livez"}
    ports = {kind: probe.http_get.port for kind, probe in kinds.items() if probe.http_get}
    assert ports == {"startup": "admin", "readiness": "http", "liveness": "http"}


@pytest.mark.parametrize("name", _ROLES)
def test_a_pod_may_finish_what_it_has_begun(name: str) -> None:
    pod = hub_workloads()[name].spec.template.spec
    drain_s = int(environments()[f"kubernetes {name}"].get("CHARGEGRAPH_DRAIN_S", defaults()["CHARGEGRAPH_DRAIN_S"]))
    assert drain_s > 0, "proxies take a moment to know that a pod is going"
    assert pod.termination_grace_period_seconds >= drain_s + SHUTDOWN_S + 5
    drain_s = int(environments()[f"compose {name}"].get("CHARGEGRAPH_DRAIN_S", defaults()["CHARGEGRAPH_DRAIN_S"]))
    assert seconds(compose().services[name].stop_grace_period or "0s") >= drain_s + SHUTDOWN_S + 5


def defaults() -> dict[str, str]:
    return {setting.name: setting.default for setting in SETTINGS}


# ------------------------------------------------------------------------------------------------------ observability


def described_metrics() -> set[str]:
    """The names of all series that the program tells, and of what it tells of itself as a process."""
    from prometheus_client import REGISTRY

    import app.telemetry.metrics  # noqa: F401 - registers them

    series = {"_bucket", "_count", "_sum", "_total", "_info", ""}
    return {family.name + suffix for family in REGISTRY.collect() for suffix in series}


@pytest.mark.parametrize("name", ["rules.yaml", "dashboard.json"])
def test_every_metric_that_is_asked_for_exists(name: str) -> None:
    text = (_DEPLOY / "observability" / name).read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:chargegraph|process)_[a-z_]+", text))
    assert len(named) > 5
    assert named <= described_metrics()


def test_every_metric_has_a_use_on_the_dashboard_or_says_what_it_is() -> None:
    from app.telemetry import metrics

    ours = [each for each in vars(metrics).values() if hasattr(each, "_documentation")]
    assert len(ours) > 20
    for each in ours:
        assert each._documentation.endswith("."), each._name
        assert each._name.startswith("chargegraph_")


def test_labels_that_are_asked_for_exist() -> None:
    from app.telemetry import metrics

    labels = {each._name: set(each._labelnames) for each in vars(metrics).values() if hasattr(each, "_labelnames")}
    ours = {"instance", "le", "job"} | {label for names in labels.values() for label in names}
    for name in ("rules.yaml", "dashboard.json"):
        text = (_DEPLOY / "observability" / name).read_text(encoding="utf-8")
        asked = {label for group in re.findall(r"\bby \(([^)]*)\)", text) for label in group.split(", ")}
        asked |= set(re.findall(r"\$labels\.(\w+)", text))
        assert asked <= ours, name


def test_prometheus_finds_the_admin_port_of_every_process() -> None:
    for name, workload in hub_workloads().items():
        told = workload.spec.template.metadata.annotations
        assert told == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(admin_port()),
            "prometheus.io/path": METRICS_PATH,
        }, name
    job = msgspec.yaml.decode((_DEPLOY / "observability" / "scrape.yaml").read_bytes())
    (scrape,) = job["scrape_configs"]
    assert scrape["kubernetes_sd_configs"][0]["namespaces"]["names"] == [kustomization().namespace]
    assert all((_DEPLOY / "observability" / file).is_file() for file in job["rule_files"])


def kubernetes_ports() -> dict[str, set[int]]:
    """The ports that answer under the name of each pod of a stateful set."""
    services = {each.metadata.name: each for each in every(Service)}
    return {
        f"{each.metadata.name}-{number}.{each.spec.service_name}": {
            port.port for port in services[each.spec.service_name].spec.ports
        }
        for each in every(StatefulSet)
        for number in range(each.spec.replicas)
    }


def test_every_server_that_is_named_is_there() -> None:
    compose_ports = {"elasticsearch": {9200}, "redis": {6379}}
    assert compose_ports.keys() <= compose().services.keys()
    for where, environment in servers():
        ports = compose_ports if where.startswith("compose") else kubernetes_ports()
        for url in environment["CHARGEGRAPH_STATION_INDEX_URL"].split(","):
            parts = urlsplit(url)
            assert parts.scheme == "http", where
            assert parts.port in ports[parts.hostname or ""], where
        for name in ("CHARGEGRAPH_LIVE_URL", "CHARGEGRAPH_RESERVATIONS_URL"):
            parts = urlsplit(environment[name])
            assert (parts.scheme, parts.password, parts.path) == ("redis", "secret", "/0"), where
            assert parts.port in ports[parts.hostname or ""], where


def test_all_nodes_of_elasticsearch_are_named_to_the_hub_and_to_each_other() -> None:
    nodes = workloads()["elasticsearch"]
    assert isinstance(nodes, StatefulSet)
    pods = [f"elasticsearch-{number}" for number in range(nodes.spec.replicas)]
    assert len(pods) % 2, "a majority"
    variables = {variable.name: variable.value for variable in container_of(nodes).env}
    assert variables["cluster.initial_master_nodes"] == ",".join(pods)
    assert variables["discovery.seed_hosts"] == nodes.spec.service_name
    for where, environment in servers():
        if where.startswith("kubernetes"):
            hosts = [urlsplit(url).hostname for url in environment["CHARGEGRAPH_STATION_INDEX_URL"].split(",")]
            assert hosts == [f"{pod}.{nodes.spec.service_name}" for pod in pods]


def test_the_ledger_knows_how_many_replicas_redis_has() -> None:
    redis = workloads()["redis"]
    assert isinstance(redis, StatefulSet)
    replicas = {
        "compose": len([each for each in compose().services.values() if "--replicaof" in each.command]),
        "kubernetes": redis.spec.replicas - 1,
    }
    for where, environment in servers():
        options = parse_qs(urlsplit(environment["CHARGEGRAPH_RESERVATIONS_URL"]).query)
        assert options == {"replicas": [str(replicas[where.split()[0]])]}, where


def test_redis_is_set_up_as_the_ledger_demands() -> None:
    lines = (_DEPLOY / "kubernetes" / "redis.conf").read_text(encoding="utf-8").splitlines()
    options = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    assert options.items() >= _DURABLE.items()
    for name in ("redis", "redis-replica"):
        service = compose().services[name]
        program, file, *arguments = service.command
        assert program == "redis-server"
        assert f"./kubernetes/redis.conf:{file}:ro" in service.volumes
        assert any(volume.endswith(f":{options['dir']}") for volume in service.volumes)
        assert not _DURABLE.keys() & {argument.removeprefix("--") for argument in arguments}
    container = container_of(workloads()["redis"])
    (generated,) = kustomization().config_map_generator
    assert generated.files == ["redis.conf"]
    mounts = {mount.name: mount.mount_path for mount in container.volume_mounts}
    assert f"{mounts['config']}/redis.conf" in container.args[0]
    assert mounts["data"] == options["dir"]


# ------------------------------------------------------------------------------------------------------------ compose


def test_the_hub_on_one_host_names_only_what_is_there() -> None:
    services, used = compose().services, set()
    for name, service in services.items():
        assert service.depends_on.keys() <= services.keys(), name
        assert service.networks and set(service.networks) <= compose().networks.keys(), name
        for volume in service.volumes:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (_DEPLOY / source).is_file(), volume
            else:
                used.add(source)
        for needed in service.depends_on:
            assert services[needed].healthcheck or needed in hub_services(), f"{name} waits for {needed}, which is mute"
        if service.build is not None:
            assert ((_DEPLOY / service.build.context).resolve(), service.build.dockerfile) == (
                REPOSITORY,
                "deploy/Dockerfile",
            )
            assert service.read_only, name
            assert service.env_file == ["feeds.env"], name
    assert used == compose().volumes.keys()


def test_only_the_gateway_and_the_operators_calls_are_published_and_only_on_loopback() -> None:
    published = {name: service.ports for name, service in compose().services.items() if service.ports}
    assert published.keys() == {"gateway", "indexers"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert compose().networks["inside"].internal
    open_to_outside = {name for name, each in compose().services.items() if each.networks != ["inside"]}
    assert open_to_outside == published.keys()


def test_files_with_secrets_stay_out_of_the_repository() -> None:
    ignored = (_DEPLOY / ".gitignore").read_text(encoding="utf-8").split()
    assert {"/.env", "/feeds.env"} <= set(ignored)
    assert not any(env_example("feeds.env.example").values())
    assert not env_example(".env.example")["REDIS_PASSWORD"]


# --------------------------------------------------------------------------------------------------------- Kubernetes


def test_every_manifest_is_applied_but_the_example_of_the_secrets() -> None:
    files = {path.name for path in (_DEPLOY / "kubernetes").glob("*.yaml")}
    assert files - {"kustomization.yaml", "secrets.example.yaml"} == set(kustomization().resources)
    names = [(type(each), each.metadata.name) for each in objects()]
    assert len(names) == len(set(names))
    assert not every(Secret)
    assert [each.metadata.name for each in objects() if type(each).__name__ == "Namespace"] == [
        kustomization().namespace
    ]


def test_every_configuration_secret_and_volume_that_a_pod_names_exists() -> None:
    secrets = {each.metadata.name: each for each in manifest("secrets.example.yaml") if isinstance(each, Secret)}
    maps: Mapping[str, set[str]] = {each.metadata.name: set(each.data) for each in every(ConfigMap)} | {
        each.name: set(each.files) for each in kustomization().config_map_generator
    }
    claims = {each.metadata.name for each in every(PersistentVolumeClaim)}
    for name, workload in workloads().items():
        pod, container = workload.spec.template.spec, container_of(workload)
        for source in container.env_from:
            assert (source.config_map_ref is None) != (source.secret_ref is None), name
            assert source.config_map_ref is None or source.config_map_ref.name in maps, name
            assert source.secret_ref is None or source.secret_ref.name in secrets, name
        for variable in container.env:
            assert (variable.value is None) != (variable.value_from is None), (name, variable.name)
            if variable.value_from and (key := variable.value_from.secret_key_ref):
                assert key.key in secrets[key.name].string_data, (name, variable.name)
            if variable.value_from and (key := variable.value_from.config_map_key_ref):
                assert key.key in maps[key.name], (name, variable.name)
        volumes = {volume.name for volume in pod.volumes}
        if isinstance(workload, StatefulSet):
            volumes |= {template.metadata.name for template in workload.spec.volume_claim_templates}
        assert {mount.name for mount in container.volume_mounts} == volumes, name
        for volume in pod.volumes:
            kinds = (volume.empty_dir, volume.persistent_volume_claim, volume.config_map)
            assert sum(kind is not None for kind in kinds) == 1, (name, volume.name)
            assert volume.config_map is None or volume.config_map.name in maps, name
            assert volume.persistent_volume_claim is None or volume.persistent_volume_claim.claim_name in claims, name
    for secret in secrets.values():
        assert secret.metadata.namespace == kustomization().namespace


def test_every_workload_selects_its_own_pods_and_nobody_elses() -> None:
    for name, workload in workloads().items():
        assert workload.spec.selector.match_labels, name
        assert selected(workload.spec.selector) == [name]
        for spread in workload.spec.template.spec.topology_spread_constraints:
            assert selected(spread.label_selector) == [name]


def test_every_service_leads_to_the_ports_of_one_workload() -> None:
    assert {each.metadata.name for each in every(Service)} == set(workloads())
    for service in every(Service):
        (name,) = selected(Selector(match_labels=service.spec.selector))
        assert name == service.metadata.name
        for port in service.spec.ports:
            assert container_of(workloads()[name]).port(port.target_port) == port.port, name
    for workload in every(StatefulSet):
        assert workload.spec.service_name in {
            each.metadata.name for each in every(Service) if each.spec.cluster_ip == "None"
        }


def test_every_workload_of_more_than_one_pod_has_a_budget_that_leaves_one() -> None:
    scaled = {each.spec.scale_target_ref.name: each.spec for each in every(Autoscaler)}
    pods = {}
    for name, workload in workloads().items():
        if name in scaled:
            assert isinstance(workload, Deployment)
            assert workload.spec.replicas is None, "an autoscaler and a number of pods would contradict each other"
            assert 1 < scaled[name].min_replicas < scaled[name].max_replicas
        pods[name] = scaled[name].min_replicas if name in scaled else workload.spec.replicas or 1
    budgets = {}
    for budget in every(Budget):
        (name,) = selected(budget.spec.selector)
        budgets[name] = budget.spec.max_unavailable
    assert budgets.keys() == {name for name, count in pods.items() if count > 1}
    assert all(0 < budget < pods[name] for name, budget in budgets.items())
    assert scaled.keys() <= pods.keys()


def test_one_process_at_a_time_runs_the_feeds() -> None:
    indexers = workloads()["indexers"]
    assert isinstance(indexers, Deployment)
    assert (indexers.spec.replicas, indexers.spec.strategy.type) == (1, "Recreate")


def test_every_pod_is_bounded_and_may_do_nothing_special() -> None:
    for name, workload in workloads().items():
        pod, container = workload.spec.template.spec, container_of(workload)
        assert pod.security_context.run_as_user > 0, name
        assert container.resources.requests.keys() == {"cpu", "memory"}, name
        assert container.resources.limits.keys() == {"memory"}, name
        assert container.security_context.read_only_root_filesystem or name == "elasticsearch", name
        assert {mount.mount_path for mount in container.volume_mounts}, name


def test_no_service_puts_variables_into_our_settings() -> None:
    for service in every(Service):
        assert not service.metadata.name.upper().replace("-", "_").startswith(PREFIX.rstrip("_"))


def test_the_network_lets_through_what_the_hub_needs() -> None:
    policies = {each.metadata.name: each.spec for each in every(NetworkPolicy)}
    assert policies["nothing-but-names"].pod_selector == Selector()
    assert policies["nothing-but-names"].policy_types == ["Ingress", "Egress"]
    ways = set()
    for name, policy in policies.items():
        selects = selected(policy.pod_selector)
        assert selects, name
        for egress in policy.egress:
            for peer in egress.to:
                for target in selected(peer.pod_selector) if peer.pod_selector else []:
                    ways |= {(source, target, port.port, "out") for source in selects for port in egress.ports}
        for ingress in policy.ingress:
            for peer in ingress.from_:
                for source in selected(peer.pod_selector) if peer.pod_selector else []:
                    ways |= {(source, target, port.port, "in") for target in selects for port in ingress.ports}
    needed = {
        (hub, target, port) for hub in hub_workloads() for target, port in (("elasticsearch", 9200), ("redis", 6379))
    }
    needed |= {("elasticsearch", "elasticsearch", 9300), ("redis", "redis", 6379)}
    assert ways == {(*way, side) for way in needed for side in ("in", "out")}
    for _, target, port in needed:
        assert port in {each.container_port for each in container_of(workloads()[target]).ports}
    assert [[port.port for port in each.ports] for each in policies["hub"].ingress] == [[hub_port()], [admin_port()]]
    for service in every(Service):
        assert admin_port() not in {port.port for port in service.spec.ports}, "it has no keys"


# ----------------------------------------------------------------------------------------------------------- the page


def test_every_link_of_the_page_leads_somewhere() -> None:
    page = (_DEPLOY / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)\)", page)
    assert links
    assert not [link for link in links if not (_DEPLOY / link).exists()]


_UNITS = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "cores": 1.0, "%": 0.01}


def value(text: str) -> float:
    """Compute a term of the page: numbers with a unit each, + − × ÷ and brackets; `/s` counts nothing."""
    plain = text.replace(",", "").replace("/s", "").translate(str.maketrans("−×÷", "-*/"))
    plain = re.sub(r"(?<=[\d)]) ?(kB|MB|GB|B|µs|ms|cores|s|%)(?!\w)", lambda unit: f" * {_UNITS[unit[1]]}", plain)
    # A unit belongs to its number: 1 ÷ 2 ms is 1 ÷ (2 ms).
    plain = re.sub(r"([\d.]+) \* ([\d.e-]+)", r"(\1 * \2)", plain)
    assert re.fullmatch(r"[\d.e+\-*/() ]+", plain), text
    return float(eval(compile(ast.parse(plain, mode="eval"), text, "eval"), {"__builtins__": {}}))


def test_the_arithmetic_of_the_page_is_right() -> None:
    page = (_DEPLOY / "README.md").read_text(encoding="utf-8")
    sums = re.findall(r"`([^`=\n]*[×÷+−][^`=\n]*) = ([^`=\n]+)`", page)
    assert len(sums) > 30
    wrong = [f"{term} = {told}" for term, told in sums if value(term) != pytest.approx(value(told), rel=0.04)]
    assert not wrong


def test_the_page_counts_with_the_bytes_of_a_live_slot() -> None:
    from app.live._board import SLOT

    page = (_DEPLOY / "README.md").read_text(encoding="utf-8")
    assert f"× ({SLOT.itemsize} + 8 + 8 + 8.4) B" in page
