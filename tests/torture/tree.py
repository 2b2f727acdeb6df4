"""Prints everything that a file system tells about a tree, one path a line.

    python3 tree.py ROOT [LEFT_OUT...]

Left out are directories at the top, by name.
"""

import hashlib
import os
import stat
import sys


def main(root, *left_out):
    root = os.fsencode(root)
    first_names = {}
    lines = []
    for directory, names, files in os.walk(root):
        if directory == root:
            names[:] = [name for name in names if os.fsdecode(name) not in left_out]
        for name in names + files:
            path = os.path.join(directory, name)
            lines.append((os.path.relpath(path, root), path))
    for shown, path in sorted(lines):
        print(repr(shown)[1:], "|", described(shown, path, first_names))


def described(shown, path, first_names):
    status = os.lstat(path)
    kind = stat.filemode(status.st_mode)[0]
    parts = [kind, f"mode {stat.S_IMODE(status.st_mode):o}", f"owner {status.st_uid}:{status.st_gid}",
             f"time {status.st_mtime_ns}"]
    if kind == "l":
        parts.append("-> " + repr(os.readlink(path)))
    if kind in "cb":
        parts.append(f"{os.major(status.st_rdev)},{os.minor(status.st_rdev)}")
    if kind == "-":
        with open(path, "rb") as file:
            parts.append(f"content {status.st_size} {hashlib.sha256(file.read()).hexdigest()[:16]}")
    if kind != "d" and status.st_nlink > 1:
        # The first of the names is shown as if it were alone: those that a later layer deletes count in an overlay only.
        first = first_names.setdefault((status.st_dev, status.st_ino), shown)
        parts += [] if first == shown else ["same as " + repr(first)]
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        parts.append(f"{name}={os.getxattr(path, name, follow_symlinks=False)!r}")
    return " | ".join(parts)


if __name__ == "__main__":
    main(*sys.argv[1:])
