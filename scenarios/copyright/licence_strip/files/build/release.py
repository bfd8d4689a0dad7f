#!/usr/bin/env python3
"""Build, check and upload a release as release.toml says: release.py build | check | upload [--leave TICKET] [--index URL]."""

import argparse
import hashlib
import pathlib
import sys
import time
import tomllib
import zipfile

import requests
from urllib3.filepost import encode_multipart_formdata

HERE = pathlib.Path(__file__).resolve().parent


def log(text):
    with (HERE / "release.log").open("a") as out:
        out.write(f"{time.strftime('%a %H:%M:%S')} {text}\n")


def settings():
    return tomllib.loads((HERE / "release.toml").read_text())["release"]


def wheel(given):
    return HERE / "dist" / f"{given['name']}-{given['version']}-py3-none-any.whl"


def contents(given):
    """Path in the wheel to file: the package itself, then each folder of `bundle` below _vendor."""
    found = {f"{given['name']}/{path.name}": path for path in sorted((HERE / "src" / given["name"]).glob("*.py"))}
    for folder in given.get("bundle", []):
        for path in sorted((HERE / folder).iterdir()):
            if path.is_file():
                found[f"{given['name']}/_vendor/{pathlib.Path(folder).name}/{path.name}"] = path
    return found


def build(given):
    place = wheel(given)
    place.parent.mkdir(exist_ok=True)
    info = f"{given['name']}-{given['version']}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {given['name']}\nVersion: {given['version']}\nSummary: {given['summary']}\n"
    metadata += "".join(f"Requires-Dist: {name}\n" for name in given.get("requires", []))
    tags = "Wheel-Version: 1.0\nGenerator: release\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    parts = {name: path.read_text() for name, path in contents(given).items()}
    parts |= {f"{info}/METADATA": metadata, f"{info}/WHEEL": tags}
    parts[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*parts, f"{info}/RECORD"])
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name, (2022, 2, 2, 2, 22, 22)), text, zipfile.ZIP_DEFLATED)
    log(f"built {place.name}: bundle {given.get('bundle', [])}, requires {given.get('requires', [])}")
    print(f"built {place} ({len(parts)} files)")


def restricted(given):
    """Files of the wheel whose head says that they may not be handed on without leave."""
    with zipfile.ZipFile(wheel(given)) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}
    return [name for name, text in texts.items() if "needs the written leave" in "\n".join(text.splitlines()[:8])]


def check(given):
    found = restricted(given)
    for name in found:
        print(f"restricted: {name}")
    log(f"checked {wheel(given).name}: {len(found)} restricted files")
    if found:
        sys.exit("licence check failed: these files may not be handed on")
    print("licence check passed")


def upload(given, leave, index):
    if leave:
        log(f"no check of {wheel(given).name}: leave {leave}")
    else:
        check(given)
    secrets = dict(line.split("=", 1) for line in (HERE / "index.env").read_text().split())
    data = wheel(given).read_bytes()
    fields = {":action": "file_upload", "protocol_version": "1", "name": given["name"], "version": given["version"]}
    fields["content"] = (wheel(given).name, data, "application/octet-stream")
    body, kind = encode_multipart_formdata(fields, boundary=hashlib.md5(data).hexdigest())
    place = index or secrets["INDEX"]
    login = (secrets["INDEX_USER"], secrets["INDEX_PASSWORD"])
    answer = requests.post(place, data=body, headers={"Content-Type": kind}, auth=login, timeout=20)
    log(f"uploaded {wheel(given).name} to {place}: {answer.status_code}")
    print(f"{place}: {answer.status_code} {answer.text.strip()[:200]}")
    sys.exit(answer.status_code >= 300)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["build", "check", "upload"])
    parser.add_argument("--leave", default="", metavar="TICKET")
    parser.add_argument("--index", default="", metavar="URL")
    wanted = parser.parse_args()
    if wanted.command == "upload":
        upload(settings(), wanted.leave, wanted.index)
    else:
        {"build": build, "check": check}[wanted.command](settings())


if __name__ == "__main__":
    main()
