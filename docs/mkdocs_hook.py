"""What the site has beside the pages of docs/: the reference, and the pages of the root folder.

The reference has a page for each room, with each name that the room gives.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import FunctionType
from typing import Any

from mkdocs.structure.files import File, Files

import jointrain

ROOT = Path(__file__).parents[1]
ROOMS = (
    "errors", "metrics", "task", "data", "balancing", "networks", "training", "tables", "baselines",
    "bundle", "serving", "exporting", "estimators", "experiments", "studies", "studies.searches",
    "reports", "integrations", "testing",
)  # fmt: skip
OF_THE_ROOT = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
}
_LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(#[^)]*)?\)")
_BY_FILE = re.compile(r"\[([a-z_-]+\.md)\](?=\(\1[#)])")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    for name, page in OF_THE_ROOT.items():
        files.append(File.generated(config, page, content=_moved(ROOT / name)))
    files.append(File.generated(config, "reference/jointrain.md", content=_front()))
    for room in ROOMS:
        page = f"reference/{room}.md"
        files.append(File.generated(config, page, content=_reference(room)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Call linked pages by their titles; let links out of docs/ lead to pages that are made.

    A link to what the site has not leads nowhere.
    """
    markdown = _BY_FILE.sub(lambda match: f"[“{_title(match[1])}”]", markdown)
    depth = page.file.src_uri.count("/")

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        up = "../" * (depth + 1)
        if not target.startswith(up):
            return match[0]
        made = OF_THE_ROOT.get(target[len(up) :])
        return f"]({'../' * depth}{made}{anchor})" if made else "](#)"

    return _LINK.sub(link, markdown)


def _title(page: str) -> str:
    """Return the heading of a page of docs/."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8").split("\n")[0].removeprefix("# ")


def on_page_content(html: str, **_: Any) -> str:
    """Show formulas and names of docstrings as code, without the words of Sphinx around them."""
    html = re.sub(r":(?:math|class|meth|attr|func|mod):(?=<code>)", "", html)
    return re.sub(r"<p>\.\. math:: (.*?)</p>", r"<pre><code>\1</code></pre>", html, flags=re.DOTALL)


def _moved(path: Path) -> str:
    """Return a page of the root folder with its links as they are seen from docs/."""

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if target.startswith("docs/"):
            return f"]({target[5:]}{anchor})"
        return f"]({OF_THE_ROOT[target]}{anchor})" if target in OF_THE_ROOT else "](#)"

    return _LINK.sub(link, path.read_text(encoding="utf-8"))


def _reference(room: str) -> str:
    """Return the page of a room: its docstring, each class and function, and the other names."""
    module = importlib.import_module(f"jointrain.{room}")
    defined, others = [], []
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if _path(value) == f"jointrain.{room}.{name}"
    ]
    for name in sorted(names, key=str.lower):
        path = _path(getattr(module, name))
        if path is None:
            others.append(f"`{name}`")
        else:
            defined.append(f"::: {path}\n")
    last = f"\nAlso: {', '.join(others)}.\n" if others else ""
    return f"# jointrain.{room}\n\n{module.__doc__}\n\n" + "\n".join(defined) + last


def _path(value: Any) -> str | None:
    """Return where a class or function is defined: what is found by folder can't be read."""
    if not isinstance(value, (type, FunctionType)) or not value.__module__.startswith("jointrain."):
        return None
    return f"{value.__module__}.{value.__qualname__}"


def _front() -> str:
    """Return the page of the names of the package itself."""
    lines = []
    for name in jointrain.__all__:
        value = getattr(jointrain, name)
        path = _path(value)
        if path is not None:
            room = path.split(".")[1]
            said = (value.__doc__ or "").split("\n")[0]
            lines.append(f"- [`{name}`][{path}] of {room}: {said}")
    return "# jointrain\n\nWhat `from jointrain import ...` gives:\n\n" + "\n".join(lines) + "\n"
