"""Our matrix products against PyTorch's on the shapes of training. Run by compare_products.sh."""

import argparse
import os
import statistics
import subprocess
import time

import torch

REPETITIONS = 15
TOKENS = 4096
# Inputs and outputs of the linear layers of the reference model and of the larger one of compare_torch.sh.
SHAPES = [(256, 256), (256, 768), (256, 1376), (688, 256), (256, 4096), (512, 512), (512, 2752), (1376, 512)]
PRODUCTS = ["forward", "input's gradient", "weight's gradient"]


def torch_rates(precision, inputs, outputs):
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
    x, weight, gradient = (
        torch.randn(shape).to(dtype) for shape in [(TOKENS, inputs), (outputs, inputs), (TOKENS, outputs)]
    )
    rates = []
    for left, right in [(x, weight.t()), (gradient, weight), (gradient.t(), x)]:
        seconds = []
        for _ in range(REPETITIONS):
            begin = time.perf_counter()
            left @ right
            seconds.append(time.perf_counter() - begin)
        rates.append(2e-9 * TOKENS * inputs * outputs / statistics.median(seconds))
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the example `products` of crates/ops")
    parser.add_argument("--precisions", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    environment = {**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)}
    ours = subprocess.Popen(
        [arguments.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

    def our_rates(precision, inputs, outputs):
        ours.stdin.write(f"{precision} {TOKENS} {inputs} {outputs}\n")
        ours.stdin.flush()
        return [float(rate) for rate in ours.stdout.readline().split()]

    print(f"{'':9} {'inputs → outputs':>17}  {'product':18} {'polymath':>9} {'PyTorch':>9} {'ratio':>6}   GFLOP/s, {TOKENS} rows")
    for precision in arguments.precisions:
        ratios = []
        for shape in SHAPES:
            rounds = [(our_rates(precision, *shape), torch_rates(precision, *shape)) for _ in range(arguments.rounds)]
            for index, product in enumerate(PRODUCTS):
                mine, theirs = ([side[index] for side in sides] for sides in zip(*rounds))
                ratio = statistics.median(a / b for a, b in zip(mine, theirs))
                ratios.append(ratio)
                print(
                    f"{precision:9} {shape[0]:>7} → {shape[1]:<7}  {product:18} "
                    f"{statistics.median(mine):9.0f} {statistics.median(theirs):9.0f} {ratio:6.2f}"
                )
        print(f"{precision:9} geometric mean of the ratios {statistics.geometric_mean(ratios):.2f}, least {min(ratios):.2f}")
    ours.stdin.close()
    ours.wait()


main()
