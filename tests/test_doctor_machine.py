"""The doctor on the machine: graphics cards, processor, memory, threads and disk."""

import os

import pytest
from doctor_reports import facts, one

from featherface_core import doctor
from featherface_core.doctor import system as machine
from featherface_core.doctor.checks import DoctorOptions


@pytest.mark.parametrize(
    ("known", "smi", "verdict", "says"),
    [
        ({}, None, "ok", "no NVIDIA GPU"),
        ({"gpu_build": "CUDA 12.8", "devices": ["NVIDIA H100"]}, None, "ok", "CUDA 12.8: NVIDIA H100"),
        ({"mps": True}, None, "ok", "--device mps"),
        ({}, "echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'", "warn", "built for the CPU alone"),
        ({"gpu_build": "CUDA 12.8"}, "echo 'no driver' >&2; exit 9", "warn", "finds no GPU; nvidia-smi: no driver"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the stand-in for nvidia-smi is a shell script")
def test_cuda(monkeypatch, tmp_path, known, smi, verdict, says):
    facts(monkeypatch, **known)
    monkeypatch.setenv("PATH", str(tmp_path))
    if smi:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    finding = one(doctor.run_doctor(only=["cuda"]), "cuda")
    assert finding.verdict == verdict
    assert says in finding.found
    assert bool(finding.fix) == (verdict == "warn")


@pytest.mark.parametrize(
    ("text", "verdict", "says"),
    [
        (
            "model name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f avx512_vnni\n",
            "ok",
            "AMD EPYC: AVX2, AVX-512, AVX-512 VNNI",
        ),
        ("model name : Pentium\nflags : fpu sse4_2\n", "warn", "no AVX2"),
        (
            "processor : 0\nFeatures : fp asimd asimddp i8mm\nModel : Raspberry Pi 5\n",
            "ok",
            "Pi 5: NEON, NEON dot product",
        ),
    ],
)
def test_processors(monkeypatch, tmp_path, text, verdict, says):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    finding = machine.cpu(DoctorOptions())
    assert finding.verdict == verdict
    assert says in finding.found


def test_a_system_without_proc_is_no_failure(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "none")
    assert machine.cpu(DoctorOptions()).verdict == "skip"
    assert machine.memory(DoctorOptions()).verdict in ("ok", "skip")


def test_memory_keeps_to_a_containers_limit(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 33554432 kB\nMemAvailable: 16777216 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "CONTAINER_LIMIT", tmp_path / "limit")
    assert machine.memory(DoctorOptions()).found == "16.0 GiB available of 32.0 GiB"
    (tmp_path / "limit").write_text("max\n")
    assert machine.memory(DoctorOptions()).found == "16.0 GiB available of 32.0 GiB"
    (tmp_path / "limit").write_text(f"{2**29}\n")
    finding = machine.memory(DoctorOptions())
    assert finding.verdict == "warn"
    assert finding.found == "0.5 GiB available of 0.5 GiB, at most 0.5 GiB for this container"


def test_more_threads_than_cores(monkeypatch):
    facts(monkeypatch, threads=4096)
    finding = machine.cores(DoctorOptions())
    assert finding.verdict == "warn"
    assert "OMP_NUM_THREADS=" in finding.fix


def test_a_full_disk_and_a_folder_closed_to_writing(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "LOW_DISK", 2**80)
    assert {f.verdict for f in machine.disk(DoctorOptions())} == {"warn"}

    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("featherface_core.files.tempfile.TemporaryFile", refuse)  # root may write anywhere
    finding = machine.writable(DoctorOptions())
    assert finding.verdict == "warn"
    assert "Permission denied" in finding.found
