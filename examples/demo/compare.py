"""Puts base and brand side by side: what they answer, after how long, and for how many prompt tokens."""

import statistics
from collections.abc import Sequence

from openai import OpenAI
from rich.console import Console
from rich.table import Table

from examples.brands import BRANDS, Brand, Case
from examples.demo.ask import Arm, Streamed, stream

SHOWN_PER_BRAND = 2
SHOWN_OUT_OF = 40
SHOWN_CHARACTERS = 300


def side_by_side(client: OpenAI, base: str, brand: Brand, seed: int, console: Console) -> None:
    """Prints the answers of the base, the base with the page of instructions, and the brand."""
    arms = (Arm(base), Arm(base, brand.instructions), Arm(brand.name))
    labels = ("base", "base + page", brand.name)
    for case in differing(brand.cases("held_out", SHOWN_OUT_OF, seed), SHOWN_PER_BRAND):
        table = Table(title=f"{brand.name}: {brand.title}", title_justify="left", show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(justify="right", no_wrap=True)
        table.add_row("customer", case.message, "", end_section=True)
        for label, arm in zip(labels, arms, strict=True):
            reply = stream(client, arm, case.message)
            table.add_row(label, shortened(reply.text), f"{reply.prompt_tokens} tokens in")
        console.print(table, highlight=False, markup=False)


def differing(cases: Sequence[Case], count: int) -> list[Case]:
    """The first `count` cases of whose expected values none is another's: two that are right by one answer
    would show less."""
    taken: list[Case] = []
    for case in cases:
        if all(set(case.expected.values()).isdisjoint(other.expected.values()) for other in taken):
            taken.append(case)
    return taken[:count]


def shortened(reply: str) -> str:
    """A reply on one line; a long one, which a base may give, is cut and says so."""
    line = " ".join(reply.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS].rstrip()} ... (cut here)"


def latency(client: OpenAI, base: str, pairs: int, seed: int, console: Console) -> dict[str, float]:
    """First-token medians and mean prompt tokens, brand without and base with the page, alternating."""
    table = Table(
        title="first token and prompt, medians and means",
        title_justify="left",
        caption="The first pair warms both up and does not count, so the base finds its page of instructions "
        "in the prefix cache: it does not compute the page again for each message.",
        caption_justify="left",
    )
    for heading in ("brand", "first token, brand", "base + page", "prompt tokens, brand", "base + page"):
        table.add_column(heading, justify="left" if heading == "brand" else "right")
    every_short: list[Streamed] = []
    every_paged: list[Streamed] = []
    for brand in BRANDS.values():
        short_arm = Arm(brand.name, max_tokens=8)
        paged_arm = Arm(base, brand.instructions, max_tokens=8)
        short, paged = [], []
        for number, case in enumerate(brand.cases("held_out", pairs + 1, seed + 1)):
            both = [stream(client, short_arm, case.message), stream(client, paged_arm, case.message)]
            if number > 0:  # the first pair warms both up
                short.append(both[0])
                paged.append(both[1])
        columns = (f"{_ttft(short) * 1000:.0f} ms", f"{_ttft(paged) * 1000:.0f} ms")
        table.add_row(brand.name, *columns, f"{_tokens(short):.0f}", f"{_tokens(paged):.0f}")
        every_short += short
        every_paged += paged
    console.print(table)
    return {
        "prompt_tokens_saved": round(_tokens(every_paged) - _tokens(every_short), 1),
        "ttft_adapter_s": round(_ttft(every_short), 4),
        "ttft_base_with_page_s": round(_ttft(every_paged), 4),
        "ttft_ratio": round(_ttft(every_short) / _ttft(every_paged), 3),
    }


def _ttft(replies: Sequence[Streamed]) -> float:
    return statistics.median(reply.ttft_s for reply in replies)


def _tokens(replies: Sequence[Streamed]) -> float:
    return statistics.mean(reply.prompt_tokens for reply in replies)
