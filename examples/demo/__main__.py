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
from pathlib import Path

from openai import AsyncOpenAI, OpenAI, OpenAIError
from rich.console import Console

from examples.demo.compare import latency, side_by_side
from examples.demo.evaluate import QUICK, Sizes, evaluate
from examples.demo.learn import learn
from examples.demo.report import figures_table, what_next
from examples.demo.server import DemoFailed, Server

DEFAULT_HOME = Path(".chorus-demo")


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
    options = parser.parse_args()
    if options.base_url and not options.api_key:
        parser.error("--base-url needs --api-key (or OPENAI_API_KEY)")
    return options


def show(options: argparse.Namespace, base_url: str, key: str, console: Console) -> dict[str, float]:
    """The demo against a server that is ready; returns its figures."""
    sizes = QUICK if options.quick else Sizes()
    client = OpenAI(base_url=base_url, api_key=key)
    console.rule("three brands learn")
    learnings = learn(client, options.base, options.home / "data", options.seed, console)
    console.rule("side by side")
    side_by_side(client, options.base, options.seed, console)
    times = latency(client, options.base, sizes.latency, options.seed, console)
    console.rule("held-out messages")
    many = AsyncOpenAI(base_url=base_url, api_key=key)
    figures = asyncio.run(evaluate(many, options.base, sizes, options.seed, console))
    slowest = max(learning.publish_to_first_token_s for learning in learnings)
    return {**figures, **times, "publish_to_first_token_s": round(slowest, 3)}


def main() -> int:
    """Runs the demo; the exit code."""
    options = arguments()
    console = Console()
    # Else a SIGTERM would end the demo and leave its server running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    server: Server | None = None
    try:
        with ExitStack() as stack:
            base_url, key = options.base_url, options.api_key
            if base_url is None:
                server = stack.enter_context(Server(options.home, console))
                base_url, key = server.base_url, server.create_key()
            try:
                figures = show(options, base_url, key, console)
            except OpenAIError as error:
                if server is not None:
                    server.check_alive()
                raise DemoFailed(f"the server refused or failed: {error}") from error
    except DemoFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    figures_table(figures, console)
    what_next(options.home, key, console)
    print(json.dumps({**figures, "seconds": round(time.monotonic() - started, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
