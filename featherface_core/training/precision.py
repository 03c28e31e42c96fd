"""In which precision a device trains."""

import torch


def autocast_type(kind: str, device: torch.device) -> torch.dtype | None:
    """What autocast computes in for MachineConfig.amp ``kind``; None for float32 throughout."""
    if kind == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]


def has_bfloat16() -> bool:
    """Whether this processor has what oneDNN's bfloat16 kernels need."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
