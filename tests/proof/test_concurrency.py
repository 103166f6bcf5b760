"""Many processes and threads, some of them killed: every history has an order that explains it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lib import ncf, operations, seam, tree
from lib.helper import DONE, NOT_OPEN, WRONG_STATE, Helper
from lib.ncf import Core, NcfError
from proof import mutants
from proof.history import INVALID, KILLED, Operation, State, explained

SEED = int(os.environ.get("NCF_SEED", "1"))
TIMES = 20 if os.environ.get("NCF_FULL") == "1" else 1
PROCESSES = 8
NAMES = ["start", "start", "start", "commit", "rollback", "rollback", "status"]


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def call(core: Core, root: Path, name: str) -> str | None:
    """Do it; what was told."""
    if name == "status":
        status = core.status(root)
        return os.fsdecode(status.id) if status.open else None
    try:
        return os.fsdecode(getattr(core, name)(root).id)
    except NcfError as error:
        if error.code != ncf.EINVALIDOP:
            raise
        return INVALID


def work(core: Core, root: Path, chance: random.Random, log: int, count: int) -> None:
    """Calls of one process, each written down before and after; before some of them it is to die."""
    for _ in range(count):
        name = chance.choice(NAMES)
        dies_at = chance.randrange(1, 60) if chance.random() < 0.15 else 0
        os.write(log, json.dumps([name, now()]).encode() + b"\n")
        # Watched by Python a call is many times slower.
        with seam.watching(core, seam.dying_at(dies_at)) if dies_at else contextlib.nullcontext():
            told = call(core, root, name)
        os.write(log, json.dumps([told, now()]).encode() + b"\n")


def operations_of(log: Path, died: int) -> list[Operation]:
    """What one process did; the last call may have no end but its death."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    pairs = itertools.zip_longest(lines[::2], lines[1::2])
    return [
        Operation(began[0], began[1], ended[1] if ended else died, ended[0] if ended else KILLED)
        for began, ended in pairs
    ]


def one_round(core: Core, root: Path, logs: Path, chance: random.Random) -> list[Operation]:
    children = {}
    for number in range(PROCESSES):
        own = random.Random(chance.random())
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                log = os.open(logs / str(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
                work(core, root, own, log, 12)
                code = 0
            os._exit(code)
        children[child] = number
    history = []
    while children:
        child, status = os.wait()
        number = children.pop(child)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, (logs / str(number)).read_text()
        history += operations_of(logs / str(number), now())
    return history


def check(history: list[Operation], before: State, what: str) -> State:
    """The state it ended in, which the last operation, a status, has told."""
    ends = explained(history, before)
    assert ends, f"{what}: no order explains, from {before}:\n" + "\n".join(map(str, sorted(history, key=lambda it: it.began)))
    (end,) = ends
    return end


def test_histories_of_processes_that_die(core: Core, fast_dir: Path) -> None:
    """200 rounds of 8 processes, which die at some system call of theirs: one winner, nothing lost or doubled."""
    root, logs = fast_dir / "host", fast_dir / "logs"
    logs.mkdir()
    old = tree.compact(root)
    chance = random.Random(SEED)
    state: State = None
    counted: dict[str, int] = {}
    rounds = 200 * TIMES
    for number in range(rounds):
        history = one_round(core, root, logs, chance)
        began = now()
        history.append(Operation("status", began, now(), call(core, root, "status")))
        state = check(history, state, f"seed {SEED}, round {number}")
        for operation in history:
            key = operation.told if operation.told in (INVALID, KILLED) else "done"
            counted[key or ""] = counted.get(key or "", 0) + 1
    print(f"seed {SEED}: {rounds} rounds, {counted}")
    assert all(counted[key] > rounds for key in ("done", INVALID, KILLED)), counted
    with contextlib.suppress(NcfError):
        core.rollback(root)
    assert operations.leftovers(root) == []
    assert tree.differences(old, tree.capture(root)) == []


def test_histories_of_helpers_that_are_killed(core: Core, helper: Helper, fast_dir: Path) -> None:
    """800 rounds with the executable, killed from outside at any moment; boot is among the commands."""
    root = fast_dir / "host"
    old = tree.compact(root)
    chance = random.Random(SEED)
    state: State = None
    commands = {"start": ["change-begin"], "commit": ["change-commit"], "rollback": ["change-rollback"],
                "boot": ["start"], "status": ["status", "--open"]}  # fmt: skip
    rounds, killed = 800 * TIMES, 0
    for number in range(rounds):
        running = {}
        for _ in range(PROCESSES):
            name = chance.choice([*NAMES, "boot"])
            began = now()
            process = subprocess.Popen(
                ["networking-config", "--root", root, *commands[name]], executable=helper.path,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            running[process.pid] = (name, began, process)
            if chance.random() < 0.3:
                time.sleep(chance.random() * 0.0005)  # about as long as it lives
                os.kill(process.pid, signal.SIGKILL)
        history = []
        while running:
            pid, status = os.wait()
            ended, code = now(), os.waitstatus_to_exitcode(status)
            name, began, process = running.pop(pid)
            assert process.stdout is not None
            with process.stdout:
                said = process.stdout.read()
            process.returncode = code
            assert code in (DONE, NOT_OPEN, WRONG_STATE, -signal.SIGKILL), said
            if name == "status" and code == DONE:
                continue  # "open", without an id
            told = KILLED if code < 0 else INVALID if code == WRONG_STATE else None
            if name in ("start", "commit", "rollback") and code == DONE:
                told = said.split()[said.split().index(b"change") + 1].rstrip(b":").decode()
            killed += code < 0
            history.append(Operation(name, began, ended, told))
        began = now()
        history.append(Operation("status", began, now(), call(core, root, "status")))
        state = check(history, state, f"seed {SEED}, round {number}")
    print(f"seed {SEED}: {rounds} rounds, {killed} killed")
    assert killed > rounds / 4
    with contextlib.suppress(NcfError):
        core.rollback(root)
    assert operations.leftovers(root) == []
    assert tree.differences(old, tree.capture(root)) == []


def built_with_tsan(directory: Path) -> Path:
    """The program of threads with the core in it, all with ThreadSanitizer."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ["-fsanitize=thread", "-g"]
    probe = [*compiler, *flags, "-x", "c", "-", "-o", os.devnull]
    if subprocess.run(probe, input=b"int main(void){}", capture_output=True).returncode:
        pytest.skip("no C compiler with ThreadSanitizer is installed")
    sources = [mutants.CSRC / name for name in mutants.core_sources()] + [Path(__file__).with_name("threads.c")]
    objects = mutants.compile_objects(sources, directory, *flags)
    return mutants.link(list(objects.values()), directory / "threads", *flags, "-pthread")


def test_histories_of_threads(core: Core, fast_dir: Path) -> None:
    """Threads with a handle each and threads that share one and a lock: no data race, explainable."""
    program = built_with_tsan(fast_dir / "tsan")
    root = fast_dir / "host"
    old = tree.compact(root)
    state: State = None
    for seed in range(SEED, SEED + 20 * TIMES):
        done = subprocess.run(
            [program, root, "12", str(seed)], capture_output=True, text=True, timeout=120,
            env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1 exitcode=66"},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        rows = [line.split() for line in done.stdout.splitlines()]
        assert len(rows) == 8 * 12
        history = [
            Operation(name, int(began), int(ended), None if told == "none" else told)
            for name, began, ended, told in rows
        ]
        began = now()
        history.append(Operation("status", began, now(), call(core, root, "status")))
        state = check(history, state, f"seed {seed}")
    with contextlib.suppress(NcfError):
        core.rollback(root)
    assert operations.leftovers(root) == []
    assert tree.differences(old, tree.capture(root)) == []


def test_the_check_can_fail() -> None:
    """Two winners, a lost commit and a reading of the past are no explainable histories."""
    a, b = "a" * 16, "b" * 16
    bad = [
        [Operation("start", 0, 5, a), Operation("start", 1, 6, b)],
        [Operation("start", 0, 1, a), Operation("commit", 2, 3, a), Operation("status", 4, 5, a)],
        [Operation("start", 0, 1, a), Operation("commit", 2, 5, a), Operation("rollback", 3, 6, a)],
        [Operation("start", 0, 1, KILLED), Operation("start", 2, 3, INVALID), Operation("status", 4, 5, None)],
        [Operation("start", 0, 1, INVALID)],
        [Operation("commit", 0, 9, KILLED), Operation("status", 1, 2, None), Operation("start", 3, 4, a),
         Operation("status", 10, 11, None)],
    ]  # fmt: skip
    good = [
        [Operation("start", 0, 5, a), Operation("commit", 1, 6, a), Operation("start", 2, 7, b)],
        [Operation("start", 0, 1, KILLED), Operation("status", 2, 3, b), Operation("commit", 4, 5, b)],
        [Operation("start", 0, 1, KILLED), Operation("commit", 2, 3, INVALID)],
        [Operation("start", 0, 9, KILLED), Operation("status", 1, 2, None), Operation("status", 3, 4, b)],
    ]
    assert [bool(explained(history, None)) for history in bad[:5]] == [False] * 5
    assert not explained(bad[5][1:], None)
    assert [bool(explained(history, None)) for history in good] == [True] * 4
