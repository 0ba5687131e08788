"""What a library says when it fails, as one line without names of files or people."""

from __future__ import annotations

import re
from pathlib import Path


def words_of(fault: BaseException, file: object) -> str:
    """The fault's message on one line, without the file's path and name."""
    text = " ".join(str(fault).split())
    if isinstance(file, Path):
        for name in (str(file), str(file.parent), file.name):
            if len(name) > 1:
                text = text.replace(name, "the file")
    text = re.sub(r"^Reading [^:]*: ", "", text)
    text = text.replace("file the file", "the file")
    return text or type(fault).__name__
