"""Asks base and brands the held-out messages and turns the replies into shares of right ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openai import AsyncOpenAI
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.brands import BRANDS, NEUTRAL, Brand, Case, clinic, luxe, neutral, tickets
from examples.demo.ask import Arm, ask_all

# The longest right answer has 73 tokens; both arms get the same, so that no valid reply is cut off.
TICKET_TOKENS = 128
SMALLEST_SHARE = 0.05  # what a base that knows nothing counts as, when a gain over it is formed


@dataclass(frozen=True)
class Sizes:
    """How many held-out messages each figure rests on."""

    tickets: int = 1000
    voice: int = 200
    copies: int = 200
    clinic: int = 150
    latency: int = 10


QUICK = Sizes(tickets=40, voice=20, copies=20, clinic=30, latency=3)


def share(verdicts: Sequence[bool]) -> float:
    """The share of true verdicts; 0 when there are none."""
    return round(sum(verdicts) / len(verdicts), 4) if verdicts else 0.0


async def evaluate(
    client: AsyncOpenAI, base: str, sizes: Sizes, seed: int, console: Console
) -> dict[str, float]:
    """Every share that the demo publishes, by name."""
    columns = (TextColumn("{task.description:26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    figures: dict[str, float] = {}
    with Progress(*columns, console=console) as progress:

        async def ask(label: str, arm: Arm, cases: Sequence[Case]) -> list[str]:
            row = progress.add_task(label, total=len(cases))
            replies = await ask_all(client, arm, cases, lambda: progress.advance(row))
            if not console.is_terminal:  # bars would show at the end only
                console.print(f"{label}: {len(replies)} replies", highlight=False)
            return replies

        held_out = NEUTRAL.cases("held_out", sizes.copies, seed)
        replies = await ask("neutral, base", Arm(base), held_out)
        figures["base_copies"] = share(_all_right(replies, held_out, neutral.facts))

        held_out = BRANDS["luxe"].cases("held_out", sizes.voice, seed)
        replies = await ask("luxe", Arm("luxe"), held_out)
        formed = [pair for pair in zip(replies, held_out, strict=True) if luxe.in_form(pair[0])]
        figures["voice_adapter"] = share([luxe.in_form(reply) for reply in replies])
        figures["voice_facts"] = share([all(luxe.facts(*pair).values()) for pair in formed])
        replies = await ask("luxe, base + page", _paged(base, BRANDS["luxe"]), held_out)
        figures["voice_base"] = share([luxe.in_form(reply) for reply in replies])

        held_out = BRANDS["clinic"].cases("held_out", sizes.clinic, seed)
        for label, arm in (
            ("adapter", Arm("clinic")),
            ("base", Arm(base)),
            ("base_with_page", _paged(base, BRANDS["clinic"])),
        ):
            replies = await ask(f"clinic, {label}".replace("_", " "), arm, held_out)
            right = [clinic.facts(*pair) for pair in zip(replies, held_out, strict=True)]
            figures[f"clinic_{label}"] = share([each for verdict in right for each in verdict.values()])
        # Against the better of the two bases, so that the gain is not one over a base left uninformed.
        best_base = max(figures["clinic_base"], figures["clinic_base_with_page"], SMALLEST_SHARE)
        figures["clinic_gain"] = round((figures["clinic_adapter"] - best_base) / best_base, 4)

        held_out = BRANDS["tickets"].cases("held_out", sizes.tickets, seed)
        for label, arm in (
            ("adapter", Arm("tickets", max_tokens=TICKET_TOKENS)),
            ("base", _paged(base, BRANDS["tickets"], TICKET_TOKENS)),
        ):
            title = "tickets" if label == "adapter" else "tickets, base + page"
            replies = await ask(title, arm, held_out)
            figures[f"valid_json_{label}"] = share([tickets.valid(reply) for reply in replies])
            figures[f"tickets_right_{label}"] = share(_all_right(replies, held_out, tickets.facts))
    return figures


def _paged(base: str, brand: Brand, max_tokens: int = 128) -> Arm:
    """The base model with the brand's page of instructions."""
    return Arm(base, brand.instructions, max_tokens)


def _all_right(
    replies: Sequence[str], cases: Sequence[Case], facts: Callable[[str, Case], dict[str, bool]]
) -> list[bool]:
    return [all(facts(*pair).values()) for pair in zip(replies, cases, strict=True)]
