"""Engines for frozen networks: the same answers, in every process, and PyTorch without them."""

import multiprocessing
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from torch import nn

from cxr_tutorial.cache import engines
from cxr_tutorial.cache.engines import (
    FEW,
    TOLERANCE,
    ask_network,
    engine_for,
    is_standard,
    relative_error,
)
from cxr_tutorial.cache.features import cached_features, features_name
from cxr_tutorial.cache.images import cached_image_loader
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.environment import choose_engine, choose_precision, environment_report
from cxr_tutorial.models import BACKBONES, make_backbone
from cxr_tutorial.phantom.anatomy import sample_patient
from cxr_tutorial.phantom.cohort import write_cohort
from cxr_tutorial.phantom.imaging import radiograph

CPU, SIDE = torch.device("cpu"), 96
openvino = pytest.importorskip("openvino", reason="the extra [fast] is not installed")


def backbone(name: str, seed: int = 0) -> nn.Module:
    "ImageNet weights where they are installed; random ones otherwise."
    torch.manual_seed(seed)
    return make_backbone(name, pretrained=name == "efficientnet_lite0")[0].eval()


def phantoms(name: str, number: int = 6) -> torch.Tensor:
    "Simulated X-rays as a network expects them."
    shown = [radiograph(sample_patient(k), rng=k, size=(SIDE, SIDE)).image for k in range(number)]
    mean, std = (torch.tensor(part)[:, None, None] for part in BACKBONES[name].normalisation)
    images = torch.from_numpy(np.stack(shown))[:, None].float() / 255
    return (images.expand(-1, 3, -1, -1) - mean) / std


def openvino_here() -> str:
    return f"openvino {openvino.get_version().split('-')[0]}"


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("engine", ["pytorch", "openvino"])
@pytest.mark.parametrize("name", BACKBONES)
def test_an_engine_gives_the_features_of_pytorch(name, engine, precision, monkeypatch):
    "Within 1e-4 in 32 bits; within 1e-2 where the processor has bfloat16."
    if precision != torch.float32 and choose_precision(CPU) != precision:
        pytest.skip("this processor has no bfloat16")
    monkeypatch.setattr("cxr_tutorial.cache.engines.choose_precision", lambda device: precision)
    network, images = backbone(name), phantoms(name)
    with torch.inference_mode():
        exact = network(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it must not fall back
        found = ask_network(network, (3, SIDE, SIDE), engine, CPU)(images)
    assert found.dtype == torch.float32 and found.shape == exact.shape
    assert relative_error(found, exact) <= TOLERANCE[precision]
    assert not (exact == found).all() or engine == "pytorch"  # something else has computed


def test_a_number_format_that_a_network_does_not_bear_is_not_used():
    "The default backbone in bfloat16 is several per cent off; ResNet-18 is not."
    if choose_precision(CPU) != torch.bfloat16:
        pytest.skip("this processor has no bfloat16")
    errors = {}
    for name in ("efficientnet_lite0", "resnet18"):
        network, images = backbone(name), phantoms(name)
        with torch.inference_mode():
            exact = network(images)
            with torch.autocast("cpu", torch.bfloat16):
                short = network(images)
        for engine in ("pytorch", "openvino"):
            found = ask_network(network, (3, SIDE, SIDE), engine, CPU)(images)
            errors[name, engine] = relative_error(found, exact)
        errors[name, "short"] = relative_error(short, exact)
    assert errors["efficientnet_lite0", "short"] > 2e-2
    assert errors["efficientnet_lite0", "pytorch"] < 1e-4
    assert errors["efficientnet_lite0", "openvino"] < 1e-4
    assert 1e-3 < errors["resnet18", "pytorch"] < 1e-2
    assert 1e-3 < errors["resnet18", "openvino"] < 1e-2


@pytest.mark.parametrize("side", [256, 64, 24])  # one image at a time, 12, and all at once
def test_each_image_gets_its_own_answer(side):
    "However many threads answer at the same time, and whichever is ready first."
    network, before = backbone("resnet18", 3), torch.get_num_threads()
    images = torch.stack([one * torch.ones(3, side, side) for one in torch.linspace(-2, 2, 29)])
    torch.set_num_threads(2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it must not fall back
            found = ask_network(network, (3, side, side), openvino_here(), CPU)(images)
    finally:
        torch.set_num_threads(before)
    with torch.inference_mode():
        exact = network(images)
    nearest = torch.cdist(found, exact).argmin(dim=1)
    assert nearest.tolist() == list(range(29))


DROPPED = """
import openvino
import torch
from torch import nn
from cxr_tutorial.cache import engines
torch.set_num_threads(2)
network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
model = engines._converted(network, (3, 224, 224))
images = engines.probe_images((3, 224, 224)).repeat(4, 1, 1, 1)
for _ in range(250):
    engines._compiled(model, torch.float32)(images)  # dropped as soon as it has answered
print("all dropped")


def refuse(*arguments):
    raise RuntimeError("an answer would call back into Python")


openvino.AsyncInferQueue.set_callback = openvino.InferRequest.set_callback = refuse
engines._compiled(model, torch.float32)(images)
print("without calling back")
"""


def test_a_network_that_has_answered_can_be_dropped():
    "With answers that called back into Python, one in 300 waited for ever for its own threads."
    command = [sys.executable, "-c", DROPPED]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    except subprocess.TimeoutExpired:
        pytest.fail("a network waits for ever while it is dropped")
    assert done.stdout == "all dropped\nwithout calling back\n", done.stderr[-500:]


def test_the_answer_is_of_the_weights_as_they_were():
    "Weights that change afterwards change no answer of before, and get one of their own."
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images, engine = torch.rand(4, 3, 32, 32), openvino_here()
    ask = ask_network(network, (3, 32, 32), engine, CPU)
    before = ask(images)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(2.0)
    assert torch.equal(ask(images), before)
    after = ask_network(network, (3, 32, 32), engine, CPU)(images)
    assert torch.allclose(after, 2 * before, rtol=1e-2, atol=1e-3)


def small_network():
    layers = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers).eval()


@pytest.fixture
def conversions(monkeypatch, tmp_path):
    "How often a network was converted, with an empty cache folder and nothing remembered."
    counted, convert = [], engines._converted

    def count(network, shape):
        counted.append(shape)
        return convert(network, shape)

    monkeypatch.setenv("CXR_CACHE", str(tmp_path))
    monkeypatch.setattr(engines, "_converted", count)
    return counted


def asked_anew(network, side=32):
    "Answers, as another process would find them. Falling back to PyTorch is an error."
    engines._LAST.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = torch.linspace(-1, 1, 4 * 3 * side * side).reshape(4, 3, side, side)
        return ask_network(network, (3, side, side), openvino_here(), CPU)(images)


def test_a_network_is_converted_once(conversions, tmp_path):
    network = small_network()
    first = asked_anew(network)
    assert torch.equal(asked_anew(network), first)
    assert conversions == [(3, 32, 32)]
    asked_anew(network, side=64)
    with torch.no_grad():
        network[0].weight.add_(1)
    assert not torch.allclose(asked_anew(network), first)
    assert len(conversions) == 3
    assert (tmp_path / "networks").stat().st_mode & 0o077 == 0  # weights may tell of patients


@pytest.mark.parametrize("damage", ["cut", "altered", "empty", "text", "other"])
def test_a_damaged_network_is_converted_again(damage, conversions, tmp_path):
    network = small_network()
    first = asked_anew(network)
    (file,) = (tmp_path / "networks").glob("*.npz")
    content = bytearray(file.read_bytes())
    if damage == "altered":
        content[len(content) // 2] ^= 0xFF
    new = {"cut": content[:-200], "altered": content, "empty": b"", "text": b"no network"}
    if damage == "other":
        np.savez(file, xml=np.zeros(9, np.uint8), bin=np.zeros(9, np.uint8))
    else:
        file.write_bytes(new[damage])
    assert torch.equal(asked_anew(network), first)
    assert torch.equal(asked_anew(network), first)
    assert len(conversions) == 2


def test_the_last_networks_are_kept(conversions, tmp_path):
    networks = [small_network() for _ in range(engines._KEPT + 2)]
    for network in networks:
        asked_anew(network)
        for file in (tmp_path / "networks").glob("*.npz"):  # some clocks tick slowly
            os.utime(file, (file.stat().st_mtime - 10,) * 2)
    assert len(list((tmp_path / "networks").iterdir())) == engines._KEPT
    asked_anew(networks[-1])
    assert len(conversions) == len(networks)
    asked_anew(networks[0])
    assert len(conversions) == len(networks) + 1


def test_a_full_disk_changes_no_answer(conversions, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no space left on device")  # as OpenVINO says it

    network = small_network()
    monkeypatch.setattr(openvino, "save_model", fails)
    assert torch.equal(asked_anew(network), asked_anew(network))
    assert len(conversions) == 2


def test_a_network_that_cannot_be_kept_is_asked_all_the_same(conversions, tmp_path):
    (tmp_path / "networks").write_text("a file where the folder should be")
    network = small_network()
    assert torch.equal(asked_anew(network), asked_anew(network))
    assert len(conversions) == 2


class Own(nn.Module):
    def forward(self, images):
        return images.mean((2, 3)) if images.mean() > 0 else images.amax((2, 3))


class Shifting(nn.Module):
    "Standard by its name alone: its answer depends on the number of calls."

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return images.mean((2, 3)) + 1000 * self.calls


Shifting.__module__ = "torch.nn"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("own", "own"), ("hook", "own"), ("differs", "differ"), ("converter", "cannot convert this")],
)
def test_what_cannot_be_converted_stays_in_pytorch_and_says_so_in_a_line(kind, reason, monkeypatch):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    if kind == "own":
        network = Own().eval()
    if kind == "hook":
        network.register_forward_hook(lambda module, inputs, outputs: outputs + 1)
    if kind == "differs":
        network = Shifting().eval()
        assert is_standard(network)
    if kind == "converter":

        def fails(*_):
            raise RuntimeError("cannot convert this\nand many more lines")

        monkeypatch.setattr("cxr_tutorial.cache.engines._converted", fails)
    with pytest.warns(UserWarning) as said:
        ask = ask_network(network, (3, 32, 32), openvino_here(), CPU)
    assert len(said) == 1
    text = str(said[0].message)
    assert reason in text and "PyTorch" in text and "\n" not in text
    images = torch.rand(3, 3, 32, 32)
    assert ask(images).shape[0] == 3


def test_a_conversion_tells_nobody(monkeypatch):
    "openvino's own `convert_model` reports each conversion to its makers."
    telemetry = pytest.importorskip("openvino_telemetry")
    sent = []
    for name in ("send_event", "start_session", "send_error", "__init__"):
        monkeypatch.setattr(telemetry.Telemetry, name, lambda *_, **__: sent.append(1))
    ask_network(backbone("resnet18", 7), (3, 64, 64), openvino_here(), CPU)
    assert not sent


def test_random_numbers_stay_the_same():
    network = backbone("efficientnet_lite0")
    for engine in ("pytorch", openvino_here()):
        torch.manual_seed(5)
        state = torch.get_rng_state()
        ask_network(network, (3, 64, 64), engine, CPU)
        assert torch.equal(torch.get_rng_state(), state)


def test_the_setting(monkeypatch):
    "Few images stay in PyTorch; `CXR_ENGINE` overrules that, in both directions."
    monkeypatch.delenv("CXR_ENGINE", raising=False)
    assert engine_for(FEW - 1, CPU) == engine_for(4 * FEW - 1, CPU, 112 * 112) == "pytorch"
    assert engine_for(FEW, CPU) == engine_for(4 * FEW, CPU, 112 * 112) == openvino_here()
    monkeypatch.setenv("CXR_ENGINE", "openvino")
    assert engine_for(1, CPU) == openvino_here()
    monkeypatch.setenv("CXR_ENGINE", "pytorch")
    assert engine_for(10_000, CPU) == "pytorch"
    assert environment_report().value["engine"] == "pytorch"
    monkeypatch.setenv("CXR_ENGINE", "tensorflow")
    with pytest.raises(ValueError, match=r"tensorflow.*openvino"):
        choose_engine(CPU)


def test_a_processor_can_be_imitated(monkeypatch):
    "With oneDNN held to AVX2, there is no bfloat16."
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert choose_precision(CPU) == torch.float32


def test_the_engine_is_part_of_the_name_and_not_of_the_result(tmp_path, monkeypatch):
    write_cohort(tmp_path / "set", patients=12, size=(64, 64), fractions={"train": 1.0})
    images = cached_image_loader(read_folder(tmp_path / "set"), 64)
    network = backbone("mobilenet_v2")
    names, features = {}, {}
    for engine in ("pytorch", "openvino"):
        monkeypatch.setenv("CXR_ENGINE", engine)
        names[engine] = features_name(network, images, CPU)
        features[engine] = torch.from_numpy(cached_features(network, images, CPU).arrays()[0])
    assert names["pytorch"] != names["openvino"]
    assert relative_error(features["openvino"], features["pytorch"]) < 2e-2
    assert not torch.equal(features["openvino"], features["pytorch"])


WITHOUT = """
import sys
sys.modules["openvino"] = None  # as if it were not installed
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "openvino" else found(name, *rest)
import torch
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.environment import choose_engine, environment_report
from cxr_tutorial.cache.engines import ask_network, engine_for
from cxr_tutorial.study.study import run_study
cpu = torch.device("cpu")
assert choose_engine(cpu) == engine_for(10_000, cpu) == "pytorch"
assert environment_report().value["engine"] == "pytorch"
network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
assert ask_network(network, (3, 8, 8), "pytorch", cpu)(torch.rand(5, 3, 8, 8)).shape == (5, 3)
import os
os.environ["CXR_ENGINE"] = "openvino"
try:
    choose_engine(cpu)
except ModuleNotFoundError as error:
    assert "[fast]" in str(error)
    print("works without")
"""


def test_the_library_works_without_it():
    told = {**os.environ, "CXR_ENGINE": ""}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, env=told, timeout=300
    )
    assert done.stdout.strip() == "works without", done.stderr


def test_it_is_not_loaded_before_it_is_needed():
    code = "import sys, cxr_tutorial.cache.features as f; print('openvino' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "False", done.stderr


def small() -> nn.Module:
    "The same network in every process."
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    for weight in network.parameters():
        nn.init.constant_(weight, 0.1)
    return network.eval()


def ask_small(size: int) -> np.ndarray:
    "In a process or thread of its own: convert, compile, ask."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a forked process says that it stays in PyTorch
        ask = ask_network(small(), (3, size, size), openvino_here(), CPU)
    return ask(torch.ones(50, 3, size, size)).numpy()


@pytest.mark.parametrize("how", ["loky", "threading"])
def test_processes_and_threads_do_not_hang(how):
    sizes = [32, 64, 32, 64]
    here = [ask_small(size) for size in sizes]
    found = Parallel(n_jobs=2, backend=how, timeout=240)(delayed(ask_small)(s) for s in sizes)
    for one, other in zip(found, here, strict=True):
        assert np.allclose(one, other, rtol=1e-2)


FORK = """
import multiprocessing, sys
sys.path.insert(0, sys.argv[1])
from test_engines import ask_small, np, torch
torch.set_num_threads(1)  # PyTorch's own threads are not there either
here = ask_small(32)
context = multiprocessing.get_context("fork")
answers = context.Queue()
child = context.Process(target=lambda: answers.put(ask_small(32)))
child.start()
assert np.allclose(answers.get(timeout=100), here, rtol=1e-2)
child.join()
print("both have answered")
"""


def test_a_forked_process_does_not_wait_for_threads_that_it_does_not_have():
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system does not fork")
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.strip() == "both have answered", done.stderr
