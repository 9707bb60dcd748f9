"""What all commands share: the two streams, and one line for whatever is refused or stopped."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from ranfer.errors import ConfigError, RanferError

# Names of files may hold anything, escapes that recolour a terminal or worse among them; lines and tabs stay.
_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class _Harmless(Console):
    def render_str(self, text: str, **options: Any) -> Text:  # also of cells and titles
        return super().render_str(text.translate(_CONTROL), **options)


out = _Harmless(highlight=False)
err = _Harmless(stderr=True, highlight=False, soft_wrap=True)


class Commands(TyperGroup):
    """One line on standard error for whatever is refused: status 1, or 2 where the command itself makes no sense."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and turn what it refuses into its exit status."""
        try:
            return super().invoke(ctx)
        except RanferError as error:
            status, line = 2 if isinstance(error, ConfigError) else 1, str(error)
        except BrokenPipeError:
            raise
        except FileExistsError as error:  # of mkdir
            status, line = 1, f"{error.filename}: expected a folder, and a file stands there"
        except OSError as error:
            name = error.filename2 or error.filename  # of a rename, the file that was meant
            status, line = 1, f"{name}: {error.strerror}" if name else f"cannot read or write ({error})"
        except KeyboardInterrupt:
            status, line = 130, "stopped"
        err.print(line, markup=False)
        raise typer.Exit(status)


Data = Annotated[str, typer.Option("--data", help="Dataset as FORMAT:PATH, for example ferplus:faces.zip.")]
LabelRule = Annotated[Literal["majority", "probability"], typer.Option(help="How votes become the label of a face.")]
File = Path | None
Backbone = Annotated[
    str | None,
    typer.Option(metavar="IMPORT.PATH", help="A backbone from outside of ranfer that the checkpoint may call."),
]


def _folder(text: str) -> Path:
    if not text:  # as of a variable of the shell that is not set; Path would take it for the current folder
        raise ConfigError("--out: expected a folder")
    return Path(text)


folder_option = partial(typer.Option, "--out", parser=_folder, metavar="<path>")  # still to be given: its help


def tell_unreadable(lines: Collection[str]) -> None:
    """A line on standard error for each thing that could not be read, and status 1 where there is one."""
    for line in lines:
        err.print(line, markup=False)
    if lines:
        raise typer.Exit(1)


@contextmanager
def stoppable(line: str) -> Iterator[None]:
    """Ctrl-C ends what is done in the meantime with a line on standard error, and status 130."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(line, markup=False)
        raise typer.Exit(130) from None
