"""The toy shell of the in-memory environment: words, quotes, variables, lists, redirections and a dozen commands.

`;`, newlines, `&&` and `||` join commands; `>`, `>>`, `2>`, `2>&1` and `<` redirect; `$NAME`, `${NAME}` and `$?` expand;
`NAME=value` assigns; a trailing `&` is allowed after `sleep`. No pipes, no groups, no globs. A command that is not known
fails with 127, as it would elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from sandbox.memory.files import MemoryFiles

_REDIRECTIONS = (">", ">>", "<", "2>")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.S)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+|\?))")


class Ended(Exception):  # noqa: N818 - not an error: `exit` was called
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Overdue(Exception):  # noqa: N818 - not an error: the deadline of the call has passed
    """Seconds of the toy's own clock ran out."""


@dataclass
class Output:
    out: bytes = b""
    err: bytes = b""


@dataclass
class Session:
    """What lives from call to call."""

    files: MemoryFiles
    variables: dict[str, str]
    cwd: str
    code: int = 0
    jobs: list[str] = field(default_factory=list)
    left: float = 0.0

    def run(self, text: str, seconds: float) -> Output:
        """Carry out a list of commands. Raises Ended and Overdue, whose `output` holds what was said before."""
        self.left = seconds
        output = Output()
        try:
            words = _words(text)
        except ValueError:
            self.code = 2
            return Output(err=b"bash: unexpected EOF while looking for matching quote\n")
        try:
            self._list(words, output)
        except (Ended, Overdue) as end:
            end.args = (output,)
            raise
        return output

    def _list(self, words: Sequence[str], output: Output) -> None:
        command: list[str] = []
        joint = ";"
        for word in (*words, ";"):
            if word not in (";", "&&", "||", "&"):
                command.append(word)
                continue
            wanted = joint in (";", "&") or (joint == "&&") == (self.code == 0)
            if command and wanted:
                if word == "&":
                    self.jobs.append(" ".join(map(self._expanded, command)))
                    self.code = 0
                else:
                    self._command(command, output)
            command, joint = [], word

    def _command(self, raw: Sequence[str], output: Output) -> None:
        words = list(raw)
        while words and (match := _ASSIGNMENT.fullmatch(words[0])):
            self.variables[match[1]] = self._expanded(match[2])
            words.pop(0)
        said = Output()
        try:
            argv, targets = self._redirected(words)
            stdin = self.files.read(targets["<"]) if "<" in targets else b""
            self.code = self.call(argv, said, stdin) if argv else 0
        except OSError as error:
            said.err += f"bash: {error.filename}: {error.strerror}\n".encode()
            self.code, targets = 1, {}
        self._deliver(said, targets, output)

    def _redirected(self, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        argv, targets, waiting = [], {}, ""
        for word in words:
            if waiting:
                targets[waiting], waiting = self.path(self._expanded(word)), ""
            elif word in _REDIRECTIONS:
                waiting = word
            elif word == "2>&1":
                targets["2>&1"] = ""
            else:
                argv.append(self._expanded(word))
        for kind in (">", ">>", "2>"):
            if kind in targets:
                self.files.write(targets[kind], b"", append=kind == ">>")
        return argv, targets

    def _deliver(self, said: Output, targets: dict[str, str], output: Output) -> None:
        if "2>&1" in targets:
            said = Output(said.out + said.err)
        for kind in (">", ">>"):
            if kind in targets:
                self.files.write(targets[kind], said.out, append=True)
                said.out = b""
        if "2>" in targets:
            self.files.write(targets["2>"], said.err, append=True)
            said.err = b""
        output.out += said.out
        output.err += said.err

    def _expanded(self, word: str) -> str:
        """Variables outside single quotes, then without the quotes."""
        parts = re.split(r"""('[^']*'|"[^"]*")""", word)
        return "".join(
            part[1:-1]
            if part.startswith("'")
            else _VARIABLE.sub(self._value, part.strip('"') if part.startswith('"') else part)
            for part in parts
        )

    def _value(self, match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return str(self.code) if name == "?" else self.cwd if name == "PWD" else self.variables.get(name, "")

    def path(self, name: str) -> str:
        """Absolute and normalised."""
        return os.path.normpath(PurePosixPath(self.cwd) / name)

    def call(self, argv: Sequence[str], said: Output, stdin: bytes) -> int:
        command = _COMMANDS.get(argv[0].rpartition("/")[2])
        if command is None:
            said.err += f"bash: {argv[0]}: command not found\n".encode()
            return 127
        try:
            return command(self, argv[1:], said, stdin)
        except OSError as error:
            said.err += f"{argv[0]}: {error.filename}: {error.strerror}\n".encode()
            return 1


Command = Callable[[Session, Sequence[str], Output, bytes], int]


def _echo(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    end = "" if args[:1] == ["-n"] else "\n"
    said.out += (" ".join(args[1:] if end == "" else args) + end).encode("utf-8", "surrogateescape")
    return 0


def _printf(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    text = args[0].encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1") if args else b""
    for value in args[1:]:
        text = text.replace(b"%s", value.encode(), 1).replace(b"%d", value.encode(), 1)
    said.out += text
    return 0


def _cat(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    said.out += b"".join(session.files.read(session.path(name)) for name in args) if args else stdin
    return 0


def _cd(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    target = session.path(args[0] if args else session.variables["HOME"])
    if session.files.find(target).type != "directory":
        raise NotADirectoryError(20, os.strerror(20), args[0])
    session.cwd = target
    return 0


def _pwd(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    said.out += session.cwd.encode() + b"\n"
    return 0


def _export(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    for arg in args:
        name, _, value = arg.partition("=")
        session.variables[name] = value if "=" in arg else session.variables.get(name, "")
    return 0


def _exit(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    raise Ended(int(args[0]) if args else session.code)


def _sleep(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    session.left -= float(args[0]) if args and args[0] != "infinity" else 1e9
    if session.left < 0:
        raise Overdue
    return 0


def _rm(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    flags = "".join(arg for arg in args if arg.startswith("-"))
    for name in (arg for arg in args if not arg.startswith("-")):
        try:
            session.files.remove(session.path(name), whole="r" in flags)
        except FileNotFoundError:
            if "f" not in flags:
                raise
    return 0


def _mv(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    old, new = session.path(args[0]), session.path(args[1])
    session.files.rename(old, f"{new}/{PurePosixPath(old).name}" if session.files.is_folder(new) else new)
    return 0


def _cp(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    old, new = session.path(args[0]), session.path(args[1])
    session.files.write(f"{new}/{PurePosixPath(old).name}" if session.files.is_folder(new) else new, session.files.read(old))
    return 0


def _mkdir(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    for name in (arg for arg in args if arg != "-p"):
        folder = PurePosixPath(session.path(name))
        for path in (*(reversed(folder.parents) if "-p" in args else ()), folder):
            if not ("-p" in args and session.files.is_folder(str(path))):
                session.files.make_folder(str(path))
    return 0


def _chmod(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    for name in args[1:]:
        path = session.path(name)
        mode = 0o755 if args[0] == "+x" else int(args[0], 8)
        session.files.set_mode(path, mode)
    return 0


def _ls(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
    names = [arg for arg in args if not arg.startswith("-")] or ["."]
    for name in names:
        path = session.path(name)
        entries = [e.name for e in session.files.list(path)] if session.files.is_folder(path) else [name]
        session.files.find(path)
        said.out += "".join(f"{entry}\n" for entry in entries if not entry.startswith(".")).encode()
    return 0


def _says(text: str) -> Command:
    def command(session: Session, args: Sequence[str], said: Output, stdin: bytes) -> int:
        said.out += text.encode()
        return 0

    return command


def _ends(code: int) -> Command:
    return lambda session, args, said, stdin: code


_COMMANDS: dict[str, Command] = {
    "echo": _echo,
    "printf": _printf,
    "cat": _cat,
    "cd": _cd,
    "pwd": _pwd,
    "export": _export,
    "exit": _exit,
    "sleep": _sleep,
    "rm": _rm,
    "mv": _mv,
    "cp": _cp,
    "mkdir": _mkdir,
    "chmod": _chmod,
    "ls": _ls,
    "true": _ends(0),
    ":": _ends(0),
    "false": _ends(1),
    "whoami": _says("agent\n"),
    "id": _says("uid=1000(agent) gid=1000(agent) groups=1000(agent)\n"),
}


_OPERATORS = ("2>&1", "&&", "||", ">>", "2>", ";", "&", ">", "<")


def _words(text: str) -> list[str]:
    """Words with their quotes kept, operators apart, a newline as `;`. Raises ValueError for a quote left open."""
    words: list[str] = []
    word, at = "", 0
    while at < len(text):
        char = text[at]
        operator = next((op for op in _OPERATORS if text.startswith(op, at) and (op[0] != "2" or not word)), "")
        if char in "'\"":
            end = text.index(char, at + 1)
            word, at = word + text[at : end + 1], end + 1
        elif char == "#" and not word:
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        elif operator or char.isspace():
            words += [word] if word else []
            words += [operator] if operator else [";"] if char == "\n" else []
            word, at = "", at + max(1, len(operator))
        else:
            word, at = word + char, at + 1
    return [*words, word] if word else words
