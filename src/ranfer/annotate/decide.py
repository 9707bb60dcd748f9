"""What was decided: the answers that stand, as attributes that every other command reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ranfer.annotate.questions import OCCLUSION, POSE, Said
from ranfer.annotate.store import Answer, Store
from ranfer.data import attributes as files
from ranfer.data.attributes import FREE, merge_answers, write_attributes
from ranfer.data.textfiles import to_csv
from ranfer.errors import DataError
from ranfer.files import write_text
from ranfer.provenance import revision
from ranfer.vocab import Attributes, Occlusion


class Decided(NamedTuple):
    """The attributes of decided faces, and the faces that wait, because people differ or are unsure."""

    records: Mapping[str, Attributes]
    waiting: Sequence[str]


def decide(answers: Iterable[Answer], contested: Iterable[str], shares: bool = False) -> Decided:
    """Who said what, as one decision a face: the adjudicator's, or what all annotators agree on.

    A face that only one person answered is decided by that answer. ``shares`` takes contested faces, too, with the
    share of the annotators who are sure as the probability of each kind of occlusion, and the most frequent pose.
    """
    by_face: dict[str, list[Answer]] = {}
    for answer in answers:
        by_face.setdefault(answer.face, []).append(answer)
    open_faces = set(contested)
    records: dict[str, Attributes] = {}
    waiting = []
    for face, given in by_face.items():
        final = [answer for answer in given if answer.final and answer.status == "answered"]
        sure = final[-1:] or [answer for answer in given if answer.status == "answered"]
        if face in open_faces and not final and not (shares and sure):
            waiting.append(face)
        elif sure:
            said = [_plain(answer.said) for answer in sure]
            people = [answer.annotator for answer in sure]
            records[face] = merge_answers(said, people, max(answer.at for answer in sure))
    return Decided(records, waiting)


def _plain(said: Said) -> files.Answer:
    answer: files.Answer = {}
    if OCCLUSION.name in said:
        answer["occlusion"] = {Occlusion(kind) for kind in said[OCCLUSION.name] if kind != FREE}
    if POSE.name in said:
        answer["turned"] = int(said[POSE.name][0])
    return answer


def write_decided(store: Store, folder: Path, shares: bool = False) -> tuple[Path, Decided]:
    """Write ``decided.jsonl``, attributes for ``ranfer annotate export``, and ``answers.csv``, who said what and when.

    Raises:
        DataError: the database holds no annotations, or no answer.
    """
    about = store.study()
    answers = store.standing()
    if not answers:
        raise DataError(f"{store.name}: nobody has answered yet")
    found = decide(answers, store.contested(), shares)
    told = {
        **about,
        "from": "ranfer annotate",
        "rule": "final answers, else what annotators agree on" + (", else their shares" if shares else ""),
        "annotators": sorted({answer.annotator for answer in answers if not answer.final}),
        "adjudicators": sorted({answer.annotator for answer in answers if answer.final}),
        "answers": len(answers),
        "waiting": len(found.waiting),
        "revision": f"ranfer {revision()}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = folder / "decided.jsonl"
    write_attributes(path, found.records, told)
    write_text(folder / "answers.csv", _table(answers, about["attributes"]))
    return path, found


def _table(answers: Iterable[Answer], names: Sequence[str]) -> str:
    rows: list[list[object]] = [["id", "annotator", "final", "status", *names, "note", "seconds", "at"]]
    for answer in answers:
        values = ["+".join(answer.said.get(name, ())) for name in names]
        row = [answer.face, answer.annotator, int(answer.final), answer.status, *values, answer.note]
        rows.append([*row, f"{answer.seconds:.2f}", answer.at])
    return to_csv(rows)
