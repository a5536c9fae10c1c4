"""Publishing under load: brands are published, promoted and rolled back while 16 streams go on asking.

`failed`: requests and operations that failed; `mixed`: answers whose text is of no version that was live when
they began, or not of the version that they name; `visible_p99_s`: from an operation's reply to the first
request that gets the new version. The same is done to vLLM's own server, by loading over a name.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench import options, report, servers, sides
from bench.adapters import random_adapter
from bench.brands import Answer, Chorus, Side, Stock, ask

STREAMS, BRANDS, TOKENS, OPERATIONS, LANES = 16, 8, 24, 1000, 2
CANDIDATES, TRIES, WANTED = 24, 6, 12
KINDS = {"publish": 0.4, "promote": 0.3, "rollback": 0.3}


@dataclass
class Life:
    """One brand: which text it gave when, and what it can go back to."""

    live: str = ""
    previous: str = ""
    versions: dict[str, str] = field(default_factory=dict)  # version -> the text that it says
    spans: list[tuple[float, float, str]] = field(default_factory=list)  # (since, until, version)

    def now(self, version: str, asked: float, done: float) -> None:
        """`version` took over between these two times: until `done` either may answer."""
        if self.spans:
            since, _, old = self.spans[-1]
            self.spans[-1] = since, done, old
        self.spans.append((asked, float("inf"), version))
        if version != self.live:
            self.live, self.previous = version, self.live

    def possible(self, answer: Answer) -> set[str]:
        """The versions that were live at some time of the request's beginning, which is when it is pinned."""
        return {
            version for since, until, version in self.spans if since <= answer.first and until >= answer.began
        }


@dataclass
class Tally:
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    visible: list[float] = field(default_factory=list)
    operations: int = 0


async def stable_texts(
    side: Side, session: aiohttp.ClientSession, folder: Path, base: Path
) -> dict[str, Path]:
    """Texts that a version gave every time, alone or in a full batch, each with its adapter's folder."""
    made = {}
    for seed in range(CANDIDATES):
        adapter = random_adapter(folder / f"reference-{seed}", seed, rank=8, base=base)
        name = await side.publish(f"reference-{seed}", adapter, live=False)
        made[name if name.startswith("ft:") else f"reference-{seed}"] = adapter
    names = list(made) * TRIES
    random.Random(0).shuffle(names)
    gate, heard = asyncio.Semaphore(STREAMS), dict[str, set[str]]()

    async def hear(name: str) -> None:
        async with gate:
            heard.setdefault(name, set()).add((await ask(session, name, TOKENS)).text)

    await asyncio.gather(*(hear(name) for name in names))
    texts = {said.pop(): made[name] for name, said in heard.items() if len(said) == 1}
    if len(texts) < WANTED:
        raise SystemExit(f"only {len(texts)} of {CANDIDATES} adapters say the same each time")
    return dict(list(texts.items())[:WANTED])


async def stream(
    session: aiohttp.ClientSession, brands: list[str], tally: Tally, over: asyncio.Event, seed: int
) -> None:
    """Ask one brand after the other until the operations are over."""
    source = random.Random(seed)
    while not over.is_set():
        try:
            tally.answers.append(await ask(session, source.choice(brands), TOKENS))
        except (RuntimeError, aiohttp.ClientError) as error:
            tally.failures.append(f"request: {error}")


async def operate(
    side: Side, session: aiohttp.ClientSession, lives: dict[str, Life], texts: dict[str, Path], tally: Tally,
    count: int, folder: Path, seed: int, base: Path,
) -> None:  # fmt: skip
    """`count` operations, one after the other; each is watched until a request gets the new version."""
    source = random.Random(seed)
    for number in range(count):
        brand = source.choice(list(lives))
        life = lives[brand]
        kind = source.choices(list(KINDS), list(KINDS.values()))[0]
        others = [version for version in list(life.versions)[-6:] if version != life.live]
        asked = time.perf_counter()
        try:
            if kind == "rollback" and life.previous:
                version = life.previous
                await side.rollback(brand, version)
            elif kind == "promote" and others:
                version = source.choice(others)
                await side.promote(brand, version)
            else:
                text = source.choice([one for one in texts if one != life.versions.get(life.live)])
                adapter = random_adapter_like(texts[text], folder / f"{seed}-{number}", base)
                asked = time.perf_counter()
                version = await side.publish(brand, adapter)
                life.versions[version] = text
        except (RuntimeError, aiohttp.ClientError) as error:
            tally.failures.append(f"{kind}: {error}")
            continue
        done = time.perf_counter()
        life.now(version, asked, done)
        tally.operations += 1
        tally.visible.append(await until_visible(session, brand, life.versions[version], done, tally))


def random_adapter_like(folder: Path, target: Path, base: Path) -> Path:
    """The same weights in other bytes, so that they are another version."""
    seed = int(folder.name.rsplit("-", 1)[1])
    return random_adapter(target, seed, rank=8, note=target.name, base=base)


async def until_visible(
    session: aiohttp.ClientSession, brand: str, text: str, since: float, tally: Tally
) -> float:
    """Seconds until a request begins that gets the new text."""
    while True:
        try:
            answer = await ask(session, brand, TOKENS)
        except (RuntimeError, aiohttp.ClientError) as error:
            tally.failures.append(f"request: {error}")
            continue
        if answer.text == text:
            return answer.began - since
        if time.perf_counter() - since > 10:
            return 10.0
        await asyncio.sleep(0.01)


def wrong(answer: Answer, life: Life) -> bool:
    """Whether an answer is of no version that was live when it began, or not of the version that it names."""
    possible = life.possible(answer)
    if any(name.startswith("ft:") for name in answer.models):
        (named,) = answer.models if len(answer.models) == 1 else ("",)
        return named not in possible or life.versions[named] != answer.text
    return len(answer.models) != 1 or answer.text not in {life.versions[version] for version in possible}


async def run(
    server: servers.Server, make: Callable[[aiohttp.ClientSession], Side], folder: Path, operations: int
) -> tuple[Tally, int]:
    """What happened on one server, and how many answers were wrong."""
    headers = {"authorization": f"Bearer {server.key}"}
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(server.root, headers=headers, timeout=timeout) as session:
        side, tally, over = make(session), Tally(), asyncio.Event()
        texts = await stable_texts(side, session, folder, server.base)
        lives = {f"brand-{number}": Life() for number in range(BRANDS)}
        for number, (brand, life) in enumerate(lives.items()):
            text = list(texts)[number]
            adapter = random_adapter_like(texts[text], folder / f"first-{number}", server.base)
            asked = time.perf_counter()
            version = await side.publish(brand, adapter)
            life.versions[version] = text
            life.now(version, asked, time.perf_counter())
        streams = [
            asyncio.create_task(stream(session, list(lives), tally, over, seed)) for seed in range(STREAMS)
        ]
        brands = list(lives)
        lanes = [{brand: lives[brand] for brand in brands[lane::LANES]} for lane in range(LANES)]
        await asyncio.gather(
            *(
                operate(side, session, lane, texts, tally, operations // LANES, folder, seed, server.base)
                for seed, lane in enumerate(lanes)
            )
        )
        over.set()
        await asyncio.gather(*streams)
        return tally, sum(wrong(answer, lives[answer.brand]) for answer in tally.answers)


def main() -> None:
    given = options.serving(__doc__, "40 operations").parse_args()
    operations = 40 if given.quick else OPERATIONS
    rows, results = [], {}
    for name in ("chorus", "vllm"):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            with sides.start(name, folder, given.base, given.device) as server:
                make = Chorus if name == "chorus" else Stock
                tally, mixed = asyncio.run(run(server, make, folder, operations))
        results[name] = tally, mixed
        visible = statistics.quantiles(tally.visible, n=100)[-1] if len(tally.visible) > 1 else 0.0
        rows.append(
            (
                name,
                str(tally.operations),
                str(len(tally.answers)),
                str(len(tally.failures)),
                str(mixed),
                f"{visible:.3f}",
            )
        )
        for failure in sorted(set(tally.failures))[:5]:
            print(f"{name}: {failure[:300]}", flush=True)
    columns = ("server", "operations", "answers", "failed", "mixed", "visible p99, s")
    report.show("Publishing under 16 streams", columns, rows)
    (ours, mixed), (theirs, their_mixed) = results["chorus"], results["vllm"]
    report.end(
        {
            "failed": len(ours.failures),
            "mixed": mixed,
            "visible_p99_s": float(rows[0][-1]),
            "operations": ours.operations,
            "answers": len(ours.answers),
            "stock_failed": len(theirs.failures),
            "stock_mixed": their_mixed,
            "stock_answers": len(theirs.answers),
        }
    )


if __name__ == "__main__":
    main()
