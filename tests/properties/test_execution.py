"""Compiled or not, the answer is the same: data byte for byte, and errors with message, path, places and extensions."""

import gc
from collections.abc import AsyncIterator, Iterator, Sequence
from random import Random
from typing import Any

import msgspec
import orjson
import pytest
from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, execute, parse
from graphql.execution.incremental import IncrementalExecutor
from graphql.pyutils import is_awaitable
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.feeds.embedded import EmbeddedFeedLedger
from app.index.embedded import EmbeddedIndex
from app.live.embedded import EmbeddedLiveBoard
from app.model.agreement import Agreement, Grant
from app.model.clock import ManualClock
from app.model.feed import FeedInfo, FeedRights
from app.model.geo import Point
from app.model.partner import Partner, PartnerKind, Scope
from app.model.station import StatedFees
from app.quotas.embedded import EmbeddedQuotas
from app.reservations.embedded import EmbeddedReservations
from app.services.booking import Booking
from app.services.bundle import Services
from app.services.feed_health import FeedHealth
from app.services.metering import Metering
from app.services.station_search import OPERATORS_KEPT_S, StationSearch
from app.services.viewer import Viewer, viewer_of
from app.services.watching import Watching
from schema.context import Context
from schema.execution import CompiledExecutor, Fragments, Operations, Plans, Projecting
from schema.root import schema as strawberry_schema
from tests.builders import (
    NOON,
    PARTY,
    build_operator,
    build_station,
    build_status,
    random_station,
    random_status,
    scatter,
)
from tests.properties.execution_worlds import GARDEN, Garden, World, Writer

seeds = st.integers(0, 2**32)


# Where a null spreads upwards, graphql-core itself leaves coroutines of its own unawaited at times.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _coroutines_end_here() -> Iterator[None]:
    """What graphql-core leaves unawaited is collected in the test that made it, and not in another one."""
    yield
    gc.collect()


class Compiled(Projecting, IncrementalExecutor):
    """graphql-core's own executor, compiled."""

    plans = Plans()


async def run(
    executor: Any, schema: GraphQLSchema, document: DocumentNode, variables: dict[str, Any], context: Any
) -> ExecutionResult:
    found: Any = execute(schema, document, context_value=context, variable_values=variables, executor_class=executor)
    result: ExecutionResult = await found if is_awaitable(found) else found
    return result


def shown(error: GraphQLError) -> tuple[Any, ...]:
    places = [(place.line, place.column) for place in error.locations or ()]
    return error.message, error.path, places, error.extensions, type(error.original_error)


def written(data: Any) -> bytes:
    return orjson.dumps(data, default=lambda value: type(value).__name__)


def check_same(expected: ExecutionResult, answer: ExecutionResult) -> None:
    assert written(answer.data) == written(expected.data)
    assert [shown(error) for error in answer.errors or ()] == [shown(error) for error in expected.errors or ()]


async def check_world(seed: int, noise: float) -> None:
    world, random = World(seed, noise=noise), Random(seed)
    for root in (world.schema.query_type, world.schema.query_type, world.schema.mutation_type):
        writer = Writer(world.schema, random)
        text = writer.document(root)
        document = parse(text)
        for _ in range(3):
            variables = writer.variables()
            world.seed = random.randrange(2**32)
            note(f"{variables} {world.seed}\n{text}")
            expected = await run(IncrementalExecutor, world.schema, document, variables, "context")
            calls = world.calls.copy()
            world.calls.clear()
            answer = await run(Compiled, world.schema, document, variables, "context")
            check_same(expected, answer)
            assert world.calls == calls, "each root field is resolved once, in order"
            world.calls.clear()


@given(seeds)
async def test_noisy_data_is_answered_as_by_graphql_core(seed):
    await check_world(seed, 1.0)


@given(seeds)
async def test_nearly_clean_data_is_answered_as_by_graphql_core(seed):
    await check_world(seed, 0.1)


@given(seeds)
async def test_clean_data_is_always_projected(seed):
    before = Compiled.plans.bailed
    await check_world(seed, 0.0)
    assert Compiled.plans.bailed == before


class CompiledStrawberry(CompiledExecutor):
    """Strawberry's executor, compiled, with plans of its own."""

    plans = Plans()


@given(seeds, st.sampled_from([1.0, 0.1, 0.0]))
async def test_strawberry_objects_are_answered_as_by_graphql_core(seed, noise):
    random = Random(seed)
    writer = Writer(GARDEN, random)
    text = writer.document(GARDEN.query_type)
    document = parse(text)
    for _ in range(5):
        variables, garden = writer.variables(), Garden(random.randrange(2**32), noise=noise)
        note(f"{variables} {garden.seed}\n{text}")
        expected = await run(StrawberryGraphQLCoreExecutionContext, GARDEN, document, variables, garden)
        asked = garden.asked.copy()
        garden.asked.clear()
        check_same(expected, await run(CompiledStrawberry, GARDEN, document, variables, garden))
        assert sorted(garden.asked) == sorted(asked)
        garden.asked.clear()
        answer = await Operations(GARDEN, CompiledStrawberry).execute(document, None, variables, garden)
        check_same(expected, answer)
        assert sorted(garden.asked) == sorted(asked), "each root field is resolved once, with the same arguments"


FEEDS = (
    FeedInfo(id="teld", title="特来电", party=PARTY, has_live_status=True, rights=FeedRights()),
    FeedInfo(
        id="priceless", title="Priceless", party=PARTY, has_live_status=True, rights=FeedRights(may_show_price=False)
    ),
)
KEPT_ROOTS = ("nearbyStations", "stationsInArea", "station", "stations", "_entities")
ROOTS = {
    "nearbyStations": "near: {lon: 121.5, lat: 31.2}, radiusM: 20000, first: 4",
    "stationsInArea": "box: {west: 121, south: 31, east: 122, north: 32}, first: 3, filter: {minPowerKw: 7}",
    "station": f'id: "teld:{PARTY}:000001"',
    "stations": f'ids: ["teld:{PARTY}:000002", "nobody", "priceless:{PARTY}:000101"]',
    "evse": f'id: "teld:{PARTY}:000000-1"',
    "operators": "",
    "feeds": "",
    "reservations": "first: 2",
    "reservation": 'id: "unknown"',
    "_entities": f"""representations: [{{__typename: "Station", id: "teld:{PARTY}:000003"}},
      {{__typename: "Evse", id: "teld:{PARTY}:000000-1"}}, {{__typename: "Evse"}},
      {{__typename: "Operator", id: "teld:a"}}, {{__typename: "Operator", id: "unknown"}}]""",
    "_service": "",
}


@pytest.fixture
async def services(tmp_path) -> AsyncIterator[Services]:
    random, clock = Random(5), ManualClock(NOON)
    board = EmbeddedLiveBoard(tmp_path / "live.sqlite")
    index = EmbeddedIndex(tmp_path / "stations.sqlite", board)
    store = EmbeddedReservations(tmp_path / "reservations.sqlite", clock, 9)
    ledger = EmbeddedFeedLedger(tmp_path / "feeds.sqlite")
    stores = (board, index, store, ledger)
    for each in stores:
        await each.open()
    for first, feed in ((0, "teld"), (100, "priceless")):
        points = scatter(random, 8, [Point(lon=121.5, lat=31.2)], 0.05)
        stations = [random_station(random, first + n, feed=feed, location=point) for n, point in enumerate(points)]
        stations.append(build_station(first, feed=feed, fees=StatedFees(electricity="1.2元/度"), location=points[0]))
        await index.upsert_stations(feed, stations)
        await board.record([random_status(random, evse.id) for each in stations for evse in each.evses])
        await index.save_operators([build_operator(party, feed=feed) for party in ("a", "b", PARTY)])
    held = f"teld:{PARTY}:000000-1"
    await board.record([build_status(held, stale_after=NOON + 9_999)])
    search = StationSearch(index, board, clock, FEEDS)
    booking = Booking(store, board, search)
    outcome = await booking.reserve(viewer(), held, 600, "key")
    assert outcome.reservation is not None
    health = FeedHealth(ledger, index, board, clock, FEEDS)
    metering, watching = Metering(EmbeddedQuotas(clock), {}), Watching(search, board, clock)
    yield Services(
        search=search,
        booking=booking,
        feed_health=health,
        metering=metering,
        feeds=FEEDS,
        clock=clock,
        watching=watching,
    )
    for each in reversed(stores):
        await each.close()


def viewer(*scopes: Scope, agreed: Sequence[Agreement] = ()) -> Viewer:
    partner = Partner(id="nav", kind=PartnerKind.NAVIGATION, scopes=frozenset(scopes or Scope))
    return viewer_of(partner, FEEDS, agreed)


def agreement(subject: str, *grants: Grant) -> Agreement:
    return Agreement(id="agr_0", subject=subject, partner_id="nav", grants=frozenset(grants), made_at=NOON)


AGREED = (
    (),
    (),
    (agreement("teld", Grant.DISCOVER, Grant.PRICE),),
    (agreement("teld:a"), agreement("teld:b", Grant.DISCOVER), agreement("priceless", Grant.DISCOVER)),
    (agreement(f"teld:{PARTY}", Grant.DISCOVER, Grant.STATUS), agreement("priceless")),
)
"""What is agreed with those who ask: everything, or less of some operators."""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seeds)
async def test_our_own_schema_is_answered_as_by_graphql_core(services, seed):
    random = Random(seed)
    schema = strawberry_schema._schema
    writer = Writer(schema, random, levels=6, roots=ROOTS)
    text = writer.document(schema.query_type)
    document = parse(text)
    who = viewer(*random.choice([(), (Scope.DISCOVER,)]))
    for _ in range(2):
        variables = writer.variables()
        note(f"{variables}\n{text}")
        expected = await run(
            strawberry_schema.execution_context_class, schema, document, variables, Context(services, who)
        )
        answer = await run(CompiledStrawberry, schema, document, variables, Context(services, who))
        check_same(expected, answer)
    assert CompiledStrawberry.plans.bailed <= CompiledStrawberry.plans.projected


LIVE = f"""query ($no: Boolean!) {{
  stationsInArea({ROOTS["stationsInArea"].replace("first: 3", "first: 20")}) {{ edges {{ node {{ ...All }} }} }}
  station({ROOTS["station"]}) {{ ...All }}
}}
fragment All on Station {{
  id name openNow operator {{ name }} availability {{ available unknown stale asOf }} fees {{ electricity }}
  evses {{
    id status statusAgeS statusStale statusStaleAt lastKnownStatus lastKnownAt statusReceivedAt statusChannel rawStatus
    heldByMe localId @skip(if: $no)
  }}
}}"""


class Keeping(CompiledExecutor):
    """Keeps pieces of answers."""

    plans = Plans(fragments=Fragments(max_bytes=100_000))


async def change_something(services: Services, random: Random) -> str:
    """Change what stations show, as operators, partners and time do."""
    clock: Any = services.clock
    index, board = services.search._index, services.search._board
    kind = random.choice(("nothing", "time", "status", "hold", "station", "operator"))
    station_ids = [
        f"{feed}:{PARTY}:{number:06d}"
        for feed, first in (("teld", 0), ("priceless", 100))
        for number in range(first, first + 4)
    ]
    stations = [station for station in await index.find_stations(station_ids) if station is not None]
    station = random.choice(stations)
    clock.advance(0.001)  # of two statuses that came at once the first one counts
    evse_ids = [evse.id for evse in station.evses]
    match kind:
        case "time":
            clock.advance(random.choice((0.0004, 0.7, 61.0, 3_000.0)))
        case "status":
            told = [random_status(random, evse_id) for evse_id in evse_ids]
            moved = [
                msgspec.structs.replace(
                    status,
                    received_at=clock(),
                    observed_at=clock() - random.choice((0.0, 1.5, 700.0)),
                    stale_after=clock() + random.choice((0.5, 60.0, 4_000.0)),
                )
                for status in told
            ]
            await board.record(moved)
        case "hold" if evse_ids:
            await board.record([build_status(evse_ids[0], received_at=clock(), stale_after=clock() + 900)])
            outcome = await services.booking.reserve(viewer(), evse_ids[0], 60, f"{random.random()}")
            if outcome.reservation is not None and random.random() < 0.5:
                await services.booking.cancel(viewer(), outcome.reservation.id, f"{random.random()}")
        case "station":
            changed = msgspec.structs.replace(station, name=f"{random.random()}", evses=station.evses[::-1])
            await index.upsert_stations(station.feed, [changed])
        case "operator":
            await index.save_operators([build_operator(PARTY, feed="teld", name=f"{random.random()}")])
            clock.advance(OPERATORS_KEPT_S)
        case _:
            pass
    return kind


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seeds)
async def test_what_is_kept_as_bytes_shows_every_change_in_the_next_answer(services, seed):
    random = Random(seed)
    schema = strawberry_schema._schema
    operations = Operations(schema, Keeping)
    writer = Writer(schema, random, levels=6, roots={name: ROOTS[name] for name in KEPT_ROOTS})
    texts = [LIVE, writer.document(schema.query_type), writer.document(schema.query_type)]
    documents = {text: parse(text) for text in texts}
    variables = [writer.variables() for _ in range(2)]
    for _ in range(8):
        note(await change_something(services, random))
        text, given = random.choice(texts), random.choice(variables)
        # A third of the viewers may not hold, and see nothing of what others hold.
        who = viewer(*random.choice([(), (), (Scope.DISCOVER,)]), agreed=random.choice(AGREED))
        note(f"{given}\n{text}")
        expected = await run(
            strawberry_schema.execution_context_class, schema, documents[text], given, Context(services, who)
        )
        answer = await operations.execute(documents[text], None, given, Context(services, who))
        assert orjson.loads(orjson.dumps(answer.data)) == orjson.loads(orjson.dumps(expected.data))
        assert [shown(error) for error in answer.errors or ()] == [shown(error) for error in expected.errors or ()]
