#!/usr/bin/env python3
"""Plants faults in the CUDA kernels, one at a time, and checks that the kernel tests fail for each.

Each fault changes one place of a copy of crates/ops/kernels: a missing barrier, a wrong fragment, a mask that is off by one.
The tests are built once, and run with each version of the kernels as a shared library. Takes half an hour on two cores.

    scripts/check/mutate-kernels.py [NAME …]     all faults, or those whose file or text contains a NAME
    scripts/check/mutate-kernels.py --check      only checks that each place exists exactly once
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "crates/ops/kernels"

# File, the text to replace, its replacement, and the filter of the tests that must fail.
FAULTS = [
    ("attention_forward.cu", "        await_copies<1>();", "        await_copies<2>();", "attention"),
    ("attention_forward.cu", "        await_copies<1>();\n        __syncthreads();", "        await_copies<1>();", "attention"),
    ("attention_forward.cu", "        __syncthreads(); // the tile has been read", "        // the tile has been read", "attention"),
    ("attention_forward.cu", "key <= mine[half] && key >= seen[half]", "key < mine[half] && key >= seen[half]", "attention"),
    ("attention_forward.cu", "key <= mine[half] && key >= seen[half]", "key <= mine[half] && key > seen[half]", "attention"),
    ("attention_forward.cu", "            sum[half] *= less;\n", "", "attention"),
    ("attention_forward.cu", "head / group * HEAD_DIM;\n    v = v", "head % group * HEAD_DIM;\n    v = v", "attention"),
    ("attention_forward.cu", "(most[half] + log2f(sum[half])) * LN_2", "(most[half] + log2f(sum[half]))", "attention"),
    ("attention_backward.cu", "weight * (of_weight[at][part] - share[half])", "weight * of_weight[at][part]", "attention"),
    ("attention_backward.cu", "        __syncthreads();\n    }\n    float factors", "    }\n    float factors", "attention"),
    ("attention_backward.cu", "max(first - offset, 0) / TILE", "first / TILE", "attention"),
    ("attention_backward.cu", "turns = tiles * group;", "turns = tiles;", "attention"),
    ("attention.h", "unsigned one[2] = {right[0], right[1]}, other[2] = {right[2], right[3]};\n            multiply(sums[2 * two]",
     "unsigned one[2] = {right[0], right[2]}, other[2] = {right[1], right[3]};\n            multiply(sums[2 * two]", "attention"),
    ("attention.h", "&& column < HEAD_DIM", "", "attention"),
    ("attention.h", "if (row >= end) continue;", "if (row > end) continue;", "attention"),
    ("norm.cu", "    dot = sum_of_warp(dot) / width * scale * scale;", "    dot = sum_of_warp(dot) / width * scale;", "layers::norms"),
    ("norm.cu", "    sums[threadIdx.x] = sum;\n    __syncthreads();", "    sums[threadIdx.x] = sum;", "layers::norms"),
    ("norm.cu", "weight[at] * dy[base + at] - sum - (x", "weight[at] * dy[base + at] - (x", "layers::norms"),
    ("norm.cu", "        bias += sums[blockDim.x + other * 32 + lane];", "        bias += sums[other * 32 + lane];", "layers::norms"),
    ("rope.cu", "float c = cos[angle], s = direction * sin[angle]", "float c = cos[angle], s = sin[angle]", "layers::rope"),
    ("rope.cu", "            s = direction * sin[angle];", "            s = sin[angle];", "sublayers"),
    ("rope.cu", "head < turned", "head <= turned", "sublayers"),
    ("activation.cu", "dgate[at] = d * up[at] * s * (1 + g * (1 - s))", "dgate[at] = d * up[at] * s * (1 + g * s)", "layers::activations"),
    ("activation.cu", "(1 + 3 * CUBIC * v * v)", "(1 + CUBIC * v * v)", "layers::activations"),
    ("activation.cu", "kept[up] = rounded(u);", "kept[up] = rounded(g);", "sublayers"),
    ("activation.cu", "dsides[up] = rounded(d * g * s);", "dsides[up] = rounded(d * g);", "sublayers"),
    ("norm.cu", "has_residual ? residual[base + at] + d : d", "d", "sublayers"),
    ("attention_f32.cu", "        leave(weights, score);\n        __syncthreads();\n        add_weighted(out, weights, of_v);",
     "        leave(weights, score);\n        add_weighted(out, weights, of_v);", "attention"),
    ("attention_f32.cu", "mine <= query + offset && mine >= seen;", "mine < query + offset && mine >= seen;", "attention"),
    ("attention_f32.cu", "weight * (of_weight[half][at] - share[half])", "weight * of_weight[half][at]", "attention"),
    ("attention_f32.cu", "            sum[half] *= less;\n", "", "attention"),
    ("attention_f32.cu", "turns = tiles * group;", "turns = tiles;", "attention"),
    ("dropout.cu", "scattered(stream + at % length)", "scattered(stream + at)", "adapter"),
    ("dropout.cu", ">> 11 <", ">> 12 <", "adapter"),
    ("norm.cu", "weight[base + at] + scale * product[base + at]", "weight[base + at] + product[base + at]", "adapter"),
    ("norm.cu", "        copy[base + at] = x[base + at];", "        copy[base + at] = 0;", "sublayers"),
    ("cast.cu", "c[at - c_at]", "c[at - b_at]", "sublayers"),
    ("reduce.cu", "y[0] = factor * sum", "y[0] = sum", "loss"),
    ("loss.cu", "slope * (q - q * (rest / others))", "slope * (q - rest / others)", "loss"),
    ("loss.cu", "    __syncthreads(); // the marks have been read\n", "", "loss"),
    ("loss.cu", "sum * exp_of(most - x);", "sum;", "loss"),
    ("loss.cu", "    __syncthreads(); // what stood in `scratch` has been read\n", "", "loss"),
    ("loss.cu", "(1 + 2 * z_loss * log_sum) / found.total", "(1 + z_loss * log_sum) / found.total", "loss"),
    ("loss.cu", "at < (int)target; at += blockDim.x) before", "at <= (int)target; at += blockDim.x) before", "loss"),
    ("embedding.cu", "end = first[blockIdx.x + 1]", "end = first[blockIdx.x] + 1", "layers::embeddings"),
    ("adamw.cu", "(1 - beta2) * g * g", "(1 - beta2) * g", "optimizer::adamw"),
    ("muon.cu", "        direction[at] = momentum * m[at] + fresh;", "        direction[at] = m[at];", "optimizer::muon"),
    ("device.h", "    __syncthreads(); // the last sum has been read\n", "", "loss"),
    ("reduce.cu", "at < stretch.count;", "at + 1 < stretch.count;", "optimizer::gradient_norms"),
]


def place(file, text):
    """Returns the content of a file in which `text` stands exactly once."""
    content = (KERNELS / file).read_text(encoding="utf-8")
    if content.count(text) != 1:
        sys.exit(f"{file} has {content.count(text)} times, not once: {text!r}")
    return content


def sources():
    """Returns the objects of the emulator with the kernels: name, options, and the files of kernels that it depends on."""
    native = ROOT / "crates/ops/emulator/native"
    dimensions = re.findall(r"^DIMENSION\((\d+)\)", (native / "dimensions.h").read_text(), re.M)
    tensor_cores = {"attention.h", "attention_forward.cu", "attention_backward.cu"}
    attention = tensor_cores | {"attention_f32.cu"}
    others = {path.name for path in KERNELS.iterdir()} - attention
    jobs = [("kernels", [native / "kernels.cpp"], others), ("emulate", [native / "emulate.cpp"], set())]
    for d in dimensions:
        for name, files in (("attention", tensor_cores), ("attention_f32", {"attention_f32.cu"})):
            jobs.append((f"{name}-{d}", [f"-DHEAD_DIM={d}", native / f"{name}.cpp"], files | {"device.h"}))
    return jobs


def compile_kernels(folder, changed=None):
    """Compiles the kernels in `folder` and the emulator to a shared library in it: all, or what depends on a changed file."""
    native = ROOT / "crates/ops/emulator/native"
    flags = [os.environ.get("CXX", "c++"), "-std=c++17", "-O1", "-w", "-fPIC", f"-I{folder}", f"-I{native}"]
    objects = []

    def compile_one(job):
        name, options, files = job
        object_file = folder / (f"{name}.o" if changed is None else f"{name}.changed.o")
        if changed is not None and changed not in files:
            return folder / f"{name}.o", None
        done = subprocess.run([*flags, "-c", *map(str, options), "-o", str(object_file)], capture_output=True, text=True)
        return object_file, done.stderr if done.returncode else None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for object_file, failure in pool.map(compile_one, sources()):
            if failure:
                sys.exit(f"the fault does not compile:\n{failure}")
            objects.append(str(object_file))
    library = folder / "kernels.so"
    subprocess.run([*flags, "-shared", *objects, "-o", str(library)], check=True)
    return library


def test_program():
    """Builds the tests of crates/ops and returns their program."""
    command = ["cargo", "test", "--workspace", "--lib", "--no-run", "--message-format=json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    programs = [one["executable"] for one in found if one.get("target", {}).get("name") == "polymath_ops" and one.get("executable")]
    return programs[-1]


def tests_fail(program, library, name):
    """Runs the kernel tests of a name; a program that crashes or hangs fails too."""
    environment = {**os.environ, "POLYMATH_KERNELS": str(library)}
    try:
        done = subprocess.run([program, f"gpu::tests::{name}"], env=environment, capture_output=True, timeout=300, text=True)
    except subprocess.TimeoutExpired:
        return True
    if " 0 passed; 0 failed" in done.stdout:
        sys.exit(f"no test is named {name}")
    return done.returncode != 0


def main():
    names = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    for file, text, *_ in FAULTS:
        place(file, text)
    if "--check" in sys.argv:
        print(f"{len(FAULTS)} faults can be planted")
        return
    program, missed, tried = test_program(), [], 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "kernels"
        shutil.copytree(KERNELS, folder)
        library = compile_kernels(folder)
        for name in sorted({name for *_, name in FAULTS}):
            if tests_fail(program, library, name):
                sys.exit(f"the tests of {name} fail without a fault")
        for file, text, fault, name in FAULTS:
            if names and not any(wanted in file or wanted in text for wanted in names):
                continue
            content, tried = place(file, text), tried + 1
            (folder / file).write_text(content.replace(text, fault), encoding="utf-8")
            caught = tests_fail(program, compile_kernels(folder, file), name)
            (folder / file).write_text(content, encoding="utf-8")
            print(f"{'caught' if caught else 'MISSED'}  {file}: {text.strip().splitlines()[0]}", flush=True)
            if not caught:
                missed.append(file)
    print(f"{tried - len(missed)} of {tried} faults caught")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
