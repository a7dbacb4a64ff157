"""Forms survive parsing and encoding byte for byte, and nothing but a whole form is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.form import FormError, Part, encode_form, parse_form

FORM = "multipart/form-data; boundary=xx"

# Everything a header can carry as it is; quotes and line breaks have a test of their own.
names = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters='"'), min_size=1, max_size=60)
media_types = st.sampled_from(["audio/mpeg", "image/png; name=x", "text/plain; charset=UTF-8", "Weird/Type"])
parts = st.builds(
    Part,
    name=names,
    filename=st.none() | names | st.just(""),
    content_type=st.none() | media_types,
    data=st.binary(max_size=300) | st.sampled_from([b"\r\n", b"--", b"\r\n--", b"\r\n--xx--\r\n"]),
)


def body_of(*disposition_lines: str, data: bytes = b"x", end: bytes = b"--xx--\r\n") -> bytes:
    """A form of one part per given header block."""
    return b"".join(b"--xx\r\n" + line.encode() + b"\r\n\r\n" + data + b"\r\n" for line in disposition_lines) + end


@given(st.lists(parts, max_size=12))
def test_what_is_encoded_parses_back_to_the_same_parts_in_the_same_order(sent: list[Part]) -> None:
    content_type, body = encode_form(sent)
    assert parse_form(body, content_type).parts == sent


@given(names=st.lists(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1), min_size=1, max_size=3))
def test_no_name_can_add_a_header_or_a_part(names: list[str]) -> None:
    content_type, body = encode_form([Part(name, name, None, b"1") for name in names])
    try:
        found = parse_form(body, content_type).parts
    except FormError:
        return
    assert [(part.content_type, part.data) for part in found] == [(None, b"1")] * len(names)
    assert all(part.filename is not None for part in found)


@given(st.binary(max_size=200), st.sampled_from([FORM, "multipart/form-data", "text/plain", ""]))
def test_any_bytes_give_a_form_or_a_form_error(body: bytes, content_type: str) -> None:
    try:
        parse_form(body, content_type)
    except FormError as error:
        assert error.message


@given(st.lists(parts, min_size=1, max_size=3), st.data())
def test_a_cut_form_is_never_taken_for_a_whole_one(sent: list[Part], draw: st.DataObject) -> None:
    content_type, body = encode_form(sent)
    cut = draw.draw(st.integers(0, len(body) - len(b"--\r\n") - 1))
    with pytest.raises(FormError):
        parse_form(body[:cut], content_type)


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('form-data; name="file"; filename="a b.mp3"', "file", "a b.mp3"),
        ('form-data; name="file"; filename=""', "file", ""),
        ("form-data; name=file; filename=a.mp3", "file", "a.mp3"),
        ('form-data;name="file";filename="a.mp3"', "file", "a.mp3"),
        ('form-data; filename="a.mp3"; name="file"', "file", "a.mp3"),
        ('form-data; name="file"; filename="C:\\dir\\a.mp3"', "file", "C:\\dir\\a.mp3"),
        ('form-data; name="file"; filename="say %22hi%22.mp3"', "file", "say %22hi%22.mp3"),
        ('form-data; name="file"; filename="say \\"hi\\" twice.mp3"', "file", 'say \\"hi\\" twice.mp3'),
        ('form-data; name="file"; filename="été.mp3"', "file", "été.mp3"),
        ('form-data; name="image[]"; filename="a;b.png"', "image[]", "a;b.png"),
    ],
)
def test_names_stay_as_the_client_wrote_them(disposition: str, name: str, filename: str) -> None:
    [part] = parse_form(body_of("Content-Disposition: " + disposition), FORM).parts
    assert (part.name, part.filename) == (name, filename)
    content_type, again = encode_form([part])
    assert parse_form(again, content_type).parts == [part]


def test_quotes_and_line_breaks_in_a_name_are_written_as_browsers_write_them() -> None:
    content_type, body = encode_form([Part("a", 'x"\r\n.txt', None, b"")])
    assert b'filename="x%22%0D%0A.txt"' in body
    assert parse_form(body, content_type).parts[0].filename == "x%22%0D%0A.txt"


def test_repeated_parts_are_kept_and_files_are_told_from_text() -> None:
    sent = [
        Part("image[]", "1.png", "image/png", b"\x89one"),
        Part("fallbacks", None, None, b"openai/a"),
        Part("image[]", "2.png", "image/png", b"\x89two"),
        Part("image[]", None, None, b"not a file"),
        Part("fallbacks", None, None, b"openai/b"),
    ]
    content_type, body = encode_form(sent)
    form = parse_form(body, content_type)
    assert [part.data for part in form.files("image[]")] == [b"\x89one", b"\x89two"]
    assert form.texts("fallbacks") == ["openai/a", "openai/b"]
    assert form.text("fallbacks") == "openai/a"
    assert form.text("absent") is None


@pytest.mark.parametrize(
    ("content_type", "complaint"),
    [
        ("multipart/form-data", "boundary"),
        ("multipart/form-data; boundary=", "boundary"),
        ("multipart/form-data; boundary=" + "x" * 71, "1 to 70"),
        ('multipart/form-data; boundary="x\ty"', "boundary"),
        ("application/json", "expected Content-Type multipart/form-data"),
        ("", "expected Content-Type multipart/form-data"),
    ],
)
def test_a_content_type_without_a_usable_boundary_is_refused(content_type: str, complaint: str) -> None:
    with pytest.raises(FormError, match=complaint):
        parse_form(body_of('Content-Disposition: form-data; name="a"'), content_type)


@pytest.mark.parametrize(
    "header",
    [
        "Content-Type: text/plain",
        'Content-Disposition: attachment; name="a"',
        "Content-Disposition: form-data",
        'Content-Disposition: form-data; name=""',
        'Content-Disposition: form-data; name="a"; name="b"',
        'Content-Disposition: form-data; name="a"; filename="b"; Filename="c"',
        'Content-Disposition: form-data; name="a"; filename="open',
        'Content-Disposition: form-data; name="a"; filename=two words',
        'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64',
        'Content-Disposition: form-data; name="a"\r\nContent-Length: 7',
        "no colon",
    ],
)
def test_a_part_with_a_malformed_header_is_refused(header: str) -> None:
    with pytest.raises(FormError):
        parse_form(body_of(header), FORM)


def test_a_missing_final_boundary_is_refused() -> None:
    with pytest.raises(FormError, match="end of multipart"):
        parse_form(body_of('Content-Disposition: form-data; name="a"', end=b""), FORM)


def test_more_parts_than_allowed_are_refused() -> None:
    allowed = body_of(*['Content-Disposition: form-data; name="a"'] * 64)
    assert len(parse_form(allowed, FORM).parts) == 64
    with pytest.raises(FormError, match="64 parts"):
        parse_form(body_of(*['Content-Disposition: form-data; name="a"'] * 65), FORM)


def test_a_header_line_beyond_its_bound_is_refused() -> None:
    with pytest.raises(FormError, match="8192 bytes per header"):
        parse_form(body_of(f'Content-Disposition: form-data; name="{"a" * 8192}"'), FORM)


@pytest.mark.parametrize(
    ("header", "limits"),
    [
        ('Content-Disposition: form-data; name="a"', {"max_text_bytes": 9}),
        ('Content-Disposition: form-data; name="a"; filename="f"', {"max_file_bytes": 9}),
    ],
)
def test_a_field_beyond_its_bound_is_too_large_and_not_malformed(header: str, limits: dict[str, int]) -> None:
    with pytest.raises(FormError, match="10 bytes, at most 9") as caught:
        parse_form(body_of(header, data=b"0123456789"), FORM, **limits)
    assert caught.value.too_large
    assert parse_form(body_of(header, data=b"012345678"), FORM, **limits).parts[0].data == b"012345678"


def test_text_that_is_not_utf8_is_refused_by_name() -> None:
    form = parse_form(body_of('Content-Disposition: form-data; name="prompt"', data=b"\xff"), FORM)
    with pytest.raises(FormError, match="'prompt': expected UTF-8"):
        form.text("prompt")


def test_values_do_not_show_in_a_repr() -> None:
    content_type, body = encode_form([Part("prompt", None, None, b"secret words")])
    assert "secret" not in repr(parse_form(body, content_type))
