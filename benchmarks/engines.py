"""How many X-rays a second does the default backbone look at, asked through each engine at hand?

    python benchmarks/engines.py [--images 48] [--rounds 11]

Prints one line of JSON for each engine. All are asked in turn in one process, several times, and
the median time counts: PyTorch's differ by a quarter from round to round.
`ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2` before the command imitates a processor without
AVX-512; PyTorch and OpenVINO obey that, ONNX Runtime does not.
"""

import argparse
import json
import os
import platform
import tempfile
import time
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cxr_tutorial.cache.engines import _compiled, _converted, _in_pytorch, relative_error
from cxr_tutorial.environment import choose_precision
from cxr_tutorial.models import BACKBONES, make_backbone
from cxr_tutorial.phantom.anatomy import sample_patient
from cxr_tutorial.phantom.imaging import radiograph

CPU, SIZE, NAME = torch.device("cpu"), 224, "efficientnet_lite0"
TODAY = "PyTorch, channels last, batches of 16"  # the fastest way without another library
HELD = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}  # imitates an older processor


def processor() -> str:
    "Its name, its cores, and the instructions that count here."
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    kind = torch.backends.cpu.get_cpu_capability()
    short = ", bfloat16" if choose_precision(CPU) == torch.bfloat16 else ""
    held = ", held to AVX2" if os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2" else ""
    return f"{name}, {os.cpu_count()} cores, {kind}{short}{held}"


def xrays(number: int) -> torch.Tensor:
    "Simulated X-rays, ready for the backbone."
    shown = [radiograph(sample_patient(k), rng=k, size=(SIZE, SIZE)).image for k in range(number)]
    mean, std = BACKBONES[NAME].normalisation
    images = torch.from_numpy(np.stack(shown))[:, None].float().div(255).sub(mean[0]).div(std[0])
    return images.expand(-1, 3, -1, -1).contiguous()


def plain(network: nn.Module):
    "As tutorials do it: batches of 32, 32 bits."

    def ask(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([network(part) for part in images.split(32)])

    return ask


def onnx_runtime(network: nn.Module):
    "By way of an ONNX file; one image at a time was fastest."
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this way of writing it is called old-fashioned
        file, example = f"{folder}/network.onnx", torch.zeros(2, 3, SIZE, SIZE)
        names = {"input_names": ["images"], "dynamic_axes": {"images": {0: "n"}}}
        torch.onnx.export(network, (example,), file, dynamo=False, **names)
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def ask(images: torch.Tensor) -> torch.Tensor:
        few = [part.numpy() for part in images.split(1)]
        return torch.from_numpy(np.concatenate([session.run(None, {"images": x})[0] for x in few]))

    return ask


def ways() -> dict:
    "A function for each engine, and each number format that the processor has."
    usual, ready = (make_backbone(NAME)[0].eval() for _ in range(2))
    ready.to(memory_format=torch.channels_last)
    kinds = {torch.float32: "32 bits", torch.bfloat16: "bfloat16"}
    formats = dict.fromkeys((torch.float32, choose_precision(CPU)))
    found = {"PyTorch as tutorials run it, 32 bits": plain(usual)}
    for precision in formats:
        found[f"{TODAY}, {kinds[precision]}"] = _in_pytorch(ready, CPU, precision)
    held = os.environ.get("ONEDNN_MAX_CPU_ISA")
    if find_spec("onnxruntime") and find_spec("onnx") and not held:
        found[f"ONNX Runtime {version('onnxruntime')}, 32 bits"] = onnx_runtime(usual)
    if find_spec("openvino"):
        model = _converted(usual, (3, SIZE, SIZE))
        for precision in formats:
            name = f"OpenVINO {version('openvino')}, {kinds[precision]}"
            found[name] = _compiled(model, precision)
    return found


def measure(number: int, rounds: int) -> list[dict]:
    "Images per second of each engine, and how far its answers are from PyTorch's in 32 bits."
    images, asked = xrays(number), ways()
    exact, *_ = (ask(images) for ask in asked.values())
    taken, errors = {name: [] for name in asked}, {}
    for _ in range(rounds):
        for name, ask in asked.items():
            start = time.perf_counter()
            found = ask(images)
            taken[name].append(time.perf_counter() - start)
            errors[name] = relative_error(found, exact)
    usual = {name: float(np.median(times)) for name, times in taken.items()}
    today = usual[f"{TODAY}, 32 bits"]
    return [
        {
            "engine": name,
            "processor": processor(),
            "images/s": number / usual[name],
            "gain": today / usual[name],
            "error": errors[name],
        }
        for name in asked
    ]


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--images", type=int, default=48)
    arguments.add_argument("--rounds", type=int, default=11)
    arguments.add_argument("--processor", action="store_true", help="only say which this is")
    options = arguments.parse_args()
    if options.processor:
        print(processor())
        raise SystemExit
    for line in measure(options.images, options.rounds):
        print(json.dumps(line), flush=True)
