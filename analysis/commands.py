"""Shell text taken apart into the simple commands it would run; comments and quoted words are not commands.

tree-sitter-bash parses. Nested shells are followed where their text is literal: `bash -c`, `eval`, here-documents, pipes,
`base64 -d | sh`, wrappers (`env`, `timeout`, `xargs`, `find -exec`), `ssh host '…'`, what is left to cron, `at` or a trap,
scripts whose text is known and functions. What cannot be followed (a Python program, a command name in a variable) sets
`opaque`, so that nothing is concluded from the absence of a command. A persistent shell's variables, functions and
directory carry over in `ShellState`.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import fnmatch
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import Any, Literal, NamedTuple, TypeVar

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

UNKNOWN = "\0"
"""Stands in a word for a part that is not known before the shell runs."""

Executed = Literal["yes", "maybe"]

SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ash", "ksh", "busybox"})
INTERPRETERS = frozenset({"python", "python3", "perl", "ruby", "node", "php", "lua", "make", "expect", "gdb"})
_TRIVIAL = frozenset({"cd", "mkdir", "set", "export", "echo", "true", "printf", "sleep", "pwd", "umask", "date", "touch", ":"})
_WRAPPERS = {"nohup": 0, "time": 0, "command": 0, "exec": 0, "setsid": 0, "builtin": 0, "doas": 0, "sudo": 0, "nice": 0,
             "ionice": 0, "stdbuf": 0, "env": 0, "timeout": 1, "flock": 1, "chroot": 1, "xargs": 0, "unbuffer": 0,
             "systemd-run": 0}  # fmt: skip
_LEAVING = frozenset({"nohup", "setsid", "systemd-run"})
"""Wrappers whose command may go on when the call has ended."""
_WRAPPER_VALUES = {
    "sudo": frozenset({"-u", "-g", "-h", "-p"}),
    "nice": frozenset({"-n"}),
    "ionice": frozenset({"-c", "-n"}),
    "env": frozenset({"-u", "-C", "-S"}),
    "timeout": frozenset({"-s", "-k", "--signal", "--kill-after"}),
    "xargs": frozenset({"-I", "-n", "-P", "-L", "-d", "-a", "-s"}),
    "stdbuf": frozenset({"-i", "-o", "-e"}),
    "systemd-run": frozenset({"-p", "-u", "-E", "-H", "-M"}),
}
_MAX_NESTING, _MAX_COMMANDS, _MAX_TEXT, _MAX_DEPTH = 6, 2_000, 200_000, 120

_LANGUAGE = Language(tree_sitter_bash.language())
_PARSER = Parser(_LANGUAGE)
_AS_LETTERS = bytes(byte if byte < 0x80 else ord("x") for byte in range(256))
"""What the parser sees: to a shell, bytes beyond ASCII are letters; the grammar's C code reads out of bounds for them."""


class Word(NamedTuple):
    """One word after quoting; `literal` says that every part of it was known. Unknown parts read as `UNKNOWN`."""

    text: str
    literal: bool = True


class Redirect(NamedTuple):
    """`operator` as written (`>`, `>>`, `<`, …); `target` where it goes; `descriptor` as written before it, mostly nothing."""

    operator: str
    target: Word
    descriptor: str = ""

    @property
    def takes_output(self) -> bool:
        """Whether standard output goes there."""
        return self.operator in {">", ">>", ">|", "&>", "&>>"} and self.descriptor in {"", "1"}

    @property
    def takes_errors(self) -> bool:
        """Whether standard error goes there."""
        return self.operator in {"&>", "&>>"} or (self.operator in {">", ">>", ">|"} and self.descriptor == "2")


@dataclass(frozen=True)
class Command:
    """One simple command.

    `executed` is `maybe` where a condition, a loop or a short-circuit stands before it. `cwd` is the directory if it is
    known. `remote` is the ssh destination it runs on. `upstream` are the commands whose output it reads through a pipe.
    `via` names the shells it is nested in, outermost first. `stdin` is literal input, None if there is none or it is unknown.
    `later` says that it may run when the call has ended: in the background, or left to cron, `at` or a trap.
    """

    argv: tuple[Word, ...]
    redirects: tuple[Redirect, ...] = ()
    executed: Executed = "yes"
    cwd: str | None = None
    remote: str | None = None
    upstream: tuple[Command, ...] = ()
    via: tuple[str, ...] = ()
    stdin: str | None = None
    later: bool = False

    @cached_property
    def name(self) -> str:
        """Base name of the program, empty where it is not known."""
        if not self.argv or not self.argv[0].literal:
            return ""
        program = self.argv[0].text
        return program[program.rfind("/") + 1 :]

    @property
    def words(self) -> list[str]:
        """All arguments' texts, the program not included."""
        return [w.text for w in self.argv[1:]]

    @property
    def operands(self) -> list[str]:
        """Arguments that are not options."""
        return [w.text for w in self.argv[1:] if not w.text.startswith("-")]


T = TypeVar("T")


def kept(work: Callable[[Command], T]) -> Callable[[Command], T]:
    """`work` done once for each command, which holds what came of it as long as it lives: a command does not change."""
    name = f"<{work.__name__}>"

    @wraps(work)
    def once(command: Command) -> T:
        done: dict[str, T] = command.__dict__
        if name not in done:
            done[name] = work(command)
        return done[name]

    return once


@dataclass
class ShellState:
    """What a persistent shell keeps between calls, as far as it was literal."""

    variables: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None


class Parsed(NamedTuple):
    """All simple commands in order; `opaque` if something ran that could not be looked into."""

    commands: tuple[Command, ...]
    opaque: bool


ScriptText = Callable[[str, str | None], str | None]
"""Text of a script by (word, cwd), None where it is not known."""


def parse(
    text: str, state: ShellState | None = None, *, exit_code: int | None = None, script: ScriptText | None = None
) -> Parsed:
    """Take `text` apart. `state` is updated in place; `exit_code` 0 proves that a final `&&` chain ran to its end."""
    walker = _Walker(state if state is not None else ShellState(), script or (lambda _word, _cwd: None))
    walker.run(text, succeeded=exit_code == 0)
    return Parsed(tuple(walker.commands), walker.opaque)


@dataclass(frozen=True)
class _Context:
    """Where in the text a node stands."""

    executed: Executed = "yes"
    via: tuple[str, ...] = ()
    remote: str | None = None
    last: bool = False
    upstream: tuple[Command, ...] = ()
    stdin: str | None = None
    later: bool = False
    depth: int = 0

    def but(self, **changes: Any) -> _Context:
        inner = object.__new__(_Context)
        inner.__dict__.update(self.__dict__, depth=self.depth + 1, **changes)
        return inner


class _Walker:
    def __init__(self, state: ShellState, script: ScriptText) -> None:
        self.state = state
        self.script = script
        self.commands: list[Command] = []
        self.opaque = False
        self.source = b""
        self.succeeded = False
        self.last_stage = 0

    def run(self, text: str, *, succeeded: bool = False, context: _Context | None = None) -> None:
        """Walk one shell text, keeping the source of an enclosing one."""
        context = context or _Context()
        if len(text) > _MAX_TEXT or len(context.via) > _MAX_NESTING:
            self.opaque = True
            return
        outer = self.source, self.succeeded
        self.source, self.succeeded = text.encode("utf-8", "replace"), succeeded
        root = _PARSER.parse(self.source.translate(_AS_LETTERS)).root_node
        if root.has_error:
            self.opaque = True
        self._sequence(root, context.but(last=True))
        self.source, self.succeeded = outer

    # -- structure ------------------------------------------------------------------------------------------------

    def _sequence(self, node: Node, context: _Context) -> None:
        statements = [c for c in node.named_children if c.type not in {"comment", "heredoc_body", "heredoc_end"}]
        ended = False
        for index, child in enumerate(statements):
            executed: Executed = "maybe" if ended else context.executed
            later = context.later or (child.next_sibling is not None and child.next_sibling.type == "&")
            last = context.last and index == len(statements) - 1
            self._visit(child, context.but(executed=executed, last=last, later=later))
            ended = ended or _text(self.source, child).split(maxsplit=1)[:1] in (["exit"], ["return"], ["exec"])

    def _visit(self, node: Node, context: _Context) -> None:
        if context.depth > _MAX_DEPTH or len(self.commands) > _MAX_COMMANDS:
            self.opaque = True
            return
        visit = getattr(self, f"_on_{node.type}", None)
        if visit is not None:
            visit(node, context)
        elif node.type in {"program", "compound_statement", "do_group", "negated_command", "else_clause"} or (
            node.named_children and node.type not in {"word", "string", "raw_string", "comment"}
        ):
            self._sequence(node, context)

    def _on_subshell(self, node: Node, context: _Context) -> None:
        kept = self.state.cwd
        self._sequence(node, context)
        self.state.cwd = kept

    def _on_list(self, node: Node, context: _Context) -> None:
        left, right = node.named_children[0], node.named_children[-1]
        operator = next((c.type for c in node.children if c.type in {"&&", "||"}), "")
        proven = self.succeeded and context.last and operator == "&&"
        before = len(self.commands)
        self._visit(left, context.but(last=proven))
        trivial = all(c.name in _TRIVIAL for c in self.commands[before:])
        certain = proven or (operator == "&&" and trivial) or operator not in {"&&", "||"}
        self._visit(right, context.but(executed=context.executed if certain else "maybe"))

    def _on_pipeline(self, node: Node, context: _Context) -> None:
        self._pipe(list(node.named_children), context)

    def _pipe(self, stages: list[Node], context: _Context) -> None:
        upstream = context.upstream
        stdin = context.stdin
        for stage in stages:
            before = len(self.commands)
            self._visit(stage, context.but(upstream=upstream, stdin=stdin, last=context.last and stage is stages[-1]))
            made = tuple(self.commands[before:])
            upstream = upstream + made
            stdin = literal_output(made[-1]) if made else None
            self.last_stage = before

    def _on_if_statement(self, node: Node, context: _Context) -> None:
        for child in node.named_children:
            condition = node.field_name_for_child(node.children.index(child)) == "condition"
            self._visit(child, context.but(executed=context.executed if condition else "maybe", last=False))

    def _on_elif_clause(self, node: Node, context: _Context) -> None:
        self._sequence(node, context.but(executed="maybe", last=False))

    def _on_while_statement(self, node: Node, context: _Context) -> None:
        body = node.child_by_field_name("body")
        for child in node.named_children:
            inside = body is not None and child.id == body.id
            self._visit(child, context.but(executed="maybe" if inside else context.executed, last=False))

    def _on_case_statement(self, node: Node, context: _Context) -> None:
        for item in node.named_children:
            if item.type == "case_item":
                self._sequence(item, context.but(executed="maybe", last=False))

    def _on_for_statement(self, node: Node, context: _Context) -> None:
        name, body = node.child_by_field_name("variable"), node.child_by_field_name("body")
        if name is None or body is None:
            return
        values = [self._word(v, context) for v in node.children_by_field_name("value")]
        known = bool(values) and all(v.literal for v in values)
        for value in values[:50] if known else [Word(UNKNOWN, False)]:
            self.state.variables[_text(self.source, name)] = value.text
            self._visit(body, context.but(executed=context.executed if known else "maybe", last=False))

    def _on_function_definition(self, node: Node, context: _Context) -> None:
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        if name is not None and body is not None:
            self.state.functions[_text(self.source, name)] = _text(self.source, body)

    def _on_variable_assignment(self, node: Node, context: _Context) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is not None:
            word = self._word(value, context) if value is not None else Word("")
            self.state.variables[_text(self.source, name)] = word.text

    def _on_declaration_command(self, node: Node, context: _Context) -> None:
        for child in node.named_children:
            if child.type == "variable_assignment":
                self._on_variable_assignment(child, context)
        self._add(self._command([Word(t) for t in _text(self.source, node).split()], [], context), context)

    def _on_unset_command(self, node: Node, context: _Context) -> None:
        self._add(self._command([Word(t) for t in _text(self.source, node).split()], [], context), context)

    def _on_test_command(self, node: Node, context: _Context) -> None:
        words = tuple(self._word(c, context) for c in _leaves(node))
        self._add(self._command([Word("["), *words], [], context), context)

    def _on_redirected_statement(self, node: Node, context: _Context) -> None:
        body = node.child_by_field_name("body")
        redirects: list[Redirect] = []
        after: list[Node] = []
        stdin = context.stdin
        chained = ""
        for child in node.named_children:
            if child.type == "file_redirect":
                redirects.append(self._redirect(child, context))
            elif child.type == "herestring_redirect":
                stdin = self._herestring(child, context)
            elif child.type == "heredoc_redirect":
                stdin, inner, after, chained = self._heredoc(child, context)
                redirects += inner
        before = len(self.commands)
        if body is not None:
            self._visit(body, context.but(stdin=stdin, upstream=context.upstream, last=context.last and not after))
        elif redirects:
            self._add(self._command([Word(":")], redirects, context), context)
        piped = body is not None and body.type == "pipeline"
        self._attach(self.last_stage if piped else before, tuple(redirects))
        self._after_heredoc(after, chained, context, before)

    def _after_heredoc(self, after: list[Node], chained: str, context: _Context, before: int) -> None:
        made = tuple(self.commands[before:])
        for node in after:
            if chained:
                proven = self.succeeded and context.last and chained == "&&"
                self._visit(node, context.but(executed=context.executed if proven else "maybe"))
                continue
            stdin = literal_output(made[-1]) if made else None
            stages = list(node.named_children) if node.type == "pipeline" else [node]
            first = stages[0]
            if first.type == "list":
                self._visit(first, context.but(upstream=made, stdin=stdin))
                stages = stages[1:]
            self._pipe(stages, context.but(upstream=made, stdin=stdin))

    def _attach(self, before: int, redirects: tuple[Redirect, ...]) -> None:
        """Give the commands of a redirected statement its redirections (all of a group's share its output)."""
        if not redirects:
            return
        for index in range(before, len(self.commands)):
            command = self.commands[index]
            self.commands[index] = replace(command, redirects=command.redirects + redirects)

    def _redirect(self, node: Node, context: _Context) -> Redirect:
        operator = next((c.type for c in node.children if not c.is_named), ">")
        target = node.child_by_field_name("destination")
        descriptor = next((_text(self.source, c) for c in node.named_children if c.type == "file_descriptor"), "")
        return Redirect(operator, self._word(target, context) if target is not None else Word("", False), descriptor)

    def _herestring(self, node: Node, context: _Context) -> str | None:
        word = self._word(node.named_children[-1], context) if node.named_children else Word("", False)
        return word.text + "\n" if word.literal else None

    def _heredoc(self, node: Node, context: _Context) -> tuple[str | None, list[Redirect], list[Node], str]:
        redirects: list[Redirect] = []
        after: list[Node] = []
        body: str | None = ""
        chained = next((c.type for c in node.children if c.type in {"&&", "||"}), "")
        start = next((c for c in node.named_children if c.type == "heredoc_start"), None)
        quoted = start is not None and any(q in _text(self.source, start) for q in "'\"\\")
        for child in node.named_children:
            if child.type == "heredoc_body":
                body = self._heredoc_text(child, quoted, context)
            elif child.type == "file_redirect":
                redirects.append(self._redirect(child, context))
            elif child.type not in {"heredoc_start", "heredoc_end"}:
                after.append(child)
        return body, redirects, after, chained

    def _heredoc_text(self, node: Node, quoted: bool, context: _Context) -> str:
        text = _text(self.source, node)
        if quoted:
            return text
        return re.sub(r"\$\{?([A-Za-z_]\w*)\}?", lambda m: self.state.variables.get(m[1], m[0]), text)

    # -- commands -------------------------------------------------------------------------------------------------

    def _on_command(self, node: Node, context: _Context) -> None:
        argv: list[Word] = []
        redirects: list[Redirect] = []
        stdin = context.stdin
        for child in node.named_children:
            if child.type == "command_name":
                argv.append(self._word(child.named_children[0] if child.named_children else child, context))
            elif child.type == "variable_assignment":
                continue
            elif child.type == "file_redirect":
                redirects.append(self._redirect(child, context))
            elif child.type == "herestring_redirect":
                stdin = self._herestring(child, context)
            else:
                argv.append(self._word(child, context))
        context = context.but(stdin=stdin)
        self._add(self._command(argv, redirects, context), context)

    def _command(self, argv: list[Word], redirects: list[Redirect], context: _Context) -> Command:
        return Command(
            argv=tuple(argv),
            redirects=tuple(redirects),
            executed=context.executed,
            cwd=self.state.cwd,
            remote=context.remote,
            upstream=context.upstream,
            via=context.via,
            stdin=context.stdin,
            later=context.later,
        )

    def _add(self, command: Command, context: _Context) -> None:
        """Record a command, then whatever it runs in its turn."""
        self.commands.append(command)
        if not command.argv:
            return
        if not command.name:
            self.opaque = True
            return
        if command.name == "cd" and context.remote is None:
            self._change_directory(command)
        for text, inner in self._nested(command, context):
            self.run(text, context=inner)

    def _change_directory(self, command: Command) -> None:
        target = command.operands[0] if command.operands else None
        if target is None or UNKNOWN in target or target.startswith("~") or command.executed != "yes":
            self.state.cwd = None if command.executed == "yes" or target is None else self.state.cwd
        elif target.startswith("/"):
            self.state.cwd = posixpath.normpath(target)
        elif self.state.cwd is not None:
            self.state.cwd = posixpath.normpath(posixpath.join(self.state.cwd, target))

    def _nested(self, command: Command, context: _Context) -> Iterator[tuple[str, _Context]]:
        name = command.name
        inner = context.but(via=(*context.via, name), upstream=command.upstream, stdin=None)
        if name in self.state.functions and name not in context.via:
            yield self.state.functions[name], inner
        elif name in SHELLS:
            yield from self._shell(command, inner)
        elif name == "eval":
            yield from self._literal(command.argv[1:], inner)
        elif name in {"source", "."}:
            yield from self._script(command, command.argv[1:2], inner)
        elif name in _WRAPPERS:
            self._wrapped(command, inner)
        elif name == "ssh":
            yield from self._ssh(command, inner)
        elif name == "find":
            self._find(command, inner)
        elif name in {"crontab", "at", "batch", "trap"}:
            yield from self._scheduled(command, inner.but(later=True))
        elif name == "su" and "-c" in command.words:
            yield from self._literal(command.argv[command.words.index("-c") + 2 :][:1], inner)
        elif name in INTERPRETERS or re.fullmatch(r"python[\d.]+", name):
            self.opaque = True
        elif "/" in command.argv[0].text:
            yield from self._script(command, command.argv[:1], inner)

    def _literal(self, words: tuple[Word, ...], inner: _Context) -> Iterator[tuple[str, _Context]]:
        if words and all(w.literal for w in words):
            yield " ".join(w.text for w in words), inner
        elif words:
            self.opaque = True

    def _shell(self, command: Command, inner: _Context) -> Iterator[tuple[str, _Context]]:
        arguments = list(command.argv[1:])
        if command.name == "busybox" and arguments and arguments[0].text in SHELLS:
            arguments = arguments[1:]
        index = 0
        while index < len(arguments) and re.fullmatch(r"[-+][a-zA-Z-]+", arguments[index].text):
            flags = arguments[index].text
            index += 2 if flags in {"-o", "+o", "-O", "--rcfile", "--init-file"} else 1
            if re.fullmatch(r"-[a-zA-Z]*n[a-zA-Z]*", flags):
                return
            if re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", flags):
                yield from self._literal(tuple(arguments[index : index + 1]), inner)
                return
        if index < len(arguments) and "-s" not in command.words:
            yield from self._script(command, tuple(arguments[index : index + 1]), inner)
        elif command.stdin is not None:
            yield command.stdin, inner
        elif command.upstream or any(r.operator == "<" for r in command.redirects):
            feeds = tuple(r.target for r in command.redirects if r.operator == "<")
            yield from self._script(command, feeds, inner)

    def _script(self, command: Command, words: tuple[Word, ...], inner: _Context) -> Iterator[tuple[str, _Context]]:
        text = self.script(words[0].text, command.cwd) if words and words[0].literal else None
        if text is None:
            self.opaque = True
        elif not text.startswith("#!") or re.match(r"#!\s*\S*(/|env\s+)(sh|bash|dash|zsh|ash|ksh)\b", text):
            yield text, inner
        else:
            self.opaque = True

    def _scheduled(self, command: Command, inner: _Context) -> Iterator[tuple[str, _Context]]:
        """What cron, `at` or a trap is told to run later."""
        if command.name == "trap":
            told = [w for w in command.argv[1:] if w.text not in {"--", "-l", "-p"}]
            if len(told) > 1 and told[0].text != "-":
                certain = inner.executed == "yes" and "EXIT" in command.words
                yield from self._literal(tuple(told[:1]), inner.but(executed="yes" if certain else "maybe"))
            return
        if any(w in {"-l", "-r", "-d", "-c"} for w in command.words):
            return
        text = self._fed(command)
        if text is None:
            self.opaque = True
        else:
            yield "\n".join(_jobs(text)) if command.name == "crontab" else text, inner

    def _fed(self, command: Command) -> str | None:
        """Text of the table or script that a scheduler is given: a file's, or its input; None if it is not known."""
        words = list(command.argv[1:])
        named = next((words[i + 1 :] for i, w in enumerate(words) if w.text == "-f"), [])
        named = words if command.name == "crontab" else named
        files = [w for w in named[:1] if not w.text.startswith("-")]
        files = files or [r.target for r in command.redirects if r.operator == "<"]
        if not files and command.stdin is None and command.upstream and command.upstream[-1].name == "cat":
            files = list(command.upstream[-1].argv[1:2])
        if files:
            return self.script(files[0].text, command.cwd) if files[0].literal else None
        return command.stdin

    def _wrapped(self, command: Command, inner: _Context) -> None:
        takes = _WRAPPER_VALUES.get(command.name, frozenset())
        rest = list(command.argv[1:])
        skip = _WRAPPERS[command.name]
        while rest and (rest[0].text.startswith("-") or "=" in rest[0].text.split("/")[0]):
            rest = rest[2:] if rest[0].text in takes else rest[1:]
        rest = rest[skip:]
        if not rest:
            return
        executed: Executed = "maybe" if command.name in {"xargs", "flock"} else inner.executed
        if command.name == "xargs":
            rest = _with_arguments(command, rest)
        later = inner.later or command.name in _LEAVING
        again = replace(command, argv=tuple(rest), executed=executed, via=inner.via, later=later)
        self._add(again, inner.but(executed=executed, stdin=command.stdin, later=later))

    def _ssh(self, command: Command, inner: _Context) -> Iterator[tuple[str, _Context]]:
        rest = list(command.argv[1:])
        while rest and rest[0].text.startswith("-"):
            rest = rest[2:] if rest[0].text in _SSH_VALUES else rest[1:]
        if len(rest) < 2:
            return
        kept, self.state.cwd = self.state.cwd, None
        yield " ".join(w.text for w in rest[1:]), inner.but(remote=rest[0].text, stdin=command.stdin)
        self.state.cwd = kept

    def _find(self, command: Command, inner: _Context) -> None:
        words = command.argv[1:]
        starts = [i for i, w in enumerate(words) if w.text in {"-exec", "-execdir", "-ok"}]
        for start in starts:
            end = next((i for i in range(start + 1, len(words)) if words[i].text in {";", "+"}), len(words))
            found = [Word(w) for w in found_by(command)]
            argv = tuple(x for w in words[start + 1 : end] for x in (found if w.text == "{}" else [w]))
            again = replace(command, argv=argv, executed="maybe", upstream=(), via=inner.via, stdin=None)
            self._add(again, inner.but(executed="maybe"))

    # -- words ----------------------------------------------------------------------------------------------------

    def _word(self, node: Node, context: _Context) -> Word:
        kind, text = node.type, _text(self.source, node)
        if kind in _PLAIN_WORDS:
            return Word(_PLAIN_WORDS[kind](text))
        if kind in {"simple_expansion", "expansion"}:
            return self._variable(node)
        if kind == "command_substitution":
            return self._substituted(node, context)
        if kind in {"string", "concatenation", "translated_string", "command_name"}:
            return self._joined(node, context)
        if kind == "process_substitution":
            self._sequence(node, context.but(via=(*context.via, "<()"), upstream=()))
        return Word(UNKNOWN if kind == "process_substitution" else text, False)

    def _joined(self, node: Node, context: _Context) -> Word:
        parts: list[Word] = []
        at = node.start_byte
        for child in node.children:
            gap = self.source[at : child.start_byte].decode("utf-8", "replace")
            if gap and node.type == "string":
                parts.append(Word(gap))
            at = child.end_byte
            if child.type != '"' and (child.is_named or node.type == "concatenation"):
                parts.append(self._word(child, context) if child.is_named else Word(_text(self.source, child)))
        return Word("".join(p.text for p in parts), all(p.literal for p in parts))

    def _variable(self, node: Node) -> Word:
        name = next((_text(self.source, c) for c in node.named_children if c.type == "variable_name"), "")
        plain = len(node.named_children) == 1 and _text(self.source, node) in {f"${name}", f"${{{name}}}"}
        value = self.state.variables.get(name) if plain else None
        if value is None:
            return Word(UNKNOWN, False)
        return Word(value, UNKNOWN not in value)

    def _substituted(self, node: Node, context: _Context) -> Word:
        before = len(self.commands)
        self._sequence(node, context.but(upstream=(), stdin=None, last=False))
        made = self.commands[before:]
        output = literal_output(made[-1]) if made else None
        return Word(output.rstrip("\n")) if output is not None else Word(UNKNOWN, False)


def found_by(command: Command) -> list[str]:
    """Words for what a `find` finds: its roots and what lies below them (`ROOT/**/NAME`), by name if it asks for one alone."""
    words = [w for w in command.words if not re.fullmatch(r"-[HLP]|-O\d", w)]
    first = next((i for i, w in enumerate(words) if w.startswith(("-", "(", "!"))), len(words))
    roots = words[:first] or ["."]
    wanted = [words[i + 1] for i, w in enumerate(words[:-1]) if w in {"-name", "-iname"}]
    several = len(wanted) != 1 or any(w in {"-o", "-or", "!", "-not"} for w in words)
    name = "*" if several else wanted[0]
    whole = [r for r in roots if fnmatch.fnmatchcase(posixpath.basename(r.rstrip("/")), name)]
    places = ("/*", "/**/*") if name == "*" else ("/**/" + name,)
    return whole + [r.rstrip("/") + place for r in roots for place in places]


def _with_arguments(command: Command, rest: list[Word]) -> list[Word]:
    """The command that an `xargs` runs, with what it is given through the pipe."""
    given, words = _arguments(command), command.words
    joined = next((w[2:] for w in words if re.match(r"-I.", w)), "")
    mark = joined or next((words[i + 1] for i, w in enumerate(words[:-1]) if w == "-I"), "{}" if "-i" in words else "")
    if not mark:
        return rest + given
    return [
        x for w in rest for x in ([Word(w.text.replace(mark, g.text), g.literal) for g in given] if mark in w.text else [w])
    ]


def _arguments(command: Command) -> list[Word]:
    if command.stdin is not None:
        return [Word(w) for w in command.stdin.split()[:200]]
    lister = command.upstream[-1] if command.upstream else None
    if lister is not None and lister.name == "find":
        return [Word(w) for w in found_by(lister)]
    if lister is not None and lister.name == "ls" and lister.operands:
        return [Word(x) for w in lister.operands for x in (w, w.rstrip("/") + "/*")]
    return [Word(UNKNOWN, False)]


def _jobs(table: str) -> Iterator[str]:
    """The commands of a crontab."""
    for line in table.splitlines():
        match = re.match(r"\s*(?:@\w+|(?:[\d*,/A-Za-z-]+\s+){4}[\d*,/A-Za-z-]+)\s+(.*)", line)
        if match and not line.lstrip().startswith("#"):
            yield re.split(r"(?<!\\)%", match[1], maxsplit=1)[0]


_SSH_VALUES = frozenset(f"-{c}" for c in "BbcDEeFIiJLlmOopQRSWw")


def _text(source: bytes, node: Node) -> str:
    return source[node.start_byte : node.end_byte].decode("utf-8", "replace")


def _leaves(node: Node) -> Iterator[Node]:
    for child in node.named_children:
        if child.type in {"binary_expression", "unary_expression", "parenthesized_expression"}:
            yield from _leaves(child)
        else:
            yield child


def _unescape(text: str, *, inside_quotes: bool) -> str:
    if "\\" not in text:
        return text
    return re.sub(r"\\([\"\\$`\n])" if inside_quotes else r"\\(.|\n)", r"\1", text)


def _ansi_c(text: str) -> str:
    try:
        return codecs.decode(text.encode("latin-1", "backslashreplace"), "unicode_escape")
    except (UnicodeDecodeError, ValueError):
        return text


_PLAIN_WORDS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(
        ("word", "number", "variable_name", "heredoc_content", "test_operator", "regex"),
        lambda text: _unescape(text, inside_quotes=False),
    ),
    "string_content": lambda text: _unescape(text, inside_quotes=True),
    "raw_string": lambda text: text[1:-1],
    "ansi_c_string": lambda text: _ansi_c(text[2:-1]),
}


def literal_output(command: Command) -> str | None:
    """What `command` prints, where that follows from the text alone: `echo`, `printf`, `cat` of literal input, decoders."""
    if any(r.takes_output for r in command.redirects):
        return None
    if command.name in {"echo", "printf"}:
        return _printed(command)
    source = command.stdin
    if source is None:
        return None
    return _decoded(command, source)


def _printed(command: Command) -> str | None:
    if not all(w.literal for w in command.argv):
        return None
    words = command.words
    if command.name == "printf":
        shown, values = words[:1], words[1:]
        text = re.sub(r"%[sb]", lambda _: values.pop(0) if values else "", shown[0]) if shown else ""
        return _ansi_c(text) if "\\" in text else text
    while words and re.fullmatch(r"-[neE]+", words[0]):
        flags = words.pop(0)
        if "e" in flags:
            words = [_ansi_c(w) for w in words]
    return " ".join(words) + "\n"


def _decoded(command: Command, source: str) -> str | None:
    """What a filter makes of literal input; None if it is not one that is followed, or the input does not fit it."""
    flags = "".join(w for w in command.words if w.startswith("-"))
    if command.name in {"base64", "xxd", "gunzip", "zcat", "gzip"}:
        return _unpacked(command.name, flags, source)
    if command.name == "rev":
        return "\n".join(line[::-1] for line in source.split("\n"))
    if command.name == "tr" and command.operands == ["A-Za-z", "N-ZA-Mn-za-m"]:
        return codecs.encode(source, "rot13")
    return source if command.name in {"cat", "tee"} and not command.operands else None


def _unpacked(program: str, flags: str, source: str) -> str | None:
    data = source.encode("utf-8", "surrogateescape")
    plain: bytes | None = None
    try:
        if program == "base64" and ("d" in flags or "D" in flags):
            plain = base64.b64decode(re.sub(rb"\s", b"", data))
        elif program == "xxd" and "r" in flags and "p" in flags:
            plain = bytes.fromhex(source)
        elif program in {"gunzip", "zcat"} or (program == "gzip" and "d" in flags):
            plain = _gunzip(data)
    except (binascii.Error, ValueError, zlib.error):
        return None
    return plain.decode("utf-8", "surrogateescape") if plain is not None else None


def _gunzip(data: bytes) -> bytes:
    return zlib.decompressobj(31).decompress(data, 1 << 20)
