"""Which environment variables reach the processes that compute: workers, judges, ceilings, the suite of checks.

A variable may slow one library down and no other, and whoever reads the table would not know. So what passes
is listed here, and nothing else does. Results have the names of all that passes, and the values of what
could change figures; of what does not pass they have names alone, since a value may be a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from nnbench.texts import recordable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


class Group(NamedTuple):
    """Variables that pass for the same reason."""

    reason: str
    names: str  #: with blanks; a * at the end of one stands for any rest
    counts: bool = False  #: whether values could change figures, so that results have them

    def has(self, name: str) -> bool:
        """Tell whether a variable is one of them."""
        return any(
            name.startswith(each[:-1]) if each.endswith("*") else name == each
            for each in self.names.split()
        )


PASSED = (
    Group("where programs lie", "PATH"),
    Group(
        "where native libraries lie",
        "LD_LIBRARY_PATH DYLD_LIBRARY_PATH DYLD_FALLBACK_LIBRARY_PATH CUDA_HOME CUDA_PATH",
        counts=True,
    ),
    Group("who the user is", "HOME USER LOGNAME"),
    Group("folders of the user's, caches among them", "TMPDIR TEMP TMP XDG_*"),
    Group("caches of compiled code", "NUMBA_CACHE_DIR TRITON_CACHE_DIR CUDA_CACHE_PATH"),
    Group("language and time zone", "LANG LANGUAGE LC_* TZ"),
    Group("compilers", "CC CXX SDKROOT DEVELOPER_DIR", counts=True),
    Group(
        "devices",
        "CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES",
        counts=True,
    ),
    Group(
        "where Python finds modules",
        "PYTHONPATH PYTHONHOME PYTHONUSERBASE PYTHONNOUSERSITE PYTHONSAFEPATH PYTHONPYCACHEPREFIX "
        "PYTHONDONTWRITEBYTECODE VIRTUAL_ENV CONDA_PREFIX",
    ),
    Group(
        "what Python writes, and how",
        "PYTHONUTF8 PYTHONIOENCODING PYTHONCOERCECLOCALE PYTHONWARNINGS PYTHONUNBUFFERED",
    ),
    Group("nnbench's own", "NNBENCH_*"),
)
KEPT_BACK = "NNBENCH_HTTP_"  #: an observer's address and key, which no backend is to see
INHERIT = "NNBENCH_INHERIT"  #: names of more variables to hand on, with commas
LEAKS = {"PYTHONPATH", "PYTHONHOME"}  #: they would put this interpreter's packages into another

#: What nnbench sets itself, whatever the user has set: the threads that a cell was given.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",  # XLA's
)
COMPILED = "TORCHINDUCTOR_CACHE_DIR"  #: likewise: where that keeps what it has compiled

#: How names begin by which compilers, pools, BLAS libraries, loaders, allocators and Python itself are tuned.
TUNING = (
    "OMP_ GOMP_ KMP_ TBB_ NPROC OPENBLAS_ GOTO_ MKL_ BLIS_ VECLIB_ NPY_ NUMEXPR_ SKLEARN_ JOBLIB_ ONEDNN_ "
    "DNNL_ NVPL_ ATEN_ TORCH PYTORCH_ TRITON_ NUMBA_ JAX_ XLA_ KERAS_ TF_XLA_ TF_NUM_ TF_ENABLE_ TF_DISABLE_ "
    "TF_GPU_ TF_FORCE_ TF_USE_ TF_CU CUDA_ CUBLAS CUDNN_ NCCL_ NVIDIA_TF32_ LD_ DYLD_ GLIBC_TUNABLES "
    "MALLOC_ MIMALLOC_ TCMALLOC_ _RJEM_ PYTHON_GIL PYTHON_JIT PYTHON_CPU_COUNT PYTHON_TLBC PYTHON_PERF "
    "PYTHONPERF PYTHONOPTIMIZE PYTHONMALLOC PYTHONDEVMODE PYTHONDEBUG PYTHONTRACEMALLOC PYTHONHASHSEED"
)
SAYS_NOTHING = "VERSION"  #: how names end in which images of containers say what they hold


def handed_on(
    environment: Mapping[str, str], named: Collection[str] = (), python: str | None = None
) -> dict[str, str]:
    """Return those variables that pass.

    Parameters
    ----------
    environment
        All of the user's.
    named
        Names that pass besides: those that a backend says it reads.
    python
        The interpreter that gets them, if it is another than this one.
    """
    more = {*named, *asked(environment)}
    return {
        name: value
        for name, value in environment.items()
        if (name in more or _group(name)) and not (python and name in LEAKS)
    }


def all_for_another(environment: Mapping[str, str]) -> dict[str, str]:
    """Return all variables for another interpreter, in which nothing is timed: builds take proxies and keys."""
    return {name: value for name, value in environment.items() if name not in LEAKS}


def dropped(environment: Mapping[str, str], named: Collection[str] = ()) -> list[str]:
    """Return the names of those that are set and do not pass, sorted; nnbench sets some of them itself."""
    kept = {*handed_on(environment, named), *THREAD_VARIABLES, COMPILED}
    return sorted(map(recordable, environment.keys() - kept))


def noted(handed: Mapping[str, str], named: Collection[str] = ()) -> dict[str, str | None]:
    """Return what results say of variables that passed: values of what could change figures, else None."""
    more = {*named, *asked(handed)}
    return {
        recordable(name): recordable(value) if name in more or _counts(name) else None
        for name, value in sorted(handed.items())
    }


def tuning(names: Iterable[str], libraries: Iterable[str] = ()) -> list[str]:
    """Return those by which something is tuned, as far as names tell: some libraries, and all that is in TUNING."""
    own = (re.sub(r"\W", "_", name).upper() + "_" for name in libraries)
    starts = (*TUNING.split(), *own)
    return [name for name in names if name.startswith(starts) and not name.endswith(SAYS_NOTHING)]


def why_missing(name: str) -> str:
    """Say what a variable takes to be handed on."""
    return f"{name} is set, and handed on only where {INHERIT} or Backend.environment names it"


def for_threads(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return an environment for a process with so many threads."""
    return {**environment, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def asked(environment: Mapping[str, str]) -> set[str]:
    """Return the names that the user wants handed on."""
    return set(filter(None, map(str.strip, environment.get(INHERIT, "").split(","))))


def _group(name: str) -> Group | None:
    """Return the group that lets a variable pass."""
    if name.startswith(KEPT_BACK):
        return None
    return next((group for group in PASSED if group.has(name)), None)


def _counts(name: str) -> bool:
    group = _group(name)
    return group is not None and group.counts
