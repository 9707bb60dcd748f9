"""Every error that ranfer raises on purpose, as one tree.

A message says what was expected, what came, and where (``list.txt:17``).
"""


class RanferError(Exception):
    """Anything that ranfer refuses; catch this to catch them all."""


class ConfigError(RanferError):
    """A setting, an option or a combination of them that makes no sense."""


class DataError(RanferError):
    """A dataset, list or predictions file that is missing, malformed or inconsistent."""


class ImageError(DataError):
    """A picture that cannot be decoded; the message names it."""


class CheckpointError(RanferError):
    """A weights file that is truncated, of another kind, or of another configuration."""


class LossError(RanferError):
    """The loss of a training run became NaN or infinite; the message says where, and what to try."""


class ConflictError(DataError):
    """An answer to a face that has another answer by now, from another window."""


class UnknownAnswerError(DataError):
    """An answer that its annotator never gave, or to a face that is not asked."""
