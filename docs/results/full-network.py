#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tables of full-network.md from what full-network.sh and individual.sh left.

    docs/results/full-network.py MANIFOLD.jsonl [GAMMA=INDIVIDUAL.jsonl]... [DEPTH.jsonl | STREAM.jsonl]...

Prints, as Markdown: the manifold beside individual networks; how its 100 random sizes compare with uniform
sizes of equal multiply-adds; the largest step between neighbouring widths; and what it has at other depths and with narrower streams.
"""
import json
import statistics
import sys

TRAINED = 0.85  # the largest compression drawn


def rows_of(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def percent(row):
    return 100 * row["accuracy"]


def table(uniform, individual):
    print("| gamma | multiply-adds | parameters | individual | manifold | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for gamma in (0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.85):
        row = uniform[gamma]
        own = individual.get(gamma)
        beside = f"{percent(own):.2f} | {percent(row):.2f} | {percent(row) - percent(own):+.2f}" \
            if own else f"- | {percent(row):.2f} | -"
        print(f"| {100 * gamma:g} % | {row['multiply_adds'] / 1e6:.2f} M | {row['parameters']:,} | {beside} |")


def uniform_at(curve, multiply_adds):
    """Accuracy of the uniform sizes, linear between neighbours."""
    for (low, low_score), (high, high_score) in zip(curve, curve[1:]):
        if low <= multiply_adds <= high:
            share = (multiply_adds - low) / (high - low) if high > low else 0
            return low_score + share * (high_score - low_score)
    return curve[0][1] if multiply_adds < curve[0][0] else curve[-1][1]


def random_sizes(uniform, others):
    curve = sorted({(row["multiply_adds"], percent(row)) for row in uniform.values()})
    gaps = [percent(row) - uniform_at(curve, row["multiply_adds"]) for row in others]
    print(f"{len(gaps)} random sizes against uniform ones of equal multiply-adds: median "
          f"{statistics.median(gaps):+.2f}, from {min(gaps):+.2f} to {max(gaps):+.2f} points.")


def steps(uniform):
    gammas = sorted(gamma for gamma in uniform if gamma <= TRAINED and gamma * 64 == int(gamma * 64))
    pairs = [(abs(percent(uniform[a]) - percent(uniform[b])), a, b) for a, b in zip(gammas, gammas[1:])]
    largest, first, second = max(pairs)
    above = sum(step > 0.5 for step, _, _ in pairs)
    print(f"Largest step between neighbouring 64ths: {largest:.2f} points, from {first:g} to {second:g}; "
          f"{above} of {len(pairs)} above 0.5.")


def ladder(full, sets, gammas, what, name_of):
    """One line for each set of rows at these gammas, and one for the full sizes."""
    print(f"| {what} | multiply-adds | " + " | ".join(f"gamma {100 * gamma:g} %" for gamma in gammas) + " |")
    print("| --- " * (len(gammas) + 2) + "|")
    for rows in sorted(sets + [[full[gamma] for gamma in gammas]], key=lambda rows: rows[0]["multiply_adds"]):
        print(f"| {name_of(rows[0]['sizes'])} | {rows[0]['multiply_adds'] / 1e6:.2f} M | "
              + " | ".join(f"{percent(row):.2f}" for row in rows) + " |")


def others_of(full, paths):
    full_stream = full[0]["sizes"]["layer3.stream"]
    sets = [rows_of(path) for path in paths]
    shallow = [rows for rows in sets if rows[0]["sizes"]["layer3.stream"] == full_stream]
    narrow = [rows for rows in sets if rows[0]["sizes"]["layer3.stream"] < full_stream]
    if shallow:
        print()
        ladder(full, shallow, (0, 0.25, 0.5, 0.75), "layers", lambda sizes: 6 * sizes["layer1.depth"] + 2)
    if narrow:
        print()
        ladder(full, narrow, (0, 0.25, 0.5, 0.75, 0.85), "streams",
               lambda sizes: ", ".join(str(sizes[f"layer{stage}.stream"]) for stage in (1, 2, 3)))


def main():
    rows = rows_of(sys.argv[1])
    uniform = {row["gamma"]: row for row in rows if "gamma" in row}
    others = [row for row in rows if "gamma" not in row]
    individual = {}
    for argument in sys.argv[2:]:
        if "=" in argument:
            gamma, path = argument.split("=", 1)
            individual[float(gamma)] = rows_of(path)[0]
    table(uniform, individual)
    print()
    if others:
        random_sizes(uniform, others)
    steps(uniform)
    others_of(uniform, [argument for argument in sys.argv[2:] if "=" not in argument])


main()
