"""What do the pitfalls of the course cost on real chest X-rays?

    python benchmarks/real_pitfalls.py path/to/chest_xray/train [--only PITFALL ...] [--missing]

Each question is asked in many draws of children; what comes out is stored after each question
(`real_record.py` says where and how), so a run that was stopped goes on with `--missing`.
Asserts nothing: small effects are stored as they are.
"""

import argparse

import real_leaks  # noqa: F401  (the questions put themselves on the list)
import real_models  # noqa: F401
import real_reports  # noqa: F401
import real_trust  # noqa: F401
from real_data import read_real
from real_record import KEY, every_question, read_draws, store, words, write
from tqdm import tqdm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", help="folder with NORMAL and PNEUMONIA")
    parser.add_argument("--only", nargs="*", help="pitfalls to ask again; the others are kept")
    parser.add_argument("--inputs", nargs="*", help="thumbnails, features, network or rule only")
    parser.add_argument("--missing", action="store_true", help="ask only what is not stored")
    given = parser.parse_args()
    stored = {key: len(part) for key, part in read_draws().groupby(KEY)}
    d = read_real(given.real)
    for asked, kind in every_question():
        key = (asked.pitfall, asked.name, kind)
        if given.only is not None and asked.pitfall not in given.only:
            continue
        if given.inputs is not None and kind not in given.inputs:
            continue
        if given.missing and stored.get(key, 0) >= asked.draws:
            continue
        draws = tqdm(range(asked.draws), desc=" | ".join(key), mininterval=5)
        store(asked, kind, [asked.ask(d, kind, number) for number in draws])
        for row in write()["rows"]:
            if (row["pitfall"], row["name"], row["input"]) == key:
                told = [f"{k} {words(row[k])}" for k in ("wrong", "wrong_true", "right")]
                told += [f"{k} {words(row[k])}" for k in ("right_true", "effect")]
                print(" | ".join(key), "|", "; ".join(told), flush=True)


if __name__ == "__main__":
    main()
