#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes made-up data sets for test_cli.sh: make_data.py FOLDER

FOLDER/idx: 28 x 28 images in IDX files, of which a small network can tell the classes apart.
FOLDER/png: CIFAR-10 as tall PNGs with labels in JSON, as fetch converts it, but far too short.
"""
import gzip
import json
import os
import random
import struct
import sys
import zlib

CLASSES = 10


def image(random_source, label):
    """Noise with a bright bar whose place tells the class."""
    pixels = bytearray(random_source.randrange(60) for _ in range(28 * 28))
    for row in range(4, 24):
        for column in range(2 * label + 3, 2 * label + 6):
            pixels[row * 28 + column] = 200 + random_source.randrange(56)
    return bytes(pixels)


def write_idx(folder, prefix, count, random_source):
    labels = [i % CLASSES for i in range(count)]
    images = b"".join(image(random_source, label) for label in labels)
    with gzip.open(f"{folder}/{prefix}-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">iiii", 2051, count, 28, 28) + images)
    with gzip.open(f"{folder}/{prefix}-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">ii", 2049, count) + bytes(labels))


def chunk(kind, data):
    return (struct.pack(">I", len(data)) + kind + data
            + struct.pack(">I", zlib.crc32(kind + data)))


def write_png(path, rows, random_source):
    width = 1024
    lines = b"".join(b"\0" + random_source.randbytes(3 * width) for _ in range(rows))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n"
                   + chunk(b"IHDR", struct.pack(">IIBBBBB", width, rows, 8, 2, 0, 0, 0))
                   + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def main(folder):
    random_source = random.Random(1)
    os.makedirs(f"{folder}/idx")
    write_idx(f"{folder}/idx", "train", 240, random_source)
    write_idx(f"{folder}/idx", "t10k", 60, random_source)
    os.makedirs(f"{folder}/png")
    for batch in range(1, 6):
        write_png(f"{folder}/png/data_batch_{batch}.png", 2, random_source)
    write_png(f"{folder}/png/test_batch.png", 2, random_source)
    with open(f"{folder}/png/train_lables.json", "w", encoding="ascii") as file:
        json.dump([i % CLASSES for i in range(10)], file)
    with open(f"{folder}/png/test_lables.json", "w", encoding="ascii") as file:
        json.dump([3, 8], file)


if __name__ == "__main__":
    main(sys.argv[1])
