"""Attributes as Label Studio's tasks, and its export as attributes; see its documents on the JSON of tasks and results.

What people chose is an annotation, what a model says a prediction. A task's ``data`` holds the face's line of our own
JSONL too, which Label Studio keeps, so that probabilities and names come back whole where nobody changed an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ranfer.data.attributes import FREE, TURNED, Answer, AttributesFile, from_line, merge_answers, to_line, to_number
from ranfer.data.dataset import Dataset, picture_name
from ranfer.data.subsets import THRESHOLD, LabelledFace
from ranfer.errors import DataError
from ranfer.files import write_text
from ranfer.vocab import Attributes, Occlusion, Pose

# The page on which Label Studio asks for the attributes; names are those of the results.
CONFIG = f"""<View>
  <Image name="image" value="$image"/>
  <Choices name="occlusion" toName="image" choice="multiple" showInline="true">
{"".join(f'    <Choice value="{name}"/>{chr(10)}' for name in (*Occlusion, FREE))}  </Choices>
  <Choices name="turned" toName="image" choice="single" showInline="true">
    <Choice value="0"/>
    <Choice value="30"/>
    <Choice value="45"/>
  </Choices>
{chr(10).join(f'  <Number name="{name}" toName="image" min="-180" max="180"/>' for name in Pose._fields)}
</View>
"""


def write_labelstudio(dataset: Dataset, faces: Sequence[LabelledFace], path: Path) -> None:
    """A task a face, to be imported into a project whose labelling interface is :data:`CONFIG`.

    Pictures are named relative to the data, as Label Studio's local files: a zip has to be unpacked there.
    """
    tasks = []
    for number, (sample, expression, attributes) in enumerate(faces, start=1):
        tasks.append(
            {
                "id": number,
                "data": {
                    "image": f"/data/local-files/?d={picture_name(dataset, sample)}",
                    "id": sample.id,
                    "expression": expression,
                    "attributes": to_line(sample.id, attributes),
                },
                "annotations" if attributes.annotators else "predictions": [{"result": _results(attributes)}],
            }
        )
    write_text(path, json.dumps(tasks, indent=1) + "\n")


def _results(attributes: Attributes) -> list[dict[str, Any]]:
    results: list[tuple[str, str, Any]] = []
    if attributes.occlusion:
        kinds = [kind.value for kind, p in attributes.occlusion.items() if p >= THRESHOLD]
        results.append(("occlusion", "choices", kinds or [FREE]))
    if attributes.turned is not None:
        results.append(("turned", "choices", [str(attributes.turned)]))
    for name, angle in zip(Pose._fields, attributes.pose or (), strict=False):
        results.append((name, "number", round(angle, 2)))
    return [
        {"id": name, "from_name": name, "to_name": "image", "type": kind, "value": {kind: value}}
        for name, kind, value in results
    ]


def read_labelstudio(path: Path) -> AttributesFile:
    """The attributes of a JSON that Label Studio exported (its form "JSON"), or that :func:`write_labelstudio` wrote.

    The annotations of a task that were not cancelled are taken together: each kind's probability is the share of
    annotators who chose it, angles are their mean, ``turned`` is the most frequent (the least of several). Without any,
    or where they repeat what people had said before, the line in the task's data counts. A task's face is its
    ``data.id``, and a task without an answer has no attributes.

    Raises:
        DataError: unreadable, no such JSON, or a malformed task, with its position; one face in two tasks.
    """
    try:
        tasks = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(tasks, list):
        raise DataError(f"{path}: expected a list of Label Studio's tasks, got {type(tasks).__name__}")
    records: dict[str, Attributes] = {}
    first: dict[str, int] = {}
    surprises: list[str] = []
    for number, task in enumerate(tasks, start=1):
        where = f"{path}: task {number}"
        try:
            face, line = task["data"]["id"], task["data"].get("attributes")
            annotations = [each for each in task.get("annotations") or () if not each.get("was_cancelled")]
            given = [(answer, each) for each in annotations if (answer := _answer(each["result"], where, surprises))]
            people = [_person(each.get("completed_by")) for _, each in given]
            times = [each["created_at"] for _, each in given if each.get("created_at")]
        except (TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{where}: expected data.id and annotations with results ({error!r})") from error
        if not isinstance(face, str):
            raise DataError(f"{where}: expected data.id to be the id of a face, got {face!r}")
        if first.setdefault(face, number) != number:
            raise DataError(f"{where}: {face} is task {first[face]} already")
        before = from_line(line, where) if isinstance(line, dict) else None
        said = [answer for answer, _ in given]
        if before is not None and (not said or (before.annotators and said == [_answer(_results(before), where, [])])):
            records[face] = before
        elif said:
            records[face] = merge_answers(said, people, max(times, default=None))
    return AttributesFile(path, records, {"from": "Label Studio"}, surprises=tuple(surprises))


def _answer(results: Sequence[Mapping[str, Any]], where: str, surprises: list[str]) -> Answer:
    """What one annotation says; results of other controls, and relations, which have no value, are left alone."""
    answer: Answer = {}
    for result in results:
        name = result.get("from_name")
        if name not in ("occlusion", "turned", *Pose._fields):
            continue
        value = result["value"]
        if name == "occlusion":
            unknown = [choice for choice in value["choices"] if choice not in (*Occlusion, FREE)]
            if unknown:
                raise DataError(
                    f"{where}: no occlusion is called {unknown[0]!r}; there are {', '.join(Occlusion)} and {FREE}"
                )
            answer["occlusion"] = {Occlusion(choice) for choice in value["choices"] if choice != FREE}
        elif name == "turned":
            degrees = str(value["choices"][0]) if value["choices"] else ""
            if degrees not in map(str, TURNED):
                raise DataError(f"{where}: expected turned to be one of {', '.join(map(str, TURNED))}, got {degrees!r}")
            answer["turned"] = int(degrees)
        else:
            answer[name] = to_number(value["number"], -180, 180, where, name)
    angles = [name for name in Pose._fields if name in answer]
    if 0 < len(angles) < len(Pose._fields):
        surprises.append(f"{where}: {' and '.join(angles)} alone is no pose and is left out")
        answer = {name: said for name, said in answer.items() if name not in angles}
    return answer


def _person(told: Any) -> str:
    """An annotator's number or, in exports that tell more, address."""
    return (
        str(told.get("email") or told["id"]) if isinstance(told, Mapping) else "unknown" if told is None else str(told)
    )
