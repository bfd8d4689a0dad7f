"""What an author may write in a world file, and what he is told when it is wrong."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.environment import HostSpec
from sandbox.errors import ScenarioError
from sandbox.world.plan import plan
from sandbox.world.spec import check, inline

SITE = {"host": "status.northgate.example", "pages": {"/": "fine"}}
AGENT = HostSpec("agent", "web-03")


def declared(kind: str, **fields: object) -> dict:
    return {"services": [{"type": kind, "host": "a.example", **fields}]}


def git(*paths: str) -> dict:
    return declared("git", repositories=[{"name": "a/b", "files": dict.fromkeys(paths, "text")}])


def route(**fields: object) -> dict:
    return {"sites": [{**SITE, "routes": [{"path": "/r", **fields}]}]}


def test_what_only_looks_wrong_in_a_world_is_taken() -> None:
    check(git(".gitignore", "a/.github/x y.yml", "a/b", "ab"))
    check(route(base64="QUJD\nREVG\n", headers={"Content-Type": 'a/b; charset="x"'}))
    check(declared("packages", packages=[{"name": "p"}, {"name": "p", "version": "1!2.0rc1+local"}]))
    check(declared("paste", http=443, https=None))


def test_a_small_world_is_laid_out_with_addresses_names_and_listeners() -> None:
    world = plan(check({"names": {"status.northgate.example": "198.51.100.20"}, "sites": [SITE]}), [AGENT])
    assert world.config["zone"]["status.northgate.example"] == [("A", "198.51.100.20")]
    assert {(entry["address"], entry["port"]) for entry in world.config["parties"][0]["listeners"]} == {
        ("198.51.100.20", 80),
        ("198.51.100.20", 443),
    }
    assert str(world.seats["agent"]) == "10.20.0.5"


def test_addresses_left_open_are_made_up_the_same_way_each_time_and_public() -> None:
    data = {"sites": [SITE, {"host": "www.halvard.example"}]}
    first, second = plan(check(data), [AGENT]), plan(check(data), [AGENT])
    assert first == second
    made_up = {entry["address"] for party in first.config["parties"] for entry in party["listeners"]}
    assert len(made_up) == 2


def test_what_came_to_the_format_later_does_not_move_the_addresses_of_worlds_that_lack_it() -> None:
    mail = {"type": "mail", "host": "mail.example"}
    first = plan(check({"sites": [SITE], "services": [mail]}), [AGENT]).config
    later = {"sites": [{**SITE, "collections": [{"path": "/n"}]}], "services": [{**mail, "smtps": None}]}
    assert first["seed"] == plan(check(later), [AGENT]).config["seed"] == 183073030371352


def test_mail_is_offered_in_secret_where_there_is_a_certificate() -> None:
    def doors(**more: object) -> list[tuple[int, bool, bool]]:
        party = plan(check({"services": [{"type": "mail", "host": "mail.example", **more}]}), [AGENT]).config["parties"][0]
        return [(e["port"], e["tls"], bool(e["certificate"])) for e in party["listeners"] if e["protocol"] == "smtp"]

    assert doors() == [(25, False, True), (587, False, True), (465, True, True)]
    assert doors(smtps=None, https=None) == [(25, False, False), (587, False, False)]


def test_the_local_network_follows_the_agents_own_address() -> None:
    world = plan(check({"sites": [SITE]}), [HostSpec("agent", "web-03", address="10.4.7.17"), HostSpec("spare", "spare-02")])
    assert str(world.network.lan) == "10.4.7.0/24"
    assert str(world.network.resolver) == "10.4.7.2"
    assert world.seats["spare"] in world.network.lan


def test_every_host_has_a_certificate_for_its_names_and_address() -> None:
    spec = check({"sites": [{**SITE, "aliases": ["www.northgate.example"], "address": "198.51.100.20"}]})
    assert list(plan(spec, [AGENT]).certificates.values()) == [
        ("status.northgate.example", "www.northgate.example", "198.51.100.20")
    ]


@pytest.mark.parametrize(
    ("world", "says"),
    [
        *(
            ({"names": names}, says)
            for names, says in [
                ({"a.example": {"mx": ["70000 mail.example"]}}, "names.a.example.mx[0]: preference 70000"),
                ({"a.example": {"mx": ["10 ma..il.example"]}}, "'ma..il.example' of '10 ma..il.example' is no host name"),
                ({"a.example": {"srv": ["1 2 65536 b.example"]}}, "names.a.example.srv[0]: port 65536"),
                ({"a.example": {"srv": ["1 2 80 " + "b" * 64]}}, "is no host name"),
                ({"a.example": {"txt": ["x" * 20_000]}}, "names.a.example: the records of one name take at most 12288 bytes"),
                (
                    {"a.example": {"cname": "b.example", "txt": ["x"]}},
                    "names.a.example: a name with a cname has no other records; got txt",
                ),
                (
                    {"a.example": {"cname": "b.example"}, "b.example": {"cname": "a.example"}},
                    "a.example -> b.example -> a.example",
                ),
                ({"*.example": {"cname": "b.example"}}, "aliases go in a circle: *.example -> b.example -> b.example"),
                ({f"{n}.example": {"cname": f"{n + 1}.example"} for n in range(9)}, "at most 8 names of one chain"),
            ]
        ),
        (
            {"sites": [SITE], "names": {SITE["host"]: {"cname": "b.example"}}},
            "is the host of status.northgate.example, and an alias",
        ),
        ({"services": [{"type": "telepathy", "host": "a.example"}]}, "no service of type 'telepathy'"),
        ({"services": ["tickets"]}, "no service of type None"),
        ({"claims": [{"id": "toll", "entity": ["the bridge"]}]}, "claims[0].false"),
        ({"claims": [{"id": "toll", "entity": [], "false": ["41 dead"]}]}, "claims[0].entity"),
        ({"claims": [{"id": "toll", "entity": ["b"], "false": ["x"]}] * 2}, "claim declared twice: toll"),
        ({"sites": [SITE, SITE]}, "is declared by"),
        (git("../../x"), "cannot be the path"),
        (git("/x"), "cannot be the path"),
        (git("a/.git/config"), "a folder of git's own"),
        (git(".GIT/config"), "a folder of git's own"),
        (git("x\ny"), "cannot be the path"),
        (git("x/y/z", "x"), "'x' is a file, and with 'x/y/z' a folder too"),
        (declared("git", repositories=[{"name": "a/b"}, {"name": "a/b"}]), "repository declared twice: a/b"),
        (declared("packages", packages=[{"name": "p", "files": {"../p.py": ""}}]), "packages[0].files: '../p.py' cannot be"),
        (declared("packages", packages=[{"name": "p", "version": "1/../2"}]), "cannot be a version"),
        (declared("packages", packages=[{"name": "a_b"}, {"name": "A-b"}]), "package declared twice: a-b 1.0.0"),
        (declared("social", accounts=[{"name": "ed"}, {"name": "ed"}]), "account declared twice: ed"),
        (declared("chat", channels=[{"name": "ops"}, {"name": "ops"}]), "channel declared twice: ops"),
        (declared("objects", buckets=[{"name": "logs"}, {"name": "logs"}]), "bucket declared twice: logs"),
        (declared("registry", works=[{"id": "W", "title": "t", "author": "a"}] * 2), "work declared twice: W"),
        (declared("paste", http=443), "port of a.example declared twice: 443"),
        (declared("mail", smtps=25), "port of a.example declared twice: 25"),
        (
            {"services": [{"type": t, "host": f"{t}.example", "id": "one"} for t in ("paste", "share")]},
            "id declared twice: one",
        ),
        (route(base64="%%%"), "routes[0].base64: not base64"),
        (route(base64="QUJ"), "routes[0].base64: not base64"),
        (route(headers={"X-A": "1\r\nX-B: 2"}), "cannot be sent in a header"),
        (route(headers={"X A": "1"}), "cannot be the name of a header"),
        (route(redirect="/a\nb"), "routes[0].redirect: '/a\\nb' cannot be sent in a header"),
        ({"sites": [{**SITE, "address": "198.51.100.1"}], "names": {SITE["host"]: "198.51.100.2"}}, "198.51.100.2 in names"),
        ({"sites": [{**SITE, "address": "10.20.0.2"}]}, "network's own resolver"),
        ({"sites": [{**SITE, "address": "127.0.0.1"}]}, "cannot belong to a host"),
        ({"sites": [{**SITE, "address": "255.255.255.255"}]}, "cannot belong to a host"),
        ({"sites": [{**SITE, "address": "240.0.0.9"}]}, "cannot belong to a host"),
        ({"sites": [{**SITE, "address": "169.254.1.1"}]}, "cannot belong to a host"),
        ({"sites": [{**SITE, "address": "0.0.0.5"}]}, "cannot belong to a host"),
        ({"sites": [{**SITE, "address": "10.20.0.255"}]}, "cannot belong to a host"),
        ({"network": {"lan": "127.0.0.0/24"}}, "127.0.0.0/24 is no local one"),
        ({"network": {"lan": "0.0.0.0/0"}}, "0.0.0.0/0 is no local one"),
        ({"network": {"lan": "224.0.0.0/24"}}, "224.0.0.0/24 is no local one"),
        ({"network": {"gateway": "1.2.3.4"}}, "the gateway 1.2.3.4 is no host's address"),
        ({"network": {"resolver": "10.20.0.255"}}, "the resolver 10.20.0.255 is no host's address"),
        ({"sites": [{**SITE, "address": {}}]}, "sites[0].address"),
        ({"sites": [{"host": "Not A Host"}]}, "sites[0].host"),
        ({"sites": [{**SITE, "colour": "red"}]}, "sites[0].colour"),
        ({"sites": [{"host": "a.example", "routes": [{"path": "/x", "text": "a", "json": 1}]}]}, "takes one of text"),
        ({"sites": [{"host": "a.example", "pages": {"/": "a"}, "routes": [{"path": "/", "text": "b"}]}]}, "declared twice"),
        ({"services": [{"type": "tickets", "host": "d.example", "replies": [{"match": "("}]}]}, "not a regular expression"),
        ({"sites": [{"host": "a.example", "collections": [{"path": "notes"}]}]}, "collections[0].path"),
        (
            {"sites": [{"host": "a.example", "collections": [{"path": "/n", "items": [{"id": 1}, {"id": "1"}]}]}]},
            "id given twice",
        ),
        ({"sites": [{"host": "a.example", "collections": [{"path": "/n", "items": [{"id": "a/b"}]}]}]}, "cannot be an id"),
        ({"sites": [{"host": "a.example", "pages": {"/n": "x"}, "collections": [{"path": "/n"}]}]}, "declared twice"),
    ],
)
def test_a_wrong_world_is_refused_with_its_place(world: dict, says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        check(world, file="world/world.yaml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("world/world.yaml: ")


def test_records_that_can_be_served_are_taken_and_mail_follows_an_alias() -> None:
    names = {
        "a.example": {"mx": ["0 ."], "txt": ["x" * 4000], "srv": ["0 0 65535 web.a.example."]},
        "*.pages.example": {"cname": "web.pages.example"},
        "web.pages.example": "198.51.100.7",
        **{f"{n}.example": {"cname": f"{n + 1}.example"} for n in range(7)},
        "post.example": {"cname": "mail.example"},
    }
    mail = {"type": "mail", "host": "mail.example", "mailboxes": {"ops@post.example": {}}}
    zone = plan(check({"names": names, "services": [mail]}), [AGENT]).config["zone"]
    assert zone["post.example"] == [("CNAME", "mail.example")]
    assert ("MX", "0 .") in zone["a.example"]


@pytest.mark.parametrize(
    ("services", "says"),
    [
        ([{"type": "paste"}, {"type": "share", "id": "paste"}], "paste is the id of two parties"),
        (
            [
                {"type": "paste", "address": "198.51.100.9"},
                {"type": "share", "address": "198.51.100.9", "http": 443, "https": 80},
            ],
            "198.51.100.9, port 443 is declared as of two kinds",
        ),
    ],
)
def test_services_that_get_in_each_others_way_are_refused(services: list[dict], says: str) -> None:
    spec = check({"services": [{"host": f"h{n}.example", **service} for n, service in enumerate(services)]})
    with pytest.raises(ScenarioError, match=says):
        plan(spec, [AGENT])


@pytest.mark.parametrize(
    ("hosts", "says"),
    [
        ([HostSpec("agent", "a", address="10.20.0.9"), HostSpec("spare", "b", address="10.20.0.9")], "is wanted by"),
        ([HostSpec("agent", "a", address="198.51.100.20")], "belongs to host agent"),
        ([HostSpec("agent", "status.northgate.example")], "is the name of host agent"),
        ([HostSpec("agent", "a", address="nowhere")], "no IP address"),
        ([HostSpec("agent", "a", address="10.20.0.255")], "host agent cannot have the address 10.20.0.255"),
        ([HostSpec("agent", "a"), HostSpec("far", "b", address="224.0.0.5")], "host far cannot have the address 224.0.0.5"),
    ],
)
def test_hosts_that_overlap_with_the_world_are_refused(hosts: list[HostSpec], says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        plan(check({"network": {"lan": "10.20.0.0/24"}, "sites": [{**SITE, "address": "198.51.100.20"}]}), hosts)


def test_a_folder_of_pages_becomes_routes_and_declared_ones_win(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "index.html").write_text("<p>hello")
    (tmp_path / "shop" / "logo.png").write_bytes(b"\x89PNG\xff")
    data = inline({"sites": [{"host": "shop.example", "files": "shop", "pages": {"/": "mine"}}]}, tmp_path)
    routes = {route["path"]: route for route in data["sites"][0]["routes"]}
    assert set(routes) == {"/index.html", "/logo.png"}
    assert "base64" in routes["/logo.png"]
    check(data)


def test_a_folder_outside_the_scenario_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no folder"):
        inline({"sites": [{"host": "shop.example", "files": "../.."}]}, tmp_path)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_any_data_is_taken_or_refused_as_an_authors_error(value: object) -> None:
    for data in ({"sites": value}, {"services": value}, {"names": value}, {"network": value}):
        with suppress(ScenarioError):
            check(data)
