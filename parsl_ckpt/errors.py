"""Every error of the library: one base, one true sentence each, and what to do about it.

Rule of this file: an error names the app, the parameter, the field or the file that it is about, in
the sentence and as an attribute, and carries a ``hint`` that tells the user the next step.  Errors
travel between processes, so each pickles with all of its fields.
"""

from __future__ import annotations

from typing import Any


class ParslCkptError(Exception):
    """Base of every error that the library raises on purpose.

    Args:
        message: one true sentence about what happened.
        hint: what the user can do now; shown after the sentence.
        fields: what the error is about, each readable as an attribute (``app``, ``parameter``,
            ``path``, ...).

    >>> raise ParslCkptError("The spoon is missing.", hint="Bring one.", path="/drawer")
    Traceback (most recent call last):
    parsl_ckpt.errors.ParslCkptError: The spoon is missing. Bring one.
    """

    def __init__(self, message: str = "", *, hint: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields
        self.__dict__.update(fields)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.fields)


def _rebuild(
    kind: type[ParslCkptError], message: str, hint: str, fields: dict[str, Any]
) -> ParslCkptError:
    return kind(message, hint=hint, **fields)
