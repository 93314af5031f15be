"""Pages without a script: what each link opens, what a POST records, and that a GET does not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from consentry.csp import cookie as cookies
from tests.e2e.asking import DENIED, GRANTED, choose, fresh, lookup, state, verify
from tests.e2e.paging import (
    PAGES,
    Form,
    get,
    link,
    path_of,
    post,
    shop,
    sign_up,
    smtp,
    title,
)
from tests.mailbox import Mailbox, link_in, mailbox
from tests.running import BACKEND_KEY, WRITE_KEY, Answer, Server, call, wait_for

EVERYTHING = {
    "analytics",
    "advertising",
    "topic:news:email",
    "topic:news:sms",
    "topic:offers:email",
}
OURS = {"Sec-Fetch-Site": "same-origin"}
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture(scope="module")
def box() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, box: Mailbox) -> Iterator[Server]:
    mails = PAGES + "mails_a_day = 5\n"
    with shop(tmp_path_factory.mktemp("acme"), mails, smtp(box)) as running:
        yield running


def size(server: Server) -> int:
    """How many records the ledger holds."""
    answer = server.admin("GET", "/v1/ledger")
    assert answer.status == 200
    return len(answer.body.splitlines())


def granted_all(server: Server, subject: dict[str, str]) -> None:
    topics = {"news": {"email": True, "sms": True}, "offers": {"email": True}}
    both = {"analytics": True, "advertising": True}
    assert choose(server, subject, both, topics=topics).status == 201


def effective(server: Server, subject: dict[str, str]) -> dict[str, bool]:
    """Every switch by its key, as the operator sees it."""
    found = lookup(server, subject)
    held = {k: v["effective"] == "granted" for k, v in found["preferences"].items()}
    for topic, channels in found["topics"].items():
        for channel, one in channels.items():
            held[f"topic:{topic}:{channel}"] = one["effective"] == "granted"
    del held["essential"]
    return held


def seen_on(server: Server, path: str) -> list[tuple[str, str]]:
    """What a form carries of the page that it stands on."""
    return [one for one in Form(get(server, path).body).hidden if one[0] == "seen"]


def latest(server: Server, subject: dict[str, str]) -> Any:
    return lookup(server, subject, history=True)["history"][0]


def person() -> dict[str, str]:
    return {"email": f"{fresh('ann')}@example.com"}


# -- which token opens which page -----------------------------------------------------------------
@pytest.fixture(scope="module")
def tokens(acme: Server, box: Mailbox) -> dict[str, str]:
    """One token of every type; each is good where it belongs."""
    who = {"email": "opener@example.com"}
    sign_up(acme, who["email"])
    device = Form(get(acme, "/preferences").body)
    return {
        "withdraw": link(acme, who, "withdraw").partition("t=")[2],
        "edit": link(acme, who, "edit").partition("t=")[2],
        "confirm": link_in(box.one_to(who["email"])).partition("t=")[2],
        "form": dict(device.hidden)["proof"],
        "none": "",
        "another": "bm90aGluZw",
        "script": '"><script>alert(1)</script>',
    }


OPENS = {"/unsubscribe": "withdraw", "/preferences": "edit", "/confirm": "confirm"}


@pytest.mark.parametrize("page", OPENS)
@pytest.mark.parametrize(
    "type_", ["withdraw", "edit", "confirm", "form", "none", "another", "script"]
)
def test_a_token_opens_the_page_of_its_type_and_no_other(
    acme: Server, tokens: dict[str, str], page: str, type_: str
) -> None:
    from urllib.parse import quote

    path = f"{page}?t={quote(tokens[type_])}"
    before = size(acme)
    shown = get(acme, path)
    assert shown.status == (200 if OPENS[page] == type_ else 400), shown.body
    assert b"<script" not in shown.body
    assert size(acme) == before
    if OPENS[page] != type_:
        for do in ("save", "withdraw", "all", "messages", "confirm"):
            fields = [("do", do), *(("shown", k) for k in EVERYTHING), ("on", "analytics")]
            assert post(acme, path, fields).status == 400
        assert post(acme, path, ONE_CLICK).status == 400
        assert size(acme) == before


@pytest.mark.parametrize("page", OPENS)
def test_every_page_lets_nothing_else_in(acme: Server, tokens: dict[str, str], page: str) -> None:
    for answer in (get(acme, f"{page}?t={tokens[OPENS[page]]}"), get(acme, f"{page}?t=x")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in answer.headers
        assert b"style=" not in answer.body
        assert b"<script" not in answer.body
    assert get(acme, "/pages.css").headers["content-type"].startswith("text/css")


def test_nobody_reads_who_it_is_in_a_link(acme: Server) -> None:
    who = {"email": "readable@example.com", "phone": "+4366412345", "userId": "user-readable"}
    for type_ in ("withdraw", "edit"):
        made = link(acme, who, type_).lower()
        assert not any(word in made for word in ("readable", "example.com", "66412345", "40exa"))


# -- withdrawing ----------------------------------------------------------------------------------
def test_a_withdraw_link_withdraws_what_it_is_about_and_no_more(acme: Server) -> None:
    who = person()
    granted_all(acme, who)
    path = link(acme, who, "withdraw", topics={"news": {"email": True}})
    asked = get(acme, path)
    assert b"Newsletter (E-mail)" in asked.body
    assert b"Offers" not in asked.body
    assert post(acme, path, Form(asked.body).filled("all")).status == 200
    assert effective(acme, who) == {k: k != "topic:news:email" for k in EVERYTHING}
    told = latest(acme, who)["evidence"]
    assert (told["action"], told["surface"], told["oneClick"]) == ("withdraw", "link", False)
    shown = acme.admin("GET", f"/v1/notices/{told['noticeHash']}")
    assert "Newsletter (E-mail)" in shown.body.decode()


@pytest.mark.parametrize(
    ("do", "left"), [("messages", {"analytics", "advertising"}), ("all", set())]
)
def test_an_unbound_link_can_stop_messages_or_everything(
    acme: Server, do: str, left: set[str]
) -> None:
    who = person()
    granted_all(acme, who)
    path = link(acme, who, "withdraw")
    post(acme, path, Form(get(acme, path).body).filled(do))
    assert {key for key, on in effective(acme, who).items() if on} == left


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
def test_one_click_needs_no_cookie_and_may_come_again(acme: Server, kind: str) -> None:
    who = person()
    granted_all(acme, who)
    path = link(acme, who, "withdraw", topics={"news": {"email": True}})
    for _ in range(2):
        if kind == "urlencoded":
            answer = post(acme, path, ONE_CLICK)
        else:
            body = (
                b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
                b"One-Click\r\n--b--\r\n"
            )
            told = {"Content-Type": "multipart/form-data; boundary=b"}
            answer = call(acme.base, "POST", path, body, headers=told)
        assert answer.status == 200
        assert "location" not in answer.headers
        assert "set-cookie" not in answer.headers
    assert effective(acme, who) == {k: k != "topic:news:email" for k in EVERYTHING}
    assert latest(acme, who)["evidence"]["oneClick"] is True


def test_a_later_grant_holds_until_the_old_link_is_used_again(acme: Server) -> None:
    who = person()
    granted_all(acme, who)
    path = link(acme, who, "withdraw")
    post(acme, path, ONE_CLICK)
    granted_all(acme, who)
    assert all(effective(acme, who).values())
    post(acme, path, ONE_CLICK)
    assert not any(effective(acme, who).values())


def test_the_headers_for_mails_come_with_the_link(acme: Server) -> None:
    body = {"subject": {"userId": "u1"}, "type": "withdraw", "categories": ["analytics"]}
    made = call(acme.base, "POST", "/v1/links", body, key=BACKEND_KEY).json
    assert made["headers"] == {
        "List-Unsubscribe": f"<{made['url']}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert made["url"].startswith(f"{acme.base}/unsubscribe?t=")
    edit = call(acme.base, "POST", "/v1/links", {**body, "type": "edit"}, key=BACKEND_KEY).json
    assert edit.keys() == {"url", "expiresAt"}


REFUSED_LINKS = [
    ("a public key", WRITE_KEY, {"subject": {"userId": "u"}, "type": "withdraw"}, 403),
    ("no subject", BACKEND_KEY, {"subject": {}, "type": "withdraw"}, 400),
    ("no such type", BACKEND_KEY, {"subject": {"userId": "u"}, "type": "confirm"}, 400),
    (
        "no such category",
        BACKEND_KEY,
        {"subject": {"userId": "u"}, "type": "edit", "categories": ["nothing"]},
        400,
    ),
    ("nothing named", BACKEND_KEY, {"subject": {"userId": "u"}, "type": "edit", "topics": {}}, 400),
]


@pytest.mark.parametrize(("why", "key", "body", "status"), REFUSED_LINKS)
def test_what_makes_no_link(acme: Server, why: str, key: str, body: Any, status: int) -> None:
    assert call(acme.base, "POST", "/v1/links", body, key=key).status == status, why


# -- editing --------------------------------------------------------------------------------------
def test_categories_and_topics_are_edited_on_one_page(acme: Server) -> None:
    who = {"userId": fresh("user")}
    path = link(acme, who, "edit")
    form = Form(get(acme, path).body)
    assert set(form.switches) == EVERYTHING
    assert form.on == []
    wanted = ["analytics", "topic:news:sms"]
    saved = post(acme, path, form.filled("save", wanted))
    assert saved.status == 200
    assert set(Form(saved.body).on) == set(wanted)
    assert {k for k, on in effective(acme, who).items() if on} == set(wanted)
    record = latest(acme, who)
    assert record["trust"] == "link"
    assert record["evidence"]["action"] == "save"
    assert record["evidence"]["surface"] == "preference_centre"
    assert record["after"] == {k: "granted" if k in wanted else "denied" for k in EVERYTHING}
    shown = acme.admin("GET", f"/v1/notices/{record['evidence']['noticeHash']}").body.decode()
    assert "Newsletter" in shown
    assert "Measures how the site is used" in shown


def test_reject_all_turns_everything_off_whatever_is_ticked(acme: Server) -> None:
    who = {"userId": fresh("user")}
    granted_all(acme, who)
    path = link(acme, who, "edit")
    form = Form(get(acme, path).body)
    assert set(form.on) == EVERYTHING
    post(acme, path, form.filled("withdraw"))
    assert not any(effective(acme, who).values())
    assert latest(acme, who)["evidence"]["action"] == "withdraw"


def test_a_bound_link_shows_and_takes_what_it_is_bound_to(acme: Server) -> None:
    who = {"userId": fresh("user")}
    path = link(acme, who, "edit", categories=["analytics"])
    form = Form(get(acme, path).body)
    assert form.switches == ["analytics"]
    claimed = [("shown", k) for k in EVERYTHING] + form.filled("save", list(EVERYTHING))
    post(acme, path, claimed)
    assert {k for k, on in effective(acme, who).items() if on} == {"analytics"}
    assert set(latest(acme, who)["after"]) == {"analytics"}


def test_what_was_not_shown_stays_as_it_was(acme: Server) -> None:
    who = {"userId": fresh("user")}
    granted_all(acme, who)
    path = link(acme, who, "edit")
    post(acme, path, [*seen_on(acme, path), ("shown", "analytics"), ("do", "save")])
    assert effective(acme, who) == {k: k != "analytics" for k in EVERYTHING}


def test_ticking_what_was_not_shown_grants_nothing(acme: Server) -> None:
    who = {"userId": fresh("user")}
    path = link(acme, who, "edit")
    ticked = [("shown", "analytics"), ("on", "advertising"), ("do", "save")]
    post(acme, path, [*seen_on(acme, path), *ticked])
    assert not any(effective(acme, who).values())


# -- asking for a link ----------------------------------------------------------------------------
def test_a_known_address_gets_a_link_to_its_own_choices(acme: Server, box: Mailbox) -> None:
    who = person()
    granted_all(acme, who)
    before = size(acme)
    known = post(acme, "/preferences", {"do": "request", "email": who["email"].upper()})
    unknown = post(acme, "/preferences", {"do": "request", "email": "nobody@example.com"})
    assert (known.status, known.body) == (unknown.status, unknown.body)
    assert known.status == 200
    mail = box.one_to(who["email"])
    assert mail["Auto-Submitted"] == "auto-generated"
    path = path_of(link_in(mail))
    assert set(Form(get(acme, path).body).on) == EVERYTHING
    post(acme, path, Form(get(acme, path).body).filled("save", ["analytics"]))
    assert {k for k, on in effective(acme, who).items() if on} == {"analytics"}
    assert box.to("nobody@example.com") == []
    assert size(acme) == before + 1


def test_a_mailed_link_tells_nothing_of_what_is_linked_to_the_address(
    acme: Server, box: Mailbox
) -> None:
    """Anybody may link an address of theirs to somebody's account; they learn nothing by it."""
    victim, own = fresh("user"), f"{fresh('eve')}@example.com"
    granted_all(acme, {"userId": victim})
    traits = {"type": "identify", "userId": victim, "traits": {"email": own}}
    assert acme.track({**traits, "messageId": fresh("m")}).status == 200
    wait_for(lambda: lookup(acme, {"email": own})["subject"]["userId"] == victim, what="the link")
    post(acme, "/preferences", {"do": "request", "email": own})
    path = path_of(link_in(box.one_to(own)))
    form = Form(get(acme, path).body)
    assert form.on == []
    post(acme, path, form.filled("save", sorted(EVERYTHING)))
    post(acme, path, form.filled("save", []))
    granted_all(acme, {"userId": victim})
    post(acme, path, form.filled("save", sorted(EVERYTHING)))
    history = lookup(acme, {"email": own}, history=True)["history"]
    assert history[0]["trust"] == "link"


def test_an_address_that_is_none_is_told_so(acme: Server) -> None:
    answer = post(acme, "/preferences", {"do": "request", "email": "no address"})
    assert answer.status == 400
    assert b"Please check what you entered." in answer.body


# -- the device's own page ------------------------------------------------------------------------
def device_cookie(value: str) -> dict[str, str]:
    return {"Cookie": f"consentry={value}"}


def written(answer: Answer) -> cookies.Claim:
    value, *_ = answer.headers["set-cookie"].partition(";")
    claim = cookies.read(value.removeprefix("consentry="))
    assert claim is not None
    return claim


def old_cookie(device: str) -> str:
    return cookies.write(device, notice="default@1", at_s=1_700_000_000, granted=[], denied=[])


def test_a_device_is_edited_by_its_cookie(acme: Server) -> None:
    device = str(uuid.uuid4())
    choose(acme, {"anonymousId": device}, {"analytics": True}, key=WRITE_KEY)
    told = device_cookie(old_cookie(device))
    shown = get(acme, "/preferences", told)
    form = Form(shown.body)
    assert (set(form.switches), form.on) == ({"analytics", "advertising"}, ["analytics"])
    assert "set-cookie" not in shown.headers
    saved = post(acme, "/preferences", form.filled("save", ["advertising"]), {**told, **OURS})
    assert saved.status == 200
    claim = written(saved)
    assert (claim.device, claim.granted, claim.denied) == (device, {"advertising"}, {"analytics"})
    preferences = lookup(acme, {"anonymousId": device})["preferences"]
    assert state(preferences, "advertising") == GRANTED
    assert state(preferences, "analytics") == DENIED
    assert latest(acme, {"anonymousId": device})["trust"] == "public"
    attributes = saved.headers["set-cookie"].split("; ")[1:]
    assert {"Path=/", "SameSite=Lax", f"Max-Age={365 * 86400}"} <= set(attributes)


def test_a_visitor_without_a_cookie_gets_one_by_saving(acme: Server) -> None:
    form = Form(get(acme, "/preferences").body)
    saved = post(acme, "/preferences", form.filled("save", ["analytics"]), OURS)
    claim = written(saved)
    preferences = lookup(acme, {"anonymousId": claim.device})["preferences"]
    assert state(preferences, "analytics") == GRANTED


FORGED = [
    ("another site sends it", {"Sec-Fetch-Site": "cross-site"}, True),
    ("another host of the site", {"Sec-Fetch-Site": "same-site"}, True),
    ("the browser says nothing", {}, True),
    ("another origin", {"Origin": "https://evil.example"}, True),
    ("no origin", {"Origin": "null"}, True),
    ("without the page's token", OURS, False),
]


@pytest.mark.parametrize(("why", "headers", "token"), FORGED)
def test_a_form_that_is_not_ours_writes_nothing(
    acme: Server, why: str, headers: dict[str, str], token: bool
) -> None:
    device = str(uuid.uuid4())
    told = device_cookie(old_cookie(device))
    form = Form(get(acme, "/preferences", told).body)
    fields = form.filled("save", ["analytics"])
    if not token:
        fields = [field for field in fields if field[0] != "proof"]
    before = size(acme)
    answer = post(acme, "/preferences", fields, {**told, **headers})
    assert answer.status == 403, why
    assert "set-cookie" not in answer.headers
    assert size(acme) == before


def test_a_form_of_another_device_writes_nothing(acme: Server) -> None:
    mine = Form(get(acme, "/preferences", device_cookie(old_cookie("mine"))).body)
    told = {**device_cookie(old_cookie("theirs")), **OURS}
    before = size(acme)
    assert post(acme, "/preferences", mine.filled("save", ["analytics"]), told).status == 403
    assert size(acme) == before


def test_older_browsers_name_their_origin(acme: Server) -> None:
    form = Form(get(acme, "/preferences").body)
    saved = post(acme, "/preferences", form.filled("withdraw"), {"Origin": acme.base})
    assert written(saved).denied == {"analytics", "advertising"}


def test_a_browsers_signal_is_shown_as_honoured(acme: Server) -> None:
    page = get(acme, "/preferences", {"Sec-GPC": "1"}).body.decode()
    assert "Opt-out request honored" in page
    assert "a no to: Advertising." in page


# -- languages ------------------------------------------------------------------------------------
def test_pages_speak_the_readers_language(acme: Server) -> None:
    german = get(acme, "/preferences", {"Accept-Language": "de-AT,en;q=0.5"})
    assert german.headers["content-language"] == "de"
    arabic = get(acme, "/preferences", {"Accept-Language": "ar"})
    assert b'dir="rtl"' in arabic.body
    form = Form(german.body)
    saved = post(acme, "/preferences", form.filled("save", []), OURS)
    assert saved.headers["content-language"] == "de"
    claim = written(saved)
    assert latest(acme, {"anonymousId": claim.device})["evidence"]["language"] == "de"


# -- the ledger -----------------------------------------------------------------------------------
def test_gets_left_the_ledger_as_it_was(acme: Server, tokens: dict[str, str]) -> None:
    """Every GET there is, with good tokens: mail scanners follow every link."""
    from consentry.web.app import COLD

    before = server_head(acme)
    for method, path, _ in COLD:
        if method != "GET" or path in ("/v1/tail", "/v1/stream"):
            continue  # they never end
        named = path.replace(":path", "")
        for name, value in {
            "{write_key}": WRITE_KEY,
            "{subject}": "user_id:u1",
            "{message_id}": "m",
            "{digest}": "0" * 64,
            "{file}": "manifest.json",
        }.items():
            named = named.replace(name, value)
        for query in ("", *(f"?t={t}" for n, t in tokens.items() if n != "script")):
            answer = call(acme.base, "GET", named + query, headers=OURS)
            assert answer.status < 500, named
            acme.admin("GET", named + query)
    assert server_head(acme) == before


def server_head(server: Server) -> bytes:
    return server.admin("GET", "/v1/ledger/checkpoint").body


def test_the_ledger_still_verifies(acme: Server) -> None:
    verify(acme)


def test_no_address_is_in_the_log(acme: Server) -> None:
    assert "example.com" not in acme.log
    assert "t=" not in acme.log


def test_links_need_a_secret_and_a_public_address(tmp_path_factory: Any) -> None:
    with shop(tmp_path_factory.mktemp("bare")) as bare:
        body = {"subject": {"userId": "u"}, "type": "withdraw"}
        answer = call(bare.base, "POST", "/v1/links", body, key=BACKEND_KEY)
        assert (answer.status, answer.json["code"]) == (409, "pages_not_configured")
        shown = get(bare, "/preferences")
        assert shown.status == 200  # a device can always be edited
        assert b'type="email"' not in shown.body
        assert post(bare, "/preferences", {"do": "request", "email": "a@example.com"}).status == 409
        refused = sign_up(bare, "a@example.com")
        assert (refused.status, refused.json["code"]) == (409, "mail_not_configured")
        assert get(bare, "/unsubscribe?t=x").status == 400
        assert title(get(bare, "/unsubscribe?t=x")) == "This link does not work"
