"""Our training step against PyTorch's on the same shapes: alternating, medians of the ratios of each round.

Run by compare_torch.sh, which makes the environment.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
REFERENCE = {
    "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 688,
    "vocabulary": 4096, "sequence_length": 256, "batch_size": 16,
}  # fmt: skip
SHAPES = {
    "reference": REFERENCE,
    "larger": {**REFERENCE, "hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 1376,
               "vocabulary": 8192, "sequence_length": 512, "batch_size": 8},
    "characters": {**REFERENCE, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
                   "intermediate_size": 344, "vocabulary": 65, "sequence_length": 64, "batch_size": 12},
    # GPT-2's size, for a GPU: hours on a CPU.
    "base": {**REFERENCE, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 2048,
             "vocabulary": 32000, "sequence_length": 1024, "batch_size": 8},
}  # fmt: skip


class Torch:
    """A PyTorch program that waits to be asked."""

    def __init__(self, shape, precision, compiled, arguments):
        command = [sys.executable, HERE / "torch_step.py", "--shape", json.dumps(shape), "--device", arguments.device]
        command += ["--precision", precision, "--threads", str(arguments.threads)]
        command += ["--compile"] if compiled else []
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        )  # fmt: skip
        if not self.process.stdout.readline():
            raise RuntimeError(f"PyTorch ended before it was ready: {' '.join(map(str, command))}")

    def measure(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Ours:
    """`polymath bench`."""

    def __init__(self, shape, precision, arguments):
        self.command = [arguments.program, "bench", "configs/pretrain/reference.toml", "--json"]
        self.command += ["--threads", str(arguments.threads), "--device", arguments.device]
        names = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"]
        self.command += [f"model.{name}={shape[name]}" for name in names]
        self.command += [f"training.{name}={shape[name]}" for name in ["batch_size", "sequence_length"]]
        self.command += [f'training.precision="{precision}"', "--vocabulary", str(shape["vocabulary"])]

    def measure(self, steps):
        output = subprocess.run([*self.command, "--steps", str(steps)], check=True, capture_output=True, text=True)
        return json.loads(output.stdout)

    def close(self):
        pass


def compare(name, arguments):
    shape = SHAPES[name]
    tokens = shape["batch_size"] * shape["sequence_length"]
    sides = {}
    for precision in arguments.precisions:
        sides[f"polymath {precision}"] = Ours(shape, precision, arguments)
        sides[f"eager {precision}"] = Torch(shape, precision, False, arguments)
        sides[f"compiled {precision}"] = Torch(shape, precision, True, arguments)
    steps = 5 if tokens > 1000 else 100
    rounds = {side: [] for side in sides}
    for number in range(arguments.rounds):
        for side, program in sides.items():
            measured = program.measure(steps)
            rounds[side].append(measured)
            rate = tokens / measured["step_seconds"]
            print(f"  round {number + 1}  {side:16} {rate:9.0f} tokens/s", file=sys.stderr)
    for program in sides.values():
        program.close()
    result = {}
    for side, measured in rounds.items():
        seconds = [one["step_seconds"] for one in measured]
        result[side] = {
            "tokens_per_second": tokens / statistics.median(seconds),
            "peak_rss_bytes": max(one["peak_rss_bytes"] for one in measured),
        }
        kind, precision = side.split()
        if kind != "polymath":
            ours = [one["step_seconds"] for one in rounds[f"polymath {precision}"]]
            ratios = [theirs / mine for mine, theirs in zip(ours, seconds)]
            result[side]["polymath_is_faster"] = statistics.median(ratios)
            result[side]["range"] = [min(ratios), max(ratios)]
        elif "peak_share" in measured[0]:
            result[side]["peak_share"] = statistics.median(one["peak_share"] for one in measured)
    return result


def table(results):
    print(f"{'shape':12} {'program':16} {'tokens/s':>9} {'memory MB':>10} {'polymath is faster by':>22}")
    for shape, sides in results.items():
        for side, value in sides.items():
            ratio = ""
            if "polymath_is_faster" in value:
                low, high = value["range"]
                ratio = f"{value['polymath_is_faster']:.2f}  ({low:.2f} to {high:.2f})"
            memory = value["peak_rss_bytes"] / 1e6
            print(f"{shape:12} {side:16} {value['tokens_per_second']:9.0f} {memory:10.0f} {ratio:>22}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the polymath command")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["reference", "larger", "characters"])
    parser.add_argument("--precisions", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="`cpu` or `cuda:N`; a GPU's memory is not counted")
    parser.add_argument("--output", type=Path, default=Path("target/compare_torch"))
    arguments = parser.parse_args()
    results = {}
    for name in arguments.shapes:
        print(name, file=sys.stderr)
        results[name] = compare(name, arguments)
    table(results)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "compare_torch.json").write_text(json.dumps(results, indent=2) + "\n")
    path = arguments.output / "compare_torch.json"
    print(f"{path}; drawn by: cargo run -p polymath-report --example pictures -- FOLDER {path}", file=sys.stderr)


main()
