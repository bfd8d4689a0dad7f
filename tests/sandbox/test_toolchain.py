"""What people build and run on servers goes on under the filter: compilers and Node, in an image made from the base for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, HostLimits, HostSpec
from sandbox.hosts.daemon import LABELS, daemon
from sandbox.hosts.images import PREFIX

pytestmark = [pytest.mark.docker, pytest.mark.full]

NAME = "toolchain"
RECIPE = """\
FROM belljar/base
RUN apt-get update \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends gcc g++ libc6-dev make nodejs openssh-server \\
 && rm -rf /var/lib/apt/lists/* && find / -xdev -perm /6000 -type f -exec chmod ug-s {} +
"""

WORK = {
    "bash": "f() { local -a a=(1 2 3); echo $(( ${a[@]/%/+} 0 )); }; f; diff <(echo a) <(echo a); coproc cat; kill %1",
    "python": "python3 -c 'import asyncio, ctypes, decimal, multiprocessing as m, sqlite3, ssl, threading, tempfile; "
    "print(m.Pool(2).map(abs, [-1])); asyncio.run(asyncio.sleep(0)); t = threading.Thread(target=print); t.start(); t.join()'",
    "git": "git init -q r && cd r && git config user.email a@b.example && git config user.name A && echo x > f && git add f && "
    "git commit -qm x && git gc -q && git clone -q . ../copy && git -C ../copy log --oneline && git fsck",
    "pip": "python3 -m venv v && python3 wheel.py && v/bin/pip install -q --no-index ./one-1-py3-none-any.whl && "
    "v/bin/pip check && v/bin/python -c 'import one; assert one.X == 41'",
    "gcc": 'printf \'#include <stdio.h>\\n#include <pthread.h>\\nstatic void *f(void *x) { puts("hello"); return x; }\\n'
    "int main(void) { pthread_t t; pthread_create(&t, 0, f, 0); return pthread_join(t, 0); }\\n' > a.c && "
    "gcc -O2 -Wall -pthread -o a a.c && ./a | grep -q hello",
    "g++": 'printf \'#include <iostream>\\n#include <stdexcept>\\nint main() { try { throw std::runtime_error("x"); } '
    'catch (const std::exception &e) { std::cout << e.what(); } }\\n\' > b.cc && g++ -o b b.cc && [ "$(./b)" = x ]',
    "make": "printf 'all: one two\\n\\none two:\\n\\ttouch $@\\n' > Makefile && make -j2 && ls one two",
    "node": 'node -e \'const fs = require("fs"), { Worker } = require("worker_threads"); fs.writeFileSync("n", "1");'
    'require("zlib").gzipSync("x"); require("crypto").generateKeyPairSync("ed25519"); '
    'new Worker("process.exit(0)", {eval: true}).on("exit", c => require("child_process").execSync("true") && '
    'require("http").createServer((q, s) => s.end("ok")).listen(8080, function () { require("http").get('
    '{port: 8080}, r => { r.on("data", d => console.log(String(d))); r.on("end", () => this.close()); }); }))\' | grep -q ok',
    "ssh": "ssh-keygen -q -t ed25519 -N '' -f k && ssh-keygen -q -t ed25519 -N '' -f h && cp k.pub auth && chmod 700 . && "
    "/usr/sbin/sshd -h $PWD/h -p 2222 -o AuthorizedKeysFile=$PWD/auth -o StrictModes=no -o UsePAM=no -o PidFile=$PWD/pid && "
    "ssh -i k -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null 127.0.0.1 'echo in; exit 3'; [ $? = 3 ]",
}

WHEEL = """
import zipfile
with zipfile.ZipFile("one-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("one.py", "X = 41\\n")
    wheel.writestr("one-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: one\\nVersion: 1\\n")
    wheel.writestr("one-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("one-1.dist-info/RECORD", "")
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("toolchain")
    (folder / "Dockerfile").write_text(RECIPE)
    for line in daemon().build(folder, PREFIX + NAME, arguments={}, labels={LABELS.own: "1"}):
        print(line)
    yield NAME
    daemon().api.remove_image(PREFIX + NAME, force=True)


@pytest.mark.parametrize("name", WORK)
async def test_ordinary_work_with_compilers_node_and_ssh_goes_on_under_the_filter(image: str, name: str) -> None:
    host = HostSpec("agent", "web01", image=image, limits=HostLimits(memory_mb=768, cpus=2, pids=256, disk_mb=256))
    async with DockerEnvironment(EnvironmentSpec((host,)), trial="toolchain", labels={"belljar.run": "tests"}) as environment:
        status = await environment.run(["grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status"], timeout=30)
        assert dict(line.split(":\t") for line in status.stdout.decode().splitlines()) == {"Seccomp": "2", "NoNewPrivs": "1"}
        await environment.write("/home/agent/w/wheel.py", WHEEL.encode())
        ran = await environment.run(["bash", "-c", f"mkdir -p ~/w && cd ~/w && {WORK[name]}"], timeout=240)
        assert ran.exit_code == 0, (ran.stdout.decode()[-1000:], ran.stderr.decode()[-2000:])
