"""The end of the demo: the table of figures with their targets, and what a user would type next."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from examples.demo.evaluate import SAMPLE, SMALLEST_SHARE
from examples.demo.shares import Share

AT_LEAST = {
    "valid_json_adapter": 0.995,
    "voice_adapter": 0.95,
    "voice_facts": 0.80,
    "base_copies": 0.95,
    "clinic_gain": 0.30,
}
AT_MOST = {"publish_to_first_token_s": 2.0}


def figures_table(figures: Mapping[str, float], shares: Mapping[str, Share], console: Console) -> None:
    """Prints every figure, what a share rests on, and for those that have a target whether it is met."""
    table = Table(title="figures", title_justify="left")
    table.add_column("figure")
    for heading in ("value", "of", "95% interval", "target"):
        table.add_column(heading, justify="right")
    for name, value in figures.items():
        target, met = "", True
        if name in AT_LEAST:
            target, met = f">= {AT_LEAST[name]}", value >= AT_LEAST[name]
        if name in AT_MOST:
            target, met = f"<= {AT_MOST[name]}", value <= AT_MOST[name]
        share = shares.get(name)
        rests = (str(share.asked), "{:.3f} to {:.3f}".format(*share.interval)) if share else ("", "")
        said = target if met else f"{target}  missed"
        table.add_row(name, f"{value:g}", *rests, said, style="" if met else "red")
    console.print(table)
    console.print(
        f"A base that was right in none of the first {SAMPLE} was asked no more.\n"
        f"clinic_gain is over the better of base and base with page, which counts as at least "
        f"{SMALLEST_SHARE:.0%}.\nttft_ratio compares with a base that has its page in the prefix cache.",
        highlight=False,
    )


def what_next(home: Path, key: str, console: Console) -> None:
    """Prints the lines that start the server again on the same state and talk to the luxe brand."""
    console.print("\nWhat you would type next:", style="bold")
    console.print(
        f"""
.venv/bin/chorus serve --base tiny --home {home} --port 8000      # the three brands answer again

export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY={key}
curl -s $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \\
  -H 'Content-Type: application/json' -d '{{"model": "luxe", "temperature": 0, "messages":
  [{{"role": "user", "content": "I am Ada Moreau. My order 70412, the silk scarf, arrived torn."}}]}}'

.venv/bin/python examples/python/loop.py YOUR_FILE.jsonl YOUR_BRAND      # a brand of your own
""",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
