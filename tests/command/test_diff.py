"""netcf diff and netcf show: all that differs, and nothing that opens a door."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.test_exact_restore import xattr_or_skip
from lib import tree
from lib.images import need
from netcf_py.command.secrets import masked
from netcf_py.command.xattrs import attributes

from .conftest import INTERFACES, Netcf

KEYFILE = "etc/NetworkManager/system-connections/%s.nmconnection"
INTERFACE = "etc/network/interfaces.d/%s"
NETPLAN = "etc/netplan/%s.yaml"
NETDEV = "etc/systemd/network/%s.netdev"
IFCFG = "etc/sysconfig/network-scripts/ifcfg-%s"

# @ stands for a secret; "plain" for what has to be seen all the same.
SECRETS: list[tuple[str, str]] = [
    # NetworkManager
    (KEYFILE, "[wifi]\nssid=plain\n[wifi-security]\nkey-mgmt=plain\npsk=@\n[ipv4]\nmethod=plain\n"),
    (KEYFILE, "[wifi-security]\npsk = @\nPSK=@\n#psk=\"@\"\n; psk=@\n"),
    (KEYFILE, "wep-key0=@\nwep-key-type=plain\nwep-tx-keyidx=plain\nleap-password=@\n"),
    (KEYFILE, "[802-1x]\nidentity=plain\npassword=@\npassword-raw=@\nprivate-key=data:;base64,@\n"
              "private-key-password=@\nphase2-private-key-password=@\nclient-cert=plain\npin=@\n"),
    (KEYFILE, "[wireguard]\nprivate-key=@\nlisten-port=plain\n[wireguard-peer.plain]\n"
              "preshared-key=@\nendpoint=plain\n"),
    (KEYFILE, "[vpn]\nXauth password=@\nIPSec secret=@\n[vpn-secrets]\ncookie=@\nanything=@\n"
              "\nmore=@\n[ipv4]\nmethod=plain\n"),
    (KEYFILE, "[gsm]\napn=plain\nsim-pin=@\n[macsec]\nmka-cak=@\nparent=plain\n"),
    (KEYFILE, "[proxy]\npac-url=http://plain.example/\nurl=http://name:@%at%proxy.example/\n"),
    # ifupdown
    (INTERFACE, "iface wlan0 inet dhcp\n    wpa-ssid plain\n    wpa-psk @\n    mtu plain\n"),
    (INTERFACE, "wpa-passphrase @\nwpa-psk\t\"@ @\"\nwpa-password @\nwpa-private-key-passwd @\n"
                "wpa-wep-key0 @\nwpa-key-mgmt plain\nwireless-key s:@\nwireless-key1 @\n"),
    (INTERFACE, "iface a inet dhcp\nwpa-psk \\\n   @\nwpa-psk\\\n @ \\\n# between\n  @\nmtu plain\n"),
    (INTERFACE, "pre-up wpa_passphrase net @\n  up echo @ | wg set wg0 private-key /dev/stdin\n"
                "post-up ip link set plain up\npre-up iwconfig wlan0 key s:@\n"),
    (INTERFACE, "# the password is @\nauto plain\n"),
    # netplan
    (NETPLAN, "wifis:\n  wl0:\n    access-points:\n      plain:\n        password: @\n"
              "        mode: plain\n"),
    (NETPLAN, "password: \"@\"\nmtu: plain\npassword: '@'\n\"password\": @\n'password' : @\n"),
    (NETPLAN, "a:\n  password: |\n    @\n\n    @\n  mtu: plain\n  password: >-\n      @\n"),
    (NETPLAN, "a:\n  password:\n    @\n  mtu: plain\n  password:\n# a comment\n    @\n"),
    (NETPLAN, "a:\n  password: \"begin\n@\n   @\"\n  mtu: plain\n  password: 'it''s\n@'\n"),
    (NETPLAN, "a:\n  password: !!str \"begin\n@\"\n  mtu: plain\n"),
    (NETPLAN, "a:\n  password:\n  - @\n  - @\n  mtu: plain\n  password:\n    - @\n"),
    (NETPLAN, "a:\n  - password: @\n    mtu: plain\n  - mtu: plain\n"),
    (NETPLAN, "a: {ssid: plain, password: @}\nb: plain\n"),
    (NETPLAN, "a: {mtu: plain, password:\n@\n}\nb: plain\nc: {password: [\n@,\n@]}\nd: plain\n"),
    (NETPLAN, "a:\n  ? password\n  : @\n  mtu: plain\n"),
    (NETPLAN, "auth:\n  key-management: plain\n  client-key-password: @\n"),
    (NETPLAN, "tunnels:\n  wg0:\n    key: @\n    keys:\n      public: plain\n      private: @\n"
              "      shared: @\n    keys: @\n    keys: {public: plain, private: @}\n    mtu: plain\n"),
    (NETPLAN, "passthrough:\n  gsm.pin: @\n  wifi-security.psk: @\n  \"vpn-secrets.cookie\": \"@\"\n"
              "  connection.id: plain\n"),
    # systemd-networkd
    (NETDEV, "[WireGuard]\nPrivateKey=@\nListenPort=plain\n[WireGuardPeer]\nPublicKey=plain\n"
             "PresharedKey = @\nEndpoint=plain\n"),
    (NETDEV, "[WireGuard]\nPrivateKey=\\\n# between\n; between\n  @\nListenPort=plain\n"),
    (NETDEV, "[MACsecTransmitAssociation]\nKey=@\nKeyId=plain\n[Tunnel]\nInputKey=@\nTTL=plain\n"),
    # Red Hat and SUSE
    (IFCFG, "DEVICE=plain\nKEY=@\nKEY1=s:@\nKEY_PASSPHRASE2=@\nKEY_name=@\nKEY_MGMT=plain\n"),
    (IFCFG, "WPA_PSK=@\nIEEE_8021X_PASSWORD=\"@ @\"\nIEEE_8021X_PRIVATE_KEY_PASSWORD='@'\nMTU=plain\n"),
    (IFCFG, "WPA_PSK='begin\n@\n@'\nMTU=plain\nWPA_PSK=\"a\\\"\n@\"\nMTU=plain\n"),
    (IFCFG, "export WPA_PSK=@\nESSID=plain KEY=@ WPA_PSK=@\nKEY+=@\nKEY[1]=@\n"),
    (IFCFG, "WIRELESS_KEY_0=@\nWIRELESS_WPA_PSK=@\nWIRELESS_ESSID=plain\nPASS=@\nSECRET=@\n"),
    ("etc/sysconfig/network-scripts/keys-%s", "KEY=@\n@\n\nPLAIN=@\nno end @"),
    # files that are nothing but a key
    ("etc/systemd/network/%s.key", "@\n"),
    ("etc/systemd/network/%s.psk~", "@"),
    ("etc/systemd/network/%s", "@@@@AAAAAAA=\n"),
    ("etc/systemd/network/%s.conf", "a=plain\nb=@hex@\n"),
    (NETDEV, "-----BEGIN EC PRIVATE KEY-----\n@\n@\n-----END EC PRIVATE KEY-----\nMTU=plain\n"),
    # other bytes than text has
    (KEYFILE, "id=plain\r\npsk=@\r\n\xff password=@\nssid=\xff\n"),
    (NETPLAN, "\ufeffpassword: @\nssid: plain\npassword:\u00a0@\n"),
]  # fmt: skip
HEX = "0123456789abcdef" * 3 + "5ec7e7"


def secret(case: int, generation: int) -> str:
    return f"S3c{case:03d}v{generation}q"


def content(case: int, generation: int) -> bytes:
    text = SECRETS[case][1].replace("@hex@", f"{case:06d}{generation:04d}{HEX}")
    text = text.replace("@", secret(case, generation)).replace("%at%", "@")
    return text.encode("utf-8", "surrogateescape")


def path_of(case: int) -> str:
    return SECRETS[case][0] % f"case{case:03d}"


def leaks(output: str) -> list[tuple[str, str]]:
    """The cases whose secrets stand in an output."""
    found = {int(case) for case in re.findall(r"S3c(\d{3})v\dq", output)}
    found |= {int(case) for case in re.findall(r"(\d{6})\d{4}" + HEX, output)}
    return [SECRETS[case] for case in sorted(found)]


def write_all(root: Path, generation: int, more: bytes = b"") -> None:
    for case in range(len(SECRETS)):
        tree.write(root, path_of(case), content(case, generation) + more, 0o600)


def make(netcf: Netcf, kind: str) -> None:
    """Bring every file with secrets into an open change as something that differs."""
    if kind != "added":
        write_all(netcf.root, 1)
    netcf.out("start")
    if kind == "added":
        write_all(netcf.root, 1)
    elif kind == "changed":
        write_all(netcf.root, 2)
    elif kind == "near":
        write_all(netcf.root, 1, b"\n[next]\nnext-to-it=1\n")
    else:
        for case in range(len(SECRETS)):
            (netcf.root / path_of(case)).unlink()


def test_leaks_are_found() -> None:
    """What the other tests search for is found where nothing is hidden."""
    everything = "".join(content(case, 1).decode("utf-8", "replace") for case in range(len(SECRETS)))
    assert len(leaks(everything)) == len(SECRETS)


@pytest.mark.parametrize("kind", ["added", "removed", "changed", "near"])
def test_secrets_are_hidden_unless_asked_for(netcf: Netcf, kind: str) -> None:
    """No key and no password is in what diff and show print, in text or JSON."""
    make(netcf, kind)
    assert leaks(netcf.out("diff")) == []
    assert leaks(netcf.out("diff", "--json")) == []
    asked = len(leaks(netcf.out("diff", "--show-secrets")))
    # A secret far from the edit isn't in the context.
    assert asked == len(SECRETS) if kind != "near" else asked > len(SECRETS) / 2
    assert len(leaks(netcf.out("diff", "--json", "--show-secrets"))) == asked
    netcf.out("rollback")
    [discarded] = netcf.json("history")["discarded"]
    number = str(discarded["id"])
    assert leaks(netcf.out("show", number)) == []
    assert leaks(netcf.out("show", "--json", number)) == []
    if kind != "removed":  # what was removed is not among what was replaced
        assert leaks(netcf.out("show", "--show-secrets", number)) != []
        assert leaks(netcf.out("show", "--json", "--show-secrets", number)) != []


@pytest.mark.parametrize("case", range(len(SECRETS)), ids=lambda case: path_of(case))
def test_the_rest_is_seen(case: int) -> None:
    """Beside a secret nothing is hidden that a person has to see, and lines stay lines."""
    text = content(case, 1).decode("utf-8", "surrogateescape")
    lines = [line + "\n" for line in text.split("\n")]
    shown = masked(os.fsencode(path_of(case)), lines)
    assert leaks("".join(shown)) == []
    assert "".join(shown).count("plain") == text.count("plain"), "".join(shown)
    assert [line.count("\n") for line in shown] == [1] * len(lines)


def test_a_long_line_takes_no_time() -> None:
    """What makes a pattern search again and again is read in one pass."""
    for part in ("psk", "key[", "keys ", "a.", "pass'", "psk,", "http://a:", "'\"", "- ", "0", "key-mgmt "):
        masked(b"etc/netplan/x.yaml", [part * (256 * 1024 // len(part)) + "\n"])


def test_the_command_in_the_note_of_try(netcf: Netcf) -> None:
    """A password that was an argument is not kept in the note."""
    word = "S3c000v1q"
    netcf.json(
        "try", "--yes", "--check-command", "true", "--", "sh", "-c",
        f"echo edited > {netcf.root}/{INTERFACES}; exit 1", "nmcli", "wifi-sec.psk", word, status=1,
    )  # fmt: skip
    [discarded] = netcf.json("history")["discarded"]
    assert "nmcli" in discarded["note"] and word not in discarded["note"]


# --- what differs ---------------------------------------------------------------------


def differences(netcf: Netcf) -> dict[str, Any]:
    return {one["path"]: one for one in netcf.json("diff")["differences"]}


def test_every_kind_of_edit(netcf: Netcf) -> None:
    """Added, removed, changed, metadata, another type: each with what it was and is."""
    netcf.out("start")
    tree.lock_out(netcf.root)
    found = differences(netcf)
    scripts = "etc/sysconfig/network-scripts/"
    added = found[scripts + "ifcfg-eth9"]
    assert (added["kind"], added["was"], added["now"]) == ("added", "-", "f")
    assert added["lines"] == [
        "--- /dev/null", f"+++ b/{scripts}ifcfg-eth9", "@@ -0,0 +1 @@", "+DEVICE=eth9",
    ]  # fmt: skip
    removed = found[scripts + "route-br0"]
    assert (removed["kind"], removed["was"], removed["now"]) == ("removed", "f", "-")
    assert removed["lines"][-1] == "-10.0.0.0/8 via 192.0.2.1"
    assert found["etc/netplan/01-base.yaml"]["kind"] == "metadata"
    assert found["etc/netplan/01-base.yaml"]["metadata"] == ["mode 0600 -> 0644"]
    assert "mtime" in found[scripts + "rule-br0"]["metadata"][0]
    other = found["etc/network/interfaces.d/eth0.5"]
    assert (other["kind"], other["was"], other["now"]) == ("changed", "f", "l")
    assert other["lines"][-1] == "+symbolic link to /dev/null"
    text = netcf.out("diff")
    for path, one in found.items():
        assert f"{one['kind']:<8}  {path}\n" in text
        for line in one["metadata"] + one["lines"]:
            assert line in text
    assert netcf.out("diff", "--names").count("\n") == len(found) + sum(
        len(one["metadata"]) for one in found.values()
    )


def test_nothing_differs(netcf: Netcf) -> None:
    """That is said, and is a success."""
    netcf.out("start")
    assert netcf.out("diff") == "Nothing differs.\n"


def test_the_difference_can_be_applied(netcf: Netcf) -> None:
    """patch(1) takes the output with secrets shown back and forth."""
    need("git")
    before = (netcf.root / INTERFACES).read_bytes()
    netcf.out("start")
    with open(netcf.root / INTERFACES, "ab") as file:
        file.write(b"auto eth7\nno end of line")
    tree.write(netcf.root, "etc/netplan/50-new.yaml", b"network: {}\n")
    patch = netcf.out("diff", "--show-secrets")
    done = subprocess.run(
        ["git", "apply", "-R", "--unsafe-paths", "-p1", f"--directory={netcf.root}", "-"],
        cwd=netcf.root, input=patch, capture_output=True, text=True,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(netcf.root.parent)},  # it may lie in a repository
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (netcf.root / INTERFACES).read_bytes() == before
    assert not (netcf.root / "etc/netplan/50-new.yaml").exists()


def test_attributes(netcf: Netcf) -> None:
    """An extended attribute that differs is shown with both values."""
    xattr_or_skip(netcf.root / INTERFACES, "user.comment", b"old")
    netcf.out("start")
    os.setxattr(netcf.root / INTERFACES, "user.comment", b"new\x1b[2J")
    assert differences(netcf)[INTERFACES]["metadata"] == ["attribute user.comment old -> new\\x1b[2J"]


def test_owners(netcf: Netcf) -> None:
    """So is another owner."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    netcf.out("start")
    os.chown(netcf.root / INTERFACES, 12, 34)
    assert differences(netcf)[INTERFACES]["metadata"] == ["owner 0:0 -> 12:34"]


def test_attributes_where_python_has_no_call_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libc is asked, where Python was built with musl."""
    xattr_or_skip(tmp_path, "user.comment", b"a\0b")
    xattr_or_skip(tmp_path, "user.empty", b"")
    file = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.delattr(os, "listxattr")
    try:
        found = attributes(file)
    finally:
        os.close(file)
    assert {name: found[name] for name in found if name.startswith(b"user.")} == {
        b"user.comment": b"a\0b", b"user.empty": b"",
    }  # fmt: skip
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EBADF))):
        attributes(file)


def test_names_of_any_bytes(netcf: Netcf) -> None:
    """A name that is no text is escaped for people and whole in JSON."""
    names = [tree.NOT_UTF8, tree.NEWLINE, b"etc/network/interfaces.d/\x1b[2Jesc\xe2\x80\xae"]
    netcf.out("start")
    for name in names:
        tree.write(os.fsencode(netcf.root), name, b"# here\n")
    assert {os.fsencode(path) for path in differences(netcf)} >= set(names)
    for text in (netcf.out("diff"), netcf.out("scope")):
        assert "caf\\xe9 \\xff" in text and "two\\x0alines" in text
        assert "\\x1b[2Jesc\\xe2\\x80\\xae" in text
        assert all(c == "\n" or c.isprintable() for c in text)


def test_control_characters_never_reach_the_terminal(netcf: Netcf) -> None:
    """Content, link targets, notes: what doesn't print is escaped; a tab stays one."""
    netcf.out("start", "--note", "a\x1b]0;note\x07b")
    tree.write(netcf.root, INTERFACES, b"\x1b[2J\x9b31m\xc2\x9b31m \xe2\x80\xae\x7f\x08 a\tb\r\n\xff")
    (netcf.root / "etc/systemd/network/a.link").symlink_to("/\x1b[1mtarget")
    texts = [netcf.out("diff"), netcf.out("status")]
    netcf.out("rollback")
    texts += [netcf.out("show", "1"), netcf.out("history")]
    for text in texts:
        assert all(c in "\n\t" or c.isprintable() for c in text), text
    assert "+\\x1b[2J\\x9b31m\\xc2\\x9b31m \\xe2\\x80\\xae\\x7f\\x08 a\tb\\x0d\n+\\xff\n" in texts[0]
    assert "\\ No newline at end of file" in texts[0]


def test_a_locale_without_unicode(netcf: Netcf) -> None:
    """Where the output can't have a character it is escaped, and nothing fails."""
    netcf.out("start")
    tree.write(netcf.root, INTERFACES, "café \u202e\n".encode())
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    ran = netcf.run("diff", **plain)
    assert ran.returncode == 0, ran.stderr
    assert "caf" in ran.stdout


def test_what_has_no_lines(netcf: Netcf) -> None:
    """Binary, large and special files are named, not dumped."""
    netcf.out("start")
    places = ["binary", "large", "fifo"]
    binary, large, fifo = (f"etc/systemd/network/{name}" for name in places)
    tree.write(netcf.root, binary, b"a\0S3c000v1q")
    tree.write(netcf.root, large, b"psk=S3c000v1q\n" * 40_000)
    os.mkfifo(netcf.root / fifo)
    found = differences(netcf)
    assert found[binary]["lines"] == ["(not text: 0 bytes and 11 bytes)"]
    assert found[large]["lines"][0].startswith("(too large to show")
    assert leaks(netcf.out("diff", "--show-secrets")) == []
    assert fifo not in found or "FIFO" in found[fifo]["lines"][0]


def test_a_link_on_the_way_is_not_followed(netcf: Netcf, tmp_path: Path) -> None:
    """What lies behind a directory that became a link is not shown."""
    outside = tmp_path / "outside"
    tree.write(outside, "eth0.5", b"outside\n")
    netcf.out("start")
    (netcf.root / "etc/network/interfaces.d/eth0.5").unlink()
    (netcf.root / "etc/network/interfaces.d").rmdir()
    (netcf.root / "etc/network/interfaces.d").symlink_to(outside)
    assert "outside\n" not in netcf.out("diff").replace(str(outside), "")


# --- terminals ----------------------------------------------------------------------------


def test_colour_only_on_a_terminal(netcf: Netcf, terminal: Any) -> None:
    """A file gets no escapes, a terminal gets colours, NO_COLOR takes them away."""
    netcf.out("start")
    tree.lock_out(netcf.root)
    assert "\x1b" not in netcf.out("diff")
    screen = terminal("diff")
    assert screen.status() == 0
    assert "\x1b[32m+" in screen.screen and "\x1b[31m-" in screen.screen
    netcf.environment["NO_COLOR"] = "1"
    for command in (["diff"], ["status"], ["scope"]):
        screen = terminal(*command)
        assert screen.status() == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]", screen.screen)


def test_80_columns(netcf: Netcf, terminal: Any) -> None:
    """Without colour and on 80 columns what is printed about a change fits."""
    netcf.environment["NO_COLOR"] = "1"
    netcf.out("start", "--note", "a note of a usual length", "--timeout", "600")
    tree.lock_out(netcf.root)
    screens = []
    for arguments in (["status"], ["scope"], ["diff"], ["rollback"], ["history"], ["show", "1"]):
        screen = terminal(*arguments)
        assert screen.status() == 0, screen.screen
        screens.append(screen.screen)
    for line in "".join(screens).replace("\r", "").split("\n"):
        assert len(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)) <= 80, line
