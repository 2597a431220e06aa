"""A hook of mkdocs: pages of the site that do not lie in ``docs/``, and links that lead out of it.

The front page, the changelog and their like stay where readers of the repository look for them; each public package
gets a page of its API, made from ``calibrant.__all__``. Links are those of the repository: on the site they lead to the
page that the file has become, pictures are taken along, and the name of any other file is left as text.
"""

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
}
REPOSITORY = {page: file for file, page in PAGES.items()}
PICTURES = (".svg", ".png")
LINK = re.compile(
    r"(?P<before>!?)\[(?P<text>[^\]]*)\]\((?P<target>(?!https?:|mailto:|#)[^)#\s]+)(?P<anchor>#[^)\s]*)?\)"
)


def packages() -> list[str]:
    """Return the names of the public packages and modules, read from the source."""
    tree = ast.parse((ROOT / "src/calibrant/__init__.py").read_text("utf-8"))
    values = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    return [name for name in values[0] if name.islower()]


def on_config(config: Any) -> None:
    """Put the pages of the API into the navigation."""
    for section in config.nav:
        if "Python" in section:
            section["Python"] = [{f"calibrant.{name}": f"api/{name}.md"} for name in packages()]


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made here, and the pictures that any page shows."""
    texts = {page: (ROOT / file).read_text("utf-8") for file, page in PAGES.items()}
    texts["examples.md"] += "".join(
        f"\n## {path.stem}\n\n```python\n{path.read_text('utf-8')}```\n"
        for path in sorted((ROOT / "examples").glob("*.py"))
    )
    texts |= {f"api/{name}.md": f"::: calibrant.{name}\n" for name in packages()}
    shown = {(f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()}
    shown |= {(REPOSITORY.get(page, page), text) for page, text in texts.items()}
    for page, text in texts.items():
        files.append(File.generated(config, page, content=text))
    for picture in {found for file, text in shown for found in pictures(file, text)}:
        files.append(File.generated(config, site_path(picture), abs_src_path=str(ROOT / picture)))
    return files


def pictures(file: str, text: str) -> set[str]:
    """Return the pictures outside of ``docs/`` that a page shows, as paths in the repository."""
    targets = {
        posixpath.normpath(posixpath.join(posixpath.dirname(file), match["target"])) for match in LINK.finditer(text)
    }
    return {each for each in targets if each.endswith(PICTURES) and not each.startswith("docs/")}


def site_path(path: str) -> str | None:
    """Return where a file of the repository is on the site; None if it is not there."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("examples"):
        return PAGES["examples/README.md"]
    return f"pictures/{posixpath.basename(path)}" if path.endswith(PICTURES) else PAGES.get(path)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    uri = page.file.src_uri
    here = posixpath.dirname(REPOSITORY.get(uri, f"docs/{uri}"))

    def turned(match: re.Match[str]) -> str:
        target = site_path(posixpath.normpath(posixpath.join(here, match["target"])))
        if target is None:
            return match["text"]
        link = posixpath.relpath(target, posixpath.dirname(uri) or ".")
        return f"{match['before']}[{match['text']}]({link}{match['anchor'] or ''})"

    return LINK.sub(turned, markdown)
