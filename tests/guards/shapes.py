"""What deploy/ uses of compose files and of Kubernetes' objects: a name that is not here is a mistake, or a new line.

These are no complete schemas. They hold what we write, so that a key in the wrong place or misspelt cannot go unseen.
"""

from typing import Any, Literal, TypeAlias

import msgspec

Labels: TypeAlias = dict[str, str]


class Shape(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Part of a Kubernetes object."""


# ------------------------------------------------------------------------------------------------------------- common


class Metadata(Shape):
    name: str
    namespace: str | None = None
    labels: Labels = {}


class Requirement(Shape):
    key: str
    operator: Literal["In"]
    values: list[str]


class Selector(Shape):
    match_labels: Labels = {}
    match_expressions: list[Requirement] = []

    def takes(self, labels: Labels) -> bool:
        """Tell whether an object with these labels is selected."""
        return self.match_labels.items() <= labels.items() and all(
            labels.get(requirement.key) in requirement.values for requirement in self.match_expressions
        )


class Named(Shape):
    name: str


class KeyOf(Shape):
    name: str
    key: str


# --------------------------------------------------------------------------------------------------------------- pods


class FieldOf(Shape):
    field_path: Literal["metadata.name"]


class ValueFrom(Shape):
    secret_key_ref: KeyOf | None = None
    config_map_key_ref: KeyOf | None = None
    field_ref: FieldOf | None = None


class Variable(Shape):
    name: str
    value: str | None = None
    value_from: ValueFrom | None = None


class VariablesFrom(Shape):
    config_map_ref: Named | None = None
    secret_ref: Named | None = None


class ContainerPort(Shape):
    name: str
    container_port: int


class HttpGet(Shape):
    path: str
    port: str


class TcpSocket(Shape):
    port: str


class Exec(Shape):
    command: list[str]


class Probe(Shape):
    period_seconds: int
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    exec: Exec | None = None
    timeout_seconds: int = 1
    failure_threshold: int = 3


class Resources(Shape):
    requests: dict[Literal["cpu", "memory"], str]
    limits: dict[Literal["memory"], str]


class Capabilities(Shape):
    drop: list[Literal["ALL"]]


class ContainerSecurity(Shape):
    allow_privilege_escalation: Literal[False]
    capabilities: Capabilities
    read_only_root_filesystem: bool = False


class VolumeMount(Shape):
    name: str
    mount_path: str


class Container(Shape):
    name: str
    image: str
    ports: list[ContainerPort]
    startup_probe: Probe
    readiness_probe: Probe
    liveness_probe: Probe
    resources: Resources
    security_context: ContainerSecurity
    volume_mounts: list[VolumeMount]
    command: list[str] = []
    args: list[str] = []
    env: list[Variable] = []
    env_from: list[VariablesFrom] = []

    def port(self, name: str | int) -> int | None:
        """Return the number of a port that is given by name or by number, None when there is no such port."""
        numbers = {port.name: port.container_port for port in self.ports}
        return numbers.get(name) if isinstance(name, str) else name if name in numbers.values() else None


class Seccomp(Shape):
    type: Literal["RuntimeDefault"]


class PodSecurity(Shape):
    run_as_non_root: Literal[True]
    run_as_user: int
    fs_group: int
    seccomp_profile: Seccomp
    run_as_group: int | None = None
    fs_group_change_policy: Literal["OnRootMismatch"] | None = None


class Spread(Shape):
    max_skew: int
    topology_key: Literal["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    label_selector: Selector


class Claim(Shape):
    claim_name: str


class Volume(Shape):
    name: str
    empty_dir: dict[str, Any] | None = None
    persistent_volume_claim: Claim | None = None
    config_map: Named | None = None


class Pod(Shape):
    automount_service_account_token: Literal[False]
    enable_service_links: Literal[False]
    termination_grace_period_seconds: int
    security_context: PodSecurity
    containers: list[Container]
    volumes: list[Volume] = []
    topology_spread_constraints: list[Spread] = []


class TemplateMetadata(Shape):
    labels: Labels
    annotations: dict[str, str] = {}


class Template(Shape):
    metadata: TemplateMetadata
    spec: Pod


# ------------------------------------------------------------------------------------------------------------ objects


class RollingUpdate(Shape):
    max_surge: int
    max_unavailable: int


class Strategy(Shape):
    type: Literal["Recreate", "RollingUpdate"] = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(Shape):
    selector: Selector
    strategy: Strategy
    template: Template
    replicas: int | None = None


class Deployment(Shape, tag_field="kind", tag="Deployment"):
    api_version: Literal["apps/v1"]
    metadata: Metadata
    spec: DeploymentSpec


class ClaimRequest(Shape):
    requests: dict[Literal["storage"], str]


class ClaimSpec(Shape):
    access_modes: list[Literal["ReadWriteOnce"]]
    resources: ClaimRequest


class ClaimTemplate(Shape):
    metadata: Metadata
    spec: ClaimSpec


class StatefulSetSpec(Shape):
    service_name: str
    replicas: int
    pod_management_policy: Literal["Parallel"]
    selector: Selector
    template: Template
    volume_claim_templates: list[ClaimTemplate]


class StatefulSet(Shape, tag_field="kind", tag="StatefulSet"):
    api_version: Literal["apps/v1"]
    metadata: Metadata
    spec: StatefulSetSpec


class ServicePort(Shape):
    name: str
    port: int
    target_port: str


class ServiceSpec(Shape):
    selector: Labels
    ports: list[ServicePort]
    cluster_ip: Literal["None"] | None = msgspec.field(default=None, name="clusterIP")
    publish_not_ready_addresses: bool = False


class Service(Shape, tag_field="kind", tag="Service"):
    api_version: Literal["v1"]
    metadata: Metadata
    spec: ServiceSpec


class ScaleTarget(Shape):
    api_version: Literal["apps/v1"]
    kind: Literal["Deployment"]
    name: str


class MetricTarget(Shape):
    type: Literal["Utilization"]
    average_utilization: int


class ResourceMetric(Shape):
    name: Literal["cpu"]
    target: MetricTarget


class Metric(Shape):
    type: Literal["Resource"]
    resource: ResourceMetric


class AutoscalerSpec(Shape):
    scale_target_ref: ScaleTarget
    min_replicas: int
    max_replicas: int
    metrics: list[Metric]
    behavior: dict[Literal["scaleDown"], dict[Literal["stabilizationWindowSeconds"], int]] = {}


class Autoscaler(Shape, tag_field="kind", tag="HorizontalPodAutoscaler"):
    api_version: Literal["autoscaling/v2"]
    metadata: Metadata
    spec: AutoscalerSpec


class BudgetSpec(Shape):
    max_unavailable: int
    selector: Selector


class Budget(Shape, tag_field="kind", tag="PodDisruptionBudget"):
    api_version: Literal["policy/v1"]
    metadata: Metadata
    spec: BudgetSpec


class Block(Shape):
    cidr: str
    except_: list[str] = msgspec.field(name="except")


class Peer(Shape):
    pod_selector: Selector | None = None
    namespace_selector: Selector | None = None
    ip_block: Block | None = None


class PolicyPort(Shape):
    protocol: Literal["TCP", "UDP"]
    port: int


class Ingress(Shape):
    from_: list[Peer] = msgspec.field(name="from")
    ports: list[PolicyPort]


class Egress(Shape):
    to: list[Peer]
    ports: list[PolicyPort] = []


class PolicySpec(Shape):
    pod_selector: Selector
    policy_types: list[Literal["Ingress", "Egress"]]
    ingress: list[Ingress] = []
    egress: list[Egress] = []


class NetworkPolicy(Shape, tag_field="kind", tag="NetworkPolicy"):
    api_version: Literal["networking.k8s.io/v1"]
    metadata: Metadata
    spec: PolicySpec


class ConfigMap(Shape, tag_field="kind", tag="ConfigMap"):
    api_version: Literal["v1"]
    metadata: Metadata
    data: dict[str, str]


class Secret(Shape, tag_field="kind", tag="Secret"):
    api_version: Literal["v1"]
    metadata: Metadata
    string_data: dict[str, str]


class PersistentVolumeClaim(Shape, tag_field="kind", tag="PersistentVolumeClaim"):
    api_version: Literal["v1"]
    metadata: Metadata
    spec: ClaimSpec


class Namespace(Shape, tag_field="kind", tag="Namespace"):
    api_version: Literal["v1"]
    metadata: Metadata


class GeneratedMap(Shape):
    name: str
    files: list[str]


class ImageName(Shape):
    name: str
    new_name: str
    new_tag: str


class Kustomization(Shape, tag_field="kind", tag="Kustomization"):
    api_version: Literal["kustomize.config.k8s.io/v1beta1"]
    namespace: str
    resources: list[str]
    config_map_generator: list[GeneratedMap]
    images: list[ImageName]


Workload: TypeAlias = Deployment | StatefulSet
KubernetesObject: TypeAlias = (
    Deployment
    | StatefulSet
    | Service
    | Autoscaler
    | Budget
    | NetworkPolicy
    | ConfigMap
    | Secret
    | PersistentVolumeClaim
    | Namespace
)

# ------------------------------------------------------------------------------------------------------------ compose


class ComposeShape(msgspec.Struct, forbid_unknown_fields=True):
    """Part of a compose file."""


class Build(ComposeShape):
    context: str
    dockerfile: str


class Dependency(ComposeShape):
    condition: Literal["service_healthy"]


class Health(ComposeShape):
    test: list[str]
    interval: str
    timeout: str
    start_period: str
    retries: int


class Scale(ComposeShape):
    replicas: int


class ComposeService(ComposeShape):
    image: str
    networks: list[str]
    mem_limit: str
    restart: Literal["unless-stopped"]
    cap_drop: list[Literal["ALL"]]
    security_opt: list[Literal["no-new-privileges:true"]]
    build: Build | None = None
    command: list[str] = []
    depends_on: dict[str, Dependency] = {}
    deploy: Scale | None = None
    env_file: list[str] = []
    environment: dict[str, str] = {}
    healthcheck: Health | None = None
    init: bool = False
    ports: list[str] = []
    read_only: bool = False
    stop_grace_period: str | None = None
    tmpfs: list[str] = []
    user: str | None = None
    volumes: list[str] = []


class ComposeNetwork(ComposeShape):
    internal: bool = False


class Compose(ComposeShape):
    """The whole file; what begins with x- is where its parts are kept."""

    name: str
    services: dict[str, ComposeService]
    networks: dict[str, ComposeNetwork]
    volumes: dict[str, dict[str, Any]]
    commands: dict[str, list[str]] = msgspec.field(name="x-commands")
    hub: dict[str, Any] = msgspec.field(name="x-hub")
    redis: dict[str, Any] = msgspec.field(name="x-redis")
