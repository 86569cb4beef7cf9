"""A process of many clients that all begin at once: `python -m tests.integration.redis_storm URL WISH NAME`.

It says "ready", waits for a line, and prints as JSON what each of its clients got: an id, or the code of a refusal.
WISH is "one" (all want the same Evse) or "same" (each repeats one command that every process sends).
"""

import asyncio
import json
import sys

from app.model.reservation import Guarantee
from app.reservations.base import Command
from app.reservations.redis import RedisReservations

CLIENTS = 250


async def main(url: str, wish: str, name: str) -> None:
    store = RedisReservations(url, CLIENTS)
    await store.open()

    async def ask(number: int) -> str:
        partner_id, evse_id = (f"{name} {number}", "f:p:1") if wish == "one" else ("nav", f"f:p:{number}")
        command = Command(partner_id=partner_id, idempotency_key=str(number), fingerprint="f")
        outcome = await store.reserve(command, evse_id, 600, Guarantee.HUB_HOLD)
        return outcome.refusals[0].code.value if outcome.reservation is None else outcome.reservation.id

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    sys.stdout.write(json.dumps(await asyncio.gather(*(ask(number) for number in range(CLIENTS)))))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
