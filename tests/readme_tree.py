"""The tree in README.md, one line a file, made from the first line of every file's docstring.

`python tests/readme_tree.py` writes it into README.md; a test holds that it is up to date.
"""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- tree: python tests/readme_tree.py -->\n```\n", "```\n<!-- end of tree -->\n"
FOLDERS = ("pipeline", "mobile_export", "device_profiler", "benchmarks")


def tracked_files() -> list[Path]:
    """Files of the packages that git knows or would add, sorted so that a folder's files stand together."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *FOLDERS]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return sorted(
        {Path(name) for name in names if name and (ROOT / name).exists()}, key=lambda p: (p.parts[:-1], p.name)
    )


def summary(path: Path) -> str:
    """What a file says of itself: a docstring's first line, or the first comment of another source."""
    text = (ROOT / path).read_text(errors="replace")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    comments = r"#+" if path.suffix in {".toml", ".sh", ".txt"} else r"//|/\*|\{#|<!--"
    first = next((line for line in text.splitlines() if not line.startswith("#!")), "")
    match = re.match(rf"\s*(?:{comments})\s*(.*?)\s*(?:\*/|#\}}|-->)?$", first)
    return match[1] if match else ""


def shown(path: Path) -> bool:
    """Sources and data that are read as text; package markers speak for their folder."""
    return path.name != "__init__.py" and path.suffix in {
        ".py",
        ".c",
        ".h",
        ".cpp",
        ".toml",
        ".sh",
        ".html",
        ".css",
        ".js",
        ".txt",
        ".j2",
    }


def tree() -> str:
    """The whole block, without its fences."""
    lines: list[str] = []
    folder = Path()
    for path in tracked_files():
        if path.parent != folder:
            folder = path.parent
            marker = folder / "__init__.py"
            about = summary(marker) if (ROOT / marker).exists() else ""
            lines.append(f"{folder}/".ljust(34) + about)
        if shown(path):
            lines.append(f"  {path.name}".ljust(34) + summary(path))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def with_tree(text: str) -> str:
    """README's text with the tree as it should be."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + tree() + END + rest.split(END)[1]


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_tree(readme.read_text()))
