"""After the power cut: bring the host up, and see whether anything is not as it must be."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from lib import tree
from lib.helper import DONE, NOT_OPEN, Helper
from proof.blocks.scenarios import Expectation

__all__ = ["Unmountable", "Violation", "recover"]


class Violation(AssertionError):
    """What was promised did not come true."""


class Unmountable(Violation):
    """The kernel itself calls the filesystem damaged."""


def recover(
    mount: Callable[[], ExitStack],
    root: Path,
    helper: Helper,
    trees: Mapping[str, tree.Tree],
    expectation: Expectation,
) -> str:
    """Mount, boot, compare, boot again, start a change; the name of the tree that came up."""
    try:
        mounts = mount()
    except OSError as error:
        damaged = error.errno in (errno.EUCLEAN, errno.EBADMSG, errno.ECANCELED)
        raise (Unmountable if damaged else Violation)(str(error)) from error
    with mounts:
        is_open = run(helper, root, "status", "--open", expected=(DONE, NOT_OPEN)) == DONE
        if is_open not in expectation.open:
            raise Violation(f"a change is {'open' if is_open else 'not open'}")
        run(helper, root, "start")
        name = known_tree(root, {name: trees[name] for name in expectation.trees})
        discarded = only_discarded(root)
        before = tree.capture(root, state=True, identity=True)
        run(helper, root, "start")
        changed = tree.differences(before, tree.capture(root, state=True, identity=True))
        if changed:
            raise Violation("a second boot changed " + "; ".join(changed))
        run(helper, root, "snapshot_config")
        for number in discarded:
            run(helper, root, "put-back", number)
    return name


def run(helper: Helper, root: Path, *command: str, expected: tuple[int, ...] = (DONE,)) -> int:
    """Run the helper; its exit status."""
    done = helper.run(*command, root=root)
    if done.returncode not in expected:
        raise Violation(f"{' '.join(command)} ends with {done.returncode}: {done.stderr.strip()}")
    return done.returncode


def known_tree(root: Path, trees: Mapping[str, tree.Tree]) -> str:
    """Which of the trees is there now, exactly."""
    leftovers = tree.temporary_files(root)
    if leftovers:
        raise Violation(f"left over: {leftovers}")
    now = tree.capture(root)
    reasons = []
    for name, expected in trees.items():
        different = tree.differences(expected, now)
        if not different:
            return name
        reasons.append(f"not {name}: " + "; ".join(different))
    raise Violation(" / ".join(reasons))


def only_discarded(root: Path) -> list[str]:
    """The numbers of the discarded configurations: nothing else may be in the state directory."""
    try:
        names = os.listdir(root / "var/lib/netcf")
    except FileNotFoundError:
        return []
    numbers = []
    for name in sorted(names):
        if not name.startswith("network-rollback-"):
            raise Violation(f"left over in the state directory: {name}")
        numbers.append(str(int(name[len("network-rollback-") : -len(".tar")])))
    return numbers
