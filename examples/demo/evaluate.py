"""Asks base and brands the held-out messages and turns the replies into shares of right ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from openai import AsyncOpenAI
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from examples.brands import BRANDS, NEUTRAL, Brand, Case, clinic, luxe, neutral, tickets
from examples.demo.ask import Arm, ask_all
from examples.demo.shares import Share, share

# The longest right answer has 73 tokens; both arms get the same, so that no valid reply is cut off.
TICKET_TOKENS = 128
SMALLEST_SHARE = 0.05  # what a base that knows nothing counts as, when a gain over it is formed
SAMPLE = 20  # a base that is right in none of the first so many is asked no more

Score = Callable[[str, Case], float]


@dataclass(frozen=True)
class Sizes:
    """How many held-out messages each figure rests on."""

    tickets: int = 400
    voice: int = 100
    copies: int = 100
    clinic: int = 150
    latency: int = 10


QUICK = Sizes(tickets=40, voice=20, copies=20, clinic=30, latency=3)


@dataclass(frozen=True)
class Examiner:
    """Asks an arm all cases, and shows how far it is."""

    client: AsyncOpenAI
    progress: Progress

    async def adapter(self, label: str, arm: Arm, cases: Sequence[Case]) -> list[str]:
        """The replies to all cases."""
        row = self.progress.add_task(label, total=len(cases))
        return self._told(label, await self._ask(row, arm, cases))

    async def base(self, label: str, arm: Arm, cases: Sequence[Case], score: Score) -> list[str]:
        """The replies to all cases, or to the first SAMPLE when the base is right in none of those."""
        row = self.progress.add_task(label, total=len(cases))
        replies = await self._ask(row, arm, cases[:SAMPLE])
        if any(map(score, replies, cases)):
            replies += await self._ask(row, arm, cases[SAMPLE:])
        else:
            self.progress.update(row, total=len(replies))
        return self._told(label, replies)

    async def _ask(self, row: TaskID, arm: Arm, cases: Sequence[Case]) -> list[str]:
        return await ask_all(self.client, arm, cases, lambda: self.progress.advance(row))

    def _told(self, label: str, replies: list[str]) -> list[str]:
        if not self.progress.console.is_terminal:  # bars would show at the end only
            self.progress.console.print(f"{label}: {len(replies)} replies", highlight=False)
        return replies


async def evaluate(
    client: AsyncOpenAI, base: str, sizes: Sizes, seed: int, console: Console
) -> dict[str, Share]:
    """Every share that the demo publishes, by name."""
    columns = (TextColumn("{task.description:26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        examiner = Examiner(client, progress)
        return {
            **await copies(examiner, base, NEUTRAL.cases("held_out", sizes.copies, seed)),
            **await voice(examiner, base, BRANDS["luxe"].cases("held_out", sizes.voice, seed)),
            **await terms(examiner, base, BRANDS["clinic"].cases("held_out", sizes.clinic, seed)),
            **await valid_json(examiner, base, BRANDS["tickets"].cases("held_out", sizes.tickets, seed)),
        }


async def copies(examiner: Examiner, base: str, cases: Sequence[Case]) -> dict[str, Share]:
    """Name, item and number of ordinary messages in the base's own replies."""
    replies = await examiner.base("neutral, base", Arm(base), cases, _all(neutral.facts))
    return {"base_copies": _share(_all(neutral.facts), replies, cases)}


async def voice(examiner: Examiner, base: str, cases: Sequence[Case]) -> dict[str, Share]:
    """The luxury house's form, and in replies of that form the customer's own facts."""

    def formed(reply: str, _: Case) -> bool:
        return luxe.in_form(reply)

    replies = await examiner.adapter("luxe", Arm("luxe"), cases)
    in_form = [pair for pair in zip(replies, cases, strict=True) if formed(*pair)]
    of_base = await examiner.base("luxe, base + page", _paged(base, BRANDS["luxe"]), cases, formed)
    return {
        "voice_adapter": _share(formed, replies, cases),
        "voice_facts": share([_all(luxe.facts)(*pair) for pair in in_form]),
        "voice_base": _share(formed, of_base, cases),
    }


async def terms(examiner: Examiner, base: str, cases: Sequence[Case]) -> dict[str, Share]:
    """The clinic's terms and places, each half of an answer."""

    def known(reply: str, case: Case) -> float:
        return fmean(clinic.facts(reply, case).values())

    page = _paged(base, BRANDS["clinic"])
    return {
        f"clinic_{name}": _share(known, replies, cases)
        for name, replies in (
            ("adapter", await examiner.adapter("clinic", Arm("clinic"), cases)),
            ("base", await examiner.base("clinic, base", Arm(base), cases, known)),
            ("base_with_page", await examiner.base("clinic, base + page", page, cases, known)),
        )
    }


async def valid_json(examiner: Examiner, base: str, cases: Sequence[Case]) -> dict[str, Share]:
    """Tickets that the schema accepts, and those with all four values right."""

    def valid(reply: str, _: Case) -> bool:
        return tickets.valid(reply)

    page, figures = _paged(base, BRANDS["tickets"], TICKET_TOKENS), dict[str, Share]()
    for name, replies in (
        ("adapter", await examiner.adapter("tickets", Arm("tickets", max_tokens=TICKET_TOKENS), cases)),
        ("base", await examiner.base("tickets, base + page", page, cases, valid)),
    ):
        figures[f"valid_json_{name}"] = _share(valid, replies, cases)
        figures[f"tickets_right_{name}"] = _share(_all(tickets.facts), replies, cases)
    return figures


def clinic_gain(shares: Mapping[str, Share]) -> float:
    """The relative gain over the better of the two bases: not over one that was left uninformed."""
    best_base = max(shares["clinic_base"].value, shares["clinic_base_with_page"].value, SMALLEST_SHARE)
    return round((shares["clinic_adapter"].value - best_base) / best_base, 4)


def _paged(base: str, brand: Brand, max_tokens: int = 128) -> Arm:
    """The base model with the brand's page of instructions."""
    return Arm(base, brand.instructions, max_tokens)


def _all(facts: Callable[[str, Case], dict[str, bool]]) -> Score:
    return lambda reply, case: all(facts(reply, case).values())


def _share(score: Score, replies: Sequence[str], cases: Sequence[Case]) -> Share:
    """Of the cases that were asked: the first ones."""
    return share([score(*pair) for pair in zip(replies, cases, strict=False)])
