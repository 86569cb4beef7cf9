"""What a request costs through the whole API, beside the least that any such server must do and a plain one.

    python -m bench.http [--stations 500000] [--rounds 3] [--seconds 3]

Each server is a process of its own on one processor, the load comes from another, and rounds are interleaved: read the
ratios. Needs wrk (Debian: `apt-get install wrk`).
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import data

POINTS = 2_000
AT_ONCE = 16
QUERY = """query Nearby($lon: Float!, $lat: Float!) {
  nearbyStations(near: {lon: $lon, lat: $lat}, radiusM: 20000, first: 20,
                 filter: {connectorTypes: [GBT_DC], minPowerKw: 180}) {
    edges { distanceM node {
      id name address access parkingPlace bayCount timeZone location { lon lat }
      evses { id status connectors { type maxPowerKw } }
    } }
  }
}"""
PEER_QUERY = QUERY.replace("[GBT_DC]", '["GBT_DC"]')


@dataclass
class Server:
    """A server under load."""

    kind: str
    process: subprocess.Popen[str]
    url: str
    key: str
    started_s: float
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def cpu_s(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> tuple[float, float]:
        """Resident memory now and at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        now, most = (re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "VmHWM"))
        assert now
        assert most
        return int(now[1]) / 1024, int(most[1]) / 1024

    def ask(self, body: bytes, path: str = "/graphql") -> bytes:
        headers = {"content-type": "application/json", "x-api-key": self.key}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers)) as answer:  # noqa: S310
            found: bytes = answer.read()
        return found


@contextmanager
def serving(kind: str, folder: Path, count: int, processors: str = "0") -> Iterator[Server]:
    """Start a server on these processors; it ends with the block."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            "taskset",
            "-c",
            processors,
            sys.executable,
            "-m",
            "bench.serve",
            kind,
            str(folder),
            scratch,
            str(count),
        ]
        begun = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            yield Server(kind, process, told["url"], told.get("key", ""), time.perf_counter() - begun)
            assert process.stdin is not None
            process.stdin.close()


def load(server: Server, script: Path, seconds: float, processors: str = "1") -> None:
    """Put a server under load, and note what was measured."""
    cpu = server.cpu_s()
    told = subprocess.run(
        [  # noqa: S607 - wherever the machine has them
            "taskset",
            "-c",
            processors,
            "wrk",
            "-t1",
            f"-c{AT_ONCE}",
            f"-d{seconds:g}s",
            "--latency",
            "-s",
            str(script),
            server.url,
        ],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"BENCH_KEY": server.key},
    ).stdout
    cpu = server.cpu_s() - cpu
    rate, requests = (re.search(pattern, told) for pattern in (r"Requests/sec:\s*([\d.]+)", r"(\d+) requests in"))
    assert rate, told
    assert requests, told
    assert "Non-2xx" not in told, told
    server.rates.append(float(rate[1]))
    server.cpu_us.append(cpu / int(requests[1]) * 1e6)
    server.p50_ms.append(_latency(told, "50%"))
    server.p99_ms.append(_latency(told, "99%"))


def _latency(told: str, share: str) -> float:
    found = re.search(rf"\s{share}\s+([\d.]+)(us|ms|s)", told)
    assert found, told
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]


def write_script(path: Path, bodies: Iterable[bytes]) -> Path:
    """Write wrk's script, which asks for one point after the other."""
    lines = ",\n".join(f"[==[{body.decode()}]==]" for body in bodies)
    path.write_text(
        f"""local bodies = {{
{lines}
}}
local headers = {{["content-type"] = "application/json", ["x-api-key"] = os.getenv("BENCH_KEY")}}
local at = 0
request = function()
  at = at % #bodies + 1
  return wrk.format("POST", "/graphql", headers, bodies[at])
end
""",
        encoding="utf-8",
    )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--no-peer", action="store_true", help="leave out the plain server, which starts slowly")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing (Debian: apt-get install wrk)")
    folder = data.folder_of(arguments.stations)
    bodies, peer_bodies = (
        [
            json.dumps({"query": query, "variables": {"lon": point.lon, "lat": point.lat}}).encode()
            for point in data.places(arguments.stations, POINTS)
        ]
        for query in (QUERY, PEER_QUERY)
    )
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        script = write_script(scratch / "ours.lua", bodies)
        peer_script = write_script(scratch / "peer.lua", peer_bodies)
        ours = stack.enter_context(serving("ours", folder, arguments.stations))
        answers = [ours.ask(body) for body in bodies[:300]]
        usual = sorted(answers, key=len)[len(answers) // 2]
        found = [len(json.loads(answer)["data"]["nearbyStations"]["edges"]) for answer in answers]
        print(f"{arguments.stations:,} stations, {data.EVSES_A_STATION * arguments.stations:,} Evses; ", end="")
        print(f"{sum(found) / len(found):.1f} found, {len(usual) / 1024:.1f} kB; started in {ours.started_s:.1f} s")
        limit = stack.enter_context(serving("limit", folder, arguments.stations))
        limit.ask(usual, "/answer")
        servers = [limit, ours]
        if not arguments.no_peer:
            servers.append(stack.enter_context(serving("peer", folder, arguments.stations)))
            theirs = [
                len(json.loads(servers[-1].ask(body))["data"]["nearbyStations"]["edges"]) for body in peer_bodies[:100]
            ]
            assert theirs == found[:100], "the plain server finds others"
        for server in servers:  # ours until it has seen all points more than once
            load(server, peer_script if server.kind == "peer" else script, 12.0 if server is ours else 2.0)
        forget(servers)
        for _ in range(arguments.rounds):
            for server in servers:
                load(server, peer_script if server.kind == "peer" else script, arguments.seconds)
        for server in servers:
            show(server, limit)
        calm = max(ours.rates)
        forget([ours])
        ours.tell("cold")
        for _ in range(arguments.rounds):
            load(ours, script, arguments.seconds)
        show(ours, limit, "ours, cold")
        ours.tell("warm")
        load(ours, script, 12.0)
        print(f"memory: {ours.memory_mb()[0]:.0f} MB, at most {ours.memory_mb()[1]:.0f} MB")
        forget([ours])
        ours.tell("update")
        for _ in range(arguments.rounds):
            load(ours, script, arguments.seconds)
        show(ours, limit, "ours, 5,000 updates/s")
        print(f"requests a second lost by the updates: {1 - max(ours.rates) / calm:.1%}")


def forget(servers: Iterable[Server]) -> None:
    """Forget what was measured so far."""
    for server in servers:
        for figures in (server.rates, server.cpu_us, server.p50_ms, server.p99_ms):
            figures.clear()


def show(server: Server, limit: Server | None, name: str | None = None) -> None:
    """Print what was measured, and compare it."""
    rate, cpu, p99 = max(server.rates), min(server.cpu_us), median(server.p99_ms)
    print(
        f"{name or server.kind:24}{rate:8.0f}/s (median {median(server.rates):.0f}), {cpu:6.0f} us CPU, "
        f"p50 {median(server.p50_ms):.2f} ms, p99 {p99:.2f} ms"
    )
    if limit is not None and limit is not server:
        print(
            f"{'':24}of LIMIT: {rate / max(limit.rates):.3f} of the rate, {cpu / min(limit.cpu_us):.2f} times the CPU, "
            f"{p99 / median(limit.p99_ms):.1f} times the p99"
        )


if __name__ == "__main__":
    main()
