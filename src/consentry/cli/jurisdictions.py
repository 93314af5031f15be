"""`consentry jurisdictions`: which law holds where, where that was read, and what is due."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from consentry.cli.options import json_option
from consentry.cli.output import emit, say, table

if TYPE_CHECKING:
    from consentry.jurisdictions import Row, Rule

at_option = click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="The day that is asked about; today without it.",
)


@click.command("jurisdictions")
@at_option
@click.option("--country", metavar="CC", help="One place: ISO 3166-1, such as US.")
@click.option("--region", metavar="RR", help="Its part: ISO 3166-2 without the country, as CA.")
@json_option
def command(at: Any, country: str | None, region: str | None, as_json: bool) -> None:
    """List the rows of laws with their sources, or say what holds at one place.

    With --country and without --region the part is not known, and the strictest of all parts
    holds. `unknown` as --country shows what holds where the place is not found.
    """
    if region is not None and country is None:
        raise click.UsageError("--region belongs to --country")
    date = day(at)
    if country is not None:
        _show_place(date, country.upper(), region, as_json)
    else:
        _show_rows(date, as_json)


def day(at: Any) -> str:
    """The ISO date that was asked for, else today's in UTC."""
    if at is not None:
        return str(at.date().isoformat())
    from consentry.clock import Clock
    from consentry.core.moment import format_rfc3339

    return format_rfc3339(Clock().now())[:10]


def _show_rows(date: str, as_json: bool) -> None:
    from consentry.core.moment import parse
    from consentry.jurisdictions import due, rows

    late = {row.id for row in due(date)}
    holding = [row for row in rows() if row.holds(parse(date))]
    if as_json:
        emit({"at": date, "rows": [_row(row, row in holding, row.id in late) for row in rows()]})
        return
    table(
        ("row", "places", "silence", "law", "reviewed", "due"),
        (_cells(row, row in holding, row.id in late) for row in rows()),
        title=f"What is known of laws, as of {date}",
    )
    say("silence: advertising analytics personalization functional sale_or_share;")
    say("I opt_in, O opt_out, N notice, - a broader row decides. Not legal advice.")
    if late:
        say(f"past their review: {', '.join(sorted(late))}")


_LETTERS = {"opt_in": "I", "opt_out": "O", "notice": "N", None: "-"}


def _cells(row: Row, holds: bool, late: bool) -> tuple[object, ...]:
    name = row.id if holds else f"{row.id} (from {row.begins})" if row.begins else row.id
    where = " ".join(row.countries[:6]) + (" ..." if len(row.countries) > 6 else "")
    law = "; ".join(f"{one.law}, {one.section}" for one in row.laws[:1]) or "our choice, no law"
    silence = "".join(_LETTERS[regime] for regime in row.regimes.values())
    parts = f" {' '.join(row.regions)}" if row.regions else ""
    return name, where + parts or "anywhere", silence, law, row.reviewed_on, _due(row, late)


def _due(row: Row, late: bool) -> str:
    return f"{row.review_by} late" if late else row.review_by


def _row(row: Row, holds: bool, late: bool) -> dict[str, Any]:
    import msgspec

    said: dict[str, Any] = msgspec.to_builtins(row)
    return {**said, "version": row.version, "holds": holds, "due": late}


def _show_place(date: str, country: str, region: str | None, as_json: bool) -> None:
    from consentry.core.moment import parse
    from consentry.jurisdictions import Place, rule_of

    place = Place(None if country == "UNKNOWN" else country, region.upper() if region else None)
    rule = rule_of(place, parse(date))
    described = _rule(rule)
    if as_json:
        emit({"at": date, "place": {"country": place.country, "region": place.region}, **described})
        return
    say(f"{rule.name}, as of {date} ({', '.join(rule.rows)})")
    for name, regime in described["regimes"].items():
        say(f"  {name}: {regime}")
    for line in _more(rule):
        say(f"  {line}")
    for law in rule.laws:
        say(f"  {law.law}, {law.section}: {law.url}")
    if not rule.laws:
        say("  no law is named: this is our choice, or the strictest of several rows")


def _more(rule: Rule) -> Iterator[str]:
    yield f"signal: {rule.gpc.duty}, covers {', '.join(rule.gpc.covers) or 'nothing by law'}"
    if rule.never_ask_again:
        yield "after a no: not to be asked again"
    elif rule.ask_again_after_days is not None:
        yield f"after a no: not to be asked again for {rule.ask_again_after_days} days"
    if rule.grant_days is not None:
        yield f"a yes counts for {rule.grant_days} days"
    for age in rule.ages:
        yield f"below {age.below}: {age.needs} for {', '.join(age.purposes)} ({age.url})"
    for ban in rule.bans:
        yield f"{ban.data}: never for {', '.join(ban.purposes)} ({ban.url})"
    for exemption in rule.exemptions:
        conditions = ", ".join(exemption.conditions)
        yield f"not applied: {exemption.purpose} {exemption.regime} if {conditions}"
    if rule.shows:
        yield f"must be shown: {', '.join(rule.shows)}"


def _rule(rule: Rule) -> dict[str, Any]:
    from consentry.core.moment import format_rfc3339

    ends = None if rule.until is None else format_rfc3339(rule.until)
    return {
        "rule": rule.id,
        "name": rule.name,
        "rows": list(rule.rows),
        "version": rule.version,
        "until": ends,
        "regimes": {purpose.value: regime.value for purpose, regime in rule.regimes.items()},
        "laws": [{"law": x.law, "section": x.section, "url": x.url} for x in rule.laws],
        "gpc": {
            "duty": rule.gpc.duty.value,
            "required": rule.gpc.required,
            "covers": list(rule.gpc.covers),
            "url": rule.gpc.url,
        },
        "shows": list(rule.shows),
        "grantDays": rule.grant_days,
        "refusalDays": rule.refusal_days,
        "askAgainAfterDays": rule.ask_again_after_days,
        "neverAskAgain": rule.never_ask_again,
        "ages": [
            {"below": a.below, "needs": a.needs.value, "purposes": list(a.purposes), "url": a.url}
            for a in rule.ages
        ],
        "bans": [{"data": b.data, "purposes": list(b.purposes), "url": b.url} for b in rule.bans],
        "exemptions": [
            {
                "purpose": x.purpose.value,
                "regime": x.regime.value,
                "conditions": list(x.conditions),
                "url": x.url,
            }
            for x in rule.exemptions
        ],
        "certainty": rule.certainty,
        "reviewedOn": rule.reviewed_on,
        "reviewBy": rule.review_by,
    }
