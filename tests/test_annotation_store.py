"""What annotators said stays: on SQLite, and with ``make test-postgres`` on PostgreSQL, by the same tests."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from ranfer.annotate.store import Answer, Store, is_database
from ranfer.errors import ConfigError, ConflictError, DataError, UnknownAnswerError

ABOUT = {"data": "folder:faces", "split": "all", "attributes": ["occlusion"]}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """The URL of a PostgreSQL that is made for these tests and listens on a socket in their folder only."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = shutil.which("initdb", path=os.pathsep.join([*map(str, programs[-1:]), os.environ["PATH"]]))
    if initdb is None:
        pytest.fail("needs PostgreSQL, as Debian's package postgresql")
    bin_ = Path(initdb).parent
    folder = Path(tempfile.mkdtemp())  # that of pytest is not open to another user
    other = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # PostgreSQL does not run as root
    if other:
        shutil.chown(folder, "postgres")
    server = ["-D", str(folder / "data"), "-w", "-l", str(folder / "log")]
    options = f"-c listen_addresses='' -c unix_socket_directories={folder}"
    run = {"check": True, "capture_output": True, "cwd": "/"}
    subprocess.run([*other, str(bin_ / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "lab"], **run)
    subprocess.run([*other, str(bin_ / "pg_ctl"), *server, "-o", options, "start"], check=True, cwd="/", timeout=60)
    yield f"postgresql+psycopg://lab@/postgres?host={folder}"
    subprocess.run([*other, str(bin_ / "pg_ctl"), *server, "-m", "immediate", "stop"], **run)
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "answers.sqlite")
    url = request.getfixturevalue("postgres")
    with Store(url) as store, store._change() as connection:
        connection.exec_driver_sql("DROP TABLE study, answer")
    return url


@pytest.fixture
def store(database):
    with Store(database) as opened:
        yield opened


def answer(ticket, face="a", annotator="anna", kinds=("upper",), **more):
    return Answer(ticket, annotator, face, "answered", {"occlusion": list(kinds)}, **more)


def test_an_answer_is_there_after_the_database_was_opened_again(store, database):
    store.add(answer("t1", kinds=("upper", "eyewear"), note="a hat, “perhaps”", seconds=0.2))
    with Store(database, create=False) as again:
        (found,) = again.standing()
    assert found.said == {"occlusion": ["eyewear", "upper"]} and found.note == "a hat, “perhaps”"
    assert found.at.endswith("+00:00") and found.seconds == 0.2


def test_an_answer_that_is_sent_twice_counts_once(store):
    store.add(answer("t1"))
    store.add(answer("t1"))
    assert len(store.standing()) == 1


def test_an_answer_replaces_the_one_that_it_names_and_no_other(store):
    store.add(answer("t1"))
    with pytest.raises(ConflictError, match="a: already answered in another window"):
        store.add(answer("t2", kinds=("side",)))
    store.add(answer("t3", kinds=("side",), replaces="t1"))
    with pytest.raises(ConflictError):
        store.add(answer("t4", replaces="t1"))
    assert [found.ticket for found in store.standing()] == ["t3"]


def test_undoing_brings_back_what_was_replaced_and_then_opens_the_face(store):
    store.add(answer("t1"))
    store.add(answer("t2", kinds=("side",), replaces="t1"))
    with pytest.raises(ConflictError, match="answered again"):
        store.undo("anna", "t1", {"a"})
    with pytest.raises(UnknownAnswerError, match="to a face in the current list"):
        store.undo("anna", "t2", {"b"})
    assert [found.ticket for found in store.standing()] == ["t2"]
    assert store.undo("anna", "t2", {"a"}) == "a"
    assert [found.ticket for found in store.standing()] == ["t1"]
    store.undo("anna", "t2", {"a"})  # sent twice
    store.undo("anna", "t1", {"a"})
    assert store.standing() == []
    store.add(answer("t5"))
    with pytest.raises(UnknownAnswerError, match="anna gave no answer 'none'"):
        store.undo("anna", "none", {"a"})
    with pytest.raises(UnknownAnswerError, match="ben gave no answer"):
        store.undo("ben", "t5", {"a"})


@pytest.mark.parametrize("replaces", [None, "first"])
def test_of_many_windows_at_once_one_wins_and_the_others_are_told(store, replaces):
    if replaces is not None:
        store.add(answer(replaces))

    def race(number):
        try:
            store.add(answer(f"t{number}")._replace(replaces=replaces))
        except ConflictError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(race, range(24))) == 1
    assert len(store.standing()) == 1


def test_an_answer_that_comes_many_times_at_once_is_kept_once_and_never_refused(store):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.add(answer("same")), range(24)))
    assert len(store.standing()) == 1


def test_faces_on_which_people_differ_or_one_is_unsure_are_contested(store):
    for face, *kinds in (("same", "upper", "upper"), ("other", "upper", "side"), ("one", "upper")):
        for who, kind in zip(("anna", "ben"), kinds, strict=False):
            store.add(answer(f"{who}-{face}", face, who, (kind,)))
    store.add(answer("u", "unsure")._replace(status="unsure"))
    store.add(answer("s", "skipped")._replace(status="skipped"))
    store.add(answer("s2", "skipped", "ben"))
    assert store.contested() == ["other", "unsure"]
    store.add(answer("f", "other", "judge", final=True))
    store.add(answer("g", "unsure", "judge", final=True)._replace(status="unsure"))
    assert store.contested() == ["other", "unsure"]
    assert store.decided(["other", "unsure"]) == {"other"}


def test_progress_and_history_are_each_annotators_own(store):
    for number in range(5):
        store.add(answer(f"t{number}", f"f{number}")._replace(status="skipped" if number < 2 else "answered"))
    store.add(answer("b", "f0", "ben"))
    statuses = ["skipped", "skipped", "answered", "answered", "answered"]
    expected = [(f"f{number}", status) for number, status in enumerate(statuses)]
    assert list(store.statuses("anna", dict(expected)).items()) == expected
    assert store.statuses("anna", {"f1", "f9"}) == {"f1": "skipped"}
    assert store.statuses("ben", dict(expected)) == {"f0": "answered"}
    assert store.passed(["f0", "f4", "f9"], "ben") == {"f0"}


def test_a_database_of_another_study_is_refused_and_the_links_stay_the_same(store):
    secret = store.begin_study(ABOUT)
    assert store.begin_study(ABOUT) == secret and store.study() == ABOUT
    with pytest.raises(ConfigError, match=r"different study: .*'split': 'all'.*; use another --database"):
        store.begin_study(ABOUT | {"split": "test"})


def test_questions_in_another_order_are_the_same_study(store):
    secret = store.begin_study(ABOUT | {"attributes": ["pose-bin", "occlusion"]})
    assert store.begin_study(ABOUT | {"attributes": ["occlusion", "pose-bin"]}) == secret


def test_what_is_no_annotation_database_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a"}\n')
    assert not is_database(str(tmp_path / "a.jsonl")) and is_database("postgresql://lab@host/name")
    with pytest.raises(DataError, match=r"a\.jsonl: not an annotation database"):
        Store(str(tmp_path / "a.jsonl"), create=False)
    with pytest.raises(DataError, match=r"none\.sqlite: no such file"):
        Store(str(tmp_path / "none.sqlite"), create=False)
    with closing(sqlite3.connect(tmp_path / "theirs.sqlite")) as theirs:
        theirs.execute("create table study (name text)")
    content = (tmp_path / "theirs.sqlite").read_bytes()
    with pytest.raises(DataError, match=r"theirs\.sqlite: not an annotation database: it has no table answer"):
        Store(str(tmp_path / "theirs.sqlite"), create=False)
    assert (tmp_path / "theirs.sqlite").read_bytes() == content
    with pytest.raises(DataError, match=r"a\.jsonl: file is not a database"):
        Store(str(tmp_path / "a.jsonl"))
    with pytest.raises(DataError, match="holds no annotations yet"):
        Store(str(tmp_path / "new.sqlite")).study()


def test_a_password_is_not_shown(tmp_path):
    with pytest.raises(DataError) as error:
        Store("postgresql+psycopg://lab:secret@127.0.0.1:9/none?connect_timeout=2")
    assert "secret" not in str(error.value) and "***" in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "foo://lab:secret@host/x",
        "mysql+pymysql://lab:secret@host/x",
        "postgresql+foo://lab:secret@host/x",
        "postgresql+psycopg://lab:secret@host:port/x",
        "postgresql+psycopg://lab:an@secret@host/x",
        "postgresql+psycopg://lab:an@other/secret@host/x",
        "sqlite://lab:secret@host/x",
        "sqlite:///x?timeout=secret",
        "://secret",
    ],
)
def test_a_url_that_is_malformed_or_of_another_kind_is_refused_without_its_password(url):
    with pytest.raises(ConfigError, match=r"^--database [a-z+]*://\.\.\.: expected SQLite or PostgreSQL") as error:
        Store(url)
    assert "secret" not in str(error.value) and error.value.__suppress_context__


def test_a_password_in_a_query_is_not_shown(tmp_path):
    with pytest.raises(DataError) as error:
        Store("postgresql+psycopg://lab@127.0.0.1:9/none?connect_timeout=2&password=secret")
    assert "secret" not in str(error.value) and "lab@127.0.0.1:9/none" in str(error.value)


def test_a_file_may_have_any_name(tmp_path):
    Store(str(tmp_path / "a?b%40.sqlite")).close()
    assert (tmp_path / "a?b%40.sqlite").is_file()
