"""What is annotated by whom: faces, questions, people and their links, and each one's queue."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ranfer.annotate.questions import Question, suggest
from ranfer.annotate.queue import Order, Queue, in_order, weave_gold
from ranfer.annotate.store import LONGEST_NAME, Answer, Store
from ranfer.data.dataset import Dataset, first_few
from ranfer.data.exchange import open_source
from ranfer.data.face_lists import read_list, resolve
from ranfer.errors import ConfigError, DataError
from ranfer.vocab import Attributes, Sample


@dataclass(frozen=True)
class Person:
    """Somebody with a link of their own; an adjudicator sees who said what, and decides."""

    name: str
    adjudicator: bool
    token: str


@dataclass(frozen=True)
class Study:
    """Everything that the page needs.

    samples: the faces that are asked, by id; the database may hold answers to others, too.
    actions: keys that are no answers, by what they do.
    estimates: what a model or another file says of faces; ``blind`` uses it for the order alone.
    gold: faces whose answer is known, and that annotators meet among the others.
    """

    dataset: Dataset
    samples: Mapping[str, Sample]
    questions: Sequence[Question]
    actions: Mapping[str, str]
    store: Store
    people: Sequence[Person]
    order: Order = "random"
    estimates: Mapping[str, Attributes] = field(default_factory=dict)
    blind: bool = False
    gold: Mapping[str, Attributes] = field(default_factory=dict)

    def queue(self, person: Person) -> Queue:
        """A new queue of somebody's open faces, as things stand: for an adjudicator, those that people differ on."""
        if person.adjudicator:
            asked = [face for face in self.store.contested() if face in self.samples]
            return Queue(asked, lambda faces: self.store.decided(faces) | self.store.passed(faces, person.name))
        contested = self.store.contested() if self.order == "disagreements" else ()
        faces = in_order(list(self.samples), person.name, self.order, self.questions, self.estimates, contested)
        return Queue(weave_gold(faces, self.gold), lambda faces: self.store.passed(faces, person.name))

    @property
    def gone(self) -> list[str]:
        """Faces with answers that the data have no more, perhaps under other ids."""
        there = {sample.id for sample in self.dataset.samples}
        return sorted({answer.face for answer in self.store.standing()} - there)

    def suggested(self, face: str) -> dict[str, Sequence[str]]:
        """What the page fills in beforehand: the estimate's answer, where there is one and nobody is blind."""
        known = None if self.blind else self.estimates.get(face)
        if known is None:
            return {}
        said = {question.name: suggest(question, known) for question in self.questions}
        return {name: values for name, values in said.items() if values}

    def shown(self, person: Person, faces: Sequence[str]) -> list[dict[str, Any]]:
        """Faces as the page wants them: with one's own answer, and for an adjudicator those of the others."""
        mine = {answer.face: answer for answer in self.store.standing(person.name, faces)}
        others: dict[str, list[dict[str, Any]]] = {}
        for answer in self.store.standing(faces=faces, final=False) if person.adjudicator else ():
            others.setdefault(answer.face, []).append(_plain(answer))
        return [
            {
                "id": face,
                "suggested": self.suggested(face),
                "answer": _plain(mine[face]) if face in mine else None,
                "others": others.get(face, []),
            }
            for face in faces
        ]


def open_study(
    dataset: Dataset,
    split: str,
    database: str,
    questions: Sequence[Question],
    actions: Mapping[str, str],
    annotators: Sequence[str],
    adjudicators: Sequence[str] = (),
    *,
    faces: Path | None = None,
    order: Order = "random",
    prefill: Path | None = None,
    blind: bool = False,
    gold: Path | None = None,
) -> Study:
    """A study of the faces of a split, or of those of them that a list names.

    Links stay the same as long as the database does. One that is not there is made, once all else is in order.

    Raises:
        ConfigError: names that are repeated, empty, too long or no text, an order that needs estimates, a database of
            another study.
        DataError: files that cannot be read or name other faces; ids that are not valid text; gold without answers.
    """
    names = [*annotators, *adjudicators]
    _check_names(names)
    if order == "uncertain" and prefill is None:
        raise ConfigError("--order uncertain: needs --prefill; add --blind to hide its answers")
    samples = dataset.split(split)
    if faces is not None:
        listed = read_list(faces)
        samples = [samples[place] for place in resolve(listed, [sample.id for sample in samples])]
    if odd := [repr(sample.id) for sample in samples if not _is_text(sample.id)]:
        raise DataError(f"{dataset.path}: ids that are not valid text: {first_few(odd)}")
    by_id = {sample.id: sample for sample in samples}

    def told(path: Path | None) -> dict[str, Attributes]:
        if path is None:
            return {}
        return {face.sample.id: face.attributes for face in open_source(path, dataset, split).faces}

    known = {
        face: attributes
        for face, attributes in told(gold).items()
        if face in by_id and any(suggest(question, attributes) for question in questions)
    }
    if gold is not None and not known:
        raise DataError(f"{gold}: answers none of the questions for any of the faces in this study")
    estimates = told(prefill)
    about = {"data": dataset.title, "split": split, "attributes": [q.name for q in questions]}
    store = Store(database)
    try:
        secret = store.begin_study(about)
        for name in names:
            _check_role(store, name, name in adjudicators)
    except BaseException:
        store.close()
        raise
    people = [
        Person(name, name in adjudicators, hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest())
        for name in names
    ]
    return Study(dataset, by_id, questions, actions, store, people, order, estimates, blind, known)


def _plain(answer: Answer) -> dict[str, Any]:
    """What the page shows of an answer."""
    told = ("ticket", "annotator", "status", "said", "note", "seconds")
    return {name: getattr(answer, name) for name in told}


def _check_names(names: Sequence[str]) -> None:
    if not names or len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise ConfigError("--annotator, --adjudicator: expected at least one name, each once")
    if odd := [repr(name) for name in names if len(name) > LONGEST_NAME or not _is_text(name)]:
        raise ConfigError(f"--annotator, --adjudicator: expected text of at most {LONGEST_NAME} letters, got {odd[0]}")


def _check_role(store: Store, name: str, adjudicator: bool) -> None:
    if store.standing(name, final=not adjudicator):
        raise ConfigError(f"{name}: was {'annotator' if adjudicator else 'adjudicator'} before; roles cannot change")


def _is_text(name: str) -> bool:
    """Whether a name is text at all: those of files may be any bytes."""
    return "\0" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)
