"""Puts base and brands side by side: what they answer, after how long, and for how many prompt tokens."""

import statistics
from collections.abc import Sequence

from openai import OpenAI
from rich.console import Console
from rich.table import Table

from examples.brands import BRANDS
from examples.demo.ask import Arm, Streamed, stream

SHOWN_PER_BRAND = 2


def side_by_side(client: OpenAI, base: str, seed: int, console: Console) -> None:
    """Prints the answers of the base, the base with the page of instructions, and the brand."""
    for brand in BRANDS.values():
        arms = (Arm(base), Arm(base, brand.instructions), Arm(brand.name))
        labels = ("base", "base + page", brand.name)
        for case in brand.cases("held_out", SHOWN_PER_BRAND, seed):
            table = Table(title=f"{brand.name}: {brand.title}", title_justify="left", show_header=False)
            table.add_column(style="bold", no_wrap=True)
            table.add_column(overflow="fold")
            table.add_column(justify="right", no_wrap=True)
            table.add_row("customer", case.message, "", end_section=True)
            for label, arm in zip(labels, arms, strict=True):
                reply = stream(client, arm, case.message)
                table.add_row(label, " ".join(reply.text.split()), f"{reply.prompt_tokens} tokens in")
            console.print(table, highlight=False, markup=False)


def latency(client: OpenAI, base: str, pairs: int, seed: int, console: Console) -> dict[str, float]:
    """First-token medians and mean prompt tokens, brand without and base with the page, alternating."""
    table = Table(title="first token and prompt, medians and means", title_justify="left")
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
