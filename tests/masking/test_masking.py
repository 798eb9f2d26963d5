"""No secret gets through, in any spelling and however the stream is cut; other text is left alone."""

from __future__ import annotations

import base64
import html
import json
import pickle
import random
import shlex
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_flow_dagger.errors import RefusedInput
from claude_flow_dagger.masking import MASK, Masker, StreamMasker

_alphabet = st.characters(exclude_categories=("Cs",)) | st.sampled_from("abcXYZ019-_/+=\"'\\ \n&<>%é€😀")
secrets = st.text(_alphabet, min_size=6, max_size=40).map(str.strip).filter(lambda s: len(s.encode()) >= 6)


def fold(text: str, width: int, mark: str = "\n") -> str:
    return mark.join(text[at : at + width] for at in range(0, len(text), width))


def b64(data: bytes, shift: int) -> str:
    return base64.b64encode(b"\xa5" * shift + data + b"\x5a" * 3).decode()


ENCODINGS = {
    "raw": lambda s: s,
    "json": json.dumps,
    "json twice": lambda s: json.dumps(json.dumps(s)),
    "json utf-8": lambda s: json.dumps(s, ensure_ascii=False),
    "json slash": lambda s: json.dumps(s).replace("/", "\\/"),
    "json all": lambda s: "".join(f"\\u{ord(c):04X}" if ord(c) < 65536 else json.dumps(c)[1:-1] for c in s),
    "url": lambda s: quote(s, safe=""),
    "url slash": quote,
    "url lower": lambda s: "".join(f"%{b:02x}" for b in s.encode()),
    "form": quote_plus,
    "url of base64": lambda s: quote(base64.b64encode(s.encode()), safe=""),
    "shell": shlex.quote,
    "html": html.escape,
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "hex folded": lambda s: fold(s.encode().hex(), 16),
    **{f"base64+{n}": (lambda s, n=n: b64(s.encode(), n)) for n in range(3)},
    **{f"base64 76 +{n}": (lambda s, n=n: fold(b64(s.encode(), 50 + n), 76)) for n in range(3)},
    **{f"base64 64 +{n}": (lambda s, n=n: fold(b64(s.encode(), 40 + n), 64, "\r\n")) for n in range(3)},
    "base64url": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "base64 in json": lambda s: json.dumps(fold(b64(s.encode(), 1), 76)),
}


@settings(max_examples=100, deadline=None)
@given(secrets, st.sampled_from(sorted(ENCODINGS)))
def test_every_encoding_is_masked(secret: str, encoding: str) -> None:
    written = ENCODINGS[encoding](secret)
    masked = Masker([secret], patterns=False).mask_text(f"<<{written}>>")
    assert MASK in masked
    if "base64" not in encoding:
        inner = masked.removeprefix("<<").removesuffix(">>").strip("\"'\\")
        assert inner == MASK
    else:  # at most the two digits at either side, which other bytes have a part in
        plain = base64.b64encode(secret.encode()).decode()
        assert len(plain) < 12 or plain[2:-4] not in masked.replace("\r\n", "").replace("\n", "")


@settings(max_examples=60, deadline=None)
@given(st.lists(secrets, min_size=1, max_size=3), st.data())
def test_a_stream_is_masked_like_the_whole(values: list[str], data: st.DataObject) -> None:
    masker = Masker(values)
    pieces = st.one_of(
        st.sampled_from(values).flatmap(lambda s: st.sampled_from(sorted(ENCODINGS)).map(lambda e: ENCODINGS[e](s))),
        st.sampled_from(values).flatmap(lambda s: st.integers(1, len(s)).map(lambda n: s[:n])),
        st.text(max_size=20),
        st.sampled_from(KEYS),
        st.sampled_from(["sk-", "Bearer ", "-----BEGIN ", "eyJ", "=\n", "\\u00"]),
    )
    whole = "".join(data.draw(st.lists(pieces, max_size=6))).encode("utf-8", "surrogatepass")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    assert joined(masker.stream(), whole, cuts) == masker.mask_bytes(whole)
    assert joined(masker.stream(), whole, list(range(len(whole)))) == masker.mask_bytes(whole)


def joined(stream: StreamMasker, whole: bytes, cuts: list[int]) -> bytes:
    edges = [0, *cuts, len(whole)]
    out = [stream.feed(whole[a:b]) for a, b in pairwise(edges)]
    return b"".join([*out, stream.finish()])


PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + "MIIEpAIBAAKCAQEA7bq0fXyz+/aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789ab\n" * 5
    + "Zm9v\n-----END RSA PRIVATE KEY-----"
)
KEYS = [
    "sk-ant-api03-" + "aB3_-" * 18,
    "sk-proj-" + "aB3_-" * 8,
    "sk-" + "aB3dE" * 9,
    "sk_live_" + "a1B2" * 6,
    "ghp_" + "a1B2" * 9,
    "gho_" + "a1B2" * 9,
    "github_pat_" + "a1B2" * 12,
    "glpat-" + "a1B2_" * 4,
    "AKIAIOSFODNN7EXAMPLE",
    "xoxb-" + "1234567890-" * 3 + "abc",
    "AIza" + "aB3-_" * 7,
    "npm_" + "a1B2" * 9,
    "pypi-AgEIcHlwaS5vcmc" + "a1B2" * 10,
    "hf_" + "a1B2" * 9,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    PEM,
    PEM.replace("\n", "\\n"),
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key[:12])
def test_common_keys_are_masked_without_being_known(key: str) -> None:
    assert Masker().mask_text(f'token="{key}" and more') == f'token="{MASK}" and more'
    assert Masker(patterns=False).mask_text(key) == key


def test_bearer_keeps_its_word() -> None:
    assert Masker().mask_text("Authorization: Bearer abcdefghij0123456789==") == f"Authorization: Bearer {MASK}"


@pytest.mark.parametrize(
    "text",
    [
        "task-force-of-many-words-in-a-long-kebab-case-name",
        "the Bearer authentication-scheme-is-required-here",
        "sk-fading-circle sk-cube1 disk-usage-of-the-machine-is-large",
        "npm_config_registry npm_package_version ghp_ glpat- AKIA xoxb-",
        "eyJust.eyJust.words",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "import os\nprint('%5B \\u0041 &amp; \\\\n')\n",
        "0123456789abcdef" * 20,
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    masker = Masker(["correct-horse-battery"])
    assert masker.mask_text(text) == text
    assert joined(masker.stream(), text.encode(), [3, 7]) == text.encode()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_without_secrets_are_unchanged(data: bytes) -> None:
    masker = Masker(["a-secret-that-is-not-there-4711"], patterns=False)
    assert masker.mask_bytes(data) == data
    assert joined(masker.stream(), data, [len(data) // 2]) == data


@given(st.text(st.characters(), max_size=40))
def test_text_with_lone_surrogates_survives(text: str) -> None:
    masker = Masker(["correct-horse"], patterns=False)
    assert masker.mask_text(text + "correct-horse" + text) == text + MASK + text


def test_binary_secrets() -> None:
    secret = bytes(range(200, 232))
    masked = Masker([secret]).mask_bytes(b"<" + secret + b"|" + secret.hex().encode() + b">")
    assert masked == b"<***|***>"
    assert "\ufffd" in Masker([b"\xa9\xc3\xa9\xc3\xa9\xc3"]).mask_text("éééé")


def test_lines_of_a_secret_are_masked_each() -> None:
    masker = Masker(["first-line-of-it\nxy\nsecond-line-of-it\n"], patterns=False)
    assert masker.mask_text("a first-line-of-it b second-line-of-it xy") == f"a {MASK} b {MASK} xy"
    assert masker.mask_text("first-line-of-it\r\nxy\r\nsecond-line-of-it") == MASK


def test_a_secret_wrapped_by_a_terminal() -> None:
    assert Masker(["correct-horse-battery"]).mask_text("correct-hor\nse-battery") == MASK


def test_json_values_keys_and_numbers() -> None:
    masker = Masker(["correct-horse", "424242"])
    value = {"correct-horse": ["x correct-horse", 424242, 1.5, True, None], "***": ("y",), "n": {"correct-horse1": 1}}
    assert masker.mask_json(value) == {
        "***": ["x ***", "***", 1.5, True, None],
        "*** (2)": ["y"],
        "n": {"***1": 1},
    } or masker.mask_json(value) == {"***": ["y"], "n": {"***1": 1}}


def test_a_short_secret_is_refused_by_its_length_only() -> None:
    with pytest.raises(RefusedInput) as caught:
        Masker(["abc"])
    assert "3 characters" in str(caught.value)
    assert "abc" not in str(caught.value)
    assert Masker(["", "  \n"], patterns=False).mask_text("x") == "x"


def test_the_masker_does_not_show_its_secrets() -> None:
    masker = Masker(["correct-horse"])
    assert "horse" not in repr(masker)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(masker)


def test_only_what_may_become_a_secret_is_held_back() -> None:
    stream = Masker(["correct-horse"]).stream()
    assert stream.feed(b"a plain word") == b"a plain word"
    assert stream.feed(b" corr") == b" "
    assert stream.feed(b"al") == b"corral"
    assert stream.feed(b"sk-no key ") == b"sk-no key "
    assert stream.feed(b"x\\u00") == b"x"
    assert stream.finish() == b"\\u00"
    assert Masker(patterns=False).stream().feed(b"anything") == b"anything"


def test_a_key_that_never_ends_is_not_held_for_ever() -> None:
    stream = Masker().stream()
    out = b"".join(stream.feed(b"sk-ant-" + b"a" * 10_000 if n == 0 else b"a" * 10_000) for n in range(20))
    assert out.startswith(b"***")
    assert len(stream._held) < 100_000


def test_a_hostile_text_takes_no_exponential_time() -> None:
    masker = Masker(["aaaaaaaaaaaaaaaa", "\\\\\\\\\\\\\\\\"])
    for text in (
        b"a" * 20_000,
        b"\\" * 5_000,
        b"eyJ" + b"a." * 5_000,
        b"-----BEGIN RSA PRIVATE KEY-----" + b"\\n" * 20_000,
    ):
        masker.mask_bytes(text)


def test_random_secrets_in_random_places() -> None:
    chance = random.Random(7)
    for _ in range(60):
        secret = "".join(chance.choices("abcdefXYZ0123456789-_/+", k=chance.randint(8, 40)))
        name = chance.choice(sorted(ENCODINGS))
        around = "".join(chance.choices(" \n,.:;{}", k=40))
        masked = Masker([secret], patterns=False).mask_text(around + ENCODINGS[name](secret) + around)
        assert secret not in masked
        assert MASK in masked
