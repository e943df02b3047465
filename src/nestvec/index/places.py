"""Files at a path or at an object store's address (s3://, gs://, file://), by pyarrow.

Both are written whole or not at all. A path's files are forced to disk; an address is the
store's to keep.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from nestvec.errors import MissingExtra, UserError
from nestvec.index.files import sync_folder


def is_address(where: str | os.PathLike[str]) -> bool:
    """Whether a place is an object store's address rather than a path."""
    return "://" in os.fspath(where)


class Place:
    """A folder at a path or an address; it need not exist. where: its text, never with a slash."""

    def __init__(self, where: str | os.PathLike[str]) -> None:
        self.where = os.fspath(where).rstrip("/")
        self.is_address = is_address(self.where)
        if not self.is_address:
            self.where = os.path.abspath(self.where)

    def within(self, name: str) -> Place:
        """A folder inside."""
        return Place(f"{self.where}/{name}")

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        if not self.is_address:
            try:
                return Path(self.where, name).read_bytes()
            except FileNotFoundError:
                return None
        files, path = self._opened()
        try:
            with files.open_input_stream(f"{path}/{name}") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """A file, in place of one that was there; folders in between are made."""
        if self.is_address:
            files, path = self._opened()
            whole = f"{path}/{name}"
            files.create_dir(whole.rpartition("/")[0], recursive=True)
            with files.open_output_stream(whole) as stream:
                stream.write(data)
            return
        place = Path(self.where, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        # another machine may have the process number, not the name
        temporary = place.with_name(f"{place.name}.{os.uname().nodename}.{os.getpid()}.new")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
        sync_folder(place.parent)

    def names(self, folder: str = "") -> set[str]:
        """The names of the files of a folder inside; none where it does not exist."""
        if not self.is_address:
            place = Path(self.where, folder)
            return {each.name for each in place.iterdir()} if place.is_dir() else set()
        from pyarrow.fs import FileSelector

        files, path = self._opened()
        chosen = FileSelector(f"{path}/{folder}".rstrip("/"), allow_not_found=True)
        return {each.base_name for each in files.get_file_info(chosen)}

    def remove(self) -> None:
        """The folder and all that it holds, if it is there."""
        if not self.is_address:
            shutil.rmtree(self.where, ignore_errors=True)
            return
        from pyarrow.fs import FileType

        files, path = self._opened()
        if files.get_file_info(path).type == FileType.Directory:
            files.delete_dir(path)

    def copy_to(self, target: Path) -> None:
        """The file or folder at this place, as a local copy at target.

        Raises UserError where there is nothing.
        """
        from pyarrow.fs import FileType, LocalFileSystem, copy_files

        files, path = self._opened()
        kind = files.get_file_info(path).type
        if kind == FileType.NotFound:
            raise UserError(f"{self.where} does not exist: give the address of a file or folder.")
        folder = target if kind == FileType.Directory else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        copy_files(path, str(target), files, LocalFileSystem())

    def _opened(self) -> tuple[Any, str]:
        """The file system of the address, and the path in it."""
        try:
            from pyarrow.fs import FileSystem
        except ImportError:
            raise MissingExtra("an object store's address", "store") from None
        try:
            found: tuple[Any, str] = FileSystem.from_uri(self.where)
        except (ValueError, OSError) as error:
            raise UserError(
                f"an address is one that pyarrow reads, such as s3://bucket/name; got {self.where} "
                f"({str(error).splitlines()[0][:150]})."
            ) from None
        return found
