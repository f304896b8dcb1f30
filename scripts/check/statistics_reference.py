#!/usr/bin/env python3
"""Computes crates/eval/tests/fixtures/statistics.json: the statistics of `polymath_eval::statistics`, by numpy and scipy.

An implementation of its own: distributions from scipy, permutations by enumeration, the bootstrap from the formulas of
docs/concepts/evidence.md. Only the generator of random numbers (SplitMix64) and the order of its draws are the program's, so that
resampled figures agree to rounding.

Usage: scripts/check/statistics_reference.py [--check]   (needs numpy and scipy)
With --check nothing is written: the frozen values are compared with new ones.
"""

import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
from scipy import stats

FIXTURE = Path(__file__).resolve().parents[2] / "crates/eval/tests/fixtures/statistics.json"
MASK = (1 << 64) - 1


class SplitMix64:
    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, count):
        return (self.next() * count) >> 64


def fnv1a(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


# --- Distributions and shares -----------------------------------------------------------------------------------------


def quantiles():
    cases = itertools.product([0.6, 0.95, 0.975, 0.995, 0.9999], [1, 2, 2.5, 4, 9, 14, 28.7, 30, 120, 5000])
    return [{"below": b, "freedom": f, "value": float(stats.t.ppf(b, f)), "back": float(stats.t.cdf(1.3 * b, f))} for b, f in cases]


def wilson(right, total):
    if total == 0:
        return 0.0, 0.0, 1.0
    z = stats.norm.ppf(0.975)
    p = right / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return p, middle - half, middle + half


def newcombe(base, tuned, effect=1.0):
    cell = lambda b, t: sum(x == b and y == t for x, y in zip(base, tuned)) / effect
    a, b, c, d = cell(True, True), cell(True, False), cell(False, True), cell(False, False)
    n = a + b + c + d
    p1, l1, u1 = wilson(a + b, n)
    p2, l2, u2 = wilson(a + c, n)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    product = a * d - b * c
    if product > 0:
        product = max(product - n / 2, 0.0)
    phi = product / math.sqrt(margins) if margins > 0 else 0.0
    root = lambda x, y: math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))
    delta = p2 - p1
    return delta, delta - root(p2 - l2, u1 - p1), delta + root(u2 - p2, p1 - l1)


def design_effect(values, groups):
    values = np.array(values, float)
    if not groups or len(set(groups)) == len(groups):
        return 1.0
    centered = values - values.mean()
    labels = np.array(groups)
    sums = np.array([centered[labels == g].sum() for g in sorted(set(groups))])
    if (centered**2).sum() == 0:
        return sum((labels == g).sum() ** 2 for g in set(groups)) / len(values)
    effect = len(sums) / (len(sums) - 1) * (sums**2).sum() / (centered**2).sum()
    return float(min(max(effect, 1.0), len(values)))


def mid_p(base, tuned, groups):
    """By every way to turn the signs of the groups' net wins."""
    labels = groups or list(range(len(base)))
    wins = {}
    for label, before, after in zip(labels, base, tuned):
        wins[label] = wins.get(label, 0) + int(after) - int(before)
    sizes = [abs(w) for w in wins.values() if w]
    total = abs(sum(wins.values()))
    if all(size == 1 for size in sizes):
        n, fewer = len(sizes), (len(sizes) - total) // 2
        return float(min(1.0, 2 * stats.binom.cdf(fewer, n, 0.5) - stats.binom.pmf(fewer, n, 0.5)))
    sums = [abs(sum(s * x for s, x in zip(signs, sizes))) for signs in itertools.product([-1, 1], repeat=len(sizes))]
    more, equal = sum(s > total for s in sums), sum(s == total for s in sums)
    # Where the net wins are 0, every other sum is as far out or farther.
    return (more + equal / 2) / len(sums) if total else 1.0


def answers(generator, count, groups):
    base = [bool(x) for x in generator.random(count) < 0.6]
    tuned = [b if generator.random() < 0.6 else bool(generator.random() < 0.4) for b in base]
    labels = [int(x) for x in generator.integers(0, groups, count)] if groups else []
    share = [float(b) for b in base]
    effect = design_effect(share, labels)
    differences = [float(t) - float(b) for b, t in zip(base, tuned)]
    p, low, high = wilson(sum(base) / effect, count / effect)
    return {
        "base": base,
        "tuned": tuned,
        "groups": labels,
        "share": [p, low, high],
        "change": list(newcombe(base, tuned, design_effect(differences, labels))),
        "p_value": mid_p(base, tuned, labels),
    }


def holm(p_values):
    order = np.argsort(p_values, kind="stable")
    adjusted, least = np.ones(len(p_values)), 0.0
    for rank, at in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = least
    return [float(x) for x in adjusted]


# --- Rank correlation of pairs of domains -----------------------------------------------------------------------------


def mantel(generator, domains, strength):
    effects = generator.standard_normal((domains, 4))
    pairs = [(i, j) for i in range(domains) for j in range(domains) if i != j]
    first = {(i, j): effects[i, 0] + effects[j, 1] + generator.standard_normal() for i, j in pairs}
    second = {(i, j): strength * first[i, j] + effects[i, 2] + effects[j, 3] for i, j in pairs}
    rho = lambda kept, f, s: float(stats.spearmanr([f[k] for k in kept], [s[k] for k in kept]).statistic)
    value = rho(pairs, first, second)
    far = 0
    for order in itertools.permutations(range(domains)):
        moved = {(i, j): second[order[i], order[j]] for i, j in pairs}
        far += abs(rho(pairs, first, moved)) >= abs(value) - 1e-12
    left = [rho([k for k in pairs if out not in k], first, second) for out in range(domains)]
    left = np.arctanh(np.clip(left, -0.999999, 0.999999))
    error = math.sqrt((domains - 1) / domains * ((left - left.mean()) ** 2).sum())
    arm = stats.t.ppf(0.975, domains - 1) * error
    middle = math.atanh(value)
    return {
        "dyads": [[i, j, first[i, j], second[i, j]] for i, j in pairs],
        "value": value,
        "p_value": far / math.factorial(domains),
        "interval": [math.tanh(middle - arm), math.tanh(middle + arm)],
    }


# --- The bootstrap over groups ----------------------------------------------------------------------------------------


def by_group(documents):
    sums = {}
    for nats, size, group in documents:
        before = sums.get(group, (0.0, 0.0))
        sums[group] = (before[0] + nats, before[1] + size)
    table = np.array(list(sums.values()))
    return table[:, 0], table[:, 1]


def error_of(nats, sizes, rate):
    n = len(nats)
    return math.sqrt(n / (n - 1) * ((nats - rate * sizes) ** 2).sum()) / sizes.sum()


def quantile(values, share):
    """Weibull's: the i-th of n lies at i / (n + 1)."""
    return float(np.quantile(values, share, method="weibull"))


class Bootstrap:
    def __init__(self, documents, resamples, seed):
        nats, sizes = by_group(documents)
        self.n = len(nats)
        self.rate = nats.sum() / sizes.sum()
        e = nats - self.rate * sizes
        self.error = error_of(e, sizes, 0.0)
        random = SplitMix64(seed)
        moved, deviations = [], []
        for _ in range(resamples):
            drawn = [random.below(self.n) for _ in range(self.n)]
            shift = e[drawn].sum() / sizes[drawn].sum()
            own = max(error_of(e[drawn], sizes[drawn], shift), 0.2 * self.error)
            moved.append(shift)
            deviations.append(shift / own)
        self.moved, self.deviations = np.array(moved), np.array(deviations)
        kurtosis = self.n * (e**4).sum() / (e**2).sum() ** 2
        kish = sizes.sum() ** 2 / (sizes**2).sum()
        self.unevenness = 1 - kish / self.n
        self.effective = max(min(kish, 2 * self.n / (kurtosis - 1) + 1), 3.0)
        self.skew = (e**3).mean() / (e**2).mean() ** 1.5 / math.sqrt(self.effective)

    def arm(self, side, level):
        """Length of the farther of the two intervals' arms, in nats a byte."""
        n = self.effective
        tail = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(1 - level / 2, n - 1))
        if side == "upper":
            return max(quantile(self.moved, 1 - tail), -quantile(self.deviations, level / 2) * self.error, 0.0)
        return max(-quantile(self.moved, tail), quantile(self.deviations, 1 - level / 2) * self.error, 0.0)

    def end(self, side, level, stretch, few=False):
        sign = 1 if side == "upper" else -1
        factor = 1 + stretch * min(max(sign * self.skew - 0.07, 0.0), 1.0)
        if few:
            factor *= max(15 / self.effective, 1.0) * (1 + 0.2 * self.unevenness)
        return (self.rate + sign * factor * self.arm(side, level)) / math.log(2)


def bootstrap(generator, groups, sizes, resamples, seed, far=0.0):
    """`far` is added to the change of the last group: one that lies far from all others."""
    documents = []
    for group in range(groups):
        shift = 0.05 * generator.standard_normal() + 0.02 * generator.exponential() + far * (group == groups - 1)
        for _ in range(int(generator.integers(1, 5))):
            size = int(2000 * math.exp(sizes * generator.standard_normal())) + 1
            documents.append([float(size * (0.03 + shift + 0.02 * generator.standard_normal())), size, group])
    found = Bootstrap(documents, resamples, seed)
    return {
        "documents": documents,
        "resamples": resamples,
        "seed": seed,
        "value": found.rate / math.log(2),
        "interval": [found.end(side, 0.05, 2) for side in ("lower", "upper")],
        "bounds": [found.end(side, 0.05, 7, True) for side in ("lower", "upper")],
        "bounds_of_ten_percent": [found.end(side, 0.1, 7, True) for side in ("lower", "upper")],
        "groups": found.n,
        "effective_groups": found.effective,
    }


def family(generator, groups, models, resamples, seed):
    """Every pair of models on one domain: max-T, step by step."""
    sizes = [int(x) for x in generator.integers(500, 4000, groups)]
    common = 0.05 * generator.standard_normal(groups)
    nats = [
        [float(s * (1 + c + 0.02 * generator.standard_normal() + 0.004 * model)) for s, c in zip(sizes, common)]
        for model in range(models)
    ]
    pairs = [(b, a) for a in range(models) for b in range(a)]
    size = np.array(sizes, float)
    drawn_of = SplitMix64((seed + fnv1a("prose")) & MASK)
    draws = [[drawn_of.below(groups) for _ in range(groups)] for _ in range(resamples)]
    values, errors, deviations = [], [], []
    for before, after in pairs:
        change = np.array(nats[after]) - np.array(nats[before])
        rate = change.sum() / size.sum()
        e = change - rate * size
        error = error_of(e, size, 0.0)
        t = []
        for drawn in draws:
            shift = e[drawn].sum() / size[drawn].sum()
            t.append(shift / max(error_of(e[drawn], size[drawn], shift), 0.2 * error))
        values.append(rate / math.log(2))
        errors.append(error / math.log(2))
        deviations.append(t)
    t = np.abs(np.array(values) / np.array(errors))
    deviations = np.array(deviations)
    adjusted, least = [1.0] * len(pairs), 0.0
    order = list(np.argsort(-t))
    for rank, at in enumerate(order):
        largest = np.abs(deviations[order[rank:]]).max(axis=0)
        least = max(least, (1 + int((largest >= t[at]).sum())) / (1 + resamples))
        adjusted[at] = least
    reach = quantile(np.abs(deviations).max(axis=0), 0.95)
    return {
        "sizes": sizes,
        "nats": nats,
        "resamples": resamples,
        "seed": seed,
        "values": values,
        "adjusted": adjusted,
        "intervals": [[v - reach * e, v + reach * e] for v, e in zip(values, errors)],
    }


def all_of_it():
    generator = np.random.default_rng(25)
    p_values = [0.01, 0.04, 0.03, 0.005, 0.5, 0.03]
    return {
        "quantiles": quantiles(),
        "answers": [answers(generator, n, g) for n, g in [(40, 0), (300, 0), (40, 8), (60, 12), (45, 15)]],
        "at_least": [[w, n, float(stats.beta.ppf(0.025, w, n - w + 1))] for w, n in [(10, 10), (9, 10), (1, 3), (72, 80)]],
        "holm": {"p_values": p_values, "adjusted": holm(p_values)},
        "mantel": [mantel(generator, 6, s) for s in (0.0, 0.8)],
        "bootstrap": [
            bootstrap(generator, g, s, 400, seed) for g, s, seed in [(5, 0.5, 1), (12, 1.0, 2), (40, 1.0, 3), (25, 1.5, 4)]
        ]
        + [bootstrap(np.random.default_rng(26), 60, 0.5, 400, 5, far=2.0)],
        "family": family(generator, 30, 4, 400, 9),
    }


def differences(a, b, place=""):
    if isinstance(a, dict):
        for key in a:
            yield from differences(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list):
        for at, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from differences(x, y, f"{place}[{at}]")
    elif a != b and not (isinstance(a, float) and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)):
        yield f"{place}: {a} here, {b} in the fixture"


def main():
    found = all_of_it()
    if "--check" in sys.argv[1:]:
        wrong = list(differences(found, json.loads(FIXTURE.read_text())))
        print("\n".join(wrong) or "the frozen values are those of numpy and scipy")
        sys.exit(bool(wrong))
    FIXTURE.write_text(json.dumps(found) + "\n")
    print(f"{FIXTURE}: {FIXTURE.stat().st_size} bytes")


main()
