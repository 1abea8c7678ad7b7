"""The page in a browser: looking at images, limits, what goes wrong. Enrolment is in test_browser_enrol.py."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import serving
from tests.serving.web.conftest import jpeg
from tests.serving.web.hands import answered, best, bring, card, choose, files

HOME = Path(serving.__file__).resolve().parent.parent
TEXT = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"not a picture"}


def asked(service, data, **params):
    return httpx.post(f"{service}/v1/classify", params=params, content=data, headers={"Content-Type": "image/jpeg"})


def test_a_chosen_image_is_answered_as_the_service_answers(visit, service, pictures, keep):
    page = visit()
    keep(page, "empty")
    choose(page, files(pictures, "temple.jpg"))
    truth = asked(service, pictures["temple.jpg"]).json()["results"][0]
    shown = card(page, "temple.jpg")
    assert best(shown) == (truth["predictions"][0]["label"], pytest.approx(truth["angle_deg"], abs=0.06))
    assert shown.locator(".bars .label").all_inner_texts() == [one["label"] for one in truth["predictions"]]
    reasons = shown.locator("dt").all_inner_texts()
    assert reasons == ["known", "certified" if truth["certified"] else "not certified"]
    assert "half of the smallest angle" in shown.locator("dd").last.inner_text()


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_images_can_be_dropped_and_pasted_and_removed(visit, pictures, event):
    page = visit()
    page.locator(".prototype").first.wait_for()
    bring(page, event, files(pictures, "flower.jpg", "temple.jpg"))
    answered(page, 2)
    page.get_by_role("button", name="Remove flower.jpg").click()
    assert page.locator(".card h3").all_inner_texts() == ["temple.jpg"]


def test_a_text_file_is_refused_in_the_service_s_words_and_the_others_are_answered(visit, service, pictures):
    page = visit()
    choose(page, [*files(pictures, "flower.jpg"), TEXT, *files(pictures, "temple.jpg")])
    message = httpx.post(f"{service}/v1/classify", files={"image": TEXT["buffer"]}).json()["error"]["message"]
    assert card(page, "notes.txt").locator(".error").inner_text() == message
    assert card(page, "flower.jpg").locator(".bars li").count() == 5
    assert card(page, "temple.jpg").locator(".bars li").count() == 5
    assert "notes.txt" not in page.locator(".snippets").inner_text()


def test_names_of_files_are_text_never_html(visit, pictures):
    page = visit()
    name = "<img src=x onerror=document.title='broken'>.jpg"
    choose(page, [{**files(pictures, "flower.jpg")[0], "name": name}])
    assert page.locator(".card h3").inner_text() == name
    assert page.locator("img[src=x]").count() == 0
    assert "broken" not in page.title()


def test_while_the_service_is_away_a_banner_says_so_and_then_the_page_goes_on(visit, pictures, keep):
    page = visit()
    choose(page, files(pictures, "flower.jpg"))
    page.context.set_offline(True)
    page.set_input_files(".drop input[multiple]", files(pictures, "temple.jpg"))
    banner = page.locator(".banner", has_text="does not answer")
    banner.wait_for()
    keep(page, "away")
    assert card(page, "flower.jpg").locator(".bars li").count() == 5
    page.context.set_offline(False)
    banner.wait_for(state="detached")
    answered(page, 2)
    assert card(page, "temple.jpg").locator(".bars li").count() == 5


def test_the_limit_rejects_at_once_without_a_request(visit, service, pictures, keep):
    page = visit()
    choose(page, files(pictures, *pictures))
    angles = {name: best(card(page, name))[1] for name in pictures}
    sent = []
    page.on("request", lambda one: sent.append(one.url))
    slider = page.get_by_label("Largest angle")
    limit = round(sum(sorted(angles.values())[-2:]) / 2 * 2) / 2  # between the two that are furthest
    slider.fill(str(limit))
    rejected = {name for name, angle in angles.items() if angle > limit}
    assert len(rejected) == 1
    assert page.get_by_role("status").filter(has_text=f"{len(rejected)} of {len(angles)} rejected").count() == 1
    for name in pictures:
        assert (card(page, name).locator("strong").inner_text() == "unknown") == (name in rejected)
    assert f"threshold={math.cos(math.radians(limit)):.4f}" in page.locator("pre").first.inner_text()
    calibrated = httpx.get(f"{service}/v1/model").json()["thresholds"]
    assert page.locator(".strip .tick").count() == len(calibrated)
    page.get_by_role("button", name="5 %").click()
    assert "fpr=0.05" in page.locator("pre").first.inner_text()
    keep(page, "limit")
    slider.press("End")
    assert page.get_by_text("No limit: every image is known.").is_visible()
    assert not sent


def test_a_token_is_asked_for_and_kept_off_the_page(visit, service, pictures):
    def guard(route):
        if route.request.headers.get("authorization") == "Bearer geheim":
            return route.continue_()
        error = {"code": "unauthorized", "message": "send Authorization: Bearer TOKEN with a token of this service"}
        return route.fulfill(status=401, body=json.dumps({"error": error}), content_type="application/json")

    page = visit(lambda page: page.route("**/v1/**", guard))
    page.get_by_label("Token").fill("geheim")
    page.get_by_role("button", name="Use it").click()
    page.locator(".prototype").first.wait_for()
    choose(page, files(pictures, "flower.jpg"))
    assert "PROTOZOO_TOKEN" in page.locator("pre").first.inner_text()
    assert "geheim" not in page.content()
    assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_curl_and_python_as_shown_give_the_same_answer(visit, service, pictures, tmp_path):
    page = visit()
    names = ("temple's side.jpg", "flower near.jpg")
    choose(page, files(pictures, *names))
    for name in names:
        (tmp_path / name).write_bytes(pictures[name])
    shell, python = page.locator("pre").all_inner_texts()
    by_curl = json.loads(subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, check=True).stdout)
    labels = [result["label"] for result in by_curl["results"]]
    assert labels == [card(page, name).locator("strong").inner_text() for name in names]
    done = subprocess.run(
        [sys.executable, "-c", python], cwd=tmp_path, env={"PYTHONPATH": str(HOME)}, capture_output=True, check=True
    )
    assert re.findall(r"Classification\(label='(\w+)'", done.stdout.decode()) == labels


def test_embeddings_are_downloaded_as_csv(visit, service, pictures):
    page = visit()
    choose(page, files(pictures, "flower.jpg", "temple.jpg"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Embeddings as CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [row["image"] for row in rows] == ["flower.jpg", "temple.jpg"]
    answer = httpx.post(f"{service}/v1/embed", content=pictures["temple.jpg"], headers={"Content-Type": "image/jpeg"})
    embedding = [float(rows[1][f"e{i}"]) for i in range(64)]
    np.testing.assert_allclose(embedding, answer.json()["embeddings"][0], atol=1e-6)


def test_a_photograph_that_lies_on_its_side_is_turned(visit, service, pictures):
    page = visit()
    tall = Image.open(io.BytesIO(pictures["temple.jpg"])).crop((0, 0, 300, 427))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise by a right angle to see it upright
    stored = jpeg(tall.transpose(Image.Transpose.ROTATE_90), exif=exif)
    choose(page, [{"name": "portrait.jpg", "mimeType": "image/jpeg", "buffer": stored}])
    shown = card(page, "portrait.jpg")
    assert "Turned upright" in shown.inner_text()
    assert shown.locator(".photo").evaluate("it => [it.naturalWidth, it.naturalHeight]") == [300, 427]
    upright, lying = (asked(service, data).json()["results"][0]["predictions"][0] for data in (jpeg(tall), stored))
    assert upright["label"] != lying["label"] or abs(upright["cosine"] - lying["cosine"]) > 0.05
    assert best(shown)[0] == upright["label"]


def test_a_thousand_prototypes_are_drawn_and_named_where_the_pointer_is(visit, keep):
    rows = np.random.default_rng(0).normal(size=(1000, 64))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    answer = {"set": "default", "labels": [f"class {i}" for i in range(1000)], "prototypes": rows.tolist()}
    page = visit(lambda page: page.route("**/prototypes?*", lambda route: route.fulfill(json=answer)))
    page.locator(".crowd path").first.wait_for()
    dots = page.locator(".crowd path").evaluate_all("all => all.map((one) => one.getAttribute('d')).join('')")
    assert dots.count("M") == 1000
    assert page.locator(".prototype").count() == 0
    frame = page.locator(".map .frame").bounding_box()
    x, y = (float(number) for number in re.match(r"M([\d.]+) ([\d.]+)", dots.split("h0")[-2]).groups())
    page.mouse.move(frame["x"] + x, frame["y"] + y)  # of the layer that lies in front
    page.locator(".prototype text").wait_for()
    assert re.fullmatch(r"class \d+, a prototype", page.locator(".map .told").inner_text())
    keep(page, "thousand")
