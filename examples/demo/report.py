"""The end of the demo: the table of figures with their targets, and what a user would type next."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from examples.demo.evaluate import SMALLEST_SHARE

AT_LEAST = {
    "valid_json_adapter": 0.995,
    "voice_adapter": 0.95,
    "voice_facts": 0.80,
    "base_copies": 0.95,
    "clinic_gain": 0.30,
}
AT_MOST = {"publish_to_first_token_s": 2.0}


def figures_table(figures: dict[str, float], console: Console) -> None:
    """Prints every figure, and for those that have a target whether it is met."""
    table = Table(title="figures", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("target", justify="right")
    for name, value in figures.items():
        target, met = "", True
        if name in AT_LEAST:
            target, met = f">= {AT_LEAST[name]}", value >= AT_LEAST[name]
        if name in AT_MOST:
            target, met = f"<= {AT_MOST[name]}", value <= AT_MOST[name]
        table.add_row(name, f"{value:g}", target if met else f"{target}  missed", style="" if met else "red")
    console.print(table)
    console.print(
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
