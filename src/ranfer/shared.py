"""Which expressions data and models share, and what becomes of the others; neither needs to have all eight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ranfer.errors import ConfigError
from ranfer.training_record import recorded
from ranfer.vocab import SYNONYMS, Expression


def named_by(description: Mapping[str, Any]) -> dict[Expression, str]:
    """The expressions that a model can answer, and its names for them; all eight where its description names none.

    One of ours has eight outputs, but those of classes that it never learnt mean nothing.
    """
    names = recorded(description).get("classes") or description.get("labels") or list(Expression)
    return {SYNONYMS[key]: name.strip() for name in names if (key := name.strip().lower()) in SYNONYMS}


@dataclass(frozen=True)
class Shared:
    """The expressions of the faces that are evaluated, and of one or two models.

    faces: how many the label rule finds of each in the split.  models: what each calls those that it can answer.
    only: whether the shared ones alone are evaluated: others are taken from the answers, and faces of others left out.

    Raises:
        ConfigError: ``only``, and fewer than two are shared.
    """

    faces: Mapping[Expression, int]
    models: tuple[Mapping[Expression, str], ...]
    only: bool

    def __post_init__(self) -> None:
        if self.only and len(self.expressions) < 2:
            found = ", ".join(self.expressions) or "none"
            raise ConfigError(
                f"--shared: the data and what is evaluated must share two expressions or more; got {found}"
            )

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Those that faces have and every model can answer."""
        return tuple(e for e in Expression if self.faces.get(e) and all(e in names for names in self.models))

    @property
    def evaluated(self) -> tuple[Expression, ...]:
        """Those that count, in faces and in answers: the shared ones with ``only``, else all."""
        return self.expressions if self.only else tuple(Expression)

    @property
    def agrees(self) -> bool:
        """Whether data and models have the same expressions, by the same names."""
        return all(e in self.expressions and {names[e] for names in self.models} == {e.value} for e in Expression)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """For each expression its faces, what each model calls it, and what becomes of it."""
        for e in Expression:
            yield e.value, f"{self.faces.get(e, 0):,}", *(names.get(e, "-") for names in self.models), self._fate(e)

    def _fate(self, expression: Expression) -> str:
        if expression in self.expressions:
            return "shared"
        if self.faces.get(expression):
            return "faces left out" if self.only else "not every model can answer it; its faces count"
        if not any(expression in names for names in self.models):
            return ""
        return "taken from answers" if self.only else "no face has it; answering it is wrong"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "only_shared": self.only,
            "shared": [e.value for e in self.expressions],
            "faces": {e.value: self.faces.get(e, 0) for e in Expression},
            "models": [{e.value: name for e, name in names.items()} for names in self.models],
        }
