import assert from "node:assert/strict";
import { test } from "node:test";
import { greet } from "./greet.js";

test("greets in English", () => assert.equal(greet("Ada"), "Hello, Ada!"));

test("refuses a language that it doesn't speak", () => assert.throws(() => greet("Ada", "xx"), RangeError));
