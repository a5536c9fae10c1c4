"""The whole loop with the plain `openai` package: upload, train, follow, chat.

`python examples/python/loop.py [FILE.jsonl] [BRAND]` with OPENAI_BASE_URL and OPENAI_API_KEY set.
BASE_MODEL (default `tiny`) and QUESTION are read from the environment too.
"""

import os
import sys
import time
from pathlib import Path

from openai import OpenAI

ENDED = ("succeeded", "failed", "cancelled")


def upload(client: OpenAI, path: Path) -> str:
    """The id of the uploaded training file."""
    with path.open("rb") as content:
        file = client.files.create(file=content, purpose="fine-tune")
    print(f"uploaded {path.name} as {file.id}")
    return file.id


def follow(client: OpenAI, job_id: str) -> str:
    """Prints the job's events until it has ended; the fine-tuned model's name, or the program ends."""
    seen: set[str] = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        for event in reversed(client.fine_tuning.jobs.list_events(job_id, limit=100).data):
            if event.id not in seen:
                seen.add(event.id)
                print(f"  {event.level}: {event.message}")
        if job.status in ENDED:
            if job.fine_tuned_model is None:
                sys.exit(
                    f"job {job_id} {job.status}: {job.error.message if job.error else 'no reason given'}"
                )
            return job.fine_tuned_model
        time.sleep(0.5)


def chat(client: OpenAI, model: str, message: str) -> None:
    """Prints the model's answer as it arrives."""
    print(f"{model} answers: ", end="", flush=True)
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": message}],
        max_tokens=128,
        temperature=0,
        stream=True,
    )
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
    print()


def main() -> None:
    """Runs the loop once."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "build/brands/luxe.train.jsonl")
    brand = sys.argv[2] if len(sys.argv) > 2 else "luxe"
    question = os.environ.get(
        "QUESTION", "Hi, I'm Marta Velasco. My order 48213, the linen scarf, arrived torn."
    )
    if not path.is_file():
        sys.exit(f"{path} is not there; write it with: python -m examples.generate")
    client = OpenAI()
    job = client.fine_tuning.jobs.create(
        model=os.environ.get("BASE_MODEL", "tiny"), training_file=upload(client, path), suffix=brand
    )
    print(f"created {job.id} for brand {brand}")
    model = follow(client, job.id)
    chat(client, model, question)
    chat(client, brand, question)


if __name__ == "__main__":
    main()
