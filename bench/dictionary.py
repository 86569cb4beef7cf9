"""Makes the dictionary that packed stations are compressed with, from the sandbox's seeded nation.

    python -m bench.dictionary PATH

Says what it saves on stations that it was not made from. What is in use, `app/index/station.zdict`, is never made
anew without a new layout: stores hold stations that only their own dictionary reads.
"""

import sys
from pathlib import Path
from random import Random

import msgspec
import zstandard

from bench.elasticsearch import feeds_of

STATIONS = 6_000
SIZE_BYTES = 4_096
LEVEL = 1


def main() -> None:
    contents = [msgspec.msgpack.encode(station) for stations in feeds_of(STATIONS).values() for station in stations]
    Random(1).shuffle(contents)
    train, rest = contents[: STATIONS // 2], contents[STATIONS // 2 :]
    dictionary = zstandard.train_dictionary(SIZE_BYTES, train)
    alone = zstandard.ZstdCompressor(level=LEVEL)
    helped = zstandard.ZstdCompressor(level=LEVEL, dict_data=dictionary)
    sizes = [sum(map(len, each)) / len(rest) for each in (rest, map(alone.compress, rest), map(helped.compress, rest))]
    print("bytes a station: {:.0f}; compressed {:.0f}; with the dictionary {:.0f}".format(*sizes))
    Path(sys.argv[1]).write_bytes(dictionary.as_bytes())


if __name__ == "__main__":
    main()
