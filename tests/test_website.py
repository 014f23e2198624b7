"""The website that `make site` has built: it needs no network, every link leads somewhere, and all can use it."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

from authoring import website

ROOT = Path(__file__).parent.parent
SITE = ROOT / "build" / "site"
BROWSER = next((b for name in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(name))), None)
SOURCES = [ROOT / "authoring" / "website.py", *(ROOT / "authoring" / "site").rglob("*.*"),
           *(ROOT / "notebooks").glob("*.ipynb")]
HOME = SITE / "index.html"


def is_current() -> bool:
    return HOME.exists() and HOME.stat().st_mtime >= max(path.stat().st_mtime for path in SOURCES)


built = pytest.mark.skipif(not is_current(), reason="no current website is here: make site")
in_browser = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")


class Page(HTMLParser):
    """What a page links to, what it loads, its anchors, and its pictures without a description."""

    KEPT = ("article", "pre", "code", "script", "style")

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.loads, self.ids, self.silent, self.levels, self.text = [], [], set(), [], [], []
        self.inside = []                           # article, code and others that are open
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if "id" in a:
            self.ids.add(a["id"])
        if tag == "a" and "href" in a:
            self.links.append(a["href"])
        if tag in ("script", "img", "audio", "iframe", "source") and "src" in a:
            self.loads.append(a["src"])
        if tag == "link" and a.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.append(a["href"])
        if tag == "img" and not a.get("alt") and "hidden" not in a:
            self.silent.append(a.get("src"))
        if re.fullmatch("h[1-6]", tag) and "article" in self.inside:
            self.levels.append(int(tag[1]))
        if tag in self.KEPT or "math" in a.get("class", "").split():
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data):
        if self.inside[-1:] == ["article"]:
            self.text.append(data)


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(SITE.rglob("*.html")) if "_static" not in path.parts}


def target(page: Path, link: str) -> tuple[Path, str]:
    where, _, anchor = link.partition("#")
    path = (page.parent / unquote(where.partition("?")[0])).resolve() if where else page
    return path, unquote(anchor)


@built
def test_every_link_and_every_anchor_leads_somewhere(pages):
    broken, n = [], 0
    for page, content in pages.items():
        for link in content.links + content.loads:
            if link.startswith(("http:", "https:", "mailto:", "data:")):
                continue
            n += 1
            path, anchor = target(page, link)
            if not path.exists() or anchor and path.suffix == ".html" and anchor not in pages[path].ids:
                broken.append(f"{page.relative_to(SITE)}: {link}")
    assert n > 1_000 and not broken, broken[:20]


@built
def test_nothing_is_loaded_from_elsewhere(pages):
    assert not [(page.name, link) for page, content in pages.items() for link in content.loads
                if re.match("(https?:)?//", link)]
    for path in SITE.rglob("*.css"):
        assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path


@built
def test_every_lesson_exercise_and_page_is_there_with_its_pictures_described(pages):
    for lesson in website.lessons():
        for folder in ("notebooks", f"exercises/{lesson.stem}"):
            assert SITE / folder / f"{lesson.stem}.html" in pages
    assert not [(page.name, src) for page, content in pages.items() for src in content.silent]


@built
def test_headings_come_in_order(pages):
    for page, content in pages.items():
        if page.name not in ("search.html", "genindex.html"):
            assert content.levels.count(1) == 1, page
            assert all(b <= a + 1 for a, b in zip(content.levels, content.levels[1:])), (page, content.levels)


@built
def test_no_formula_is_left_as_text(pages):
    for page, content in pages.items():
        if page.parent.name == "notebooks":
            text = "".join(content.text)
            assert len(text) > 2_000 and not re.search(r"\$|\\[a-z]+\{|</?[a-z]+>", text), (page.name, re.search(
                r".{60}(\$|\\[a-z]+\{|</?[a-z]+>).{60}", text, re.DOTALL))


@built
def test_the_glossary_and_the_lessons_lead_to_each_other(pages):
    stems = {lesson.number: lesson.stem for lesson in website.lessons()}
    there = pages[SITE / "glossary.html"]
    for word in website.words():
        lesson = pages[SITE / "notebooks" / f"{stems[word.lesson]}.html"]
        assert f"../glossary.html#{word.slug}" in lesson.links and word.slug in lesson.ids
        assert f"notebooks/{stems[word.lesson]}.html#{word.slug}" in there.links and word.slug in there.ids


def test_a_word_that_its_lesson_does_not_explain_is_named():
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("An **encoder** is")])
    website.defined(nb, [website.Word("Encoder", "21", "")])
    link = '<a id="word-encoder" href="../glossary.html#word-encoder"><strong>encoder</strong></a>'
    assert nb.cells[0].source == f"An {link} is"
    with pytest.raises(ValueError, match=r"lesson 21 has no \*\*decoder\*\*"):
        website.defined(nb, [website.Word("decoder", "21", "")])


def test_the_map_leaves_out_what_follows_from_other_lines():
    def lesson(number, *needs):
        return website.Lesson(f"{number}_x", "A title of more than one line", "?", 60, "••", list(needs))

    three = [lesson("00"), lesson("11", "00"), lesson("12", "00", "11")]
    assert website.shown_needs(three) == [("00", "11"), ("11", "12")]
    svg = website.prerequisites(three)
    assert svg.count("<path") == 2 and svg.count("<a href") == 3 and "needs 00, 11" in svg


def test_a_lesson_opens_elsewhere_where_the_project_names_a_repository(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert website.repository(tmp_path) == "" and website.opened_in("31_vae", "") == ""
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/someone/course/"\n')
    address = website.repository(tmp_path)
    line = website.opened_in("31_vae", address)
    assert "colab.research.google.com/github/someone/course/blob/gh-pages/colab/31_vae.ipynb" in line
    assert "mybinder.org/v2/gh/someone/course/HEAD?urlpath=lab/tree/notebooks/31_vae.ipynb" in line
    nb = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4)
    changed = website.for_colab(nb, address)
    assert changed.cells[0].source == "%pip install -q git+https://github.com/someone/course"
    assert changed.cells[1:] == nb.cells and len(nb.cells) == len(changed.cells) - 1
    nbformat.validate(changed)


# --- in a browser that has no network -------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--mute-audio",
                                                                   "--autoplay-policy=no-user-gesture-required"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """A function that opens a page of the site from its folder; what goes wrong or wants a network fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    faults = []

    def route(r):
        if r.request.url.startswith(("file:", "data:", "blob:")):
            r.continue_()
        else:
            faults.append(f"wants {r.request.url}")
            r.abort()

    context.route("**/*", route)

    def open_page(name: str, width: int = 1280):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.on("console", lambda m: m.type == "error" and faults.append(m.text))
        page.on("pageerror", lambda e: faults.append(str(e)))
        page.goto(f"file://{SITE}/{name}")
        return page

    yield open_page
    context.close()
    assert not faults


@built
@in_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_a_phone_and_a_desk(opened, width):
    for name in ("index.html", "notebooks/31_vae.html", "glossary.html", "course_lib/README.html", "play.html"):
        page = opened(name, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


@built
@in_browser
def test_a_formula_is_typeset_and_the_page_turns_dark(opened):
    page = opened("notebooks/31_vae.html")
    page.wait_for_selector("mjx-container svg")
    assert page.evaluate("document.querySelectorAll('mjx-container').length") > 20
    assert page.evaluate("document.querySelectorAll('mjx-merror, .error').length") == 0
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.locator("button.theme-switch-button:visible").click()
    page.locator("button.theme-change-button[data-mode=dark]:visible").click()
    page.wait_for_function(f"{ground}.match(/[0-9]+/g).every(c => c < 60)")


@built
@in_browser
@pytest.mark.parametrize("word, lesson", [("ELBO", "31_vae"), ("guidance", "63_guidance")])
def test_search_finds_the_lesson(opened, word, lesson):
    page = opened(f"search.html?q={word}")
    page.wait_for_selector("#search-results li a")
    links = page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.getAttribute('href'))")
    assert any(f"notebooks/{lesson}.html" in link for link in links[:3]), links


@built
@in_browser
@pytest.mark.parametrize("name, sheet", [
    ("notebooks/31_vae.html", "latent"), ("notebooks/63_guidance.html", "guidance"),
    ("notebooks/65_text_to_image.html", "faces"), ("index.html", "faces")])
def test_a_knob_changes_the_picture(opened, name, sheet):
    page = opened(name)
    figure = page.locator(f"figure#{sheet}")
    figure.scroll_into_view_if_needed()
    page.wait_for_function(f"document.querySelector('#{sheet} output').textContent != ''")
    seen = {figure.locator("canvas").screenshot(animations="disabled")}
    for knob in figure.locator("select, input").all():
        if knob.evaluate("e => e.tagName") == "SELECT":
            knob.select_option(index=0 if knob.input_value() != "0" else 1)
        else:
            knob.focus()
            page.keyboard.press("End")
        seen.add(figure.locator("canvas").screenshot(animations="disabled"))
    assert len(seen) >= figure.locator("select, input").count()
    assert "{" not in figure.locator("output").inner_text()


@built
@in_browser
def test_a_sound_plays(opened):
    sounding = [path for path in (SITE / "notebooks").glob("*.html") if "<audio" in path.read_text(encoding="utf-8")]
    if not sounding:
        pytest.skip("no lesson has a sound yet")
    page = opened(f"notebooks/{sounding[0].name}")
    played = page.evaluate("""async () => { const a = document.querySelector('audio'); await a.play();
                              await new Promise(r => setTimeout(r, 400)); return a.currentTime }""")
    assert played > 0


@built
@in_browser
@pytest.mark.parametrize("name, theme", [
    ("index.html", "light"), ("index.html", "dark"), ("notebooks/63_guidance.html", "light"),
    ("glossary.html", "light"), ("exercises/31_vae/31_vae.html", "dark"), ("course_lib/README.html", "dark"),
    ("play.html", "light")])
def test_an_accessibility_checker_finds_nothing(opened, name, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(name)
    page.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
    page.reload()
    page.wait_for_function(f"document.documentElement.dataset.theme == '{theme}'")
    page.wait_for_timeout(500)
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"], "preload": False}
    found = axe.run(page, context={"exclude": [["mjx-container"]]}, options=options).response["violations"]
    assert not found, [(v["id"], v["impact"], len(v["nodes"]), v["nodes"][0]["html"][:200]) for v in found]
