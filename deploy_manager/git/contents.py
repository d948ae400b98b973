"""Refusing commits whose archive would be incomplete or too large."""

import tarfile
from pathlib import Path

from deploy_manager.exceptions import CodeError

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_POINTER_BYTES = 1024


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
            f"Commit {commit[:8]} has submodules, which would be empty: {_few(submodules)}."
            " Copy their files into the repository, or install them as packages."
        )
    if size > max_bytes:
        raise CodeError(
            f"Commit {commit[:8]} has {size:,} bytes of files, more than {max_bytes:,}:"
            " raise the setting MAX_ARCHIVE_BYTES, or take large files out."
        )


def refuse_lfs_pointers(commit: str, archive: Path) -> None:
    """Raise CodeError if an archive has pointers of Git LFS instead of the files."""
    with tarfile.open(archive) as tar:
        pointers = [member.name for member in tar if _is_pointer(tar, member)]
    if pointers:
        raise CodeError(
            f"Commit {commit[:8]} keeps files in Git LFS, so its archive has only pointers to them:"
            f" {_few(pointers)}. Commit the files themselves, or mark them export-ignore."
        )


def _is_pointer(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    if not member.isreg() or member.size > _MAX_POINTER_BYTES:
        return False
    file = tar.extractfile(member)
    return file is not None and file.read(len(_LFS_POINTER)) == _LFS_POINTER


def _few(paths: list[str]) -> str:
    return ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
