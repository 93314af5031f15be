"""One visit in the tests: the rules, what is sent, and what the visitor gets."""

from __future__ import annotations

from consentry.csp import Category, Rules, Tag
from consentry.csp.response import Headers, answered, visit

NOW = 1_800_000_000
RULES = Rules(
    (
        Category("necessary", essential=True),
        Category("analytics", gpc=False),
        Category("advertising"),
        Category("späße, nein"),
        Category("fresh", max_age_s=60),
        Category("renewed", since_s=NOW - 100),
    ),
    (
        Tag("shop", ("necessary",), ("cdn.shop.example",), ("cart",)),
        Tag("stats", ("analytics",), ("stats.example", "*.stats.example"), ("_st*",)),
        Tag("ads", ("advertising", "analytics"), ("*.ads.example",), ("_ad*", "__Host-ad")),
        Tag("nothing", (), ("never.example",), ("_never",)),
    ),
    own_hosts=("api.shop.example",),
)
GOOD = f"v=1&id=a&n=n1&t={NOW - 50}&g=analytics%2Cadvertising&d="


def answer(
    cookie: str = "",
    sent: Headers | None = None,
    *,
    rules: Rules = RULES,
    status: int = 200,
    path: str = "/",
    method: str = "GET",
    **more: str,
) -> Headers:
    """What the visitor gets; the page is HTML unless ``sent`` says more."""
    headers = [("Host", "www.shop.example:8000"), ("Cookie", cookie)]
    headers += [(name.replace("_", "-"), value) for name, value in more.items()]
    seen = visit(rules, headers, method=method, path=path, scheme="https", now_s=NOW, nonce="abc")
    given = [("content-type", "text/html; charset=utf-8")] if sent is None else sent
    return answered(rules, seen, status, given)


def values(headers: Headers, name: str) -> list[str]:
    return [value for each, value in headers if each.lower() == name]


def csp(headers: Headers) -> list[str]:
    return values(headers, "content-security-policy")


YES = f"consentry={GOOD}"
HTML = ("content-type", "text/html")
STATS = "stats.example wss://stats.example *.stats.example wss://*.stats.example"
ADS = "*.ads.example wss://*.ads.example"
OWN = "api.shop.example wss://api.shop.example"
SHOP = "cdn.shop.example wss://cdn.shop.example"
HARMLESS = "'unsafe-inline' 'unsafe-eval' data: blob:"


def consent(*sources: str) -> str:
    listed = " ".join(s for s in sources if s)
    plain = " ".join(s for s in listed.split() if not s.startswith("wss:"))
    return f"default-src 'self' {HARMLESS} {listed}; form-action 'self' {plain}"
