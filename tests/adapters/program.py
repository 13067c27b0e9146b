"""A program for ``cmd:``, with the standard library alone: ``program.py copy|softmax|crash|noise|lie``."""

import json
import math
import os
import sys


def values(given):
    return [float.fromhex(v) for v in given["values"]]


def softmax(row):
    top = max(row)
    terms = [math.exp(v - top) for v in row]
    total = sum(terms)
    return [t / total for t in terms]


def answer(question, mode):
    x = question["inputs"]["x"]
    if mode == "softmax":
        if question["options"].get("axis", -1) not in (-1, len(x["shape"]) - 1):
            return {"error": "refused: another axis"}
        n, flat = x["shape"][-1], values(x)
        rows = [softmax(flat[i : i + n]) for i in range(0, len(flat), n)] if n else []
        return {"shape": x["shape"], "values": [v.hex() for row in rows for v in row]}
    if mode == "refuse":
        return {"error": "refused"}
    return {"dtype": x["dtype"], "shape": x["shape"], "values": x["values"]}


for line in sys.stdin:
    mode = sys.argv[1]
    if mode == "crash":
        os.abort()
    print("noise" if mode == "noise" else json.dumps(answer(json.loads(line), mode)), flush=True)
