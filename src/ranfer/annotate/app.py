"""The annotator's web application: one page, and the few addresses that it asks.

Every address but the page itself wants ``Authorization: Bearer TOKEN``, and gives JSON, or ``{"error": ...}``.
"""

from __future__ import annotations

import hashlib
import hmac
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.exceptions import HTTPException as PlainHTTPException

from ranfer.annotate.queue import Queue
from ranfer.annotate.store import Answer, Status
from ranfer.annotate.study import Person, Study
from ranfer.errors import ConflictError, ImageError, RanferError, UnknownAnswerError

STATIC = Path(__file__).parent / "static"
LARGEST_FACE = 1024  # pixels; a larger picture is sent smaller
Ticket = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]


class Given(BaseModel):
    """An answer as the page sends it; ``seconds`` is how long the face was looked at."""

    model_config = ConfigDict(extra="forbid")
    ticket: Ticket
    face: str = Field(max_length=1000)
    status: Status
    said: dict[str, list[str]] = Field(default_factory=dict, max_length=10)
    note: str = Field("", max_length=2000)
    seconds: float = Field(0.0, ge=0, le=1e6, allow_inf_nan=False)
    replaces: Ticket | None = None


def who(request: Request) -> Person:
    """Whose token a request has."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
    people: Sequence[Person] = request.app.state.people
    found = [person for person in people if hmac.compare_digest(person.token.encode(), given)]
    if not found:
        raise HTTPException(401, "missing or wrong token; open your personal link")
    return found[0]


Someone = Annotated[Person, Depends(who)]


def create_app(study: Study) -> FastAPI:
    """The application of a study; its database is the only state that counts, queues are remade at any time."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.people = study.people
    queues: dict[str, Queue] = {}

    def known(face: str) -> str:
        if face not in study.samples:
            raise HTTPException(404, f"no face of this study is called {face[:80]!r}")
        return face

    @app.get("/api/session")
    def session(person: Someone) -> dict[str, Any]:
        """Who is asked what, and the last faces; the page begins with this."""
        queues[person.name] = study.queue(person)
        past = list(study.store.statuses(person.name, study.samples))[-40:]
        return {
            "annotator": person.name,
            # Of the person and the database, as the token is: whose answers wait in a browser.
            "study": hashlib.sha256(person.token.encode()).hexdigest()[:16],
            "adjudicator": person.adjudicator,
            "data": study.dataset.title,
            "questions": [
                {"name": q.name, "words": q.words, "hint": q.hint, "several": q.several, "alone": q.alone}
                | {"values": [value._asdict() for value in q.values]}
                for q in study.questions
            ],
            "actions": study.actions,
            "total": len(queues[person.name].order),
            "behind": study.shown(person, past),
        }

    @app.get("/api/faces")
    def faces(person: Someone, n: Annotated[int, Query(ge=1, le=100)]) -> dict[str, Any]:
        """The next n open faces, then skipped ones, and how many are done."""
        if person.name not in queues:
            queues[person.name] = study.queue(person)
        said = study.store.statuses(person.name, study.samples)
        ahead = queues[person.name].ahead(n)
        if not ahead:
            skipped = [face for face, status in said.items() if status == "skipped"]
            decided = study.store.decided(skipped) if person.adjudicator else set()  # by another adjudicator meanwhile
            ahead = [face for face in skipped if face not in decided][:n]
        counts = Counter(said.values())
        return {"faces": study.shown(person, ahead), "counts": {status: counts[status] for status in get_args(Status)}}

    @app.post("/api/answers", status_code=201)
    def add(person: Someone, given: Given) -> dict[str, str]:
        """Keep an answer; it is on the disk when this is acknowledged."""
        known(given.face)
        asked = {question.name: question for question in study.questions}
        problems = [
            asked[name].check(values) if name in asked else f"unknown question {name[:80]!r}"
            for name, values in given.said.items()
        ]
        if given.status == "answered" and asked.keys() - given.said.keys():
            problems.append(f"no answer to {', '.join(sorted(asked.keys() - given.said.keys()))}")
        if said := [problem for problem in problems if problem]:
            raise HTTPException(422, said[0])
        study.store.add(Answer(annotator=person.name, final=person.adjudicator, **given.model_dump()))
        return {"ticket": given.ticket}

    @app.delete("/api/answers/{ticket}")
    def undo(person: Someone, ticket: Ticket) -> dict[str, Any]:
        """Take an answer back; gives the face as it stands then."""
        face = study.store.undo(person.name, ticket, study.samples)
        if person.name in queues:
            queues[person.name].reopen(face)
        return study.shown(person, [face])[0]

    @app.get("/api/image")
    def image(person: Someone, face: str) -> Response:
        """The pixels of a face, by its id and never by a path."""
        picture = Image.fromarray(study.dataset.image(study.samples[known(face)]))
        picture.thumbnail((LARGEST_FACE, LARGEST_FACE))
        content = io.BytesIO()
        picture.save(content, "PNG", compress_level=1)
        return Response(content.getvalue(), media_type="image/png")

    @app.get("/")
    def page() -> FileResponse:
        """The page; it reads its token from the part of the link that browsers keep to themselves."""
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))

    _add_error_handlers(app)
    return app


def _add_error_handlers(app: FastAPI) -> None:
    """Whatever is refused is one line, ``{"error": ...}``."""

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"malformed request: {where}: {first['msg']}"}, 422)

    @app.exception_handler(PlainHTTPException)
    def refused(request: Request, error: PlainHTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.exception_handler(RanferError)
    def failed(request: Request, error: RanferError) -> JSONResponse:
        statuses: dict[type[RanferError], int] = {ConflictError: 409, UnknownAnswerError: 404, ImageError: 422}
        return JSONResponse({"error": str(error)}, statuses.get(type(error), 500))
