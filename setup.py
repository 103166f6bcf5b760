# SPDX-License-Identifier: LGPL-2.1-or-later
"""What pyproject.toml can't say: the compiled parts of the wheel."""

import glob
import shutil
import subprocess
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

# It has no stable ABI yet.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

# Where the package keeps what it carries beside the extension.
CARRIED = {
    "networking-config": "bin/networking-config",
    "libncf.so.0": "lib/libncf.so.0",
}

# Where manual and shells look below the prefix; under /usr/local all of them do.
SHARED = {
    "share/man/man8": "docs/man/*.8",
    "share/bash-completion/completions": "completion/bash/*",
    "share/zsh/site-functions": "completion/zsh/*",
    "share/fish/vendor_completions.d": "completion/fish/*",
}


class BuildAll(build_ext):
    """Build the extension, and with make the helper and the C library."""

    def run(self) -> None:
        super().run()
        made = Path(self.build_temp, "host")
        try:
            subprocess.run(
                ["make", f"BUILD={made}", *(str(made / name) for name in CARRIED)], check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(f"make could not build the helper and libncf: {error}") from error
        for name, place in CARRIED.items():
            self._carry(made / name, place)
        self._carry(Path("csrc/ncf.h"), "include/ncf.h")
        for file in Path("initscript").rglob("*"):
            if file.is_file():
                self._carry(file, str(file))

    def _carry(self, source: Path, place: str) -> None:
        target = Path("" if self.inplace else self.build_lib, "netcf_py", place)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


setup(
    data_files=[(place, sorted(glob.glob(files))) for place, files in SHARED.items()],
    cffi_modules=["build_ffi.py:ffi"],
    cmdclass={"build_ext": BuildAll},
    options={
        "build": {"build_base": "build/python"},
        "bdist_wheel": {} if FREE_THREADED else {"py_limited_api": "cp39"},
    },
    zip_safe=False,
)
