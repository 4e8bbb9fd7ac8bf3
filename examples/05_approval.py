"""A human in the loop: somebody is asked, reminded, and if nobody answers it goes to the next one.

Usage: ``python 05_approval.py [FILE] [--patience 3d]``. By itself it is over in two seconds, and
nobody has answered. With more patience there is time to answer, from another terminal, whether or
not this process lives::

    durable show laptop                           # whom it waits for, and the token
    durable answer TOKEN true                     # or false, or --reject "ask me in May"
    durable signal laptop withdraw '"not needed"' # the one who asked changed her mind

Kill it whenever you like and start it again: nobody is asked twice, and what is left of the
patience is all that is waited for. Mail is appended to a file beside FILE.
"""

import argparse
import asyncio
import json
import os
from dataclasses import dataclass

import durable
from durable import PromiseRejected, Signal, activity, workflow

REMINDERS = 1


@dataclass(frozen=True, kw_only=True)
class Expense:
    """What is asked for.

    Attributes:
        item: What to buy.
        approvers: Who decides; each next one is asked when the one before does not answer.
        patience: How long each is waited for before the reminder, and after it.
        outbox: The file that stands for the mail.
    """

    item: str
    approvers: list[str]
    patience: str
    outbox: str


withdraw = Signal("withdraw", str)


@activity
def send_mail(outbox: str, to: str, text: str) -> None:
    # A real mailer would take the key too: a mail under way when the process died is sent again,
    # and by its key the mailer can tell.
    mail = {"key": durable.attempt().idempotency_key, "to": to, "text": text}
    descriptor = os.open(outbox, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(mail).encode() + b"\n")
    finally:
        os.close(descriptor)


@workflow
async def approve(expense: Expense) -> list[str]:
    story: list[str] = []
    began = durable.now()

    def tell(what: str) -> None:
        story.append(f"{(durable.now() - began).total_seconds():.1f} s  {what}")

    # Whoever has the token may answer, once: it goes out with the mail.
    approval = durable.promise("approval", bool)
    answer = asyncio.ensure_future(approval.wait())
    withdrawal = asyncio.ensure_future(withdraw.receive())
    how = f"durable answer {approval.token} true"
    try:
        for person in expense.approvers:
            durable.details(f"waits for {person}")
            await send_mail(expense.outbox, person, f"May I buy {expense.item}? {how}")
            tell(f"asked {person}")
            for reminder in range(REMINDERS + 1):
                if reminder:
                    await send_mail(expense.outbox, person, f"A reminder: {expense.item}? {how}")
                    tell(f"reminded {person}")
                # Plain asyncio; its timeout is a durable timer.
                await asyncio.wait(
                    [answer, withdrawal],
                    timeout=seconds(expense.patience),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if withdrawal.done():
                    tell(f"withdrawn: {withdrawal.result()}")
                    return story
                if answer.done():
                    tell(decision(answer))
                    return story
            tell(f"{person} did not answer")
        tell("nobody answered: refused")
        return story
    finally:
        answer.cancel()
        withdrawal.cancel()


def decision(answer: asyncio.Future[bool]) -> str:
    try:
        return "approved" if answer.result() else "refused"
    except PromiseRejected as error:  # ``durable answer TOKEN --reject MESSAGE``
        return f"rejected: {error}"


def seconds(text: str) -> float:
    return float(text.removesuffix("d")) * 86_400 if text.endswith("d") else float(text)


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask for an approval durably.")
    parser.add_argument("db", nargs="?", default="approval.db", help="the file that holds the run")
    parser.add_argument("--patience", default="0.5", help="seconds, or days as in 3d")
    options = parser.parse_args()
    expense = Expense(
        item="a laptop",
        approvers=["Ada", "Grace"],
        patience=options.patience,
        outbox=f"{options.db}.mail",
    )
    for line in durable.run(options.db, approve.options(id="laptop"), expense):
        print(line)


if __name__ == "__main__":
    main()
