"""What annotators said, in a database: SQLite in WAL mode, or PostgreSQL.

Answers are appended and never changed, but for two marks: whether an answer stands, and when it was undone. At most one
answer of an annotator to a face stands, which the database itself holds; so two windows, or two servers, cannot both
win. A commit is on the disk before it is acknowledged.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from ranfer.annotate.questions import Said
from ranfer.errors import ConfigError, ConflictError, DataError, UnknownAnswerError

Status = Literal["answered", "unsure", "skipped"]
MAGIC = b"SQLite format 3\0"
BACKENDS = ("sqlite", "postgresql")  # whose indexes may hold some rows only, on which the answers rely

LONGEST_NAME = 200  # letters of an annotator's name

_metadata = sql.MetaData()
_study = sql.Table(
    "study", _metadata, sql.Column("name", sql.String(40), primary_key=True), sql.Column("value", sql.Text)
)
_answer = sql.Table(
    "answer",
    _metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("ticket", sql.String(64), nullable=False, unique=True),  # given by the page: sent twice, kept once
    sql.Column("annotator", sql.String(LONGEST_NAME), nullable=False),
    sql.Column("face", sql.Text, nullable=False),
    sql.Column("final", sql.Boolean, nullable=False),  # an adjudicator's, which decides
    sql.Column("status", sql.String(10), nullable=False),
    sql.Column("said", sql.Text, nullable=False),  # JSON, sorted, so that equal answers are equal texts
    sql.Column("note", sql.Text, nullable=False),
    sql.Column("seconds", sql.Float, nullable=False),
    sql.Column("at", sql.String(40), nullable=False),
    sql.Column("replaces", sql.String(64)),
    sql.Column("undone", sql.String(40)),
    sql.Column("stands", sql.Boolean, nullable=False),
)
_stands = sql.text("stands")
sql.Index(
    "one_stands", _answer.c.annotator, _answer.c.face, unique=True, sqlite_where=_stands, postgresql_where=_stands
)
sql.Index("by_face", _answer.c.face, sqlite_where=_stands, postgresql_where=_stands)


class Answer(NamedTuple):
    """What somebody said of a face; ``replaces`` is the ticket of the answer that it takes the place of."""

    ticket: str
    annotator: str
    face: str
    status: Status
    said: Said
    note: str = ""
    seconds: float = 0.0
    replaces: str | None = None
    final: bool = False
    at: str = ""


def is_database(text: str) -> bool:
    """Whether this is an annotation database: a URL such as ``postgresql+psycopg://host/name``, or an SQLite file."""
    if "://" in text:
        return True
    path = Path(text)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


class Store:
    """The answers of a study; without ``create`` they must be there, and nothing is made. Leaving ``with`` closes it.

    Raises:
        ConfigError: neither SQLite nor PostgreSQL, a malformed URL, or its driver is not installed.
        DataError: it cannot be opened.
    """

    def __init__(self, database: str, create: bool = True) -> None:
        if not create and not is_database(database):
            told = "not an annotation database" if Path(database).exists() else "no such file"
            raise DataError(f"{database}: {told}")
        scheme, is_url, _ = database.partition("://")
        shown = f"{scheme}://..." if is_url else database  # in what is malformed, the password may be anywhere
        try:
            url = sql.make_url(database) if is_url else sql.URL.create("sqlite", database=database)
            # With an @ in it, a part of the password would count as something else.
            torn = url.password and "@" in f"{url.host}{url.database}"
            if torn or url.get_backend_name() not in BACKENDS:
                raise ArgumentError
            self._engine = sql.create_engine(url)
        except ModuleNotFoundError as error:
            raise ConfigError(f"--database {shown}: needs {error.name}; pip install 'ranfer[postgres]'") from error
        except (ArgumentError, ValueError):
            wanted = "expected SQLite or PostgreSQL, as FILE or postgresql+psycopg://USER@HOST/NAME"
            raise ConfigError(f"--database {shown}: {wanted}; in passwords, %40 stands for @ and %2F for /") from None
        self.name = url.set(query={}).render_as_string(hide_password=True) if is_url else database
        if self._engine.dialect.name == "sqlite":
            _tune_sqlite(self._engine, create)
        self._writing = self._engine.execution_options(writing=True)
        if create:
            with self._change() as connection:
                _metadata.create_all(connection)
        else:
            with self._look() as connection:
                if lacking := _metadata.tables.keys() - set(sql.inspect(connection).get_table_names()):
                    raise DataError(f"{self.name}: not an annotation database: it has no table {min(lacking)}")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextmanager
    def _change(self) -> Iterator[sql.Connection]:
        with self._told(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def _look(self) -> Iterator[sql.Connection]:
        with self._told(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise DataError(f"{self.name}: {str(error.orig).strip()}") from error

    def begin_study(self, about: Mapping[str, Any]) -> str:
        """Say what the answers are about, or check that it is what they are about; gives the study's secret.

        Raises:
            ConfigError: the database holds answers to other data or questions; the order of questions may differ.
        """

        def plain(study: Mapping[str, Any]) -> dict[str, Any]:
            return {**study, "attributes": sorted(study["attributes"])}

        with self._change() as connection:
            known = _read_study(connection)
            if not known:
                rows = [{"name": name, "value": json.dumps(value)} for name, value in about.items()]
                secret = {"name": "secret", "value": json.dumps(secrets.token_hex(32))}
                connection.execute(_study.insert(), [*rows, secret])
                known = _read_study(connection)
        secret_text = str(known.pop("secret"))
        if plain(known) != plain(about):
            raise ConfigError(
                f"--database {self.name}: holds answers to a different study: {known}; use another --database"
            )
        return secret_text

    def study(self) -> dict[str, Any]:
        """What the answers are about.

        Raises:
            DataError: no annotator was ever served from this database.
        """
        with self._look() as connection:
            known = _read_study(connection)
        if not known:
            raise DataError(f"{self.name}: holds no annotations yet")
        known.pop("secret")
        return known

    def add(self, answer: Answer) -> None:
        """Keep an answer; it is on the disk when this returns, and once, also where it is sent again.

        Raises:
            ConflictError: another answer stands by now than the one it replaces; the other one stays.
        """
        row = answer._asdict() | {
            "said": json.dumps({name: sorted(values) for name, values in answer.said.items()}, sort_keys=True),
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "stands": True,
        }
        mine = (_answer.c.annotator == answer.annotator) & (_answer.c.face == answer.face)
        replaced = _answer.update().where(mine, _answer.c.ticket == answer.replaces, _answer.c.stands)
        conflict = ConflictError(f"{answer.face}: already answered in another window; that answer was kept")
        try:
            with self._change() as connection:
                if self._knows(connection, answer.ticket):
                    return
                # Only what it means to replace gives way; where another answer stands, the index refuses this one.
                if connection.execute(replaced.values(stands=False)).rowcount != (answer.replaces is not None):
                    raise conflict
                connection.execute(_answer.insert(), [row])
        except IntegrityError as error:
            with self._look() as connection:
                if not self._knows(connection, answer.ticket):
                    raise conflict from error

    @staticmethod
    def _knows(connection: sql.Connection, ticket: str) -> bool:
        return connection.execute(sql.select(_answer.c.id).where(_answer.c.ticket == ticket)).first() is not None

    def undo(self, annotator: str, ticket: str, faces: Container[str]) -> str:
        """Take an answer to one of the faces back, so that the one before it stands again, if any; gives the face.

        Taking back what is taken back already changes nothing.

        Raises:
            UnknownAnswerError: the annotator gave no such answer to any of the faces.
            ConflictError: it was replaced by another one.
        """
        with self._change() as connection:
            mine = (_answer.c.annotator == annotator) & (_answer.c.ticket == ticket)
            row = connection.execute(sql.select(_answer).where(mine)).mappings().first()
            if row is None or row["face"] not in faces:
                raise UnknownAnswerError(f"{annotator} gave no answer {ticket!r} to a face in the current list")
            if row["undone"] is not None:
                return str(row["face"])
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            undone = _answer.update().where(mine, _answer.c.stands).values(stands=False, undone=now)
            if not connection.execute(undone).rowcount:
                raise ConflictError(f"{row['face']}: answered again since; that answer was kept")
            before = (_answer.c.annotator == annotator) & (_answer.c.ticket == row["replaces"])
            connection.execute(_answer.update().where(before).values(stands=True))
            return str(row["face"])

    def standing(
        self, annotator: str | None = None, faces: Sequence[str] | None = None, final: bool | None = None
    ) -> list[Answer]:
        """The answers that stand, in the order in which they were given: of an annotator, to faces, or final ones."""
        query = sql.select(_answer).where(_answer.c.stands).order_by(_answer.c.id)
        if annotator is not None:
            query = query.where(_answer.c.annotator == annotator)
        if faces is not None:
            query = query.where(_answer.c.face.in_(faces))
        if final is not None:
            query = query.where(_answer.c.final.is_(final))
        with self._look() as connection:
            return [_to_answer(row._asdict()) for row in connection.execute(query)]

    def passed(self, faces: Sequence[str], annotator: str) -> set[str]:
        """Those of the faces that an annotator answered, was unsure of or skipped."""
        return self._faces(_answer.c.face.in_(faces), _answer.c.annotator == annotator)

    def decided(self, faces: Sequence[str]) -> set[str]:
        """Those of the faces that an adjudicator decided; one who was unsure or skipped has not."""
        return self._faces(_answer.c.face.in_(faces), _answer.c.final, _answer.c.status == "answered")

    def _faces(self, *which: sql.ColumnElement[bool]) -> set[str]:
        with self._look() as connection:
            return set(connection.execute(sql.select(_answer.c.face).where(_answer.c.stands, *which)).scalars())

    def statuses(self, annotator: str, faces: Container[str]) -> dict[str, Status]:
        """Those of the faces that an annotator answered, was unsure of or skipped, in the order of the answers."""
        query = sql.select(_answer.c.face, _answer.c.status).where(_answer.c.stands, _answer.c.annotator == annotator)
        with self._look() as connection:
            found = connection.execute(query.order_by(_answer.c.id))
            return {face: status for face, status in found if face in faces}

    def contested(self) -> list[str]:
        """Faces on which annotators differ, or of which one is unsure, in the order of their ids."""
        status, said = _answer.c.status, _answer.c.said
        unsure = sql.func.sum(sql.case((status == "unsure", 1), else_=0)) > 0
        differ = sql.func.count(sql.distinct(sql.case((status == "answered", said)))) > 1
        query = sql.select(_answer.c.face).where(_answer.c.stands, _answer.c.final.is_(False))
        query = query.group_by(_answer.c.face).having(sql.or_(unsure, differ)).order_by(_answer.c.face)
        with self._look() as connection:
            return list(connection.execute(query).scalars())


def _read_study(connection: sql.Connection) -> dict[str, Any]:
    return {row.name: json.loads(row.value) for row in connection.execute(sql.select(_study))}


def _to_answer(row: Mapping[str, Any]) -> Answer:
    values = {name: row[name] for name in Answer._fields}
    return Answer(**values | {"said": json.loads(row["said"])})


def _tune_sqlite(engine: sql.Engine, create: bool) -> None:
    """WAL, so that readers and the writer do not wait for each other; a commit waits for the disk.

    WAL is a mark in the file, and a file that may be somebody else's is left as it is.
    """
    settings = [*(["journal_mode=WAL"] if create else []), "synchronous=FULL", "busy_timeout=30000"]

    @sql.event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver opens no transactions behind our back
        for setting in settings:
            connection.execute(f"PRAGMA {setting}")

    @sql.event.listens_for(engine, "begin")
    def begin(connection: sql.Connection) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
