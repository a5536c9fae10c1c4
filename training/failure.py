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
