"""Compiles crates/ops/kernels with NVRTC and judges what the assembler says. Called by kernels.sh."""

import ctypes
import glob
import os
import re
import sys
import time

import nvidia

KERNELS = "crates/ops/kernels"
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
HEAD_DIMS = [16, 24, 32, 64, 96, 128]
# Up to this dimension a thread's tiles must stay in registers.
NO_SPILLS = 64


def library():
    paths = [path for folder in nvidia.__path__ for path in glob.glob(f"{folder}/*/lib/libnvrtc.so.*")]
    if not paths:
        sys.exit("libnvrtc is missing: remove target/nvrtc and run this again")
    # It opens its built-in functions by name: they must be in memory before.
    for path in glob.glob(f"{os.path.dirname(paths[0])}/libnvrtc-builtins.so.*"):
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(sorted(paths)[0])


def source(name, seen):
    """Returns a file with what it includes in place, each header once."""
    lines = []
    with open(f"{KERNELS}/{name}", encoding="utf-8") as file:
        for line in file:
            included = re.fullmatch(r'#include "(\w+\.h)"\n', line)
            if not included:
                lines.append(line)
            elif included[1] != "emulate.h" and included[1] not in seen:
                seen.add(included[1])
                lines.append(source(included[1], seen))
    return "".join(lines).replace("#pragma once\n", "")


def compile_file(nvrtc, name, options):
    """Returns the log and the binary of a file."""
    text = source(name, set())
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None) == 0
    array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if failed:
        sys.exit(f"{name} {options}:\n{log.value.decode()}")
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetPTX(program, ptx)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode(), ptx.value.decode()


def properties(log):
    """Yields name, registers, stack and spilled bytes of each kernel."""
    pattern = re.compile(
        r"Function properties for (\w+)\n\D*(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads\n\D*Used (\d+) registers"
    )
    for name, stack, stores, loads, registers in pattern.findall(log):
        yield name, int(registers), int(stack), int(stores) + int(loads)


def main():
    nvrtc = library()
    architectures = sys.argv[1:] or ARCHITECTURES
    problems, begin = [], time.time()
    files = sorted(os.path.basename(path) for path in glob.glob(f"{KERNELS}/*.cu"))
    for architecture in architectures:
        for file in files:
            attends = file.startswith("attention")
            for head_dim in HEAD_DIMS if attends else [0]:
                options = [f"--gpu-architecture={architecture}", "--std=c++17", "--ptxas-options=-v", "--diag-suppress=177"]
                if attends:
                    options.append(f"-DHEAD_DIM={head_dim}")
                log, ptx = compile_file(nvrtc, file, options)
                found = list(properties(log))
                declared = re.findall(r"^KERNEL\(\d+, \d+\) (\w+)\(", open(f"{KERNELS}/{file}").read(), re.M)
                if sorted(name for name, *_ in found) != sorted(declared):
                    sys.exit(f"{file} declares {declared}, and the assembler tells of {found}:\n{log}")
                for name, registers, stack, spilled in found:
                    what = f"{architecture} {name}" + (f" head_dim {head_dim}" if attends else "")
                    if attends:
                        print(f"{what:48} {registers:4} registers, {stack} bytes of stack, {spilled} spilled")
                    if spilled and head_dim <= NO_SPILLS:
                        problems.append(f"{what}: {spilled} bytes spilled")
                    if stack and not spilled:
                        problems.append(f"{what}: {stack} bytes of local memory")
                    if attends and "mma.sync" not in ptx and name != "attention_shares" and not name.endswith("_f32"):
                        problems.append(f"{what}: no tensor-core instruction")
    print(f"{len(files)} files for {', '.join(architectures)} in {time.time() - begin:.0f} s")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
