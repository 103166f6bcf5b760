"""make install, and programs compiled against what it installed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lib import tree
from lib.build import Products

from .tools import REPO, VERSION, links, make, need, run

HERE = Path(__file__).parent
FILE = "etc/network/interfaces"
COMPLETIONS = [
    "bash-completion/completions/netcf",
    "bash-completion/completions/networking-config",
    "fish/vendor_completions.d/netcf.fish",
    "fish/vendor_completions.d/networking-config.fish",
    "zsh/site-functions/_netcf",
    "zsh/site-functions/_networking-config",
]
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")


@pytest.fixture
def prefix(products: Products, tmp_path: Path) -> Path:
    """A prefix with everything installed in it."""
    prefix = tmp_path / "prefix"
    make(products.directory, f"PREFIX={prefix}", "install")
    return prefix


@pytest.fixture
def host(root: Path) -> Path:
    """A host with something in scope."""
    tree.realistic(root)
    return root


def pkg_config(prefix: Path, *arguments: str) -> list[str]:
    """What pkg-config answers about ncf, word by word."""
    need("pkg-config")
    return run(
        "pkg-config", *arguments, "ncf", PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig")
    ).split()


def installed(top: Path) -> dict[str, str]:
    """Every file below `top` with its mode, or where it links to."""
    found = {}
    for directory, _, files in os.walk(top):
        for name in files:
            path = Path(directory, name)
            mode = os.lstat(path).st_mode
            what = os.readlink(path) if stat.S_ISLNK(mode) else oct(stat.S_IMODE(mode))
            found[str(path.relative_to(top))] = what
    return found


def test_install_puts_everything_in_its_place(products: Products, tmp_path: Path) -> None:
    """With DESTDIR all goes below it, with paths that do not name it."""
    make(products.directory, f"DESTDIR={tmp_path}", "PREFIX=/usr", "INIT=", "install")
    expected = {
        "usr/sbin/networking-config": "0o755",
        "usr/lib/libncf.so.0": "0o755",
        "usr/lib/libncf.so": "libncf.so.0",
        "usr/lib/libncf.a": "0o644",
        "usr/lib/libnetcf-change.so": "0o755",
        "usr/lib/pkgconfig/ncf.pc": "0o644",
        "usr/include/ncf.h": "0o644",
        **{f"usr/share/man/man8/{page.name}": "0o644" for page in (REPO / "docs/man").iterdir()},
        **{f"usr/share/{place}": "0o644" for place in COMPLETIONS},
    }
    assert installed(tmp_path) == expected
    assert str(tmp_path) not in (tmp_path / "usr/lib/pkgconfig/ncf.pc").read_text()


def test_each_directory_can_be_chosen(products: Products, tmp_path: Path) -> None:
    """SBINDIR, LIBDIR, INCLUDEDIR, MANDIR and the others are each their own."""
    make(
        products.directory,
        f"DESTDIR={tmp_path}",
        "SBINDIR=/s",
        "LIBDIR=/l/multi-arch",
        "INCLUDEDIR=/i",
        "MANDIR=/m",
        "UNITDIR=/u",
        "BASHDIR=/b",
        "ZSHDIR=/z",
        "FISHDIR=/f",
        "INIT=systemd",
        "install",
    )
    pages = {f"m/man8/{page.name}" for page in (REPO / "docs/man").iterdir()}
    assert pages
    assert sorted(installed(tmp_path).keys() - pages) == [
        "b/netcf",
        "b/networking-config",
        "f/netcf.fish",
        "f/networking-config.fish",
        "i/ncf.h",
        "l/multi-arch/libncf.a",
        "l/multi-arch/libncf.so",
        "l/multi-arch/libncf.so.0",
        "l/multi-arch/libnetcf-change.so",
        "l/multi-arch/pkgconfig/ncf.pc",
        "s/networking-config",
        "u/multi-user.target.wants/networking-config.service",
        "u/networking-config-soft-reboot.service",
        "u/networking-config.service",
        "u/soft-reboot.target.wants/networking-config-soft-reboot.service",
        "z/_netcf",
        "z/_networking-config",
    ]
    module = (tmp_path / "l/multi-arch/pkgconfig/ncf.pc").read_text()
    assert "libdir=/l/multi-arch\n" in module
    assert "includedir=/i\n" in module


def test_each_init_gets_its_files(products: Products, tmp_path: Path) -> None:
    """INIT says whose; each file names the helper where it was installed."""
    expected = {
        "systemd": {
            "usr/lib/systemd/system/networking-config.service": "0o644",
            "usr/lib/systemd/system/multi-user.target.wants/networking-config.service": (
                "../networking-config.service"
            ),
            "usr/lib/systemd/system/networking-config-soft-reboot.service": "0o644",
            "usr/lib/systemd/system/soft-reboot.target.wants/networking-config-soft-reboot.service": (
                "../networking-config-soft-reboot.service"
            ),
        },
        "sysv": {"etc/init.d/networking-config": "0o755"},
        "openrc": {
            "etc/init.d/networking-config": "0o755",
            "etc/runlevels/boot/networking-config": "/etc/init.d/networking-config",
        },
        "runit": {"etc/runit/core-services/04-networking-config.sh": "0o644"},
        "dracut": {
            "usr/lib/dracut/modules.d/90networking-config/module-setup.sh": "0o755",
            "usr/lib/dracut/modules.d/90networking-config/rollback.sh": "0o755",
        },
        "initramfs-tools": {
            "etc/initramfs-tools/hooks/networking-config": "0o755",
            "etc/initramfs-tools/scripts/init-bottom/networking-config": "0o755",
        },
    }
    for init, files in expected.items():
        top = tmp_path / init
        arguments = (products.directory, f"DESTDIR={top}", "PREFIX=/usr", f"INIT={init}")
        make(*arguments, "install-boot")
        assert installed(top) == files
        texts = [(top / name).read_text() for name, what in files.items() if what.startswith("0o")]
        assert "/usr/sbin/networking-config" in "".join(texts)
        assert "@" not in "".join(texts).replace("@system-service", "")
        make(*arguments, "uninstall-boot")
        assert installed(top) == {}


def test_a_prefix_of_ones_own_is_not_left(products: Products, tmp_path: Path) -> None:
    """Init's files are installed by themselves for /usr and /usr/local only."""
    make(products.directory, f"DESTDIR={tmp_path}", "PREFIX=/home/me", "install")
    assert {name.split("/")[0] for name in installed(tmp_path)} == {"home"}


def test_installing_twice_is_installing_once(products: Products, tmp_path: Path) -> None:
    """A second install replaces the first, without a warning."""
    destination = f"DESTDIR={tmp_path}"
    make(products.directory, destination, "install")
    first = installed(tmp_path)
    assert make(products.directory, destination, "install") == ""
    assert installed(tmp_path) == first


def test_uninstall_leaves_no_file(products: Products, prefix: Path) -> None:
    """Whatever install put there is gone."""
    make(products.directory, f"PREFIX={prefix}", "uninstall")
    assert installed(prefix) == {}


def test_the_name_for_libnetcf_is_a_link_to_the_helper(products: Products, tmp_path: Path) -> None:
    """install-netcf-transaction puts netcf-transaction.sh where DIR says, and only on request."""
    make(
        products.directory,
        f"DESTDIR={tmp_path}",
        "PREFIX=/usr",
        "DIR=/usr/libexec",
        "install-netcf-transaction",
    )
    assert installed(tmp_path) == {
        "usr/libexec/netcf-transaction.sh": "/usr/sbin/networking-config"
    }


def test_pkg_config_knows_the_version(prefix: Path) -> None:
    """ncf.pc has the version of VERSION."""
    assert pkg_config(prefix, "--modversion") == [VERSION]


def check_program(program: Path, host: Path, **environment: str) -> None:
    """The compiled change must show its edit and take it back."""
    before = tree.capture(host)
    printed = run(program, host, host / FILE, **environment)
    assert printed == f"3 {FILE}\n{VERSION}\n"
    assert tree.differences(before, tree.capture(host)) == []


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_c_program_with_the_shared_library(
    prefix: Path, host: Path, tmp_path: Path, compiler: str
) -> None:
    """A program compiled with pkg-config's flags runs a whole change."""
    need(compiler)
    program = tmp_path / "change"
    flags = pkg_config(prefix, "--cflags", "--libs")
    run(compiler, "-std=c11", *WARNINGS, HERE / "change.c", "-o", program, *flags)
    assert "libncf.so.0" in run("readelf", "-d", program)
    check_program(program, host, LD_LIBRARY_PATH=str(prefix / "lib"))


def test_a_c_program_linked_statically(prefix: Path, host: Path, tmp_path: Path) -> None:
    """The same program needs nothing at run time when it is linked with libncf.a."""
    need("cc", "readelf")
    if not links(tmp_path, "cc", "-static"):
        pytest.skip("cc -static links no program: there is no static libc")
    program = tmp_path / "change"
    flags = pkg_config(prefix, "--static", "--cflags", "--libs")
    run("cc", "-std=c11", "-static", HERE / "change.c", "-o", program, *flags)
    assert "NEEDED" not in run("readelf", "-d", program)
    check_program(program, host)


def test_a_program_may_use_the_names_that_are_not_public(prefix: Path, tmp_path: Path) -> None:
    """The core's own functions never meet those of a program that links libncf.a."""
    need("cc", "nm")
    names = run("nm", "-g", "--defined-only", prefix / "lib/libncf.a")
    public = {line.split()[-1] for line in names.splitlines() if " T " in line}
    assert public
    assert {name for name in public if not name.startswith("ncf_")} == set()


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_a_cpp_program(prefix: Path, host: Path, tmp_path: Path, compiler: str) -> None:
    """The header is valid C++ and its names link as C."""
    need(compiler)
    program = tmp_path / "change"
    flags = pkg_config(prefix, "--cflags", "--libs")
    run(compiler, "-std=c++11", *WARNINGS, HERE / "change.cc", "-o", program, *flags)
    printed = run(program, host, LD_LIBRARY_PATH=str(prefix / "lib"))
    assert printed == f"{VERSION}\n"


@pytest.mark.parametrize("language", ["c99", "c11", "c17"])
def test_the_header_stands_alone(tmp_path: Path, language: str) -> None:
    """A file of one include compiles in every C since C99, without extensions."""
    need("cc")
    source = tmp_path / "alone.c"
    source.write_text("#include <ncf.h>\nextern int nothing;\n")
    run(
        "cc", f"-std={language}", *WARNINGS, f"-I{REPO / 'csrc'}", "-c", source,
        "-o", tmp_path / "alone.o",
    )  # fmt: skip
