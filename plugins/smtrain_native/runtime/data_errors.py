"""What is said when the data, or the tokenizer that is to read them, cannot be used."""

from __future__ import annotations

from smtrain_native.runtime.ending import UserError


class DataError(UserError):
    """The text says where, what was found, and what to do; it is shown without a traceback."""
