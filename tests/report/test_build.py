import html.parser
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

import leanline.report as leanline_report
from leanline.errors import RunError
from leanline.records.run import RunFolder

from .folders import add_evidence, add_tensors, labels, make_demo, make_prune, make_train

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
EVIL = '<script>alert("x")</script>$\\frac{</style>'


class Page(html.parser.HTMLParser):
    """What a page links to, what it is made of, what it says."""

    def __init__(self, text):
        super().__init__()
        self.links, self.tags, self.ids, self.images, self.cells = [], [], [], [], []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.links += [found[key] for key in ("src", "href", "xlink:href") if key in found]
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "img" or found.get("role") == "img":
            self.images.append(found.get("alt") or found.get("aria-label"))
        if tag == "th":
            self.cells.append(found.get("scope"))

    def handle_data(self, data):
        self.words += data


def write(folder):
    return Page(leanline_report.build(folder).read_text(encoding="utf-8"))


def demo(tmp_path):
    folder = make_demo(tmp_path / "demo")
    for name in ("lean", "magnitude"):
        add_tensors(folder / name)
    return folder


def prune(tmp_path):
    return add_tensors(add_evidence(make_prune(tmp_path / "prune")))


def train(tmp_path):
    folder = add_evidence(
        make_train(tmp_path / "train"),
        result="trained",
        dense=None,
        network=None,
        timing=None,
        deviation=None,
    )
    return add_tensors(folder, labels(), ("trained",))


def unfinished(tmp_path):
    return make_prune(tmp_path / "unfinished", stop=1)


def denoising(tmp_path):
    truth = torch.rand((2, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    folder = make_prune(tmp_path / "denoising", names=("psnr",))
    add_evidence(folder, dense={"psnr": 30.123}, pruned={"psnr": 29.0})
    return add_tensors(folder, truth)


FOLDERS = (demo, prune, train, unfinished, denoising)
every_folder = pytest.mark.parametrize("make", FOLDERS, ids=lambda make: make.__name__)


@every_folder
def test_a_page_stands_alone_and_is_accessible(tmp_path, make):
    file = leanline_report.build(make(tmp_path))
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert file == tmp_path / make.__name__ / "report.html"
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not re.search(r"url\(\s*['\"]?(?!#)", text) and "@import" not in text
    assert "script" not in page.tags and "iframe" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    inner = {link[1:] for link in page.links if link.startswith("#")}
    assert inner <= set(page.ids)
    assert all(page.images)
    assert all(scope in ("col", "row", "rowgroup") for scope in page.cells)
    assert page.tags.count("h1") == 1


def test_the_headline_is_the_measured_result(tmp_path):
    page = write(prune(tmp_path))
    words = page.words.replace("\u00a0", " ")
    kept = RunFolder.read(tmp_path / "prune").stages[-1]["kept_filters"]
    assert (
        f"{kept} of 10 filters kept ({10 * kept:.1f} %): pixel accuracy 95.4 % → 92.1 %, "
        "20× faster than the unpruned network in PyTorch"
    ) in words
    assert "10.0 ms → 2.00 ms per call, 5.0× faster" in words
    assert "leanline prune msd" in words and "1.7 × 10⁻⁷" in words


def test_a_comparison_tells_of_every_rule(tmp_path):
    words = write(demo(tmp_path)).words.replace("\u00a0", " ")
    assert "LEAN kept" in words and "Magnitude kept" in words
    assert "not finished" not in words
    assert "so that the rules can be compared" in words


def test_runs_that_differ_otherwise_are_not_called_comparable(tmp_path):
    with RunFolder.open(tmp_path / "x", {"command": "demo"}):
        for name, data in (("a", "one"), ("b", "other")):
            make_prune(tmp_path / "x" / name, about=(("data", data),))
    words = write(tmp_path / "x").words
    assert "so that the rules can be compared" not in words
    assert "compare them with care" in words


@pytest.mark.parametrize(
    ("make", "sentences"),
    [
        (
            unfinished,
            (
                "This run is not finished: 1 of 3 stages are done",
                "There are no test results",
                "There are no times",
                "There are no adjacency matrices",
                "There are no pictures",
                "Sizes before and after are missing",
                "The command line was not recorded",
            ),
        ),
        (
            lambda path: make_prune(path / "x"),
            ("has not been measured yet",),
        ),
        (
            lambda path: make_train(path / "x", done=0),
            ("0 of 30 steps are done", "there is no curve", "No stage is done yet"),
        ),
        (
            lambda path: add_evidence(
                make_prune(path / "x"),
                timing={"rows": [], "missing": {"leanline kernel, pruned": "no such layer"}},
            ),
            ("“leanline kernel, pruned” was not timed: no such layer",),
        ),
    ],
)
def test_what_is_missing_is_said(tmp_path, make, sentences):
    words = write(make(tmp_path)).words
    for sentence in sentences:
        assert sentence in words


def test_a_comparison_that_has_just_begun_has_a_report(tmp_path):
    folder = tmp_path / "x"
    with RunFolder.open(folder, {"command": "demo", "rules": ["lean"]}):
        words = write(folder).words
    assert "Nothing has been pruned yet" in words and "lean: not begun" in words


def test_what_comes_from_files_is_escaped(tmp_path):
    about = (("model", EVIL), ("data", EVIL), (EVIL, "x"))
    folder = make_prune(tmp_path / "x", about=about, names=("accuracy", EVIL))
    rows = [
        {"name": EVIL + name, "median": 1, "low": 1, "high": 1}
        | {"speedup": 1, "speedup_low": 1, "speedup_high": 1}
        for name in ("dense", "pruned")
    ]
    add_evidence(
        folder,
        dense={EVIL: 1.0, "accuracy": 0.5},
        machine=EVIL,
        command=EVIL,
        classes=[EVIL] * 5,
        timing={"rows": rows, "device": EVIL, "missing": {EVIL: EVIL}},
    )
    add_tensors(folder)
    text = leanline_report.build(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text and "script" not in page.tags
    assert page.tags.count("style") == text.count("</style>") == 1
    assert page.words.count('<script>alert("x")</script>') > 10


def test_an_unknown_rule_is_named_as_it_is(tmp_path):
    for name in ("a", "b"):
        with (
            RunFolder.open(tmp_path / "x", {"command": "demo"}),
            RunFolder.open(
                tmp_path / "x" / name, {"command": "prune", "criterion": {"name": EVIL}}
            ) as run,
        ):
            run.append_stage({"stage": 1, "keep": 0.1, "kept_filters": 3, "metric.accuracy": 0.5})
    page = write(tmp_path / "x")
    assert "script" not in page.tags
    assert f"{EVIL} (a)" in page.words


def test_numbers_that_are_none_do_no_harm(tmp_path):
    with RunFolder.open(tmp_path / "x", {"command": "prune"}) as run:
        for index, value in enumerate((float("nan"), float("inf"), 0.5), start=1):
            run.append_stage({"stage": index, "kept_filters": 0, "metric.accuracy": value})
    add_evidence(tmp_path / "x", dense={"accuracy": float("nan")})
    assert "undefined" in write(tmp_path / "x").words


def test_one_point_and_equal_times_can_be_drawn(tmp_path):
    with RunFolder.open(tmp_path / "x", {"command": "prune"}) as run:
        run.append_stage({"stage": 1, "kept_filters": 10, "metric.accuracy": 0.0})
    assert "10 filters kept" in write(tmp_path / "x").words


def test_the_same_folder_gives_the_same_page(tmp_path):
    folder = prune(tmp_path)
    first = leanline_report.build(folder).read_bytes()
    assert leanline_report.build(folder).read_bytes() == first
    assert [file for file in folder.iterdir() if file.name.startswith(".part")] == []


def test_a_page_is_not_written_into_what_is_no_run(tmp_path):
    with pytest.raises(RunError, match="no run folder"):
        leanline_report.build(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="session")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"opens the report in a browser; none of {', '.join(BROWSERS)} is installed")
    return found


def browse(browser, file, profile, *options):
    """Open a page in a browser without a window; returns what it prints and what it logs."""
    command = [
        browser,
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={profile}",
        "--enable-logging=stderr",
        "--v=0",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        *options,
        file.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout, done.stderr


def requests_of_the_page(net):
    """Network requests in a browser's log that a page made, not the browser for itself."""
    found = re.findall(r'"initiator":"([^"]*)".*?"url":"([^"]*)"', net.read_text(errors="replace"))
    return [url for initiator, url in found if initiator != "not an origin"]


def test_a_browser_reports_errors_and_requests_to_these_tests(tmp_path, browser):
    page, net = tmp_path / "bad.html", tmp_path / "net.json"
    page.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("no")</script>')
    _, log = browse(browser, page, tmp_path / "profile", "--dump-dom", f"--log-net-log={net}")
    assert "CONSOLE" in log
    assert "http://127.0.0.1:9/x.png" in requests_of_the_page(net)


@every_folder
def test_a_browser_opens_the_page_without_errors_or_requests(tmp_path, make, browser):
    file, net = leanline_report.build(make(tmp_path)), tmp_path / "net.json"
    dom, log = browse(browser, file, tmp_path / "profile", "--dump-dom", f"--log-net-log={net}")
    assert "How to repeat it" in dom
    assert "CONSOLE" not in log, log
    assert requests_of_the_page(net) == []


def test_a_browser_shows_the_page_with_its_colours(tmp_path, browser):
    from PIL import Image

    file = leanline_report.build(demo(tmp_path))
    picture = tmp_path / "page.png"
    browse(
        browser,
        file,
        tmp_path / "profile",
        f"--screenshot={picture}",
        "--window-size=1000,4000",
        "--blink-settings=preferredColorScheme=1",
    )
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    shown = {tuple(int(part) for part in colour) for colour in np.unique(pixels, axis=0)}
    assert {(255, 255, 255), (0, 0, 0), (0, 103, 163), (184, 74, 0), (230, 159, 0)} <= shown
