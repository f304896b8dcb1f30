#!/usr/bin/env python3
"""Computes crates/eval/tests/fixtures/statistics.json: the statistics of `polymath_eval::statistics`, whole reports and frontiers, by
numpy and scipy.

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


def reach(values, groups):
    """Returns the number of standard errors to each side: by Student's t over groups, else by the normal distribution."""
    number = len(set(groups))
    return stats.norm.ppf(0.975) if number in (0, len(values)) else stats.t.ppf(0.975, number - 1)


def wilson(right, total, z):
    if total == 0:
        return 0.0, 0.0, 1.0
    p = right / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return p, middle - half, middle + half


def newcombe(base, tuned, effect, z):
    cell = lambda b, t: sum(x == b and y == t for x, y in zip(base, tuned)) / effect
    a, b, c, d = cell(True, True), cell(True, False), cell(False, True), cell(False, False)
    n = a + b + c + d
    p1, l1, u1 = wilson(a + b, n, z)
    p2, l2, u2 = wilson(a + c, n, z)
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
    # If the net wins are 0, every other sum is as far out or farther.
    return (more + equal / 2) / len(sums) if total else 1.0


def answers(generator, count, groups):
    base = [bool(x) for x in generator.random(count) < 0.6]
    tuned = [b if generator.random() < 0.6 else bool(generator.random() < 0.4) for b in base]
    labels = [int(x) for x in generator.integers(0, groups, count)] if groups else []
    share = [float(b) for b in base]
    effect = design_effect(share, labels)
    differences = [float(t) - float(b) for b, t in zip(base, tuned)]
    z = reach(base, labels)
    p, low, high = wilson(sum(base) / effect, count / effect, z)
    return {
        "base": base,
        "tuned": tuned,
        "groups": labels,
        "share": [p, low, high],
        "change": list(newcombe(base, tuned, design_effect(differences, labels), z)),
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
            factor *= max(15 / self.effective, 1.0) ** (1 if side == "upper" else 2) * (1 + 0.2 * self.unevenness)
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


# --- Whole reports -----------------------------------------------------------------------------------------------------


def p_value(found, limit, is_niche):
    """The level of the bound that ends at the limit, by bisection; a gain's bound reaches further where few groups speak."""
    side = "lower" if found.rate / math.log(2) > limit else "upper"
    sign = 1 if side == "upper" else -1
    farther = max(15 / found.effective, 1.0) if is_niche and side == "upper" else 1.0
    low, high = 1e-9, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        value = found.rate / math.log(2)
        if sign * (value + farther * (found.end(side, middle, 7, True) - value) - limit) > 0:
            low = middle
        else:
            high = middle
    return high


def mean_of(figures):
    """Zou and Donner's interval of a mean of independent estimates."""
    n = len(figures)
    value = sum(v for v, _, _ in figures) / n
    below = math.sqrt(sum((v - low) ** 2 for v, low, _ in figures)) / n
    above = math.sqrt(sum((high - v) ** 2 for v, _, high in figures)) / n
    return [value, value - below, value + above]


def judged(found, adjusted, limit, is_niche):
    above = found.rate / math.log(2) > limit
    if adjusted >= 0.05:
        return "undecided"
    if is_niche:
        return "lost" if above else "gained"
    if above:
        return "forgotten"
    return "kept" if found.effective >= 15 else "undecided"


def report(generator):
    """Two runs on a niche and three retained domains, of which one has four groups: intervals, means, bounds, verdicts."""
    seed, tolerance = 3, 0.02
    shapes = {"niche": (20, -0.012), "art": (40, 0.001), "law": (24, 0.024), "poems": (4, 0.01)}
    resamples = max(4000, 80 * 2 * len(shapes))
    domains, runs = {}, [{"domains": {}}, {"domains": {}}]
    for name, (groups, change) in shapes.items():
        sizes = [int(x) for x in generator.integers(300, 3000, groups)]
        domains[name] = sizes
        common = 0.02 * generator.standard_normal(groups)
        for number, run in enumerate(runs):
            own = 0.01 * generator.standard_normal(groups)
            nats = [float(s * (change * (1 + number) + c + o)) for s, c, o in zip(sizes, common, own)]
            run["domains"][name] = {"nats": nats}
    for run in runs:
        tests, old = [], []
        for name, found in run["domains"].items():
            limit = 0.0 if name == "niche" else tolerance
            documents = [[n, s, at] for at, (n, s) in enumerate(zip(found["nats"], domains[name]))]
            boot = Bootstrap(documents, resamples, (seed + fnv1a(name)) & MASK)
            found["value"] = boot.rate / math.log(2)
            few = boot.n < 5
            found["interval"] = None if few else [boot.end(side, 0.05, 2) for side in ("lower", "upper")]
            if not few:
                found["p_value"] = max(p_value(boot, limit, name == "niche"), 2 / (resamples + 1))
                tests.append((name, boot, limit))
            if name not in ("niche", "poems"):
                old.append((found, boot))
        run["tests"] = tests
        sidak = 2 * (1 - 0.95 ** (1 / len(old)))
        run["mean_of_old_but_poems"] = mean_of([(f["value"], *f["interval"]) for f, _ in old])
        run["bound_of_old_but_poems"] = max(boot.end("upper", sidak, 7, True) for _, boot in old)
    # One correction for both runs.
    all_tests = [(run, *test) for run in runs for test in run["tests"]]
    adjusted = holm([run["domains"][name]["p_value"] for run, name, _, _ in all_tests])
    for (run, name, boot, limit), p in zip(all_tests, adjusted):
        run["domains"][name]["adjusted_p_value"] = p
        run["domains"][name]["verdict"] = judged(boot, p, limit, name == "niche")
    for run in runs:
        del run["tests"]
    return {"seed": seed, "tolerance": tolerance, "tests": len(all_tests), "domains": domains, "runs": runs}


# --- Frontiers ---------------------------------------------------------------------------------------------------------


def normal(random):
    """Box and Muller's."""
    unit = lambda: ((random.next() >> 11) + 0.5) / (1 << 53)
    radius, angle = unit(), unit()
    return math.sqrt(-2 * math.log(radius)) * math.cos(2 * math.pi * angle)


def over_seeds(figure, values):
    """Student's t over seeds added to an interval over groups."""
    value, low, high = figure
    if len(values) < 2:
        return figure
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return [value, value - math.hypot(value - low, half), value + math.hypot(high - value, half)]


class FigureOfAll:
    """A weighted sum of domains' changes, of every method: bits by (domain, method, seed, group)."""

    def __init__(self, bits, sizes, weights, of_differences):
        self.sizes, self.weights, self.of_differences = sizes, weights, of_differences
        self.by_seed = sum(w * b.sum(axis=2) / s.sum() for b, s, w in zip(bits, sizes, weights))
        means = [b.mean(axis=1) for b in bits]
        self.e = [m - np.outer(m.sum(axis=1) / s.sum(), s) for m, s in zip(means, sizes)]
        self.groups = sum(self.covariance(e, s, w, np.ones(len(s))) for e, s, w in zip(self.e, sizes, weights))
        self.methods, self.seeds = self.by_seed.shape

    @staticmethod
    def covariance(e, sizes, weight, times):
        n = len(sizes)
        return weight**2 * n / (n - 1) * (e * times) @ e.T / (sizes @ times) ** 2

    def contrasts(self):
        rows = []
        for a in range(self.methods):
            for b in range(a + 1, self.methods) if self.of_differences else [None]:
                row = np.zeros(self.methods)
                row[a] = 1
                if b is not None:
                    row[b] = -1
                rows.append(row)
        return np.array(rows)

    def variance(self, covariance, by_seed):
        """Returns the variance of each contrast: over groups, and over seeds at least the mean over all contrasts."""
        c = self.contrasts()
        of_groups = np.einsum("ij,jk,ik->i", c, covariance, c).clip(0)
        if self.seeds < 2:
            return of_groups, of_groups
        of_seeds = np.var(c @ by_seed, axis=1, ddof=1)
        return of_groups, np.maximum(of_seeds, of_seeds.mean()) / self.seeds

    def values(self):
        return self.contrasts() @ self.by_seed.mean(axis=1)

    def errors(self):
        groups, seeds = self.variance(self.groups, self.by_seed)
        return np.sqrt(groups + seeds)

    def draw(self, random):
        """Returns the deviation of each method, and the statistic of each contrast."""
        moved, covariance = np.zeros(self.methods), np.zeros((self.methods, self.methods))
        for e, sizes, weight in zip(self.e, self.sizes, self.weights):
            n = len(sizes)
            times = np.bincount([random.below(n) for _ in range(n)], minlength=n).astype(float)
            shift = e @ times / (sizes @ times)
            moved += weight * shift
            covariance += self.covariance(e - np.outer(shift, sizes), sizes, weight, times)
        c = self.contrasts()
        spread = np.var(c @ self.by_seed, axis=1, ddof=1).mean()
        freedom = (self.methods - self.of_differences) * (self.seeds - 1)
        doubt = freedom / sum(normal(random) ** 2 for _ in range(freedom))
        scale = math.sqrt(spread / (2 if self.of_differences else 1) * doubt)
        drawn = np.array([[scale * normal(random) for _ in range(self.seeds)] for _ in range(self.methods)])
        moved = moved + drawn.mean(axis=1)
        groups, seeds = self.variance(covariance, drawn)
        least = 0.04 * self.variance(self.groups, self.by_seed)[0]
        return moved, (c @ moved) / np.sqrt(np.maximum(groups, least) + seeds)


def upper_quantile(values, level):
    ranked = sorted(values)
    return ranked[min(max(math.ceil((1 - level) * (len(ranked) + 1)), 1), len(ranked)) - 1]


def hypervolume(points, corner):
    area, least = 0.0, corner
    for gain, forgetting in sorted(points, key=lambda p: -p[0]):
        if gain > 0 and forgetting < least:
            area += gain * (least - forgetting)
            least = forgetting
    return area


def frontier(generator):
    """Three methods, three seeds, two retained domains: levels, max-T, hypervolume, recommendation."""
    truths, seeds, niche, limit = [(0.5, 0.04), (0.45, 0.01), (0.3, 0.035)], 3, "niche", 0.05
    names = ["art", "law", niche]
    splits = {}
    for split in ("development", "test"):
        splits[split] = {}
        for name in names:
            groups = int(generator.integers(14, 22))
            sizes = [int(x) for x in generator.integers(300, 3000, groups)]
            common = 0.02 * generator.standard_normal(groups)
            runs = []
            for gain, rise in truths:
                for _ in range(seeds):
                    change = (-gain if name == niche else rise) + 0.004 * generator.standard_normal()
                    own = 0.006 * generator.standard_normal(groups)
                    runs.append([float(s * math.log(2) * (change + c + o)) for s, c, o in zip(sizes, common, own)])
            splits[split][name] = {"sizes": sizes, "runs": runs}
    bits = lambda split, name: np.array(splits[split][name]["runs"]).reshape(len(truths), seeds, -1) / math.log(2)
    size = lambda split, name: np.array(splits[split][name]["sizes"], float)

    def level(name, method):
        sizes = size("test", name)
        mean = bits("test", name)[method].mean(axis=0) * math.log(2)
        boot = Bootstrap([[float(n), int(s), at] for at, (n, s) in enumerate(zip(mean, sizes))], 2000, 0)
        return [boot.rate / math.log(2)] + [boot.end(side, 0.05, 2) for side in ("lower", "upper")]

    gain = FigureOfAll([bits("test", niche)], [size("test", niche)], [-1.0], True)
    old = names[:2]
    forgetting = FigureOfAll([bits("test", n) for n in old], [size("test", n) for n in old], [0.5, 0.5], True)
    methods = []
    for method in range(len(truths)):
        value, low, high = level(niche, method)
        rises = [level(n, method) for n in old]
        methods.append(
            {
                "gain": over_seeds([-value, -high, -low], gain.by_seed[method]),
                "mean_forgetting": over_seeds(mean_of(rises), forgetting.by_seed[method]),
            }
        )
    random = SplitMix64(25)
    points = np.array([[m["gain"][0], m["mean_forgetting"][0]] for m in methods])
    corner = points[:, 1].max()
    maxima, areas = [], []
    for _ in range(2000):
        moved_gain, t_gain = gain.draw(random)
        moved_forgetting, t_forgetting = forgetting.draw(random)
        maxima.append(max(np.abs(t_gain).max(), np.abs(t_forgetting).max()))
        areas.append(hypervolume(points + np.column_stack([moved_gain, moved_forgetting]), corner))
    critical = upper_quantile(maxima, 0.05)
    areas.sort()
    area = hypervolume(points, corner)
    at = lambda share: areas[int((len(areas) - 1) * share + 0.5)]
    # The contrasts with the first method are (0, 1) and (0, 2).
    difference = lambda figure, k: [
        -figure.values()[k],
        -figure.values()[k] - critical * figure.errors()[k],
        -figure.values()[k] + critical * figure.errors()[k],
    ]
    for k in (1, 2):
        methods[k]["against_first"] = {"gain": difference(gain, k - 1), "mean_forgetting": difference(forgetting, k - 1)}
    # The recommendation, on the other split: each method by the domain with the least room.
    rises = [FigureOfAll([bits("development", n)], [size("development", n)], [1.0], False) for n in old]
    room = np.array([(limit - r.values()) / r.errors() for r in rises])
    closest = room.argmin(axis=0)
    random, maxima = SplitMix64(26), []
    for _ in range(2000):
        drawn = [r.draw(random)[1] for r in rises]
        maxima.append(max(0.0, max(-drawn[closest[m]][m] for m in range(len(truths)))))
    arms = upper_quantile(maxima, 0.05)
    bounds = np.array([r.values() + arms * r.errors() for r in rises]).max(axis=0)
    falls = -bits("development", niche).sum(axis=2) / size("development", niche).sum()
    inside = [m for m in range(len(truths)) if bounds[m] <= limit]
    chosen = max(inside, key=lambda m: falls[m].mean())
    return {
        "limit": limit,
        "seeds": seeds,
        "splits": splits,
        "methods": methods,
        "critical": critical,
        "hypervolume": [area, max(2 * area - at(0.975), 0.0), max(2 * area - at(0.025), 0.0)],
        "recommended": int(chosen),
        "upper_bound": float(bounds[chosen]),
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
        "report": report(generator),
        "frontier": frontier(generator),
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
