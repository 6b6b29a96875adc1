"""Files that clients upload: kept in a folder, public under their address, gone after a time."""

import re
import secrets
import time
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path

MAX_BYTES = 200_000_000
_NAME = re.compile(r"[0-9a-f]{32}(\.[a-z0-9]{1,5})?")


class Uploads:
    """The uploaded files of one sandbox."""

    def __init__(self, folder: Path, retention_seconds: float) -> None:
        self._folder = folder
        self._retention_seconds = retention_seconds

    def keep(self, file_name: str, content: bytes) -> str:
        """Store a file under a name of its own, and return that name."""
        ending = Path(file_name).suffix.lower()
        name = f"{secrets.token_hex(16)}{ending}"
        if not _NAME.fullmatch(name):
            name = name.partition(".")[0]
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_bytes(content)
        return name

    def find(self, name: str) -> Path | None:
        """Return the file of that name; None if there is none, or none any more."""
        if not _NAME.fullmatch(name):
            return None
        path = self._folder / name
        if not path.exists() or time.time() - path.stat().st_mtime >= self._retention_seconds:
            return None
        return path


def read_form_file(content_type: str, body: bytes, field: str) -> tuple[str, bytes]:
    """Return name and content of the file in one field of a multipart form (RFC 7578).

    Raises ValueError if the form has no such file.
    """
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise ValueError("the body must be multipart/form-data")

    # Each part stands between two boundaries, and begins and ends with a line break.
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        head, blank_line, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not blank_line:
            continue
        headers = BytesHeaderParser().parsebytes(head)
        name = headers.get_param("name", header="content-disposition")
        file_name = headers.get_filename()
        if name == field and file_name is not None:
            return file_name, content
    raise ValueError(f"the form has no file in its field {field!r}")
