"""Which device and precision, for machines that we do not have here."""

import pytest

from tunebook import machine
from tunebook.models.device import Machine, choose_placement

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
