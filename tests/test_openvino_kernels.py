"""Kernels are named for the layers and the processors that they are faster for, and nothing else changes."""

import xml.etree.ElementTree as ET

import pytest

from featherface_core.detect.openvino import PRIORITY, prefer_kernels

AVX2 = {"avx2", "fma"}


def layer(name: str, kind: str, *weights: int, more: str = "") -> str:
    dims = "".join(f"<dim>{side}</dim>" for side in weights)
    ports = f'<input><port id="0"><dim>1</dim></port><port id="1">{dims}</port></input>' if weights else ""
    return f'<layer id="0" name="{name}" type="{kind}" version="opset1"><data strides="1, 1" />{more}{ports}</layer>'


LAYERS = {
    "depthwise": (layer("depthwise", "GroupConvolution", 8, 1, 1, 3, 3), "cpu:jit_avx2_dw"),
    "pointwise": (layer("pointwise", "Convolution", 16, 8, 1, 1), "cpu:jit_avx2_1x1"),
    "one pointwise": (layer("one pointwise", "Convolution", 1, 8, 1, 1), "cpu:jit_avx2_1x1"),
    "gate": (layer("gate", "Convolution", 1, 2, 7, 7), "cpu:jit_avx2"),
    "plain": (layer("plain", "Convolution", 8, 8, 3, 3), None),
    "wide": (layer("wide", "Convolution", 8, 8, 1, 7), None),
    "other": (layer("other", "MaxPool"), None),
    "told": (
        layer("told", "Convolution", 16, 8, 1, 1, more='<rt_info><attribute name="x" version="0" /></rt_info>'),
        "cpu:jit_avx2_1x1",
    ),
}
SAID = '<rt_info><featherface value="{&quot;a&quot;: 1}" /></rt_info>'
NETWORK = f'<net name="n"><layers>{"".join(text for text, _ in LAYERS.values())}</layers>{SAID}</net>'.encode()


def test_each_kind_of_layer() -> None:
    made = ET.fromstring(prefer_kernels(NETWORK, AVX2))
    found = {
        each.get("name"): [
            (said.get("value"), said.get("version")) for said in each.iter("attribute") if said.get("name") == PRIORITY
        ]
        for each in made.iter("layer")
    }
    assert found == {name: [(kernel, "0")] if kernel else [] for name, (_, kernel) in LAYERS.items()}


def test_nothing_else_changes() -> None:
    made = ET.fromstring(prefer_kernels(NETWORK, AVX2))
    for each in made.iter("layer"):
        for said in each.findall("rt_info"):
            for attribute in said.findall(f"attribute[@name='{PRIORITY}']"):
                said.remove(attribute)
            if not len(said):
                each.remove(said)
    assert ET.canonicalize(ET.tostring(made)) == ET.canonicalize(NETWORK.decode())


@pytest.mark.parametrize("flags", [set(), {"sse4_2"}, {"avx2", "avx512f"}, {"asimd"}])
def test_other_processors_have_openvinos_choice(flags: set[str]) -> None:
    assert prefer_kernels(NETWORK, flags) is NETWORK


def test_what_is_no_network_is_left_to_openvino() -> None:
    assert prefer_kernels(b"<net", AVX2) == b"<net"
