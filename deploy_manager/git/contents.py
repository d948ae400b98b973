"""Refusing commits whose archive would be incomplete or too large."""

import tarfile
from pathlib import Path

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError
from deploy_manager.messages import few

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_POINTER_BYTES = 1024
"""A pointer has fewer: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""


def refuse_incomplete_archive(commit: str, listed: str, max_bytes: int) -> None:
    """Raise CodeError for submodules, and for more than `max_bytes` of files.

    `listed` is the output of `git ls-tree -r -l -z`.
    """
    size, submodules = 0, []
    for entry in filter(None, listed.split("\0")):
        facts, _tab, path = entry.partition("\t")
        _mode, kind, _blob, bytes_ = facts.split()
        if kind == "commit":
            submodules.append(path)
        else:
            size += int(bytes_)
    if submodules:
        raise CodeError(
            _(
                "Commit %(commit)s has submodules, which would be empty: %(submodules)s. "
                "Copy their files into the repository, or install them as packages."
            ),
            commit=commit[:8],
            submodules=few(submodules, 5),
        )
    if size > max_bytes:
        raise CodeError(
            _(
                "Commit %(commit)s has %(size)s bytes of files, more than %(max_bytes)s: "
                "raise the setting MAX_ARCHIVE_BYTES, or take large files out."
            ),
            commit=commit[:8],
            size=f"{size:,}",
            max_bytes=f"{max_bytes:,}",
        )


def refuse_lfs_pointers(commit: str, archive: Path) -> None:
    """Raise CodeError if an archive has pointers of Git LFS instead of the files."""
    with tarfile.open(archive) as tar:
        pointers = [member.name for member in tar if _is_pointer(tar, member)]
    if pointers:
        raise CodeError(
            _(
                "Commit %(commit)s keeps files in Git LFS, so its archive has only pointers "
                "to them: %(pointers)s. Commit the files themselves, or mark them "
                "export-ignore."
            ),
            commit=commit[:8],
            pointers=few(pointers, 5),
        )


def _is_pointer(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    if not member.isreg() or member.size > _MAX_POINTER_BYTES:
        return False
    file = tar.extractfile(member)
    return file is not None and file.read(len(_LFS_POINTER)) == _LFS_POINTER
