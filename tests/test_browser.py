"""The report page in a real browser: Chromium, headless, driven by Playwright."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.cli.app import run_command

FOLDER = Path(__file__).parents[1] / "sample_pcaps"
CHROMIUM = os.environ.get("TCPTRACE_FSM_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-quic"),
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.extra,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium here (apt install chromium)"),
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here (pip install playwright)")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page of all samples, from a folder with a hostile name."""
    folder = tmp_path_factory.mktemp("report")
    captures = folder / "<script>alert(1)<script>"
    shutil.copytree(FOLDER, captures)
    path = folder / "page.html"
    assert run_command(["report", str(captures), "-o", str(path)]) == 0
    return path


@pytest.fixture
def opened(browser, report):
    """Open the page; afterwards there must have been no error, no request but for the page, no dialog."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True, color_scheme="light")
    complaints, requests = [], []

    def open_page(fragment="", **options):
        page = (browser.new_context(offline=True, **options) if options else context).new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri() + fragment)
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield open_page
    assert complaints == []
    assert {url.split("#")[0] for url in requests} == {report.as_uri()}
    context.close()


COLUMN = """(name) => {
    const heads = [...document.querySelectorAll(".rows th button")].map((head) => head.textContent);
    return [...document.querySelectorAll("tr[data-id]")].map((row) => row.children[heads.indexOf(name)].textContent);
}"""


def column(page, name):
    """What a column of the table shows, from the top."""
    return page.evaluate(COLUMN, name)


def heading(page, conn_id):
    return page.locator("dialog h2", has_text=re.compile(rf"Connection {conn_id}\b"))


def test_it_loads_without_complaint_and_asks_for_nothing(opened):
    page = opened()
    assert page.locator("h1").inner_text() == f"{len([*FOLDER.glob('*.pcap*')])} captures"
    assert len(column(page, "#")) > 20
    assert page.locator("#occupancy canvas").count() == 1
    assert page.locator("output").inner_text().endswith("connections")


def test_heads_sort(opened):
    page = opened()
    head = page.locator(".rows th", has_text="sent").first
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    sent = [
        float(text.replace(",", "").removesuffix(" kB")) * (1000 if "kB" in text else 1)
        for text in column(page, "sent")
    ]
    assert sent == sorted(sent, reverse=True)
    assert sent[0] > sent[-1]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.locator('.rows th[aria-sort="ascending"]').count() == 1


def test_the_search_filters(opened):
    page = opened()
    whole = len(column(page, "#"))
    page.get_by_label("Search connections").fill("zero_window 8080")
    found = column(page, "findings")
    assert 0 < len(found) < whole
    assert all("zero_window" in text for text in found)
    assert page.locator("output").inner_text() == f"{len(found)} of {whole} connections"
    page.get_by_label("Search connections").fill("#3")
    assert column(page, "#") == ["3"], "a number is meant whole"
    page.get_by_label("Search connections").fill("<script>")
    assert column(page, "#") == []
    assert page.get_by_text("No connection is like that.").is_visible()
    page.get_by_role("button", name="Clear").click()
    assert len(column(page, "#")) == whole


def test_choosers_filter(opened):
    page = opened()
    page.get_by_label("opened", exact=True).select_option(label="refused")
    assert set(column(page, "opened")) == {"refused"}
    page.get_by_label("opened", exact=True).select_option("")
    page.get_by_label("state at the end").select_option(label="CLOSE_WAIT")
    assert all("CLOSE_WAIT" in text for text in column(page, "states at the end"))


def test_a_diagnosis_leads_to_its_ladder(opened):
    page = opened()
    page.locator("ol.diagnoses li", has_text="time_wait_gone").locator("a.connection").first.click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert "rst_after_time_wait_loss" in dialog.locator("svg.ladder").text_content()
    assert dialog.locator("svg.timeline").count() == 1
    assert dialog.locator("canvas").count() == 3, "time and sequence, round trips, throughput"
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_a_diagnosis_leads_to_its_connections_in_the_table(opened):
    page = opened()
    whole = int(page.locator("table.rows").get_attribute("aria-rowcount")) - 1
    button = page.locator("ol.diagnoses button.filter").first
    ids = button.get_attribute("data-ids").split(",")
    button.click()
    assert column(page, "#") == ids
    assert int(page.locator("table.rows").get_attribute("aria-rowcount")) - 1 == len(ids) < whole
    page.get_by_role("button", name="Clear").click()
    assert int(page.locator("table.rows").get_attribute("aria-rowcount")) - 1 == whole


def test_a_bar_shows_where_the_time_went(opened):
    page = opened()
    page.get_by_role("button", name="longest wait").click()
    longest = column(page, "longest wait")
    assert longest[0].split(" ")[-1] in {"application", "handshake", "retransmission", "window", "close", "ack"}
    first = page.locator("tr[data-id]").first
    assert first.locator(".went-bar i").count() > 0
    widths = first.locator(".went-bar i").evaluate_all("parts => parts.map((p) => p.getBoundingClientRect().width)")
    assert sum(widths) == pytest.approx(first.locator(".went-bar").bounding_box()["width"], abs=1)
    first.click()
    assert page.locator("dialog .times .key li").count() == len(widths)


def test_a_kind_leads_to_its_connections(opened):
    page = opened()
    page.locator("#kind-stuck_close_wait .filter").click()
    found = column(page, "findings")
    assert found
    assert all("stuck_close_wait" in text for text in found)


def test_keys_alone_will_do(opened):
    page = opened()
    page.locator("tr[data-id]").first.focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.activeElement.dataset.at === '1'")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.activeElement.dataset.at === '2'")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert dialog.locator("h2").inner_text().startswith("Connection 2 ")
    assert page.evaluate("location.hash") == "#c2"
    dialog.get_by_role("button", name="Connection after").press("Enter")
    heading(page, 3).wait_for()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.wait_for_function("document.activeElement.dataset.id === '3'")  # the keys go on where the reader was
    page.keyboard.press("End")
    last = int(page.locator("table.rows").get_attribute("aria-rowcount")) - 2
    page.wait_for_function(f"document.activeElement.dataset.at === '{last}'")


def test_an_address_opens_its_connection(opened):
    page = opened("#c5")
    page.get_by_role("dialog").wait_for()
    assert page.locator("dialog h2").inner_text().startswith("Connection 5 ")


def test_every_ladder_opens(opened):
    page = opened()
    for conn_id in page.evaluate("JSON.parse(document.getElementById('meta').textContent).ladders"):
        page.evaluate(f"location.hash = '#c{conn_id}'")
        heading(page, conn_id).wait_for()
        assert page.locator("dialog svg.ladder").count() == 1
        assert page.locator("dialog").get_by_text("cannot be shown").count() == 0


def lightness(page, selector="body"):
    rgb = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).backgroundColor")
    return sum(int(part) for part in rgb[4:-1].split(",")[:3]) / 765


def test_dark_as_the_system_says_or_as_the_reader_does(opened):
    page = opened(color_scheme="dark")
    assert lightness(page) < 0.2
    button = page.locator("#theme")
    assert button.inner_text() == "Light"
    button.click()
    assert lightness(page) > 0.9
    assert button.inner_text() == "Dark"
    light = opened()
    assert lightness(light) > 0.9


NAMELESS = """[...document.querySelectorAll("button, input, select, [role=img], [role=region], dialog")].filter((one) =>
    !one.getAttribute("aria-label") && !one.getAttribute("aria-labelledby") &&
    !(one.tagName === "BUTTON" && one.textContent.trim())).map((one) => one.outerHTML.slice(0, 99))"""


def test_what_a_screen_reader_needs(opened):
    page = opened("#c0")
    page.get_by_role("dialog").wait_for()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("main").count() == page.locator("nav[aria-label]").count() == 1
    assert page.locator("table:not(:has(caption, thead))").count() == 0
    assert page.evaluate(NAMELESS) == []
    assert page.locator(".canvas[role=img]").count() == page.locator(".canvas").count() > 0


def test_a_narrow_window_does_not_scroll_sideways(opened):
    page = opened("", viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


# Pairs of texts that lie on one another. Cells of the table are cut off where they end, and its caption is for ears.
OVERLAPS = """() => {
    const shown = (e) => e.checkVisibility({ contentVisibilityAuto: true }) && e.closest(".rows") === null;
    const above = document.querySelector("dialog[open]") ?? document.body;
    const leaves = [...above.querySelectorAll("*")]
        .filter((e) => !e.childElementCount && e.textContent.trim() && shown(e));
    const texts = leaves.map((e) => {
        const range = document.createRange();
        range.selectNodeContents(e);
        return [e.textContent.trim(), [...range.getClientRects()]];
    });
    const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 3
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
    return texts.flatMap(([one, ones], i) => texts.slice(i + 1)
        .filter(([, others]) => ones.some((a) => others.some((b) => meet(a, b))))
        .map(([other]) => `${one} / ${other}`));
}"""


@pytest.mark.parametrize("fragment", ["", "#c0"])
@pytest.mark.parametrize("width, media", [(390, "screen"), (1400, "screen"), (794, "print")])
def test_no_text_lies_on_another(opened, fragment, width, media):
    page = opened(fragment, viewport={"width": width, "height": 900})
    if fragment:
        page.locator("dialog canvas").first.wait_for()
    if media == "print":
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
    assert page.locator("h1, h2").count() > 0
    assert page.evaluate(OVERLAPS) == []


def test_on_paper_there_are_the_rows_and_no_buttons(opened):
    page = opened(color_scheme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator(".controls").first.is_hidden()
    assert page.locator(".bar").is_hidden()
    assert lightness(page) > 0.9
    assert len(page.pdf()) > 10_000


def test_without_script_the_findings_are_still_there(browser, report):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.get_by_text("need JavaScript").is_visible()
    assert page.locator("#kind-stuck_fin_wait_2 table.findings").is_visible()
    context.close()


def test_the_pointer_tells_of_the_segment_and_dragging_zooms(opened):
    page = opened()
    page.locator("ol.diagnoses li", has_text="receiver_slow").locator("a.connection").first.click()
    canvas = page.locator("dialog .canvas").first
    canvas.wait_for()
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    assert re.search(r"s: bytes [\d,]+ to [\d,]+ \([\d,]+\), new", page.locator("dialog .readout").inner_text())
    picture = "document.querySelector('dialog canvas').toDataURL()"
    whole = page.evaluate(picture)
    page.mouse.down()
    page.mouse.move(middle[0] + 150, middle[1])
    page.mouse.up()
    page.wait_for_timeout(100)
    assert page.evaluate(picture) != whole
    page.mouse.dblclick(*middle)
    page.wait_for_timeout(100)
    assert page.evaluate(picture) == whole, "a double click shows all again"


def test_the_other_direction_is_a_button_away(opened):
    page = opened("#c0")
    page.locator("dialog canvas").first.wait_for()
    label = page.locator("dialog .canvas").first.get_attribute("aria-label")
    page.locator('dialog h4 button[aria-pressed="false"]').first.click()
    assert page.locator("dialog .canvas").first.get_attribute("aria-label") != label
    assert page.locator('dialog h4 button[aria-pressed="true"]').count() == 1


def test_hosts_have_their_own_states_over_time(opened):
    page = opened()
    chooser = page.get_by_label("Host")
    hosts = chooser.locator("option").all_inner_texts()
    assert hosts[0] == "all hosts"
    assert "10.0.0.2" in hosts
    label = page.locator("#occupancy .canvas").get_attribute("aria-label")
    chooser.select_option(label="10.0.0.2")
    assert page.locator("#occupancy .canvas").get_attribute("aria-label") != label


class Large:
    """The trace of all samples with as many connections as are wanted: theirs, again and again."""

    rereadable = False

    def __init__(self, trace, count):
        once = trace.connections
        self._trace = trace
        self.connections = once.iloc[[n % len(once) for n in range(count)]].reset_index(drop=True)
        self.connections["conn_id"] = range(count)
        self.connections["client_port"] = [1024 + n % 60_000 for n in range(count)]

    def __getattr__(self, name):
        return getattr(self._trace, name)


@pytest.mark.parametrize("count", [60_000, 100_000])
def test_many_connections(browser, tmp_path, count):
    """Only the rows in sight are in the document, and all can be sorted and found."""
    from tcptrace_fsm.views.report import write

    path = tmp_path / "large.html"
    write(Large(tf.analyze(str(FOLDER)), count), path)
    page = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True).new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    table = page.locator("table.rows")
    assert table.get_attribute("aria-rowcount") == str(count + 1)
    assert page.locator("tr[data-id]").count() < 200
    head = page.locator(".rows th button").first
    head.click()
    assert column(page, "#")[0] == str(count - 1)
    head.click()
    assert column(page, "#")[:2] == ["0", "1"]
    page.get_by_role("searchbox").fill(f"#{count - 5}")
    page.wait_for_function("document.querySelectorAll('tr[data-id]').length === 1")
    assert column(page, "#") == [str(count - 5)]
    assert page.evaluate("performance.memory.usedJSHeapSize") < 300e6
    assert complaints == []
    page.context.close()
