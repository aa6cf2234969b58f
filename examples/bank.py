"""Two accounts and a transfer: actors, asks, and a turn that happens whole or not at all.

    python examples/bank.py

Output:
    alice has 70, bob has 40
    refused: only 70 there
    alice has 70, bob has 40
"""

import trio

from actorflow import Actor, ActorRef, ActorSystem, AskFailed, Turn, message


@message
class Deposit:
    amount: int


@message
class Transfer:
    amount: int
    to: ActorRef[object]


@message
class Balance:
    pass


class Account(Actor):
    balance: int = 0

    async def receive(self, message: object, ctx: Turn) -> int:
        match message:
            case Deposit(amount):
                self.balance += amount
            case Transfer(amount, to):
                self.balance -= amount
                ctx.tell(to, Deposit(amount))  # Leaves only if this turn commits.
                if self.balance < 0:
                    raise ValueError(f"only {self.balance + amount} there")
        return self.balance


async def main() -> None:
    async with ActorSystem("bank") as system:
        alice = await system.spawn(Account(balance=100), name="alice")
        bob = await system.spawn(Account(balance=10), name="bob")

        async def show() -> None:
            print(f"alice has {await alice.ask(Balance())}, bob has {await bob.ask(Balance())}")

        await alice.ask(Transfer(30, bob))
        await show()
        try:
            await alice.ask(Transfer(500, bob))
        except AskFailed as failure:
            print(f"refused: {failure.__cause__}")
        await show()


if __name__ == "__main__":
    trio.run(main)
