"""schemathesis, which none of us wrote, makes up operations from the schema and looks for what breaks."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.conformance.python_tool import python_tool, run_tool
from tests.integration.api import furnish, listening, open_api
from tests.servers.fixtures import had_or_skipped

HOOKS = Path(__file__).parent / "schemathesis" / "hooks.py"

# Types of GraphQL cannot say that a radius is more than 0 or that a cursor was given out by us: whoever follows nothing
# but the types is refused, with the reason, and one of the checks takes that for a fault.
CHECKS = ("--checks", "all", "--exclude-checks", "positive_data_acceptance")


@pytest.mark.parametrize("examples", [15, pytest.param(200, marks=pytest.mark.soak)])
async def test_it_finds_no_failure_and_no_error(tmp_path, examples):
    with had_or_skipped():
        programs = await asyncio.to_thread(python_tool, "schemathesis")
    async with open_api(tmp_path) as api:
        await furnish(api)
        command = ("schemathesis", "run", "--no-color", *CHECKS, "--max-examples", str(examples), "--no-shrink")
        more = ("--continue-on-failure", "--generation-database", "none", "--header", f"X-API-Key: {await api.key()}")
        async with listening(api.hub) as url:
            done = await asyncio.to_thread(
                run_tool,
                programs,
                *command,
                *more,
                f"{url}/graphql",
                folder=tmp_path,
                environment={"SCHEMATHESIS_HOOKS": str(HOOKS)},
                timeout_s=1_800,
            )
    assert done.returncode == 0, done.stdout + done.stderr
    ((selected, all_), (tested,)) = (
        re.findall(r"(\d+)/(\d+)", done.stdout)[0],
        re.findall(r"Tested: +(\d+)", done.stdout),
    )
    assert selected == all_ == tested, done.stdout
    ((generated, passed),) = re.findall(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated == passed, done.stdout
    assert int(generated) >= examples * int(tested) // 2, done.stdout  # it has not given up on most of them
