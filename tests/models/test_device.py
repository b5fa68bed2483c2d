"""Which device and precision, for machines that we do not have here."""

import pytest

from tunebook import machine
from tunebook.errors import MachineProblem
from tunebook.models.device import Machine, best_gpus, choose_placement
from tunebook.training.settings import machine_settings

T4 = Machine(frozenset({"avx2"}), (7, 5), "Tesla T4")
AMPERE = Machine(frozenset({"avx2"}), (8, 0), "A100")
SAPPHIRE_RAPIDS = Machine(frozenset({"avx2", "avx512f", "avx512_bf16", "amx_bf16"}))
MILAN = Machine(frozenset({"avx2", "fma"}))


@pytest.mark.parametrize(
    ("machine", "device", "weights", "autocast"),
    [
        (T4, "cuda", "float16", "float16"),
        (AMPERE, "cuda", "bfloat16", "bfloat16"),
        (SAPPHIRE_RAPIDS, "cpu", "bfloat16", "bfloat16"),
        (MILAN, "cpu", "float32", ""),
        (Machine(), "cpu", "float32", ""),
        (Machine(has_mps=True), "mps", "float32", ""),
    ],
)
def test_precision_is_what_the_hardware_computes_natively(machine, device, weights, autocast):
    found = choose_placement(machine)
    assert (found.device, found.weights, found.autocast) == (device, weights, autocast)


@pytest.mark.parametrize("machine", [T4, AMPERE, SAPPHIRE_RAPIDS, MILAN])
def test_trained_weights_are_float32_everywhere(machine):
    """A T4's loss scaler fails on half-precision adapters."""
    assert choose_placement(machine).trainable == "float32"


def test_the_reason_names_the_hardware():
    assert "T4" in choose_placement(T4).reason and "7.5" in choose_placement(T4).reason
    assert "amx_bf16" in choose_placement(SAPPHIRE_RAPIDS).reason


def test_a_machine_without_cpuinfo_has_no_flags(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "absent")
    assert machine.cpu_flags.__wrapped__() == frozenset() and machine.cpu_field("model name") == ""


def test_a_trainer_gets_what_its_device_can_do():
    """A Mac has no mixed precision here and no pinned memory, and must not be told to use the CPU."""
    mac = machine_settings(choose_placement(Machine(has_mps=True)))
    assert not (mac["use_cpu"] or mac["bf16"] or mac["fp16"] or mac["dataloader_pin_memory"])
    assert machine_settings(choose_placement(T4))["fp16"] and machine_settings(choose_placement(AMPERE))["bf16"]


def test_free_memory_is_told_and_several_gpus_in_one_process_are_one_sentence():
    assert choose_placement(Machine(free_bytes=7)).free_bytes == 7
    two = Machine(frozenset(), (8, 0), "A100", gpus=2)
    with pytest.raises(MachineProblem, match="sees 2 GPUs.*CUDA_VISIBLE_DEVICES=0"):
        choose_placement(two)


@pytest.mark.parametrize(
    ("free", "visible", "chosen"),
    [([10, 80, 40], "", "1"), ([10, 80, 40], "2,0", "2"), ([10, 80], "MIG-1,MIG-2", "MIG-1"), ([10, 10], "", "0")],
)
def test_the_gpu_with_most_free_memory_is_shown(free, visible, chosen):
    assert best_gpus(free, visible) == chosen
