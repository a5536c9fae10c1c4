"""Files: what is accepted, what is refused with its line, and that a tenant sees its own only."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Any

import openai
import psutil
import pytest

from records.models import RUNNING, File
from server.sweep import sweep
from tests.server.conftest import EXAMPLE, TRAINING, Running, Stage, until

LINE = json.dumps(EXAMPLE).encode()
EXPIRES = {"purpose": "user_data", "expires_after[anchor]": "created_at"}


def test_what_was_uploaded_comes_back_byte_for_byte(server: Running) -> None:
    client = server.client()
    file = client.files.create(file=("my training.jsonl", TRAINING), purpose="fine-tune")
    assert (file.bytes, file.filename, file.purpose, file.status) == (
        len(TRAINING),
        "my training.jsonl",
        "fine-tune",
        "processed",
    )
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == TRAINING


def test_a_file_larger_than_the_buffers_arrives_whole(server: Running) -> None:
    content = bytes(range(256)) * 16_384 + b"\r\n--not-a-boundary\r\n"
    file = server.client().files.create(file=("big.bin", content), purpose="user_data")
    assert server.client().files.content(file.id).read() == content


def test_the_line_of_bad_training_data_is_named(server: Running) -> None:
    content = b"\n".join([LINE, b'{"messages": []}', LINE, b"{nonsense", LINE])
    with pytest.raises(openai.BadRequestError) as caught:
        server.upload(content=content)
    assert "Line 2:" in caught.value.message
    assert "Line 4:" in caught.value.message
    assert caught.value.param == "file"
    assert server.client().files.list().data == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no example"),
        (b"\n\n \n", "no example"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b'{"messages": "x"}', "Line 1"),
        (b'{"prompt": "a", "completion": ""}', "Line 1"),
        (b"x" * 5_000_000, "Line 1: longer than"),
        (b'{"messages": [{"role": "user", "content": "no answer"}]}', "nothing to learn"),
        (b"[" * 100_000, "nested deeper"),
    ],
    ids=["empty", "blank", "not utf-8", "wrong type", "no completion", "one huge line", "no answer", "deep"],
)
def test_a_file_without_training_data_is_refused(shared: Running, content: bytes, said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        shared.upload(content=content)


def test_a_large_file_is_checked_to_its_last_line_while_streams_flow_on(serve: Stage) -> None:
    server = serve()
    content = (LINE + b"\n") * 100_000 + b"{nonsense"
    refused: list[openai.BadRequestError] = []

    def upload() -> None:
        with pytest.raises(openai.BadRequestError, match="Line 100001: ") as caught:
            server.upload(content=content)
        refused.append(caught.value)

    thread = threading.Thread(target=upload)
    thread.start()
    until(lambda: checking() is not None)
    check = checking()
    assert check is not None
    check.suspend()
    words = list(server.client().completions.create(model="tiny", prompt="word " * 50, stream=True))
    assert len(words) > 50, "a whole answer, while the check stands still"
    assert not refused
    check.resume()
    thread.join()
    assert refused


def checking() -> psutil.Process | None:
    """The process in which a server of ours checks a file."""
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if "records.check_file" in child.cmdline():
                return child
    return None


@pytest.mark.parametrize(
    "line",
    [
        {"prompt": "1 + 1 =", "completion": " 2"},
        {"prompt": "Hi", "chosen": "Good day.", "rejected": "Yo."},
        {
            "input": {"messages": [{"role": "user", "content": "Hi"}]},
            "preferred_output": [{"role": "assistant", "content": "Good day."}],
            "non_preferred_output": [{"role": "assistant", "content": "Yo."}],
        },
    ],
    ids=" ".join,
)
def test_every_format_of_training_data_is_taken_and_none_is_mixed(
    shared: Running, line: dict[str, Any]
) -> None:
    good = json.dumps(line).encode() + b"\n"
    assert shared.upload(content=good * 12).startswith("file-")
    with pytest.raises(
        openai.BadRequestError, match=r"Line 25: expected .*, as in line 13, and found"
    ) as caught:
        shared.upload(content=b"\n" * 12 + good * 12 + TRAINING)
    assert caught.value.code == "invalid_file_format"


def test_few_examples_are_for_the_job_to_judge(server: Running) -> None:
    assert server.upload(content=LINE)


def test_other_purposes_take_any_bytes_but_none(server: Running) -> None:
    assert server.upload(content=b"\x00\x01", purpose="assistants")
    with pytest.raises(openai.BadRequestError, match="empty"):
        server.upload(content=b"", purpose="assistants")


def test_an_unknown_purpose_is_refused_with_the_known_ones(server: Running) -> None:
    with pytest.raises(openai.BadRequestError, match="fine-tune") as caught:
        server.upload(purpose="training")
    assert caught.value.param == "purpose"


def test_a_path_as_file_name_is_only_text(server: Running) -> None:
    name = "../../../etc/passwd"
    file = server.client().files.create(file=(name, TRAINING), purpose="fine-tune")
    assert file.filename == name
    home = server.house.settings.home
    stored = [path for path in home.rglob("*") if path.is_file() and path.read_bytes() == TRAINING]
    assert [path.parent.parent for path in stored] == [home / "files"]
    got = server.http().get(f"/v1/files/{file.id}/content")
    assert "passwd" in got.headers["content-disposition"]
    assert "\n" not in got.headers["content-disposition"]


def test_pages_follow_one_another_without_gap_or_repeat(server: Running) -> None:
    uploaded = [server.upload() for _ in range(5)]
    listed = [file.id for file in server.client().files.list(limit=2)]  # the client asks for page after page
    assert listed == uploaded[::-1]
    page = server.client().files.list(limit=2, order="asc")
    assert [file.id for file in page.data] == uploaded[:2]
    assert page.has_more is True


def test_the_list_can_be_filtered_by_purpose(server: Running) -> None:
    server.upload()
    other = server.upload(purpose="user_data")
    assert [file.id for file in server.client().files.list(purpose="user_data")] == [other]


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=10001", "limit"), ("order=up", "order"), ("after=file-x", "after")],
)
def test_a_bad_list_parameter_is_named(shared: Running, query: str, param: str) -> None:
    answer = shared.http().get(f"/v1/files?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_deleted_file_is_gone_and_its_bytes_with_the_last_name_for_them(server: Running) -> None:
    first, second = server.upload(), server.upload()
    blobs = list((server.house.settings.home / "files").glob("*/*"))
    assert len(blobs) == 1
    assert server.client().files.delete(first).deleted is True
    assert blobs[0].exists()
    server.client().files.delete(second)
    assert not blobs[0].exists()
    with pytest.raises(openai.NotFoundError):
        server.client().files.retrieve(second)


def test_a_file_that_a_job_still_needs_is_not_deleted(server: Running) -> None:
    file = server.upload()
    job = server.client().fine_tuning.jobs.create(model="tiny", training_file=file)
    with pytest.raises(openai.ConflictError, match=job.id) as caught:
        server.client().files.delete(file)
    assert caught.value.response.headers["x-should-retry"] == "false"
    server.client().fine_tuning.jobs.cancel(job.id)
    assert server.client().files.delete(file).deleted


def test_files_of_another_tenant_do_not_exist(server: Running) -> None:
    file = server.upload(tenant="acme")
    rival = server.client("rival")
    for ask in (rival.files.retrieve, rival.files.content, rival.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(file)
        with pytest.raises(openai.NotFoundError) as unknown:
            ask("file-" + "0" * 24)
        assert caught.value.message.replace(file, "") == unknown.value.message.replace("file-" + "0" * 24, "")
    assert rival.files.list().data == []
    assert server.http("rival").get(f"/v1/files?after={file}").status_code == 400


def test_an_expired_file_is_gone_and_swept(server: Running) -> None:
    expires = {"anchor": "created_at", "seconds": 3600}
    file = server.client().files.create(
        file=("a.jsonl", TRAINING),
        purpose="fine-tune",
        expires_after=expires,  # type: ignore[arg-type]
    )
    assert file.expires_at == file.created_at + 3600
    needed = server.upload(content=TRAINING + LINE)
    with server.house.database.write() as session:
        for row in session.query(File):
            row.expires_at = 1
    server.job(status=RUNNING, validation_file=needed)
    with pytest.raises(openai.NotFoundError):
        server.client().files.retrieve(file.id)
    assert server.client().files.list().data == []
    sweep(server.house.database, server.house.blobs, server.house.settings.home)
    with server.house.database.read() as session:
        assert [row.id for row in session.query(File)] == [needed]
    assert len(list((server.house.settings.home / "files").glob("*/*"))) == 1


@pytest.mark.parametrize("seconds", ["3599", "2592001", "-1", "1e9", "", "9" * 400, "3600.5"])
def test_an_expiry_out_of_range_is_refused(shared: Running, seconds: str) -> None:
    answer = shared.http().post(
        "/v1/files",
        data={**EXPIRES, "expires_after[seconds]": seconds},
        files={"file": ("a", b"x")},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "expires_after[seconds]"


@pytest.mark.parametrize(
    ("data", "files", "param"),
    [
        ({}, {"file": ("a", b"x")}, "purpose"),
        ({"purpose": "user_data"}, {}, "file"),
        ({"purpose": "user_data"}, {"other": ("a", b"x")}, "other"),
        ({"purpose": "user_data", "colour": "red"}, {"file": ("a", b"x")}, "colour"),
        ({"purpose": "u" * 5000}, {"file": ("a", b"x")}, "purpose"),
        ({"purpose": "user_data"}, {"file": ("n" * 513, b"x")}, "file"),
        ({f"f{n}": "x" for n in range(20)}, {"file": ("a", b"x")}, None),
    ],
    ids=["no purpose", "no file", "wrong name", "unknown field", "long field", "long file name", "many"],
)
def test_a_form_at_fault_is_refused_by_name(
    shared: Running, data: dict[str, str], files: dict[str, object], param: str | None
) -> None:
    answer = shared.http().post("/v1/files", data=data, files=files)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"no boundary at all"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=file"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n\r\n--b--"),
        ("multipart/form-data; boundary=" + "b" * 5000, b"x"),
    ],
    ids=["json", "no boundary", "nonsense", "cut off", "no names", "long boundary"],
)
def test_a_body_that_is_no_form_is_a_400(shared: Running, kind: str, content: bytes) -> None:
    answer = shared.http().post("/v1/files", content=content, headers={"content-type": kind})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("kept", [b"\r\n", b"\r\n--b", b"\r\n--b\r\n", b"\r\n--b-", b""], ids=repr)
def test_a_form_that_is_cut_off_is_no_whole_file(server: Running, kept: bytes) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    body += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + TRAINING
    kind = {"content-type": "multipart/form-data; boundary=b"}
    answer = server.http().post("/v1/files", content=body + kept, headers=kind)
    assert answer.status_code == 400
    assert "cut off" in answer.json()["error"]["message"]
    assert server.client().files.list().data == []
    assert server.http().post("/v1/files", content=body + b"\r\n--b--", headers=kind).status_code == 200


def test_an_upload_above_the_limit_is_a_413_and_leaves_nothing(serve: Stage) -> None:
    server = serve(max_file_bytes=100_000)
    with pytest.raises(openai.APIStatusError) as caught:
        server.upload(content=b"x" * 400_000, purpose="user_data")
    assert caught.value.status_code == 413
    home = server.house.settings.home
    assert not list((home / "incoming").iterdir())
    assert not (home / "files").exists()


def test_a_full_disk_is_a_507_that_is_not_tried_again(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("records.blobs.Blobs.seal", full)
    answer = server.http().post("/v1/files", data={"purpose": "user_data"}, files={"file": ("a", b"x")})
    assert answer.status_code == 507
    assert answer.headers["x-should-retry"] == "false"
    assert server.client().files.list().data == []
