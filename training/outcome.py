"""What a job ends with: the checkpoint that becomes its version, why that one, and what it took beside its
quote. Called by attempt.py."""

from __future__ import annotations

from typing import Any

from records.quotes import price
from records.settings import Settings
from training import adapter, auto
from training.bounds import out_of_time
from training.checkpoint import Saved, State
from training.journal import Said
from training.quote.pace import peak_memory

BROKEN = (
    "The model has come to guess the held-out preferred answers worse than before training: try it before "
    "you use it. Lower learning_rate_multiplier or n_epochs, or raise beta."
)


def chosen(
    state: State, plan: auto.Plan, settings: Settings, *, time_is_over: bool
) -> tuple[Saved, list[Said]]:
    """The best checkpoint, and what to say of it. Raises JobFailed when the time was over before one."""
    if not state.saved:
        raise out_of_time(settings, state.step, plan.steps_per_epoch)
    best, said = state.saved[auto.best(state.held_out_losses)], list[Said]()
    if state.step < plan.total_steps:
        why = "The job's time is over" if time_is_over else "The held-out loss no longer fell"
        said.append(Said(f"{why}, so training ended at step {state.step}"))
    if state.is_broken(best):
        said.append(Said(BROKEN, "warn"))
    elif best is not state.saved[-1]:
        said.append(Said(f"Publishing the checkpoint of step {best.step}: it is best on what is held out"))
    elif best.step < state.step:
        said.append(Said(f"Publishing the checkpoint of step {best.step}, the last one"))
    return best, said


def took(state: State, settings: Settings, seconds: float) -> Said:
    """The quote beside what came of it. Seconds and tokens are of all attempts, memory is of this one."""
    per_million, quoted = settings.price_per_million_tokens, state.quote
    found: dict[str, Any] = {
        "seconds": round(seconds, 2),
        "steps": state.step,
        "trained_tokens": state.tokens,
        "peak_memory_bytes": peak_memory(adapter.device()),
        "cost": price(state.tokens, per_million),
    }
    return Said(
        f"Training took {seconds:.1f} s and {state.tokens:,} tokens in {state.step} steps; quoted were "
        f"{quoted['seconds']:.1f} s and {quoted['trained_tokens']:,} tokens in {quoted['steps']}",
        data={"quote": quoted | {"cost": price(quoted["trained_tokens"], per_million)}, "took": found},
    )
