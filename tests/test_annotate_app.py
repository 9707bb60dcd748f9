"""The annotator over HTTP: who may ask what, what is refused, and the commands around it."""

import asyncio
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from layouts import save
from ranfer.annotate.app import create_app
from ranfer.annotate.guard import LARGEST, guarded
from ranfer.annotate.questions import choose
from ranfer.annotate.study import open_study
from ranfer.data import open_dataset
from ranfer.data.attributes import read_attributes, write_attributes
from ranfer.data.drawing import draw_face
from ranfer.data.labelstudio import read_labelstudio
from ranfer.errors import ConfigError, DataError
from ranfer.vocab import ESTIMATED, Attributes, Expression, Occlusion
from test_cli import run

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from kill_annotator import kill_often

HOME = "http://127.0.0.1:8640"
FACES = 12


@pytest.fixture
def faces(tmp_path, rng_faces):
    folder = tmp_path / "faces"
    for number, pixels in enumerate(rng_faces):
        save(folder / f"face{number:02d}.png", pixels)
    return folder


@pytest.fixture(scope="module")
def rng_faces():
    generator = np.random.default_rng(0)
    return [draw_face(list(Expression)[number % 8], generator) for number in range(FACES)]


@pytest.fixture
def study(faces, tmp_path):
    def study(annotators=("anna", "ben"), adjudicators=("judge",), names="occlusion", database="a.sqlite", **options):
        data, path = open_dataset(f"folder:{faces}"), str(tmp_path / database)
        questions, actions = choose(names)
        return open_study(data, "all", path, questions, actions, annotators, adjudicators, **options)

    return study


class Client:
    """Somebody's browser."""

    def __init__(self, study, name):
        (person,) = (person for person in study.people if person.name == name)
        app = guarded(create_app(study))
        headers = {"authorization": f"Bearer {person.token}"}
        self.http = TestClient(app, base_url=HOME, headers=headers, raise_server_exceptions=False)
        self.tickets = 0

    def get(self, path, status=200):
        found = self.http.get(path)
        assert found.status_code == status, found.text
        return found.json()

    def say(self, face, *kinds, status=201, **more):
        self.tickets += 1
        given = {"ticket": f"{id(self) % 16**8:016x}{self.tickets:016x}", "face": face, "status": "answered"}
        found = self.http.post("/api/answers", json=given | {"said": {"occlusion": list(kinds)}} | more)
        assert found.status_code == status, found.text
        return found.json()


def test_the_page_asks_what_it_was_told_to_and_goes_on_face_by_face(study):
    anna = Client(study(), "anna")
    session = anna.get("/api/session")
    assert session["annotator"] == "anna" and session["total"] == FACES and session["actions"]["undo"] == "z"
    assert [value["key"] for value in session["questions"][0]["values"]] == list("nulseo")
    seen = []
    while faces := anna.get("/api/faces?n=2")["faces"]:
        seen.append(faces[0]["id"])
        anna.say(faces[0]["id"], "none")
    assert len(set(seen)) == FACES
    assert anna.get("/api/faces?n=1")["counts"] == {"answered": FACES, "unsure": 0, "skipped": 0}
    assert [face["id"] for face in anna.get("/api/session")["behind"]] == seen


def test_a_skipped_face_comes_back_at_the_end(study):
    anna = Client(study(), "anna")
    first = anna.get("/api/faces?n=1")["faces"][0]["id"]
    given = {"ticket": "0" * 32, "face": first, "status": "skipped"}
    assert anna.http.post("/api/answers", json=given).status_code == 201
    while (face := anna.get("/api/faces?n=1")["faces"][0])["id"] != first:
        anna.say(face["id"], "none")
    assert face["answer"]["status"] == "skipped"
    anna.say(first, "none", replaces="0" * 32)
    assert anna.get("/api/faces?n=1")["faces"] == []


def test_annotators_are_blind_to_each_other_and_the_adjudicator_sees_who_said_what(study):
    made = study()
    anna, ben, judge = (Client(made, name) for name in ("anna", "ben", "judge"))
    anna.say("face03", "upper", note="a bonnet")
    ben.say("face03", "none")
    anna.say("face04", "none")
    ben.say("face04", "none")
    for path in ("/api/faces?n=100", "/api/session"):
        said = json.dumps(ben.get(path))
        assert "anna" not in said and "upper" not in said.split('"behind"')[-1] and "bonnet" not in said
    (face,) = judge.get("/api/faces?n=10")["faces"]
    assert face["id"] == "face03"
    assert [(o["annotator"], o["said"]["occlusion"], o["note"]) for o in face["others"]] == [
        ("anna", ["upper"], "a bonnet"),
        ("ben", ["none"], ""),
    ]
    judge.say("face03", "side")
    assert judge.get("/api/faces?n=10")["faces"] == []


@pytest.mark.parametrize("status", ["unsure", "skipped"])
def test_what_one_adjudicator_passes_over_another_decides(study, status):
    made = study(adjudicators=("judge", "other"))
    anna, ben, judge, other = (Client(made, person.name) for person in made.people)
    anna.say("face03", "upper")
    ben.say("face03", "none")
    judge.http.post("/api/answers", json={"ticket": "0" * 32, "face": "face03", "status": status})
    again = judge.get("/api/faces?n=10")["faces"]
    assert [face["answer"]["status"] for face in again] == ["skipped"] * (status == "skipped")
    assert [face["id"] for face in other.get("/api/faces?n=10")["faces"]] == ["face03"]
    other.say("face03", "side")
    assert judge.get("/api/faces?n=10")["faces"] == other.get("/api/faces?n=10")["faces"] == []


def test_undoing_opens_a_face_again(study):
    anna = Client(study(), "anna")
    first = anna.get("/api/faces?n=1")["faces"][0]["id"]
    ticket = anna.say(first, "none")["ticket"]
    found = anna.http.delete(f"/api/answers/{ticket}")
    assert found.json() == {"id": first, "suggested": {}, "answer": None, "others": []}
    assert anna.get("/api/faces?n=1")["faces"][0]["id"] == first
    unknown = anna.http.delete(f"/api/answers/{'0' * 32}")
    assert unknown.status_code == 404 and "gave no answer" in unknown.json()["error"]


def test_of_a_database_with_other_faces_only_those_that_are_asked_count(study, tmp_path):
    everything = study()
    anna, ben = (Client(everything, name) for name in ("anna", "ben"))
    tickets = [anna.say(f"face{number:02d}", "none")["ticket"] for number in range(6)]
    for number in range(6):
        ben.say(f"face{number:02d}", "upper")
    skipped = {"ticket": "0" * 32, "face": "face06", "status": "skipped"}
    assert anna.http.post("/api/answers", json=skipped).status_code == 201
    (tmp_path / "list.txt").write_text("face05\nface07\n")
    few = study(faces=tmp_path / "list.txt")
    anna, judge = Client(few, "anna"), Client(few, "judge")
    session = anna.get("/api/session")
    assert session["total"] == 2 and [face["id"] for face in session["behind"]] == ["face05"]
    told = anna.get("/api/faces?n=9")
    assert told["counts"] == {"answered": 1, "unsure": 0, "skipped": 0}
    assert [face["id"] for face in told["faces"]] == ["face07"]
    anna.say("face07", "none")
    assert anna.get("/api/faces?n=9")["faces"] == []
    assert [face["id"] for face in judge.get("/api/faces?n=9")["faces"]] == ["face05"]
    assert anna.http.delete(f"/api/answers/{tickets[0]}").status_code == 404
    assert "face00" in few.store.statuses("anna", {"face00"})


def test_a_model_fills_in_what_it_believes_unless_annotators_are_to_be_blind(study, tmp_path):
    estimates = {f"face{n:02d}": Attributes(dict.fromkeys(ESTIMATED, n / 20)) for n in range(FACES)}
    write_attributes(tmp_path / "auto.jsonl", estimates, {})
    shown = Client(study(prefill=tmp_path / "auto.jsonl", order="uncertain"), "anna").get("/api/faces?n=12")["faces"]
    assert shown[0]["id"] == "face10" and shown[0]["suggested"] == {"occlusion": ["eyewear", "lower", "side", "upper"]}
    assert shown[-1]["suggested"] == {"occlusion": ["none"]}
    blind = study(prefill=tmp_path / "auto.jsonl", order="uncertain", blind=True)
    hidden = Client(blind, "anna").get("/api/faces?n=12")["faces"]
    assert [face["id"] for face in hidden] == [face["id"] for face in shown]
    assert not any(face["suggested"] for face in hidden)
    with pytest.raises(ConfigError, match="needs --prefill"):
        study(order="uncertain")


def test_a_face_is_a_png_of_its_own_pixels(study, rng_faces):
    found = Client(study(), "anna").http.get("/api/image?face=face05")
    assert found.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found.content))), rng_faces[5])


def test_an_unreadable_face_is_told_and_the_others_go_on(study, faces):
    (faces / "face05.png").write_bytes(b"no picture")
    anna = Client(study(), "anna")
    assert "face05.png: not a readable picture" in anna.get("/api/image?face=face05", 422)["error"]


@pytest.mark.parametrize("face", ["../secret.txt", "/etc/passwd", "faces/face01.png", "face99", "..%2Fsecret"])
def test_nothing_but_a_face_of_the_study_is_served(study, tmp_path, face):
    (tmp_path / "secret.txt").write_text("secret")
    assert "no face of this study" in Client(study(), "anna").get(f"/api/image?face={face}", 404)["error"]


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/../app.py"])
def test_no_file_outside_of_the_pages_own_is_served(study, path):
    assert Client(study(), "anna").http.get(path).status_code in (404, 405)


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"authorization": ""}, 401, "missing or wrong token"),
        ({"authorization": "Bearer é"}, 401, "missing or wrong token"),
        ({"host": "evil.example"}, 421, "unknown host name 'evil.example'"),
        ({"host": "[::1"}, 421, "unknown host name"),
        ({"host": "a]"}, 421, "unknown host name"),
        ({"origin": "http://["}, 403, "cross-origin request"),
        ({"origin": "http://evil.example"}, 403, "cross-origin request from 'http://evil.example' refused"),
        ({"origin": "http://127.0.0.1:1"}, 403, "cross-origin request"),
        ({"origin": "null"}, 403, "cross-origin request"),
        ({"content-length": "²"}, 413, "expected a request of at most 16,384 bytes"),
    ],
)
def test_a_stranger_is_refused(study, headers, status, message):
    found = Client(study(), "anna").http.get(
        "/api/session", headers={name: value.encode("latin-1") for name, value in headers.items()}
    )
    assert found.status_code == status and message in found.json()["error"]


@pytest.mark.parametrize("host", ["localhost:8640", "127.0.0.1", "192.168.1.7:80", "[::1]:8640"])
def test_addresses_and_own_names_are_let_in(study, host):
    headers = {"host": host, "origin": f"http://{host}"}
    assert Client(study(), "anna").http.get("/api/session", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"said": {"occlusion": ["hat"]}}, 422, "no value is called 'hat'"),
        ({"said": {"occlusion": ["none", "upper"]}}, 422, "none cannot be combined with other values"),
        ({"said": {"beard": ["yes"]}}, 422, "unknown question 'beard'"),
        ({"said": {}}, 422, "no answer to occlusion"),
        ({"face": "face99"}, 404, "no face of this study is called 'face99'"),
        ({"ticket": "../1"}, 422, "malformed request: body.ticket"),
        ({"status": "perhaps"}, 422, "malformed request: body.status"),
        ({"seconds": -1}, 422, "malformed request: body.seconds"),
        ({"annotator": "ben"}, 422, "malformed request: body.annotator"),
        ({"note": "x" * 3000}, 422, "malformed request: body.note"),
        ({"note": "x" * LARGEST}, 413, "expected a request of at most 16,384 bytes"),
    ],
)
def test_a_malformed_or_oversized_answer_is_refused_and_nothing_is_kept(study, change, status, message):
    anna = Client(study(), "anna")
    given = {"ticket": "0" * 32, "face": "face01", "status": "answered", "said": {"occlusion": ["none"]}}
    found = anna.http.post("/api/answers", json=given | change)
    assert found.status_code == status and message in found.json()["error"]
    assert anna.get("/api/faces?n=1")["counts"]["answered"] == 0


def test_a_body_that_does_not_tell_its_size_is_measured(study):
    anna = Client(study(), "anna")
    found = anna.http.post("/api/answers", content=iter([b"x" * 9000] * 3))
    assert found.status_code == 413 and "at most 16,384 bytes" in found.json()["error"]
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "malformed request" in anna.http.post("/api/answers", content=b"{").json()["error"]


def test_of_a_body_without_an_end_no_more_is_read_than_the_limit(study):
    read, sent = [], []

    async def receive():
        read.append(9000)
        return {"type": "http.request", "body": b"x" * read[-1], "more_body": True}

    async def send(message):
        sent.append(message)

    path = {"path": "/api/answers", "query_string": b"", "headers": [(b"host", b"localhost")]}
    asyncio.run(guarded(create_app(study()))({"type": "http", "method": "POST", **path}, receive, send))
    assert sent[0]["status"] == 413 and sum(read) == 18_000


def test_two_windows_of_one_annotator_do_not_overwrite_each_other(study):
    anna = Client(study(), "anna")
    anna.say("face01", "none")
    assert "answered in another window" in anna.say("face01", "upper", status=409)["error"]


def test_names_and_faces_that_make_no_sense_are_refused(study, faces, monkeypatch):
    for people in (((), ()), (("anna", "anna"), ()), (("anna",), ("anna",)), ((" ",), ())):
        with pytest.raises(ConfigError, match="expected at least one name"):
            study(*people)
    Client(study(), "anna").say("face01", "none")
    closed = []
    monkeypatch.setattr("ranfer.annotate.study.Store.close", lambda store: closed.append(store))
    with pytest.raises(ConfigError, match="anna: was annotator before"):
        study(("ben",), ("anna",))
    assert len(closed) == 1
    (faces / "list.txt").write_text("face01\nface99\n")
    with pytest.raises(DataError, match="face99"):
        study(faces=faces / "list.txt")
    (faces / "list.txt").write_text("face01\n")
    assert list(study(faces=faces / "list.txt").samples) == ["face01"]


def test_gold_faces_without_an_answer_to_the_questions_are_refused(study, tmp_path):
    gold = {"face01": Attributes({}, turned=30), "face02": Attributes({Occlusion.UPPER: 1.0})}
    write_attributes(tmp_path / "gold.jsonl", gold, {})
    assert list(study(gold=tmp_path / "gold.jsonl").gold) == ["face02"]
    write_attributes(tmp_path / "gold.jsonl", {"face01": gold["face01"]}, {})
    with pytest.raises(DataError, match=r"gold\.jsonl: answers none of the questions"):
        study(gold=tmp_path / "gold.jsonl")


@pytest.mark.parametrize("name", ["\udcff", "a\0b", "x" * 201])
def test_a_name_that_no_database_can_hold_is_refused_before_one_is_made(study, tmp_path, name):
    with pytest.raises(ConfigError, match="expected text of at most 200 letters"):
        study((name,))
    assert not (tmp_path / "a.sqlite").exists()


def test_what_was_decided_is_exported_in_every_format_and_read_again(study, faces, tmp_path):
    made = study()
    anna, ben = Client(made, "anna"), Client(made, "ben")
    for number in range(6):
        anna.say(f"face{number:02d}", "upper" if number < 3 else "none")
        ben.say(f"face{number:02d}", "upper" if number < 2 else "none", note="a note")
    data = ("--data", f"folder:{faces}", "--split", "all")
    database, out = tmp_path / "a.sqlite", tmp_path / "out"
    words = ("--format", "manifest,lists,csv,coco,labelstudio,attributes")
    found = run("annotate", "export", database, *data, "--out", out, *words)
    assert "1 faces wait for a decision and are left out" in found.stderr
    decided = read_attributes(out / "decided.jsonl")
    assert list(decided.records) == [f"face{number:02d}" for number in (0, 1, 3, 4, 5)]
    assert decided.about["annotators"] == ["anna", "ben"] and decided.about["waiting"] == 1
    manifest = read_attributes(out / "occlusion_upper.jsonl")
    assert list(manifest.records) == ["face00", "face01"] and manifest.about["source"]["annotators"] == ["anna", "ben"]
    foreign = (out / "occlusion_upper.jsonl").read_text().replace('"subset": "occlusion_upper"', '"subset": "../evil"')
    (tmp_path / "foreign.jsonl").write_text(foreign)
    told = run("annotate", "export", tmp_path / "foreign.jsonl", *data, "--out", tmp_path / "there", status=1).stderr
    assert "foreign.jsonl:1: the subset's name '../evil' cannot be that of a file" in told
    assert not list(tmp_path.glob("evil*"))
    table = (out / "answers.csv").read_text().splitlines()
    assert table[0] == "id,annotator,final,status,occlusion,note,seconds,at" and len(table) == 13
    run("annotate", "export", out / "labelstudio.json", *data, "--out", tmp_path / "again", "--format", "attributes")
    assert read_attributes(tmp_path / "again" / "attributes.jsonl").records == decided.records
    tasks = json.loads((out / "labelstudio.json").read_text())
    for number, angle in enumerate(("steep", None, 200), start=1):
        result = {"from_name": "yaw", "to_name": "image", "type": "number", "value": {"number": angle}}
        tasks[number - 1]["annotations"][0]["result"].append(result)
        (tmp_path / "edited.json").write_text(json.dumps(tasks))
        told = run("annotate", "export", tmp_path / "edited.json", *data, "--out", tmp_path / "no", status=1).stderr
        assert f"edited.json: task {number}: expected yaw to be a number from -180 to 180, got {angle!r}" in told
        tasks[number - 1]["annotations"][0]["result"].pop()
    empty = {"result": [], "completed_by": 1, "created_at": "2030-01-01T00:00:00Z"}
    other = [{"from_name": "turned", "to_name": "image", "type": "choices", "value": {"choices": ["30"]}}]
    tasks[0]["annotations"] = [empty, {"result": other, "completed_by": 2, "created_at": "2026-01-01T00:00:00Z"}]
    (tmp_path / "edited.json").write_text(json.dumps(tasks))
    said = read_labelstudio(tmp_path / "edited.json").records["face00"]  # who answers nothing has said nothing
    assert (said.turned, said.annotators, said.decided) == (30, ("2",), "2026-01-01T00:00:00Z")
    run("annotate", "export", database, *data, "--out", out, "--shares", "--format", "attributes")
    shared = read_attributes(out / "attributes.jsonl").records
    assert shared["face02"].occlusion[Occlusion.UPPER] == 0.5
    told = run("annotate", "export", database, *data, "--out", tmp_path / "none", "--format", ",", status=2).stderr
    assert told.startswith("--format: expected some of manifest, lists") and not (tmp_path / "none").exists()


def test_estimates_write_over_no_picture_and_become_no_face(faces, tmp_path, monkeypatch):
    monkeypatch.setattr("ranfer.plots.plot_attributes", lambda records, path: path.touch())
    auto = ("annotate", "auto", "--split", "all", "--data")
    told = run(*auto, f"folder:{faces}", "--out", faces / "face01.jsonl", status=2).stderr
    assert "face01.jsonl: is inside the dataset" in told
    run("data", "prepare", f"folder:{faces}", "--out", tmp_path / "faces.jsonl", "--size", "8")
    prepared = f"manifest:{tmp_path / 'faces.jsonl'}"
    assert "faces.jsonl: is read here" in run(*auto, prepared, "--out", tmp_path / "faces.jsonl", status=2).stderr
    run(*auto, f"folder:{faces}", "--out", tmp_path / "b.jsonl")
    assert sorted(file.name for file in tmp_path.glob("b.*")) == ["b.jsonl", "b.meta.json", "b.plot.png"]


@pytest.mark.parametrize(
    "words",
    [("auto", "--out", "a.jsonl"), ("serve", "--attributes", "occlusion", "--annotator", "anna", "--database", "a")],
)
def test_surprises_in_the_data_are_told(faces, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(faces, faces / "happiness")
    told = run("annotate", *words, "--data", f"folder:{faces}", "--split", "nosuch", status=1).stderr
    assert f"surprises in the data (1): {faces}: left out" in told


def test_answered_faces_whose_ids_are_gone_are_told(study, faces):
    Client(study(), "anna").say("face01", "upper")
    assert study().gone == []
    (faces / "face01.png").rename(faces / "other.png")
    assert study().gone == ["face01"]


def test_a_database_without_an_answer_leaves_no_files(study, faces, tmp_path):
    study()
    words = ("--data", f"folder:{faces}", "--split", "all", "--out", tmp_path / "out")
    told = run("annotate", "export", tmp_path / "a.sqlite", *words, status=1).stderr
    assert told.endswith("a.sqlite: nobody has answered yet\n") and not (tmp_path / "out").exists()


def test_faces_of_a_cache_are_in_no_format_that_names_pictures(study, faces, tmp_path):
    Client(study(), "anna").say("face01", "upper")
    run("data", "prepare", f"folder:{faces}", "--out", tmp_path / "faces.jsonl", "--size", "8")
    words = ("--data", f"manifest:{tmp_path / 'faces.jsonl'}", "--split", "all", "--out", tmp_path / "out", "--shares")
    for formats in ("coco", "manifest,labelstudio"):
        told = run("annotate", "export", tmp_path / "a.sqlite", *words, "--format", formats, status=2).stderr
        assert f"--format {formats.split(',')[-1]}: names pictures, and the faces of" in told
        assert not list((tmp_path / "out").glob("*upper*"))
    run("annotate", "export", tmp_path / "a.sqlite", *words, "--format", "manifest,csv")


def test_a_study_that_is_refused_leaves_no_database_behind(faces, tmp_path):
    (tmp_path / "wrong.txt").write_text("face99\n")
    words = ("--attributes", "occlusion", "--annotator", "anna", "--database", tmp_path / "new.sqlite")
    for wrong in (
        ("nosuch",),
        *(("all", option, tmp_path / "wrong.txt") for option in ("--faces", "--gold", "--prefill")),
    ):
        run("annotate", "serve", "--data", f"folder:{faces}", *words, "--split", *wrong, status=1)
        assert not (tmp_path / "new.sqlite").exists()


def test_agreement_is_a_table_a_plot_and_a_json(study, faces, tmp_path):
    made = study()
    for name in ("anna", "ben"):
        client = Client(made, name)
        for number in range(FACES):
            client.say(f"face{number:02d}", "upper" if number < (4 if name == "anna" else 5) else "none")
    gold = {f"face{number:02d}": Attributes(dict.fromkeys(ESTIMATED, 0.0)) for number in range(5, 9)}
    write_attributes(tmp_path / "gold.jsonl", gold, {})
    words = ("--replicates", 20, "--gold", tmp_path / "gold.jsonl", "--data", f"folder:{faces}")
    found = run("annotate", "agreement", tmp_path / "a.sqlite", "--out", tmp_path / "out", *words)
    report = json.loads((tmp_path / "out" / "agreement.json").read_text())
    (kappa,) = (row for row in report["agreement"] if row["value"] == "upper" and "Cohen" in row["coefficient"])
    # 4 both yes, 1 only ben, 7 both no: observed 11/12, expected (4 5 + 8 7) / 144.
    assert kappa["figure"]["value"] == pytest.approx((11 / 12 - 76 / 144) / (1 - 76 / 144), abs=1e-5)
    assert [(row["annotator"], row["faces"], row["figure"]["value"]) for row in report["gold"]] == [
        ("anna", 4, 1.0),
        ("ben", 4, 1.0),
    ]
    assert "Krippendorff's alpha" in found.stdout and "correct on gold" in found.stdout
    assert (tmp_path / "out" / "agreement.png").stat().st_size > 5000


def test_one_annotator_agrees_with_nobody_and_is_told_so(study, tmp_path):
    made = study()
    for face in ("face00", "face01"):  # without any answer, and with one
        found = run("annotate", "agreement", tmp_path / "a.sqlite", "--out", tmp_path / "out", status=1)
        assert found.stderr == f"{tmp_path / 'a.sqlite'}: agreement needs answers of at least two annotators\n"
        assert not (tmp_path / "out").exists()
        Client(made, "anna").say(face, "upper")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_page_keeps_an_answer_until_it_is_saved_or_refused_for_good():
    script = Path(__file__).parent / "browser" / "outbox.test.mjs"
    found = subprocess.run(["node", "--test", script], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_what_waits_in_a_browser_belongs_to_one_person_and_one_database(study):
    def known(name, database="a.sqlite"):
        return Client(study(database=database), name).get("/api/session")["study"]

    assert known("anna") == known("anna")
    assert len({known("anna"), known("ben"), known("anna", "b.sqlite")}) == 3


def test_without_the_extra_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("ranfer.extras.find_spec", lambda name: None)
    words = ("--data", "folder:x", "--split", "all", "--attributes", "occlusion", "--annotator", "anna")
    found = run("annotate", "serve", *words, status=2)
    assert found.stderr == "annotating: needs fastapi, which pip install 'ranfer[annotate]' brings\n"


def test_nothing_that_was_acknowledged_is_lost_when_the_server_is_killed(tmp_path):
    outcome = kill_often(tmp_path, kills=2, seed=0, faces=400)
    assert outcome.lost == 0 and outcome.acknowledged > 10
