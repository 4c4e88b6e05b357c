"""MkDocs hook: the reference, a page for every part of the package.

The pages are made while the site is built, from the modules that exist, so that no module can be
forgotten and none is listed that is gone.
"""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

SOURCE = Path(__file__).resolve().parent.parent / "src" / "leanline"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and list them in the navigation."""
    pages = {"leanline": _exports()}
    for path in sorted(SOURCE.iterdir()):
        unfinished = path.is_dir() and not (path / "__init__.py").exists()
        if unfinished or path.name.startswith(("_", ".")):
            continue
        modules = _modules(path)
        if modules:
            part = f"leanline.{path.stem}"
            pages[part] = f"# {part}\n\n" + "\n".join(f"::: {module}\n" for module in modules)
    for part, content in pages.items():
        files.append(File.generated(config, f"reference/{part}.md", content=content))
    navigation = [{part: f"reference/{part}.md"} for part in pages]
    config.nav = [*(config.nav or []), {"Reference": navigation}]
    return files


def _modules(path: Path) -> list[str]:
    """Dotted names of the public modules of a file or a folder, the package itself first."""
    if path.suffix == ".py":
        return [f"leanline.{path.stem}"]
    found = []
    for file in sorted(path.rglob("*.py")):
        relative = file.relative_to(SOURCE.parent).with_suffix("")
        parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
        hidden = any(part.startswith("_") for part in parts)
        if not hidden and file.read_text(encoding="utf-8").strip():
            found.append(".".join(parts))
    return sorted(found)


def _exports() -> str:
    """What `import leanline as ll` offers, with links to the pages that describe it."""
    stub = ast.parse((SOURCE / "__init__.pyi").read_text(encoding="utf-8"))
    rows = []
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = node.module or alias.name
                name = alias.asname or alias.name
                page = f"leanline.{module.split('.')[0]}"
                rows.append(f"| `ll.{name}` | [`leanline.{module}`]({page}.md) |")
    return "\n".join(
        [
            "# leanline",
            "",
            "`import leanline as ll` offers these names, each loaded when it is first used.",
            "",
            "| name | described in |",
            "|---|---|",
            *sorted(rows, key=str.lower),
            "",
        ]
    )
