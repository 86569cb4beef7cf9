"""What a gateway may send as representations: whatever JSON it is, each is answered for itself."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.integration.api import evse_id, furnish, open_api, station_id

NAMES = st.sampled_from(["Station", "Evse", "Operator", "Reservation"])
MEMBERS = st.sampled_from(["__typename", "id", "cls", "self", "info"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from([station_id(1), evse_id(1), station_id(10, "secret")])
    | NAMES
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS | st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
REPRESENTATIONS = JSON.filter(lambda value: value is not None) | st.fixed_dictionaries(
    {"__typename": NAMES | JSON, "id": JSON}
)
GOOD = {"__typename": "Evse", "id": evse_id(2)}
DOCUMENT = """
query($keys: [_Any!]!) {
  _entities(representations: $keys) {
    __typename
    ... on Station { name }
    ... on Evse { stationId }
    ... on Operator { party }
    ... on Reservation { state }
  }
}
"""


def test_each_representation_is_answered_for_itself(tmp_path):
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        api = runner.run(stack.enter_async_context(open_api(tmp_path)))
        runner.run(furnish(api))

        async def ask(keys: list[Any]) -> Any:
            content = json.dumps({"query": DOCUMENT, "variables": {"keys": keys}}).encode()
            response = await api.post(content=content, headers={"content-type": "application/json"})
            assert response.status_code == 200, response.text
            return response.json()

        @given(st.lists(REPRESENTATIONS, max_size=6), st.integers(0, 6))
        def holds(made_up: list[Any], place: int) -> None:
            keys = [*made_up[:place], GOOD, *made_up[place:]]
            answer = runner.run(ask(keys))
            found = answer["data"]["_entities"]
            assert len(found) == len(keys)
            assert found[min(place, len(made_up))] == {"__typename": "Evse", "stationId": station_id(2)}
            assert "Secret" not in json.dumps(answer["data"])
            for error in answer.get("errors", []):
                assert error["extensions"]["code"] == "BAD_USER_INPUT"
                name, at = error["path"]
                assert name == "_entities" and found[at] is None
                assert error["extensions"]["field"].startswith(f"representations[{at}]")

        try:
            holds()
        finally:
            runner.run(stack.aclose())
