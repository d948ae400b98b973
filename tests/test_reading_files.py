"""Requirements files with all that stands in real ones: what is kept of each line."""

import pytest

from deploy_manager.requirements.any_file import read_asking
from deploy_manager.requirements.asked import Asking
from deploy_manager.requirements.pinning import pin_asking
from deploy_manager.sealing import Secret

A = "sha256:" + "a" * 64


def read(text: str | bytes, path: str = "requirements.txt", **others: str) -> Asking:
    files = {name.replace("__", "/") + ".txt": one.encode() for name, one in others.items()}
    files[path] = text.encode() if isinstance(text, str) else text
    return read_asking(path, files.get)


def told(asking: Asking) -> list[str]:
    return [str(one) for one in asking.problems]


def test_a_line_is_kept_with_all_it_says() -> None:
    (asked,) = read(
        f"# top\nZope.Interface[A_b, test]>=5,<7 ; os_name == 'posix' \\\n --hash={A}  # why\n"
    ).requirements
    assert asked.name == "zope-interface"
    assert str(asked.specifier) == "<7,>=5"
    assert asked.extras == ("a-b", "test")
    assert asked.marker == 'os_name == "posix"'
    assert asked.hashes == (A,)
    assert (asked.file, asked.line, asked.address) == ("requirements.txt", 2, None)


@pytest.mark.parametrize(
    ("line", "name", "url", "who"),
    [
        ("a @ https://me:s3cret@host.test/a.zip", "a", "https://host.test/a.zip", "me:s3cret"),
        ("-e git+ssh://git@host.test/a@v1#egg=A", "a", "git+ssh://host.test/a@v1#egg=A", "git"),
        ("https://${TOKEN}@host.test/a.zip", "", "https://host.test/a.zip", "${TOKEN}"),
        ("./a-1.0-py3-none-any.whl", "a", "./a-1.0-py3-none-any.whl", ""),
        ("hg+https://host.test/a", "", "hg+https://host.test/a", ""),
    ],
)
def test_credentials_are_kept_apart_from_where_something_comes_from(
    line: str, name: str, url: str, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "of the worker")
    asking = read(line)
    (asked,) = asking.requirements
    assert asked.name == name
    assert asked.editable == line.startswith("-e")
    assert asked.address
    assert asked.address.url == url
    assert asked.address.credentials.value == who
    assert "s3cret" not in repr(asking)
    assert "of the worker" not in repr(asking)
    (problem,) = pin_asking(asking).problems  # none of them has a commit, or the hash of a file
    assert "s3cret" not in str(problem)


def test_options_are_kept_apart_and_their_secrets_too() -> None:
    asking = read(
        "-i https://me:s3cret@host.test/simple\n--extra-index-url=https://b.test/ --pre\n"
        "--find-links ./wheels\n--no-index\n--only-binary :all:\n--trusted-host host.test\n"
    )
    assert [(one.name, str(getattr(one.value, "url", one.value))) for one in asking.options] == [
        ("--index-url", "https://host.test/simple"),
        ("--extra-index-url", "https://b.test/"),
        ("--pre", ""),
        ("--find-links", "./wheels"),
        ("--no-index", ""),
        ("--only-binary", ":all:"),
        ("--trusted-host", "host.test"),
    ]
    assert "s3cret" not in repr(asking)
    assert repr(Secret("s3cret")) == "Secret('[masked]')"
    assert len(pin_asking(asking).problems) == 6  # not --pre: of an exact pin there is no choice


def test_included_files_are_read_where_they_stand() -> None:
    asking = read(
        "-r deep/base.txt\nb==1\n",
        deep__base="-c more/bounds.txt\na\nbad line\n",
        deep__more__bounds="a==2\n",
    )
    assert [(one.name, one.file, one.line) for one in asking.requirements] == [
        ("a", "deep/base.txt", 2),
        ("b", "requirements.txt", 2),
    ]
    assert [one.file for one in asking.constraints] == ["deep/more/bounds.txt"]
    assert asking.files == ("requirements.txt", "deep/base.txt", "deep/more/bounds.txt")
    assert [pin.requirement for pin in pin_asking(asking).pins] == ["a==2", "b==1"]
    assert told(asking)[0].startswith(
        "deep/base.txt, line 3: bad line is not a valid requirement: "
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-r ../x.txt", "it is outside of the folder"),
        ("-c /etc/passwd", "it is outside of the folder"),
        ("-r deep/../../x.txt", "it is outside of the folder"),
        ("-r https://me:s3cret@host.test/x.txt", "https://[masked]@host.test/x.txt is not read"),
        ("-r FILE:///etc/passwd", "never fetched"),
        ("-r none.txt", "must be in the folder of this one"),
        ("-r requirements.txt", "it includes this file"),
        ("-r deep/loop.txt", "it includes this file"),
        ("-r \0.txt", "must be in the folder of this one"),
    ],
)
def test_files_that_lead_elsewhere_are_never_opened(line: str, reason: str) -> None:
    opened = []
    files = {"requirements.txt": line.encode(), "deep/loop.txt": b"-r ../requirements.txt"}

    def give(path: str) -> bytes | None:
        opened.append(path)
        return files.get(path)

    (problem,) = told(read_asking("requirements.txt", give))
    assert reason in problem
    assert "s3cret" not in problem
    assert not [path for path in opened if path.startswith(("/", ".."))]


def test_files_that_include_each_other_over_and_over_come_to_an_end() -> None:
    files = {f"{n}.txt": f"-r {n + 1}.txt\n-r {n + 1}.txt\n".encode() for n in range(30)}
    asking = read_asking("0.txt", {**files, "30.txt": b"a==1"}.get)
    assert "no more than 200 files are" in told(asking)[0]


@pytest.mark.parametrize(
    "content",
    [
        "a==1\nb==2  # \xe9\n".encode("utf-8-sig"),
        "a==1\r\nb==2\r\n".encode("utf-16"),
        "# -*- coding: latin-1 -*-\na==1\nb==2  # \xe9\n".encode("latin-1"),
        b"a==1 \\\n\nb==2 \\",
    ],
)
def test_encodings_and_line_ends_of_anywhere_are_read(content: bytes) -> None:
    assert [one.name for one in read(content).requirements] == ["a", "b"]


@pytest.mark.parametrize("comment", ["", "# coding: nonsense\n", "# coding: rot13\n"])
def test_what_is_no_text_is_reported(comment: str) -> None:
    (problem,) = told(read(comment.encode() + b"a==1 # \xe9\n"))
    assert problem.startswith("requirements.txt: it can't be read as ")


@pytest.mark.parametrize(
    "line",
    [
        " " * 200_000 + "x",
        "a==1" + " \\\n" * 60_000,
        "a" + "[" * 60_000,
        "a ; " + "(" * 60_000 + "os_name == 'nt'",
        "a==" + "1" * 50_000,
        "a==1 " + "--hash=" * 9_000,
        "a\u00a0==1",
        "a===",
    ],
)
def test_lines_that_would_keep_a_reader_busy_are_problems_of_a_moment(line: str) -> None:
    pinned = pin_asking(read(f"{line}\nb==1\n"))
    assert [pin.name for pin in pinned.pins] == ["b"]
    assert len(pinned.problems) == 1
    assert len(pinned.problems[0].reason) < 500


def test_constraints_pin_what_a_line_leaves_open() -> None:
    bounds = f"a==1.2 --hash={A}\nb<3\nc==1 ; os_name == 'nt'\nd @ https://host.test/d.zip\n"
    asking = read("-c bounds.txt\na>=1\nb==3\nc\nd==1\na[x]==1.2\n", bounds=bounds)
    pinned = pin_asking(asking)
    assert [(pin.requirement, pin.hashes) for pin in pinned.pins] == [("a[x]==1.2", (A,))]
    assert [one.reason for one in pinned.problems] == [
        "b==3: 3 is not <3, which is also required",
        "c is not pinned by name==version",
        "d==1 is constrained to a path or a URL: it can't be pinned",
    ]


def test_hashes_are_demanded_where_the_file_demands_them() -> None:
    assert pin_asking(read("--require-hashes\na==1\n")).problems
    assert not pin_asking(read(f"--require-hashes\na==1 --hash={A.upper().lower()}\n")).problems
