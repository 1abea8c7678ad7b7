"""The page in a browser: enrolment, and whom the page is for: eyes, keyboards, screen readers, phones."""

from __future__ import annotations

import httpx
import pytest

from tests.serving.web.hands import answered, best, bring, card, choose, enrol, files

PHONE = {"viewport": {"width": 320, "height": 640}, "is_mobile": True, "has_touch": True}


def classes(service, name):
    answer = httpx.get(f"{service}/v1/sets/{name}")
    return None if answer.status_code == 404 else [one["label"] for one in answer.json()["classes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_enrolled_class_appears_on_the_map_and_wins_and_undoing_leaves_nothing(
    visit, service, pictures, keep, scheme
):
    page = visit(color_scheme=scheme, viewport={"width": 1280, "height": 1000})
    name = f"enrolled-{scheme}"
    choose(page, files(pictures, "flower.jpg", "temple.jpg"))
    page.get_by_role("group", name="Examples").get_by_label("temple.jpg").uncheck(force=True)
    enrol(page, "dahlia", name, "the model's classes")
    page.locator(".prototype.own", has_text="dahlia").wait_for()
    answered(page, 2)
    assert len(classes(service, name)) == 11
    assert best(card(page, "flower.jpg")) == ("dahlia", 0)
    assert best(card(page, "temple.jpg"))[0] != "dahlia"
    assert card(page, "flower.jpg").locator(".exemplars img").count() == 1
    choose(page, files(pictures, "flower near.jpg"))
    keep(page, scheme)
    page.get_by_role("button", name="Undo dahlia").click()
    page.locator(".changes .undone").wait_for()
    answered(page, 3)
    assert classes(service, name) is None
    assert page.get_by_label("Set of prototypes").input_value() == "default"
    assert "dahlia" not in page.locator(".cards").inner_text()


def test_the_page_is_light_or_dark_as_the_reader_s_system_is(visit):
    paper = {
        scheme: visit(color_scheme=scheme).evaluate("getComputedStyle(document.documentElement).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(19, 21, 24)"}


def test_more_examples_for_a_class_that_exists_and_only_those_are_taken_back(visit, service, pictures):
    page = visit()
    choose(page, files(pictures, "flower.jpg"))
    enrol(page, "dahlia", "more")
    page.locator(".changes li").wait_for()
    assert "one example says nothing" in page.locator(".warning").inner_text()
    choose(page, files(pictures, "flower near.jpg", "temple.jpg"))
    enrol(page, "dahlia", "more")
    page.get_by_role("button", name="Add the images to it").click()
    page.get_by_text("2 images more, 3 in all").wait_for()
    page.get_by_role("button", name="Undo dahlia").first.click()
    page.locator(".changes .undone").wait_for()
    assert httpx.get(f"{service}/v1/sets/more/classes/dahlia").json()["n"] == 1


def test_undoing_says_so_where_somebody_else_has_written_since(visit, service, pictures):
    page = visit()
    choose(page, files(pictures, "flower.jpg"))
    enrol(page, "dahlia", "contested")
    page.locator(".changes li").wait_for()
    url = f"{service}/v1/sets/contested/classes/dahlia/examples"
    httpx.post(url, content=pictures["temple.jpg"], headers={"Content-Type": "image/jpeg"}).raise_for_status()
    page.get_by_role("button", name="Undo dahlia").click()
    page.locator(".changes .error").wait_for()
    assert "dahlia" in classes(service, "contested")


def test_a_broken_connection_enrols_nothing_twice(visit, service, pictures):
    lost = []

    def lose_the_first_answer(route):
        if lost:
            return route.continue_()
        lost.append(route.fetch().status)
        return route.abort()

    page = visit(lambda page: page.route("**/classes/*", lose_the_first_answer))
    choose(page, files(pictures, "flower.jpg"))
    enrol(page, "dahlia", "twice")
    page.locator(".changes li").wait_for()
    assert lost == [201]
    assert httpx.get(f"{service}/v1/sets/twice/classes/dahlia").json()["n"] == 1


def test_a_hostile_name_of_a_class_is_text(visit, pictures):
    page = visit()
    name = "<img src=x onerror=alert(1)>"
    choose(page, files(pictures, "flower.jpg"))
    enrol(page, name, "hostile")
    page.locator(".changes li").wait_for()
    answered(page, 1)
    assert best(card(page, "flower.jpg"))[0] == name
    assert page.locator("img[src=x]").count() == 0


def test_what_the_form_lacks_and_what_the_service_refuses_is_said_beside_it(visit, pictures):
    page = visit()
    page.get_by_role("button", name="Enrol", exact=True).click()
    assert page.locator("form .error").inner_text() == "Give the class a name."
    choose(page, files(pictures, "flower.jpg"))
    enrol(page, "dahlia", "Not A Name")
    page.locator("form .error", has_text="Not A Name").wait_for()


def focused(page):
    return page.evaluate(
        "(it => it.getAttribute('aria-label') || it.labels?.[0]?.textContent || it.textContent)(document.activeElement)"
    ).strip()


def tab_to(page, name, key="Tab"):
    """Go on until something of this name has the focus, and can be seen to have it."""
    for _ in range(60):
        page.keyboard.press(key)
        if focused(page).startswith(name):
            return
    raise AssertionError(f"the keyboard does not reach {name!r}")


def test_everything_can_be_done_with_the_keyboard_alone(visit, pictures):
    given = files(pictures, "flower.jpg")
    page = visit(lambda page: page.on("filechooser", lambda chooser: chooser.set_files(given)))
    page.locator(".prototype").first.wait_for()
    tab_to(page, "Choose images")
    page.keyboard.press("Enter")
    answered(page, 1)
    tab_to(page, "Map of 10 prototypes and 1 images")
    before = page.locator(".net").first.get_attribute("d")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("before => document.querySelector('.net').getAttribute('d') !== before", arg=before)
    page.keyboard.press("PageDown")
    assert page.locator(".map .told").inner_text() == "airplane, a prototype"
    page.keyboard.press("PageUp")
    assert page.locator(".map .told").inner_text().startswith("flower.jpg: ")
    tab_to(page, "Largest angle")
    page.keyboard.press("Home")
    assert card(page, "flower.jpg").locator("strong").inner_text() == "unknown"
    page.keyboard.press("End")
    tab_to(page, "Name of the class")
    page.keyboard.type("dahlia")
    tab_to(page, "In the set")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("keys")
    page.keyboard.press("Enter")
    page.locator(".changes li").wait_for()
    answered(page, 1)
    tab_to(page, "Undo")
    page.keyboard.press("Enter")
    page.locator(".changes .undone").wait_for()
    tab_to(page, "Choose images", "Shift+Tab")


def test_what_has_the_focus_can_be_seen(visit):
    page = visit()
    page.locator(".prototype").first.wait_for()
    for _ in range(12):
        page.keyboard.press("Tab")
        outlined = page.evaluate(
            """() => {
                const it = document.activeElement;
                return [it, it.parentElement].some((one) => getComputedStyle(one).outlineStyle === "solid");
            }"""
        )
        assert outlined, focused(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(visit, pictures, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    page = visit(color_scheme=scheme)
    page.locator(".prototype").first.wait_for()
    if scheme == "light":
        empty = axe.Axe().run(page)
        assert not empty.violations_count, empty.generate_report()
    text = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"not a picture"}
    choose(page, [*files(pictures, "flower.jpg", "temple's side.jpg"), text])
    page.get_by_role("button", name="5 %").click()
    enrol(page, "dahlia", f"axe-{scheme}")
    page.locator(".changes li").wait_for()
    answered(page, 3)
    full = axe.Axe().run(page)
    assert not full.violations_count, full.generate_report()


def test_a_phone_of_320_pixels_needs_no_scrolling_to_the_side(visit, pictures, keep):
    page = visit(**PHONE)
    page.locator(".prototype").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    photo = page.locator("input[capture]")
    assert photo.evaluate("it => it.parentElement.offsetWidth") > 0, "whoever has a camera at hand can use it"
    photo.set_input_files(files(pictures, "temple's side.jpg"))
    answered(page, 1)
    long = {**files(pictures, "flower.jpg")[0], "name": "a-very-long-name-without-any-space" * 4 + ".jpg"}
    bring(page, "drop", [long])
    answered(page, 2)
    enrol(page, "Donaudampfschifffahrtsgesellschaftskapitänsmützenblume", "phone")
    page.locator(".changes li").wait_for()
    answered(page, 2)
    keep(page, "phone")
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_results_are_told_to_screen_readers(visit, pictures):
    page = visit()
    choose(page, files(pictures, "temple.jpg"))
    told = page.get_by_role("status").last
    assert told.inner_text().startswith("temple.jpg: nearest to ")
