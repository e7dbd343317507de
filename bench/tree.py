"""Trees of files to measure on: the same bytes and names on every run, so that runs can be compared."""

import os
import random

# Names as people give them: some say what is inside, some do not.
ENDINGS = [".txt", ".jpg", ".html", "", ".c", ".pdf", ".png", ".tar.gz"]
# Files begin at an offset of one random block, which is much quicker than random bytes for each.
BLOCK = 1 << 20


def folder_names(count):
    """Folders two levels deep, sixteen in each of the upper level."""
    return [f"d{n // 16:04d}/e{n:05d}" for n in range(count)]


def make(root, files, folders, largest):
    """Makes `files` files of 0 to `largest` bytes in `folders` folders below `root`."""
    rand = random.Random(files)
    block = rand.randbytes(BLOCK + largest)
    names = folder_names(folders)
    per_folder = -(-files // folders)
    made = 0
    for folder in names:
        path = os.path.join(root, folder)
        os.makedirs(path, exist_ok=True)
        there = os.open(path, os.O_RDONLY)
        for n in range(min(per_folder, files - made)):
            name = f"f{n:04d}-{rand.randrange(1 << 24):06x}{ENDINGS[made % len(ENDINGS)]}"
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=there)
            if largest:
                start = rand.randrange(BLOCK)
                os.write(fd, block[start : start + rand.randrange(largest + 1)])
            os.close(fd)
            made += 1
        os.close(there)


def make_big(root, files, size):
    """Makes `files` files of `size` bytes each, no two alike."""
    os.makedirs(root, exist_ok=True)
    block = random.Random(size).randbytes(BLOCK)
    for n in range(files):
        with open(os.path.join(root, f"big{n}.dat"), "wb") as file:
            file.write(n.to_bytes(8, "big"))
            left = size - 8
            while left > 0:
                left -= file.write(block[: min(left, BLOCK)])
