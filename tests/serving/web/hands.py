"""What a user does on the page."""

from __future__ import annotations

import base64

CHOOSER = ".drop input[multiple]"


def files(pictures, *names):
    """As Playwright gives them to an input."""
    return [{"name": name, "mimeType": "image/jpeg", "buffer": pictures[name]} for name in names]


def choose(page, given):
    """Choose files and wait until each of them has been answered."""
    before = page.locator(".card").count()
    page.set_input_files(CHOOSER, given)
    answered(page, before + len(given))


def answered(page, count):
    page.wait_for_function(
        """count => {
            const cards = [...document.querySelectorAll(".card")];
            return cards.length === count && cards.every((card) => card.getAttribute("aria-busy") === "false");
        }""",
        arg=count,
    )


def bring(page, event, given):
    """Drop or paste files: the browser's own event, with the files in it."""
    page.evaluate(
        """([name, files]) => {
            const held = new DataTransfer();
            for (const { name, mimeType, data } of files) {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                held.items.add(new File([bytes], name, { type: mimeType }));
            }
            const options = { bubbles: true, cancelable: true };
            document.body.dispatchEvent(name === "drop"
                ? new DragEvent("drop", { ...options, dataTransfer: held })
                : new ClipboardEvent("paste", { ...options, clipboardData: held }));
        }""",
        [event, [{**file, "buffer": None, "data": base64.b64encode(file["buffer"]).decode()} for file in given]],
    )


def card(page, name):
    return page.locator(".card", has=page.get_by_role("heading", name=name, exact=True))


def enrol(page, label, into, beside="nothing"):
    """``beside``: "nothing", or "the model's classes", which a set that is made begins with."""
    page.get_by_label("Name of the class").fill(label)
    page.get_by_role("textbox", name="In the set").fill(into)
    begin = page.get_by_label("Begin the set")
    if begin.count():
        begin.set_checked(beside == "the model's classes")
    page.get_by_role("button", name="Enrol from").click()


def best(card):
    """(label, angle) of the first bar."""
    first = card.locator(".bars li").first
    return first.locator(".label").inner_text(), float(first.locator(".angle").inner_text().removesuffix("°"))
