"""Which of OpenVINO's kernels run a network of ours, on processors where its own choice is not the fastest."""

import xml.etree.ElementTree as ET
from collections.abc import Collection

# of a layer: the kernels that the CPU plugin tries first (ov::PrimitivesPriority); others follow in its own order
PRIORITY = "primitives_priority"


def has_other_choice(flags: Collection[str]) -> bool:
    """Whether OpenVINO's own choice is not the fastest on a processor with these flags: AVX2 and no AVX-512."""
    return "avx2" in flags and "avx512f" not in flags


def prefer_kernels(xml: bytes, flags: Collection[str]) -> bytes:
    """A network's .xml with the kernels named that are fastest on a processor with these flags; ``xml`` itself where
    OpenVINO's own choice is, or where it cannot be read.

    There OpenVINO 2026.4 runs convolutions by matrix kernels ("brgconv") throughout. Older kernels of
    its own are faster for depthwise layers, for 1x1 layers between them, since both then keep one layout, and for the one
    output channel of a spatial gate. docs/performance.md has by how much.
    """
    if not has_other_choice(flags):
        return xml
    try:
        network = ET.fromstring(xml)
    except ET.ParseError:
        return xml  # OpenVINO says what is wrong with it
    for layer in network.iter("layer"):
        kernel = _kernel(layer)
        if kernel:
            said = layer.find("rt_info")
            if said is None:
                said = ET.Element("rt_info")
                # behind the layer's own settings, where OpenVINO writes it
                layer.insert(1 if layer.find("data") is not None else 0, said)
            ET.SubElement(said, "attribute", {"name": PRIORITY, "version": "0", "value": f"cpu:{kernel}"})
    return bytes(ET.tostring(network))


def _kernel(layer: ET.Element) -> str:
    kind = layer.get("type")
    if kind == "GroupConvolution":
        return "jit_avx2_dw"
    weights = layer.find("input/port[@id='1']")
    if kind != "Convolution" or weights is None:
        return ""
    outputs, _, *window = (int(side.text or 0) for side in weights.findall("dim"))
    if window == [1, 1]:
        return "jit_avx2_1x1"
    return "jit_avx2" if outputs == 1 else ""
