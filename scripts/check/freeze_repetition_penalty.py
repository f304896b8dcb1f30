#!/usr/bin/env python3
"""Writes what the repetition penalty of `transformers` makes of some logits, for a test of the sampling.

    scripts/check/freeze_repetition_penalty.py > crates/model/tests/fixtures/repetition_penalty.json
"""

import json

import torch
import transformers

CASES = [(1.3, [0, 3, 3, 5]), (0.7, [1, 2, 2, 2, 7]), (1.0, [0, 1, 2, 3, 4, 5, 6, 7]), (5.5, [6])]


def main():
    logits = torch.tensor([[2.5, -1.25, 0.0, -7.0, 1e-3, 30.0, -0.1, 4.0]])
    cases = []
    for penalty, text in CASES:
        process = transformers.RepetitionPenaltyLogitsProcessor(penalty)
        penalized = process(torch.tensor([text]), logits.clone())[0].tolist()
        cases.append({"penalty": penalty, "text": text, "penalized": penalized})
    print(json.dumps({"transformers": transformers.__version__, "logits": logits[0].tolist(), "cases": cases}))


if __name__ == "__main__":
    main()
