"""What the machine's processor and memory can do."""

from featherface_core.bench.child import ChildFailedError, call
from featherface_core.bench.report import Limit

# what the libraries behind NumPy read their number of threads from, when they are loaded
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def measure_limit(threads: int) -> Limit | None:
    """The matrix product and the copy of this machine with ``threads`` threads; None where they cannot be measured."""
    try:
        said = call("run_limit.py", {"threads": threads}, dict.fromkeys(THREADS, str(threads)))
    except ChildFailedError:
        return None
    return Limit(threads, said["macs_per_second"], said["bytes_per_second"])
