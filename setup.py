"""What pyproject.toml cannot say: the description of an index is README.md without its own links.

A package index shows neither pictures nor pages of the source archive. Pictures are left out, and
a link becomes its words and the page's place in the archive.
"""

import re
from pathlib import Path

from setuptools import setup

_PICTURE = re.compile(r"^!\[[^]]*\]\((?!https?://)[^)]+\)\n\n?", re.MULTILINE)
_LINK = re.compile(r"\[([^]]+)\]\((?!https?://)([^)#]+)[^)]*\)")


def description(readme: str) -> str:
    """Return the text of README.md as an index can show it."""

    def words(match: re.Match[str]) -> str:
        said, page = match[1], match[2]
        return said if said == page else f"{said} (`{page}`)"

    return _LINK.sub(words, _PICTURE.sub("", readme))


setup(
    long_description=description(Path(__file__).with_name("README.md").read_text("utf-8")),
    long_description_content_type="text/markdown",
)
