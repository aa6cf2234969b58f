"""A supervisor restarts a worker that crashes and keeps its mail.

    python examples/supervised.py

Output:
    started
    handled 1
    started
    handled 2
    handled 3
    restarts: 1
"""

import trio

from actorflow import Actor, ActorRef, ActorSystem, ChildSpec, Fixed, Retry, Supervisor, Turn


class Worker(Actor):
    async def on_start(self, ctx: Turn) -> None:
        print("started")

    async def receive(self, message: int, ctx: Turn) -> None:
        if message == 2 and ctx.attempt == 1:
            raise SystemExit("a crash, not a failure")
        print(f"handled {message}")


async def main() -> None:
    async with ActorSystem("shop") as system:
        spec = ChildSpec("worker", Worker, policies=[Retry(3, backoff=Fixed(0), position="head")])
        await system.spawn(Supervisor([spec], max_restarts=3), name="floor")
        worker: ActorRef[int] = system.ref(Worker, "floor/worker")
        for number in (1, 2, 3):
            await worker.tell(number)
        await system.drain()
        print(f"restarts: {system.stats()['restarts']}")


if __name__ == "__main__":
    trio.run(main)
