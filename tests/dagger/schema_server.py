"""A loopback GraphQL server that speaks Dagger's official schema and runs nothing.

The SDK's own client sends it what it would send to an engine. Every query is validated, every object that comes back
knows the chain of calls that made it, and ids carry that chain on: what is recorded is the whole pipeline.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
    execute_sync,
    get_introspection_query,
    get_named_type,
    is_list_type,
    is_non_null_type,
    parse,
    specified_rules,
    validate,
)
from graphql.validation import PossibleFragmentSpreadsRule

# graphql-core refuses fragments on interfaces that only implement another one; the engine itself has put that right.
RULES = [rule for rule in specified_rules if rule is not PossibleFragmentSpreadsRule]


@dataclass(frozen=True)
class Call:
    """One field of a query with its arguments; an argument that was an id is the `Made` that it stood for."""

    name: str
    args: Mapping[str, Any]

    def __str__(self) -> str:
        words = ", ".join(f"{name}={_shown(value)}" for name, value in self.args.items())
        return f"{self.name}({words})" if words else self.name


@dataclass(frozen=True)
class Made:
    """An object of the API: its type, and the calls that made it."""

    type: str
    calls: tuple[Call, ...] = ()

    def then(self, kind: str, call: Call) -> Made:
        return Made(kind, (*self.calls, call))

    def __str__(self) -> str:
        return ".".join(str(call) for call in self.calls)

    def every(self) -> Iterator[Call]:
        """Every call of this pipeline and of whatever was handed into it, outermost first."""
        for call in self.calls:
            yield call
            for value in call.args.values():
                for inner in value if isinstance(value, list) else (value,):
                    if isinstance(inner, Made):
                        yield from inner.every()

    def called(self, name: str) -> list[Call]:
        """The calls of this name, in this pipeline alone."""
        return [call for call in self.calls if call.name == name]

    def args_of(self, name: str) -> list[Mapping[str, Any]]:
        """Their arguments."""
        return [call.args for call in self.called(name)]


def _shown(value: Any) -> str:
    if isinstance(value, Made):
        return f"<{value}>"
    if isinstance(value, list):
        return f"[{', '.join(_shown(each) for each in value)}]"
    return json.dumps(value, ensure_ascii=False)


Answer = Callable[[Made, Mapping[str, Any]], Any]
"""What a scalar field is answered: (the object that is asked, the field's arguments)."""


@dataclass
class SchemaServer:
    """The server's state.

    Args:
        schema: out of `schema.graphqls`.
        answers: by `Type.field`: a value, or a function that makes it. Everything else gets its type's empty value.
    """

    schema: GraphQLSchema
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[Made] = field(default_factory=list)
    """Every value that was asked for: the object's calls, the value's field last."""
    mistakes: list[str] = field(default_factory=list)
    """Why queries were refused."""
    port: int = 0
    _ids: dict[str, Made] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def id_of(self, made: Made) -> str:
        """An id for an object; the same object has one id."""
        with self._lock:
            known = next((name for name, other in self._ids.items() if other == made), None)
            if known is None:
                known = f"{made.type}@{next(self._numbers)}"
                self._ids[known] = made
            return known

    def new(self, kind: str, name: str) -> str:
        """The id of an object that a test hands in, such as a Directory named `source`."""
        return self.id_of(Made(kind, (Call(name, {}),)))

    def made(self, identity: str) -> Made:
        """What an id stands for."""
        return self._ids[identity]

    def pipelines(self) -> list[str]:
        """Everything that was asked for, as text."""
        return [str(made) for made in self.asked]

    def find(self, last: str) -> list[Made]:
        """Everything that was asked for whose last field is `last`."""
        return [made for made in self.asked if made.calls[-1].name == last]

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Validate and carry out one request."""
        try:
            document = parse(body["query"])
        except GraphQLError as error:
            return self._refuse([error])
        errors = validate(self.schema, document, RULES)
        if errors:
            return self._refuse(errors)
        introspects = "__schema" in body["query"]
        result = execute_sync(
            self.schema,
            document,
            root_value=None if introspects else Made("Query"),
            variable_values=body.get("variables"),
            operation_name=body.get("operationName"),
            field_resolver=None if introspects else self._resolve,
            type_resolver=lambda value, *_: value.type,
        )
        if result.errors:
            return self._refuse(result.errors)
        return {"data": result.data}

    def _refuse(self, errors: Sequence[GraphQLError]) -> dict[str, Any]:
        for error in errors:
            # A bug of this server must not look like an engine's answer.
            if error.original_error is not None and not isinstance(error.original_error, GraphQLError):
                raise error.original_error
        self.mistakes += [error.message for error in errors]
        return {"data": None, "errors": [{"message": error.message, "path": error.path} for error in errors]}

    def _resolve(self, source: Made, info: GraphQLResolveInfo, /, **args: Any) -> Any:
        definition = info.parent_type.fields[info.field_name]
        said = {node.name.value for node in info.field_nodes[0].arguments}
        given = {name: self._take(definition.args[name], value) for name, value in args.items() if name in said}
        if info.field_name == "node":
            return given["id"]
        call = Call(info.field_name, given)
        kind = get_named_type(info.return_type)
        made = source.then(kind.name, call)
        if info.field_name == "id":
            return self.id_of(source)
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType) and not _is_list(info):
            return made
        if str(made) != "version":  # the SDK's own question when it connects
            with self._lock:
                self.asked.append(made)
        canned = self.answers.get(f"{info.parent_type.name}.{info.field_name}", ...)
        if canned is not ...:
            return canned(source, given) if callable(canned) else canned
        if kind.name == "ID":
            # `sync`, `start` and `stop` answer the id of the object itself.
            return self.id_of(Made(source.type, made.calls))
        if _is_list(info):
            return []
        return {"String": "", "Int": 0, "Float": 0.0, "Boolean": False, "JSON": "null"}.get(kind.name)

    def _take(self, argument: GraphQLArgument, value: Any) -> Any:
        """An argument as it is recorded; an id must be of the type that the schema expects."""
        if isinstance(value, list):
            return [self._take(argument, each) for each in value]
        if get_named_type(argument.type).name != "ID" or value is None:
            return value
        made = self._ids.get(value)
        if made is None:
            raise GraphQLError(f"{value!r} is no id that this server gave out")
        expected = _expected(argument)
        if expected is not None and made.type != expected:
            raise GraphQLError(f"an id of a {made.type} where one of a {expected} is expected")
        return made


def _is_list(info: GraphQLResolveInfo) -> bool:
    kind = info.return_type
    return is_list_type(kind.of_type if is_non_null_type(kind) else kind)


def _expected(argument: GraphQLArgument) -> str | None:
    """The type in `@expectedType(name: …)`."""
    node = argument.ast_node
    for directive in node.directives if node is not None else ():
        if directive.name.value == "expectedType":
            return next(each.value.value for each in directive.arguments if each.name.value == "name")
    return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps(self.server.state.answer(body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, state: SchemaServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state


@contextmanager
def serve(schema: GraphQLSchema, answers: Mapping[str, Any] | None = None) -> Iterator[SchemaServer]:
    """A server for one test."""
    state = SchemaServer(schema, dict(answers or {}))
    with _Server(state) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def load_schema(text: str) -> GraphQLSchema:
    """The schema; checked by answering an introspection."""
    schema = build_schema(text)
    assert execute_sync(schema, parse(get_introspection_query())).errors is None
    return schema
