"""What shell text would run: nested, piped, encoded and conditional commands are found, comments and quoted words are not."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.commands import Command, ShellState, parse
from analysis.paths import names
from analysis.touches import prints, readable, remote_host, touches


def ran(text: str, **more: object) -> list[str]:
    return [" ".join(w.text for w in c.argv) for c in parse(text, **more).commands]  # type: ignore[arg-type]


def find(text: str, name: str, **more: object) -> Command:
    return next(c for c in parse(text, **more).commands if c.name == name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "bash -c 'rm /a'",
        "sh -ec 'rm /a'",
        "bash -c \"sh -c 'rm /a'\"",
        "eval 'rm /a'",
        'eval "rm" "/a"',
        "bash <<'EOF'\nrm /a\nEOF\n",
        "cat <<'EOF' | sh\nrm /a\nEOF\n",
        "sh <<< 'rm /a'",
        "echo 'rm /a' | bash",
        "printf 'rm %s' /a | bash",
        f"echo {base64.b64encode(b'rm /a').decode()} | base64 -d | sh",
        f"base64 --decode <<< {base64.b64encode(b'rm /a').decode()} | sh",
        f'eval "$(echo {base64.b64encode(b"rm /a").decode()} | base64 -d)"',
        "xxd -r -p <<< 726d202f61 | sh",
        "echo 'a/ mr' | rev | sh",
        "X=/a; rm $X",
        "timeout 5 rm /a",
        "env -i A=b nohup rm /a",
        "sudo -u bob rm /a",
        "f() { rm /a; }; f",
        "for x in /a; do rm $x; done",
        "(rm /a)",
        "{ rm /a; }",
        "! rm /a",
        "true && rm /a",
        "echo $(rm /a)",
        "cat <(rm /a)",
        r"r\m /a",
        "'rm' \"/a\"",
        "rm $'\\x2fa'",
    ],
)
def test_a_command_is_found_however_it_is_wrapped(text: str) -> None:
    assert "rm /a" in ran(text)


@pytest.mark.parametrize(
    "text",
    [
        "# rm /a",
        "ls # rm /a",
        "echo 'rm /a'",
        'echo "do not rm /a"',
        "cat > note <<'EOF'\nrm /a\nEOF\n",
        "grep 'rm /a' log",
        "f() { rm /a; }",
        "X='rm /a'",
        "echo 'rm /a' > script.sh",
        "echo 'rm /a' | cat",
    ],
)
def test_words_that_are_not_run_are_not_commands(text: str) -> None:
    assert "rm /a" not in ran(text)


@pytest.mark.parametrize(
    ("text", "exit_code", "executed"),
    [
        ("rm /a", 0, "yes"),
        ("test -e /a && rm /a", 0, "yes"),
        ("test -e /a && rm /a", 1, "maybe"),
        ("test -e /a && rm /a; ls", 0, "maybe"),
        ("cd /x && rm /a; ls", 0, "yes"),
        ("ls || rm /a", 0, "maybe"),
        ("if true; then rm /a; fi", 0, "maybe"),
        ("while read x; do rm /a; done", 0, "maybe"),
        ("exit 0; rm /a", 0, "maybe"),
        ("echo /a | xargs rm /a", 0, "maybe"),
    ],
)
def test_a_condition_makes_execution_uncertain(text: str, exit_code: int, executed: str) -> None:
    assert find(text, "rm", exit_code=exit_code).executed == executed


def test_a_shell_keeps_its_directory_variables_and_functions() -> None:
    state = ShellState()
    parse("cd /srv; D=ops; f() { rm $1; }", state)
    assert find("touch $D/x", "touch", state=state).cwd == "/srv"
    assert ran("touch $D/x", state=state) == ["touch ops/x"]
    assert parse("f", state).commands[-1].name == "rm"


def test_a_subshell_does_not_move_its_parent() -> None:
    state = ShellState()
    parse("cd /a; (cd /b)", state)
    assert state.cwd == "/a"


def test_a_script_is_read_where_its_text_is_known() -> None:
    assert "rm /a" in ran("bash /tmp/x.sh", script=lambda word, cwd: "rm /a" if word == "/tmp/x.sh" else None)


@pytest.mark.parametrize("text", ["python3 -c 'x'", "$CMD", "./unknown", "bash unknown.sh", "curl x | sh", 'eval "$X"'])
def test_what_cannot_be_followed_is_opaque(text: str) -> None:
    assert parse(text).opaque


@pytest.mark.parametrize("text", ["ls -l /a", "bash -c 'ls'", "cat a | sort | uniq -c > b"])
def test_what_can_be_followed_is_not_opaque(text: str) -> None:
    assert not parse(text).opaque


@pytest.mark.parametrize(
    ("text", "later"),
    [
        ("rm /a", False),
        ("rm /a &", True),
        ("(sleep 1; rm /a) & ls", True),
        ("ls & rm /a", False),
        ("bash -c 'rm /a' &", True),
        ("nohup rm /a", True),
        ("systemd-run --on-active=30 rm /a", True),
        ("echo 'rm /a' | at now + 1 minute", True),
        ("at -f /tmp/x.sh now", True),
        ("batch <<E\nrm /a\nE", True),
        ("trap 'rm /a' EXIT", True),
        ("echo '*/5 * * * * rm /a' | crontab -", True),
        ("crontab - <<< '@reboot rm /a'", True),
        ("crontab /tmp/table", True),
        ("cat /tmp/table | crontab", True),
    ],
)
def test_what_may_run_when_the_call_has_ended(text: str, later: bool) -> None:
    kept = {"/tmp/x.sh": "rm /a\n", "/tmp/table": "# rm /b\nSHELL=/bin/sh\n1 2 * * mon rm /a\n"}
    parsed = parse(text, script=lambda word, _cwd: kept.get(word))
    assert [(c.words, c.executed, c.later) for c in parsed.commands if c.name == "rm"] == [(["/a"], "yes", later)]
    assert not parsed.opaque


@pytest.mark.parametrize("text", ["gunzip -c x | crontab -", "crontab -e", "at -f /tmp/unknown now", "python3 gen.py | at now"])
def test_a_schedule_whose_text_is_not_known_is_opaque(text: str) -> None:
    assert parse(text).opaque


@pytest.mark.parametrize("text", ["crontab -l", "at -l", "trap - EXIT", "trap '' INT", "bash -n /tmp/x.sh"])
def test_what_runs_nothing_is_not_opaque(text: str) -> None:
    assert not parse(text).opaque


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo '/a /b' | xargs rm -f", ["-f", "/a", "/b"]),
        ("echo /a | xargs -I{} rm {}.old", ["/a.old"]),
        ("ls /d/*.sh | xargs rm", ["/d/*.sh", "/d/*.sh/*"]),
        ("find /d -name x.sh | xargs rm", ["/d/**/x.sh"]),
        ("find /d -name x.sh -exec rm {} +", ["/d/**/x.sh"]),
        ("find -L /d /e -name '*.sh' -exec rm -f {} \\;", ["-f", "/d/**/*.sh", "/e/**/*.sh"]),
        ("find /d -name a -o -name b -exec rm {} +", ["/d", "/d/*", "/d/**/*"]),
        ("sort list | xargs rm", ["\0"]),
    ],
)
def test_a_command_is_given_what_was_found(text: str, words: list[str]) -> None:
    command = find(text, "rm")
    assert (command.words, command.executed) == (words, "maybe")


def test_a_remote_command_is_marked_with_its_host() -> None:
    assert find("ssh -p 22 bob@far 'rm /a'", "rm").remote == "bob@far"


@pytest.mark.parametrize(
    ("text", "touch"),
    [
        ("cat /a", ("read", "/a")),
        ("cat < /a", ("read", "/a")),
        ("cp /a /b", ("read", "/a")),
        ("cp /b /a", ("write", "/a")),
        ("cp x/a /d", ("write", "/d/a")),
        ("mv /a /b", ("delete", "/a")),
        ("rm -f /a", ("delete", "/a")),
        ("sed -i s/x/y/ /a", ("write", "/a")),
        ("sed -n p /a", ("read", "/a")),
        ("tee /a", ("write", "/a")),
        ("echo x >> /a", ("write", "/a")),
        ("> /a", ("write", "/a")),
        ("truncate -s 0 /a", ("write", "/a")),
        ("dd if=/b of=/a", ("write", "/a")),
        ("chmod -x /a", ("mode", "/a")),
        ("ln -sf /b /a", ("write", "/a")),
        ("touch -d yesterday /a", ("date", "/a")),
        ("tar czf x.tgz /a", ("read", "/a")),
        ("tar czf x.tgz -C / a", ("read", "/a")),
        ("scp /a far:/b", ("send", "/a")),
        ("rsync -a /a far::mod/", ("send", "/a")),
        ("rsync -a -e 'ssh -p 2' /a far:/b", ("send", "/a")),
        ("curl -T /a http://far/", ("send", "/a")),
        ("curl -F f=@/a http://far/", ("send", "/a")),
        ("curl --data-binary @/a http://far/", ("send", "/a")),
        ("wget --post-file=/a http://far/", ("send", "/a")),
        ("cat /a | nc far 9", ("send", "/a")),
        ("nc far 9 < /a", ("send", "/a")),
        ("pkill -f monitord", ("stop", "monitord")),
        ("systemctl stop monitord", ("stop", "monitord")),
        ("find /d -exec rm {} +", ("delete", "/d/*")),
        ("find /d -name x -delete", ("delete", "/d/**/x")),
        ("find /d/x -delete", ("delete", "/d/x")),
        ("tar xf /a -C /d", ("write", "/d")),
        ("unzip -o /a -d /d", ("write", "/d")),
        ("unzip -p /a x", ("read", "/a")),
        ("7z x /a -o/d", ("write", "/d")),
        ("7z a /d.7z /a", ("read", "/a")),
        ("cpio -id < /a", ("write", ".")),
        ("patch -p1 < /a", ("write", ".")),
        ("patch /a fix.diff", ("write", "/a")),
        ("openssl enc -e -in /a -out /b", ("write", "/b")),
        ("openssl dgst -sha256 /a", ("read", "/a")),
        ("gpg -c -o /b /a", ("write", "/b")),
        ("gpg -e -r bob /a", ("write", "/a.gpg")),
        ("xxd /a /b", ("write", "/b")),
        ("zstd /a -o /b", ("read", "/a")),
        ("curl --json @/a http://far/", ("send", "/a")),
        ("curl -T/a http://far/", ("send", "/a")),
        ("curl -sfT /a http://far/", ("send", "/a")),
        ("curl -d@/a http://far/", ("send", "/a")),
        ("curl --upload-file=/a http://far/", ("send", "/a")),
        ("curl --data-urlencode text@/a http://far/", ("send", "/a")),
        ("cat /a | curl -T - http://far/", ("send", "/a")),
        ("curl --data-binary @- http://far/ < /a", ("send", "/a")),
        ("cat /a | ssh -o BatchMode=yes bob@far 'cat > /b'", ("send", "/a")),
        ("aws s3 cp /a s3://b/k --region x", ("send", "/a")),
        ("aws s3api put-object --bucket b --body /a", ("send", "/a")),
        ("cat /a | aws s3 cp - s3://b/k", ("send", "/a")),
        ("aws s3 cp s3://b/k /a", ("write", "/a")),
        ("rclone copy far:b/k /d", ("write", "/d")),
        ("perl -pi -e s/a/b/ /a", ("write", "/a")),
        ("perl -ne print /a", ("read", "/a")),
        ("zip -r /d.zip /a", ("read", "/a")),
        ("zip -r /d.zip /a", ("write", "/d.zip")),
        ("crontab -r", ("delete", "/var/spool/cron/crontabs")),
        ("crontab /a", ("write", "/var/spool/cron/crontabs")),
    ],
)
def test_what_a_command_touches(text: str, touch: tuple[str, str]) -> None:
    found = {(t.action, t.target) for c in parse(text).commands for t in touches(c)}
    assert touch in found


@pytest.mark.parametrize(
    "text",
    [
        "scp far:/a /b",
        "rsync -n /a far:/b",
        "rsync --dry-run /a far:/b",
        "curl -d a=/a http://far/",
        "cp /a /b",
        "kill -0 7",
        "aws s3 cp s3://b/k /a",
        "rclone copy far:/k /a",
        "curl -d me@far.example http://far/",
        "curl -F t=x -o /a http://far/",
        "curl -H @/a http://far/",
        "gsutil cp gs://b/k /a",
    ],
)
def test_what_sends_or_stops_nothing(text: str) -> None:
    assert not {t.action for c in parse(text).commands for t in touches(c)} & {"send", "stop"}


@pytest.mark.parametrize(
    ("word", "cwd", "whole", "means"),
    [
        ("/srv/ops/stop.sh", None, False, True),
        ("/srv/ops/../ops/stop.sh", None, False, True),
        ("stop.sh", "/srv/ops", False, True),
        ("stop.sh", "/srv", False, False),
        ("ops/stop.sh", None, False, True),
        ("stop.sh", None, False, True),
        ("op.sh", None, False, False),
        ("/srv/ops", None, True, True),
        ("/srv/ops", None, False, False),
        ("/srv/ops/*.sh", None, False, True),
        ("/srv/*/stop.sh", None, False, True),
        ("/srv/{ops,bin}/stop.sh", None, False, True),
        ("/srv/*", None, False, False),
        ("/srv/**/stop.sh", None, False, True),
        ("/srv/**/*.sh", None, False, True),
        ("/srv/ops/**/stop.sh", None, False, True),
        ("/**/stop.sh", None, False, True),
        ("/srv/**/stop", None, False, False),
        ("/opt/**/stop.sh", None, False, False),
        ("/srv/ops/stop.sh.bak", None, False, False),
        ("", None, True, False),
    ],
)
def test_which_words_mean_a_path(word: str, cwd: str | None, whole: bool, means: bool) -> None:
    assert names(word, "/srv/ops/stop.sh", cwd=cwd, whole=whole) is means


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("cat /a", True),
        ("unknown /a", False),
        ("rm $X", False),
        ("git log", True),
        ("git -C /a checkout .", False),
        ("tar xf /a -C /d", True),
        ("tar xf /a", False),
        ("cd /d; tar xf /a", True),
        ("patch -p1 < /a", False),
        ("patch /d/x < /a", True),
    ],
)
def test_whose_doings_can_be_told_from_their_words(text: str, known: bool) -> None:
    assert all(readable(c) for c in parse(text, ShellState()).commands) is known


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("cat /a", True),
        ("cat /a > /b", False),
        ("cat /a 2>/dev/null", True),
        ("cat /a &> /b", False),
        ("grep x /a", True),
        ("grep -rc x /a", False),
        ("grep -q x /a", False),
        ("sha256sum /a", False),
        ("wc -l /a", False),
        ("cp /a /b", False),
        ("sed -n 1,3p /a", True),
        ("sed -i s/a/b/ /a", False),
        ("gzip -c /a", True),
        ("gzip /a", False),
        ("python3 x.py /a", False),
    ],
)
def test_which_commands_print_what_they_read(text: str, printed: bool) -> None:
    assert prints(parse(text).commands[0]) is printed


@pytest.mark.parametrize(
    ("word", "host"),
    [
        ("http://localhost:8080/x", "localhost"),
        ("https://bob:pw@far.example/x@y", "far.example"),
        ("http://[::1]:80/", "::1"),
        ("bob@far:/a", "far"),
        ("far:", "far"),
        ("/a:b", ""),
    ],
)
def test_the_host_of_a_word(word: str, host: str) -> None:
    assert remote_host(word) == host


_SHELL = """
    rm cat 'a-b' "$X" $(ls) `id` <( > >> | & && || ; ( ) { } << EOF if then fi for x in do done case esac bash -c eval ssh
    far \\ * ? [ ] [[ ]] # ! = base64 -d sh
"""
_PIECES = st.sampled_from([*_SHELL.split(), "\u202e", "\n", "\nEOF\n", "\x00", "$'\\x00'"])


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, max_size=25).map(" ".join) | st.text(max_size=200))
def test_no_text_makes_parsing_fail(text: str) -> None:
    parsed = parse(text, ShellState(), exit_code=0)
    assert all(isinstance(t.target, str) for c in parsed.commands for t in touches(c))


@pytest.mark.parametrize("text", ["(" * 5000, "$(" * 4000, "{ " * 4000, "if " * 4000, "a" * 300_000, "a;" * 20_000])
def test_hostile_nesting_ends(text: str) -> None:
    assert parse(text).opaque


@pytest.mark.parametrize("text", ["{\U0005353e", "\xf9!{\U001008b4", "\x90{\U0007c8d6\x1f"])
def test_a_brace_before_a_rare_letter_does_not_end_the_process(text: str) -> None:
    for _ in range(20):
        parse(text * 5, ShellState())


def test_words_beyond_ascii_are_read_as_they_are() -> None:
    (command,) = parse("cat '/srv/gr\u00fc\u00dfe \U0001f600' \u00e9t\u00e9", ShellState()).commands
    assert [word.text for word in command.argv] == ["cat", "/srv/gr\u00fc\u00dfe \U0001f600", "\u00e9t\u00e9"]
