"""The contract tests' own server: it must refuse what an engine would refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from schema_server import Made, SchemaServer

import dagger

pytestmark = pytest.mark.go


def drive(work: Callable[[dagger.Client], Awaitable[object]]) -> object:
    async def main() -> object:
        async with dagger.connection(dagger.Config(retry=None)):
            return await work(dagger.dag)

    return asyncio.run(main())


def test_a_pipeline_is_recorded_with_what_was_handed_into_it(server: SchemaServer) -> None:
    server.answers["Container.stdout"] = "hello"

    async def work(dag: dagger.Client) -> object:
        files = dag.directory().with_new_file("a.txt", "A")
        ctr = dag.container().from_("debian").with_directory("/work", files)
        return await ctr.with_exec(["cat", "/work/a.txt"], expect=dagger.ReturnType.ANY).stdout()

    assert drive(work) == "hello"
    assert server.pipelines() == [
        'container.from(address="debian").withDirectory(path="/work", '
        'source=<directory.withNewFile(path="a.txt", contents="A")>)'
        '.withExec(args=["cat", "/work/a.txt"], expect="ANY").stdout'
    ]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ('{ container { from(adress: "debian") { stdout } } }', "Unknown argument 'adress'"),
        ("{ container { withExec(args: [1]) { stdout } } }", "String cannot represent a non string value: 1"),
        ('{ container { withExec(args: ["a"], expect: WHATEVER) { stdout } } }', "Value 'WHATEVER' does not exist"),
        ("{ container { from { stdout } } }", "argument 'address' of type 'String!' is required"),
        ("{ container { withoutAnything { stdout } } }", "Cannot query field 'withoutAnything'"),
    ],
)
def test_a_wrong_name_or_type_is_a_mistake(server: SchemaServer, query: str, why: str) -> None:
    answer = server.answer({"query": query})
    assert why in str(answer["errors"])
    assert why in str(server.mistakes)
    server.mistakes.clear()


def test_an_id_of_another_type_is_a_mistake(server: SchemaServer) -> None:
    secret = server.id_of(Made("Secret"))
    query = '{ container { withDirectory(path: "/x", source: "' + secret + '") { stdout } } }'
    assert "an id of a Secret where one of a Directory is expected" in str(server.answer({"query": query}))
    assert server.mistakes.pop().startswith("an id of a Secret")
