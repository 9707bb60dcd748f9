"""What annotators are asked of a face, the keys that answer it, and how a model's estimate would answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ranfer.data.attributes import FREE, TURNED
from ranfer.data.subsets import THRESHOLD
from ranfer.errors import ConfigError
from ranfer.vocab import ESTIMATED, Attributes, Occlusion

Said = Mapping[str, Sequence[str]]  # an answer: the values that were chosen, by the question's name


class Value(NamedTuple):
    """An answer that may be given: its name in files, the words on the page, and its key as browsers call it."""

    name: str
    words: str
    key: str


@dataclass(frozen=True)
class Question:
    """An attribute that is asked.

    several: a face may have several values; ``alone`` is the one that goes with no other.
    ordered: values are steps of a scale, so that agreement counts far steps more.
    """

    name: str
    words: str
    hint: str
    values: tuple[Value, ...]
    several: bool = False
    alone: str = ""
    ordered: bool = False

    def check(self, chosen: Sequence[str]) -> str | None:
        """Why these values are no answer; None where they are."""
        names = [value.name for value in self.values]
        if unknown := [name for name in chosen if name not in names]:
            return f"{self.name}: no value is called {unknown[0]!r}; there are {', '.join(names)}"
        if not chosen or len(set(chosen)) < len(chosen) or (len(chosen) > 1 and not self.several):
            return f"{self.name}: expected {'values' if self.several else 'one value'}, each once, got {list(chosen)}"
        if self.alone in chosen and len(chosen) > 1:
            return f"{self.name}: {self.alone} cannot be combined with other values"
        return None


OCCLUSION = Question(
    "occlusion",
    "What covers the face?",
    "For several answers, hold Shift (or press Several), then Accept.",
    (
        Value(FREE, "nothing", "n"),
        Value(Occlusion.UPPER, "upper part", "u"),
        Value(Occlusion.LOWER, "lower part", "l"),
        Value(Occlusion.SIDE, "a side", "s"),
        Value(Occlusion.EYEWEAR, "eyewear", "e"),
        Value(Occlusion.UNSPECIFIED, "something else", "o"),
    ),
    several=True,
    alone=FREE,
)
_TURNED_WORDS = ("under 30°", "over 30°", "over 45°")
POSE = Question(
    "pose-bin",
    "How far is the head turned?",
    "Left, right, up or down; ignore tilt.",
    tuple(
        Value(str(degrees), words, str(key))
        for key, (degrees, words) in enumerate(zip(TURNED, _TURNED_WORDS, strict=True), 1)
    ),
    ordered=True,
)
QUESTIONS = {question.name: question for question in (OCCLUSION, POSE)}
# What else a key does, by the names that browsers give keys.
ACTIONS = {
    "accept": "enter",
    "several": "m",
    "unsure": "x",
    "skip": "arrowright",
    "back": "arrowleft",
    "undo": "z",
    "note": "/",
}


def choose(names: str, keys: Sequence[str] = ()) -> tuple[tuple[Question, ...], dict[str, str]]:
    """The questions of ``occlusion,pose-bin``, and the keys of actions, as ``occlusion.upper=k`` or ``undo=q`` change.

    Raises:
        ConfigError: an unknown or repeated name, or a key that would do two things.
    """
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in QUESTIONS]:
        raise ConfigError(f"--attributes: unknown attribute {unknown[0]!r}; choose from {', '.join(QUESTIONS)}")
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError(f"--attributes {names}: expected some of {', '.join(QUESTIONS)}, each once")
    changed: dict[str, str] = {}
    for text in keys:
        name, _, key = text.partition("=")
        changed[name.strip()] = key.strip().lower()
    questions = tuple(
        replace(question, values=tuple(v._replace(key=changed.pop(f"{name}.{v.name}", v.key)) for v in question.values))
        for name, question in ((name, QUESTIONS[name]) for name in chosen)
    )
    actions = {name: changed.pop(name, key) for name, key in ACTIONS.items()}
    if changed:
        raise ConfigError(
            f"--key {next(iter(changed))}: expected ATTRIBUTE.VALUE=KEY or one of {', '.join(ACTIONS)} with its KEY"
        )
    used: dict[str, str] = {}
    named = [(f"{q.name}.{value.name}", value.key) for q in questions for value in q.values]
    for name, key in (*named, *actions.items()):
        if not key:
            raise ConfigError(f"--key {name}: expected a key, such as {name}=k")
        if used.setdefault(key, name) != name:
            raise ConfigError(f"--key: {key!r} is the key of both {used[key]} and {name}")
    return questions, actions


def suggest(question: Question, attributes: Attributes) -> tuple[str, ...]:
    """The answer that attributes give; empty where they do not tell."""
    if question.name == POSE.name:
        if attributes.pose is None:
            return () if attributes.turned is None else (str(attributes.turned),)
        return (str(max(degrees for degrees in TURNED if degrees == 0 or attributes.pose.turn > degrees)),)
    kinds = tuple(sorted(kind.value for kind, p in attributes.occlusion.items() if p >= THRESHOLD))
    told = all(kind in attributes.occlusion for kind in ESTIMATED)
    return kinds or ((FREE,) if told else ())


def doubt(question: Question, attributes: Attributes) -> float:
    """How unsure an estimate is of its answer, 0 to 1: by its probability nearest to 0.5, its angle nearest to a limit.

    An estimate that does not tell is unsure.
    """
    if question.name == POSE.name:
        if attributes.pose is None:
            return float(attributes.turned is None)
        return max(0.0, 1.0 - min(abs(attributes.pose.turn - degrees) for degrees in TURNED if degrees) / 15)
    return max((1.0 - 2 * abs(p - THRESHOLD) for p in attributes.occlusion.values()), default=1.0)
