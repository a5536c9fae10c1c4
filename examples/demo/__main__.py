"""`python -m examples.demo`: serve, learn three brands, compare, measure, stop. The last line is JSON.

What people read goes to stdout too, before that line; errors go to stderr with exit code 1.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from openai import AsyncOpenAI, OpenAI, OpenAIError
from rich.console import Console

from examples.brands import BRANDS
from examples.demo.compare import latency, side_by_side
from examples.demo.evaluate import QUICK, Sizes, clinic_gain, evaluate
from examples.demo.learn import Learning, begin, follow
from examples.demo.report import figures_table, what_next
from examples.demo.server import DemoFailed, Server
from examples.demo.shares import Share

DEFAULT_HOME = Path(".chorus-demo")


class Clock:
    """Seconds since the command began, which `make` gave before it installed anything."""

    def __init__(self, began: float) -> None:
        self._zero = time.monotonic() - max(0.0, time.time() - began)

    def at(self, moment: float) -> float:
        """Of a time.monotonic()."""
        return moment - self._zero


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Learn, serve and measure three brands on one base model.")
    parser.add_argument("--quick", action="store_true", help="small held-out sets, for a test")
    parser.add_argument(
        "--home", type=Path, default=DEFAULT_HOME, help="where the demo's server keeps its state"
    )
    parser.add_argument("--base-url", help="use a server that already runs (its address ends in /v1)")
    parser.add_argument("--api-key", default=os.environ.get("OPENAI_API_KEY"), help="a key of that server")
    parser.add_argument("--base", default="tiny", help="the base model's name there")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other examples")
    parser.add_argument(
        "--began", type=float, default=time.time(), help="when the command began (seconds since 1970)"
    )
    options = parser.parse_args()
    if options.base_url and not options.api_key:
        parser.error("--base-url needs --api-key (or OPENAI_API_KEY)")
    return options


@dataclass(frozen=True)
class Found:
    """What the demo publishes: `figures` in their order, and what those that are shares rest on."""

    figures: dict[str, float]
    shares: dict[str, Share]


def show(
    options: argparse.Namespace,
    clock: Clock,
    server: Server | None,
    base_url: str,
    key: str,
    console: Console,
) -> Found:
    """The demo against a server that listens; `server` is our own."""
    sizes = QUICK if options.quick else Sizes()
    client = OpenAI(base_url=base_url, api_key=key)

    def learnt(learning: Learning) -> None:
        if server is not None:
            server.add_workers()  # not before: the first brand shall have the machine for itself
        seconds = clock.at(learning.answered_at)
        console.print(f"{learning.brand.name} answers {seconds:.0f} s after the command", style="bold")
        side_by_side(client, options.base, learning.brand, options.seed, console)

    console.rule("three brands learn")
    learnings = begin(client, options.base, options.home / "data", options.seed, console)
    if server is not None:
        server.wait_until_ready()
    follow(client, learnings, console, learnt)
    console.rule("time and tokens")
    times = latency(client, options.base, sizes.latency, options.seed, console)
    console.rule("held-out messages")
    many = AsyncOpenAI(base_url=base_url, api_key=key)
    shares = asyncio.run(evaluate(many, options.base, sizes, options.seed, console))
    figures = {name: share.value for name, share in shares.items()}
    figures |= {"clinic_gain": clinic_gain(shares), **times}
    slowest = max(learning.publish_to_first_token_s for learning in learnings)
    first = min(learning.answered_at for learning in learnings)
    figures["publish_to_first_token_s"] = round(slowest, 3)
    figures["seconds_first_brand"] = round(clock.at(first), 1)
    return Found(figures, shares)


def main() -> int:
    """Runs the demo; the exit code."""
    options = arguments()
    console = Console()
    # Else a SIGTERM would end the demo and leave its server running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    clock = Clock(options.began)
    server: Server | None = None
    try:
        with ExitStack() as stack:
            base_url, key = options.base_url, options.api_key
            if base_url is None:
                server = stack.enter_context(Server(options.home, console, at_once=len(BRANDS) - 1))
                base_url, key = server.base_url, server.create_key()
            try:
                found = show(options, clock, server, base_url, key, console)
            except OpenAIError as error:
                if server is not None:
                    server.check_alive()
                raise DemoFailed(f"the server refused or failed: {error}") from error
    except DemoFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    figures = {**found.figures, "seconds": round(clock.at(time.monotonic()), 1)}
    figures_table(figures, found.shares, console)
    what_next(options.home, key, console)
    rests = {
        "intervals": {name: share.interval for name, share in found.shares.items()},
        "asked": {name: share.asked for name, share in found.shares.items()},
    }
    print(json.dumps({**figures, **rests}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
