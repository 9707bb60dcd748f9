"""What the documentation says can be run: the examples of docstrings, and the Python of docs/recognition.md."""

import ast
import doctest
import re
import shutil
from pathlib import Path

import pytest

import ranfer
from clips import write_clip
from ranfer.demo import PORTRAIT
from ranfer.images import decode_image

ROOT = Path(ranfer.__file__).parent
GUIDE = Path(__file__).parent.parent / "docs" / "recognition.md"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def examples():
    """Every docstring with an example; read from the source, as decorators hide functions from doctest's own search."""
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(["ranfer", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, DOCUMENTED) and ">>>" in (text := ast.get_docstring(node) or ""):
                yield pytest.param(module, text, id=f"{module}.{getattr(node, 'name', 'module')}")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the picture and the video that examples speak of."""
    shutil.copy(PORTRAIT, tmp_path / "photo.jpg")
    write_clip(tmp_path / "clip.mp4", [decode_image(PORTRAIT, "the portrait")] * 6)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("module", "text"), list(examples()))
def test_an_example_gives_what_its_docstring_says(module, text, here):
    names = dict(vars(__import__(module, fromlist=["_"])))
    test = doctest.DocTestParser().get_doctest(text, names, module, None, 0)
    said = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert tried and not failed, "".join(said)


def test_the_python_of_the_guide_runs_from_top_to_bottom(here):
    snippets = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert len(snippets) >= 3
    names = {}
    for snippet in snippets:
        exec(compile(snippet, str(GUIDE), "exec"), names)
