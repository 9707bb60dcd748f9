"""What the documentation says can be run: the examples of docstrings, and the Python of README and guides."""

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
CHECKOUT = Path(__file__).parent.parent
GUIDES = {"README.md": 1, "docs/recognition.md": 5, "docs/api.md": 1}  # with how many pieces of Python each
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


@pytest.mark.parametrize(("name", "pieces"), GUIDES.items())
def test_the_python_of_a_guide_runs_from_top_to_bottom(name, pieces, here):
    guide = CHECKOUT / name
    snippets = re.findall(r"^```python\n(.*?)^```$", guide.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert len(snippets) == pieces
    names = {}
    for snippet in snippets:
        exec(compile(snippet, str(guide), "exec"), names)


def test_links_between_pages_lead_somewhere():
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md"), CHECKOUT / "docs" / "results" / "README.md"]
    broken = []
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not link.startswith("https://") and not (target.exists() and (not anchor or anchor in anchors(target))):
                broken.append(f"{page.name}: {link}")
    assert broken == []


def anchors(page):
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
