"""Sign-up forms: what is asked, what only a click grants, and what never happens."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consentry.web.pages.forms import EVEN_S
from tests.e2e.asking import DENIED, GRANTED, UNKNOWN, choose, fresh, lookup, state, verify
from tests.e2e.paging import (
    ORIGIN,
    PAGES,
    SMTP,
    confirmed,
    get,
    path_of,
    post,
    shop,
    sign_up,
    smtp,
    title,
)
from tests.mailbox import Mailbox, certificate, link_in, mailbox, only
from tests.running import (
    ADMIN_KEY,
    WRITE_KEY,
    Server,
    StandIn,
    call,
    wait_for,
)

EVIDENCE = {"noticeId": "footer", "noticeText": "News by e-mail, now and then.", "language": "de"}


@pytest.fixture(scope="module")
def box() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running


@pytest.fixture(scope="module")
def acme(
    tmp_path_factory: pytest.TempPathFactory, box: Mailbox, vendors: StandIn
) -> Iterator[Server]:
    sms = f'[sms]\nurl = "{vendors.base}/webhook/sms"\nsecret = "env:HOOK_SECRET"\n'
    folder = tmp_path_factory.mktemp("acme")
    # Network addresses are told by a proxy, so that each test is somebody else.
    with shop(folder, PAGES, smtp(box), sms, start=False) as running:
        with running.config.open("a") as file:
            file.write('trusted_proxies = ["127.0.0.1/32"]\n')
        running.start()
        yield running


@pytest.fixture(autouse=True)
def well(box: Mailbox) -> Iterator[None]:
    yield
    box.refuse = 0


_addresses = iter(range(1, 60_000))


def somewhere() -> dict[str, str]:
    """A network address that nothing else in these tests has."""
    n = next(_addresses)
    return {"X-Forwarded-For": f"203.0.{n // 250}.{n % 250}"}


def asked(server: Server, email: str, **more: Any) -> Any:
    body = {"subject": {"email": email}, "topics": {"news": {"email": True}}, **more}
    return call(server.base, "POST", "/v1/forms", body, basic=WRITE_KEY, headers=somewhere())


def ann() -> str:
    return f"{fresh('ann')}@example.com"


def news(server: Server, email: str) -> Any:
    return state(lookup(server, {"email": email})["topics"]["news"], "email")


def history(server: Server, email: str) -> list[Any]:
    return list(lookup(server, {"email": email}, history=True)["history"])


# -- the story ------------------------------------------------------------------------------------
def test_only_the_click_in_the_mail_grants(acme: Server, box: Mailbox) -> None:
    email = ann()
    answer = asked(acme, email, form="footer", evidence=EVIDENCE)
    assert (answer.status, answer.json) == (202, {"status": "requested"})
    assert news(acme, email) == UNKNOWN
    (requested,) = history(acme, email)
    assert requested["type"] == "requested"
    assert (requested["before"], requested["after"]) == ({}, {})
    assert requested["evidence"]["asked"] == ["topic:news:email"]

    mail = box.one_to(email)
    assert "Newsletter" in mail.get_content()
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["From"] == "Acme <privacy@acme.example>"
    assert mail["Message-ID"].endswith("@acme.example>")
    # As bytes: mail programs read this header as it stands (RFC 8058), and decode no words in it.
    head = box.raw[box.taken.index(mail)].partition(b"\r\n\r\n")[0].split(b"\r\n")
    (link_line,) = (line for line in head if line.lower().startswith(b"list-unsubscribe:"))
    link = link_line.partition(b": ")[2]
    assert re.fullmatch(rb"<http://[!-~]+/unsubscribe\?t=[\w.-]+>", link), link
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in head
    assert all(len(line) <= 998 for line in head)
    assert get(acme, path_of(link[1:-1].decode())).status == 200
    assert "48" in mail.get_content()
    assert not mail.is_multipart()
    path = path_of(link_in(mail))

    for _ in range(3):  # a scanner follows the link
        assert get(acme, path).status == 200
    assert news(acme, email) == UNKNOWN

    assert confirmed(acme, path).status == 200
    assert news(acme, email) == GRANTED
    record = history(acme, email)[0]
    told = record["evidence"]
    assert (record["type"], record["trust"], told["action"]) == ("choice", "link", "confirm")
    assert told["requestRecordId"] == requested["recordId"]
    assert told["requestedAt"] == requested["receivedAt"]
    assert told["confirmedAt"] == record["receivedAt"]
    assert told["form"] == "footer"
    text = acme.admin("GET", f"/v1/notices/{told['noticeHash']}").body.decode()
    assert text == EVIDENCE["noticeText"]
    assert (
        "Newsletter" in acme.admin("GET", f"/v1/notices/{told['confirmNoticeHash']}").body.decode()
    )

    again = post(acme, path, {"do": "confirm"})
    assert again.status == 410
    assert get(acme, path).status == 410
    assert len(history(acme, email)) == 2


def test_a_used_link_grants_nothing_after_a_withdrawal(acme: Server, box: Mailbox) -> None:
    email = ann()
    asked(acme, email)
    path = path_of(link_in(box.one_to(email)))
    assert confirmed(acme, path).status == 200
    choose(acme, {"email": email}, {}, topics={"news": {"email": False}})
    assert post(acme, path, {"do": "confirm"}).status == 410
    assert news(acme, email) == DENIED


def test_no_mail_at_all_ends_a_sign_up_that_nobody_confirmed(acme: Server, box: Mailbox) -> None:
    email = ann()
    asked(acme, email)
    path = path_of(link_in(box.one_to(email)))
    body = {"subject": {"email": email}, "channels": ["email"]}
    assert call(acme.base, "POST", "/v1/consent/withdraw", body, key=ADMIN_KEY).status == 201
    assert get(acme, path).status == 410
    assert post(acme, path, {"do": "confirm"}).status == 410
    assert news(acme, email) == DENIED


def test_whoever_never_asked_says_no_with_one_click(acme: Server, box: Mailbox) -> None:
    email = ann()
    asked(acme, email)
    header = box.one_to(email)["List-Unsubscribe"].strip("<>")
    assert post(acme, path_of(header), {"List-Unsubscribe": "One-Click"}).status == 200
    assert news(acme, email) == DENIED


def test_the_mail_speaks_the_language_of_the_form(acme: Server, box: Mailbox) -> None:
    email = ann()
    asked(acme, email, evidence=EVIDENCE)
    mail = box.one_to(email)
    assert "bestätige" in mail["Subject"].lower() + mail.get_content().lower()
    page = get(acme, path_of(link_in(mail)), {"Accept-Language": "fr"})
    assert page.headers["content-language"] == "de"


def test_a_public_key_cannot_grant_for_an_address(acme: Server) -> None:
    email = ann()
    topics = {"news": {"email": True}}
    answer = choose(acme, {"email": email}, {}, topics=topics, key=WRITE_KEY)
    assert answer.json["unverified"] == ["topic:news:email"]
    assert news(acme, email)[:2] == ("never_collected", "denied")


# -- what is refused ------------------------------------------------------------------------------
REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("no address", {"subject": {}}, 400),
    ("two addresses", {"subject": {"email": "a@example.com", "phone": "+431234567"}}, 400),
    ("no such address", {"subject": {"email": "nobody"}}, 400),
    ("an account", {"subject": {"userId": "u"}}, 400),
    ("no topic", {"topics": {}}, 400),
    ("no such topic", {"topics": {"nothing": {"email": True}}}, 400),
    ("no such channel", {"topics": {"offers": {"sms": True}}}, 400),
    ("another channel than the address", {"topics": {"news": {"sms": True}}}, 400),
    ("a refusal", {"topics": {"news": {"email": False}}}, 400),
    ("a category", {"preferences": {"analytics": True}}, 400),
    ("a wrong hash", {"evidence": {"noticeText": "a", "noticeHash": "0" * 64}}, 400),
]


@pytest.mark.parametrize(("why", "change", "status"), REFUSED)
def test_what_is_no_sign_up(acme: Server, why: str, change: dict[str, Any], status: int) -> None:
    body = {
        "subject": {"email": "refused@example.com"},
        "topics": {"news": {"email": True}},
        **change,
    }
    answer = call(acme.base, "POST", "/v1/forms", body, basic=WRITE_KEY, headers=somewhere())
    assert answer.status == status, why
    assert "refused@example.com" not in answer.body.decode()
    assert history(acme, "refused@example.com") == []


def test_another_sites_form_is_refused(acme: Server) -> None:
    body = {"subject": {"email": ann()}, "topics": {"news": {"email": True}}}
    headers = {"Origin": "https://evil.example", **somewhere()}
    answer = call(acme.base, "POST", "/v1/forms", body, basic=WRITE_KEY, headers=headers)
    assert answer.status == 403


def test_an_address_is_mailed_a_few_times_a_day(acme: Server, box: Mailbox) -> None:
    email = ann()
    answers = [asked(acme, email) for _ in range(6)]
    assert {(a.status, a.body) for a in answers} == {(202, b'{"status":"requested"}')}
    wait_for(lambda: len(box.to(email)) == 3, what="three mails")
    others = ann()
    asked(acme, others)
    box.one_to(others)  # so every mail that was owed before is sent
    assert len(box.to(email)) == 3
    assert len(history(acme, email)) == 3
    acme.stop()
    acme.start()
    asked(acme, email)  # the count outlives a restart
    assert len(history(acme, email)) == 3


def test_one_network_address_asks_a_few_times(acme: Server) -> None:
    here = somewhere()
    body = {"subject": {"email": ann()}, "topics": {"news": {"email": True}}}
    told = [
        call(acme.base, "POST", "/v1/forms", body, basic=WRITE_KEY, headers=here) for _ in range(21)
    ]
    assert [answer.status for answer in told[:20]] == [202] * 20
    assert told[20].status == 429
    assert int(told[20].headers["retry-after"]) > 0
    assert (
        call(acme.base, "POST", "/v1/forms", body, basic=WRITE_KEY, headers=somewhere()).status
        == 202
    )


def test_what_fills_in_the_trap_is_no_person(acme: Server) -> None:
    email = ann()
    answer = asked(acme, email, website="https://spam.example")
    assert (answer.status, answer.json) == (202, {"status": "requested"})
    assert history(acme, email) == []
    assert 'consentry_sign_ups_total{fate="trapped"}' in acme.admin("GET", "/metrics").body.decode()


def test_who_is_suppressed_gets_no_mail(acme: Server, box: Mailbox) -> None:
    email, other = ann(), ann()
    body = {"subject": {"email": email}}
    assert call(acme.base, "POST", "/v1/subjects/suppress", body, key=ADMIN_KEY).status == 200
    began = time.monotonic()
    assert asked(acme, email).status == 202
    assert time.monotonic() - began >= EVEN_S  # as long as one that is written down
    asked(acme, other)
    box.one_to(other)
    assert box.to(email) == []


def test_who_is_suppressed_before_the_mail_leaves_gets_none(acme: Server, box: Mailbox) -> None:
    email, other = ann(), ann()
    box.refuse, box.answer, box.tries = 1000, "451 later", 0
    asked(acme, email)
    wait_for(lambda: box.tries >= 1, what="the first try")
    body = {"subject": {"email": email}}
    assert call(acme.base, "POST", "/v1/subjects/suppress", body, key=ADMIN_KEY).status == 200
    box.refuse = 0
    asked(acme, other)
    box.one_to(other)
    assert box.to(email) == []


# -- without a script -----------------------------------------------------------------------------
FIELDS = {"writeKey": WRITE_KEY, "topic": "news", "form": "footer"}


def test_a_plain_form_signs_up_and_goes_back_to_its_site(acme: Server, box: Mailbox) -> None:
    email = ann()
    fields = {**FIELDS, "email": email, "redirect": f"{ORIGIN}/thanks?from=form"}
    answer = post(acme, "/v1/forms", fields, {"Origin": ORIGIN, **somewhere()})
    assert (answer.status, answer.headers["location"]) == (303, f"{ORIGIN}/thanks?from=form")
    assert confirmed(acme, path_of(link_in(box.one_to(email)))).status == 200
    assert news(acme, email) == GRANTED


ELSEWHERE = [
    "",
    "https://evil.example/",
    "https://shop.example.evil.example/",
    "https://shop.example@evil.example/",
    "https://shop.example:444/",
    "//evil.example/",
    "/thanks",
    "javascript:alert(1)",
    "https://shop.example/\r\nSet-Cookie: a=b",
    "https://shop.example\\@evil.example/",
]


@pytest.mark.parametrize("back", ELSEWHERE)
def test_a_plain_form_goes_nowhere_else(acme: Server, back: str) -> None:
    fields = {**FIELDS, "email": ann(), "redirect": back}
    answer = post(acme, "/v1/forms", fields, somewhere())
    assert answer.status == 202
    assert "location" not in answer.headers
    assert b"We have sent you a message" in answer.body


def test_a_plain_form_is_told_what_is_wrong(acme: Server) -> None:
    answer = post(acme, "/v1/forms", {**FIELDS, "email": "nobody"}, somewhere())
    assert answer.status == 400
    assert b"Please check what you entered." in answer.body
    assert title(answer) == "That did not work"


# -- text messages --------------------------------------------------------------------------------
def test_a_text_message_is_asked_of_the_operators_endpoint(
    acme: Server, vendors: StandIn, tmp_path: Path
) -> None:
    phone = "+43664" + str(int(time.time() * 1000) % 10_000_000).zfill(7)
    body = {"subject": {"phone": phone}, "topics": {"news": {"sms": True}}}
    assert (
        call(acme.base, "POST", "/v1/forms", body, basic=WRITE_KEY, headers=somewhere()).status
        == 202
    )

    def sent() -> Any:
        entries = [e for e in vendors.journal() if e["path"] == "/webhook/sms"]
        return next((e for e in entries if e["body"]["data"]["to"] == phone), None)

    entry = wait_for(sent, what="the text message")
    assert entry["body"]["type"] == "sms.send"
    assert entry["body"]["data"].keys() == {"id", "to", "text"}
    text = entry["body"]["data"]["text"]
    path = path_of(next(w for w in text.split() if "?t=" in w).rstrip("."))
    assert confirmed(acme, path).status == 200
    topics = lookup(acme, {"phone": phone})["topics"]["news"]
    assert state(topics, "sms") == GRANTED


# -- handing over ---------------------------------------------------------------------------------
def test_a_mail_that_is_refused_for_ever_is_not_tried_again(acme: Server, box: Mailbox) -> None:
    email, other = ann(), ann()
    box.refuse, box.answer, box.tries = 1, "550 no such mailbox", 0
    asked(acme, email)
    wait_for(lambda: box.tries == 1, what="the only try")
    asked(acme, other)
    box.one_to(other)
    assert box.to(email) == []
    assert 'fate="never"' in acme.admin("GET", "/metrics").body.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_mail_that_was_owed_is_sent_after_kill_9(folder: Path) -> None:
    email = ann()
    with mailbox() as box, shop(folder, PAGES, smtp(box)) as server:
        box.refuse, box.answer = 1000, "451 later"
        assert sign_up(server, email).status == 202
        wait_for(lambda: box.tries >= 1, what="a try")
        server.kill()
        box.refuse = 0
        _make_due(folder)
        server.start()
        mail = box.one_to(email)
        assert confirmed(server, path_of(link_in(mail))).status == 200
        assert news(server, email) == GRANTED
        server.kill()
        server.start()
        other = ann()
        sign_up(server, other)
        box.one_to(other)
        assert len(box.to(email)) == 1  # what was settled is not sent again
        verify(server)


def _make_due(folder: Path) -> None:
    """What waits for its next try is due now, as if the wait was over."""
    import sqlite3

    import msgspec

    from consentry.outbox import Mail

    with sqlite3.connect(folder / "consentry.db") as db:
        for mail_id, body in db.execute("SELECT mail_id, body FROM mail").fetchall():
            mail = msgspec.structs.replace(msgspec.msgpack.decode(body, type=Mail), next_at=0)
            change = "UPDATE mail SET next_at = 0, body = ? WHERE mail_id = ?"
            db.execute(change, (msgspec.msgpack.encode(mail), mail_id))


def test_no_link_lies_in_the_store(folder: Path) -> None:
    email = ann()
    with mailbox() as box, shop(folder, PAGES, smtp(box)) as server:
        sign_up(server, email)
        token = link_in(box.one_to(email)).partition("t=")[2]
        box.refuse = 1000
        sign_up(server, ann())
        wait_for(lambda: box.tries >= 2, what="a try")
        server.stop()
        everything = b"".join(file.read_bytes() for file in folder.glob("consentry.db*"))
        assert token.encode() not in everything
        assert hashlib.sha256(token.encode()).digest() in everything
        assert email not in server.log
        assert "example.com" not in server.log


TLS = '[smtp]\nurl = "{url}"\nfrom = "privacy@acme.example"\nca = "{ca}"\n{more}'


def test_mail_goes_encrypted_and_with_a_password(folder: Path) -> None:
    context, ca = certificate(folder)
    options = {"tls_context": context, "require_starttls": True, "auth_required": True}
    with mailbox(**options, authenticator=only("us er", "p@ss")) as box:
        url = f"smtp://us%20er:p%40ss@localhost:{box.port}"
        config = TLS.format(url="env:SMTP_URL", ca=ca, more="")
        with shop(folder, PAGES, config, start=False) as server:
            server.environment["SMTP_URL"] = url
            server.start()
            email = ann()
            sign_up(server, email)
            assert link_in(box.one_to(email))
            assert "p@ss" not in server.log


def test_mail_goes_encrypted_from_the_start(folder: Path) -> None:
    context, ca = certificate(folder)
    with mailbox(ssl_context=context) as box:
        config = TLS.format(url=f"smtps://localhost:{box.port}", ca=ca, more="")
        with shop(folder, PAGES, config) as server:
            email = ann()
            sign_up(server, email)
            assert link_in(box.one_to(email))


@pytest.mark.parametrize("why", ["no encryption offered", "a stranger's certificate"])
def test_mail_does_not_go_where_the_way_is_not_safe(folder: Path, why: str) -> None:
    context, ca = certificate(folder)
    other = folder / "other"
    other.mkdir()
    _, strange = certificate(other)
    options = {} if why == "no encryption offered" else {"tls_context": context}
    trusted = ca if why == "no encryption offered" else strange
    with mailbox(**options) as box:
        config = TLS.format(url=f"smtp://localhost:{box.port}", ca=trusted, more="")
        with shop(folder, PAGES, config) as server:
            sign_up(server, ann())
            wait_for(lambda: "mail_not_sent" in server.log, what="a failed try")
            assert box.tries == 0


def test_nothing_is_accepted_where_no_link_can_be_made(folder: Path) -> None:
    with shop(folder, SMTP.format(port=25)) as server:
        answer = sign_up(server, "a@example.com")
        assert (answer.status, answer.json["code"]) == (409, "mail_not_configured")
        assert history(server, "a@example.com") == []


def test_the_ledger_still_verifies(acme: Server) -> None:
    verify(acme)
    assert "example.com" not in acme.log
