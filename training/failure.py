"""The one way for a job to end badly on purpose: no retry can help, and the user is told what to change."""

from __future__ import annotations


class JobFailed(Exception):
    """`code` is for programs, `str()` for people, `param` names the request's field at fault."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param

    def shape(self) -> dict[str, str | None]:
        """OpenAI's error object of a job."""
        return {"code": self.code, "message": str(self), "param": self.param}


def unsupported_base(reason: object) -> JobFailed:
    """The base model cannot be trained, now or later."""
    return JobFailed("unsupported_base_model", f"This base cannot be trained: {reason}", "model")


UNREADABLE = "its files cannot be read; the operator finds the reason in the job's log."


def diverged(step: int) -> JobFailed:
    return JobFailed(
        "training_diverged",
        f"The loss is not a number at step {step}; lower learning_rate_multiplier.",
        "hyperparameters",
    )
