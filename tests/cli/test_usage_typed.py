"""What `greenroom usage` refuses before it asks anybody: in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app

pytestmark = pytest.mark.unit

PERIOD = "--from 2026-01-01 --to 2026-02-01"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("focus --from 2026-02-01 --to 2026-01-01 --out a.csv", "--from must be before --to."),
        ("focus --from yesterday --to 2026-01-01 --out a.csv", "--from is a day such as 2026-11-01"),
        ("focus --from 2026-01-01 --to 2999-01-01 --out a.csv", "--to is not over yet"),
        (f"focus {PERIOD} --out a.xlsx", "--out ends in .csv or .parquet: a.xlsx does not."),
        (f"focus {PERIOD} --out a.csv --price 0.1", "A price needs a currency, and a currency a price"),
        (f"focus {PERIOD} --out a.csv --currency EUR", "A price needs a currency, and a currency a price"),
        (f"focus {PERIOD} --out a.csv --price free --currency EUR", "--price is a number such as 0.12, not free."),
        (f"focus {PERIOD} --out a.csv --price NaN --currency EUR", "--price is a number such as 0.12, not NaN."),
        (f"focus {PERIOD} --out a.csv --price -1 --currency EUR", "--price is a number such as 0.12, not -1."),
        (f"focus {PERIOD} --out a.csv --price 1 --currency euro", "--currency is a code of ISO 4217 such as USD"),
        (f"stripe {PERIOD} --customers c.csv", "Say either --out FILE or --send."),
        (f"stripe {PERIOD} --customers c.csv --send --out a", "Say either --out FILE or --send."),
        (f"stripe {PERIOD} --customers c.csv --send --from-archive x", "--send does not go with --from-archive"),
        (f"stripe {PERIOD} --customers none.csv --out a", "none.csv cannot be read: No such file or directory."),
        (f"stripe {PERIOD} --customers bad.csv --out a", "bad.csv cannot be used: its first line must be"),
        (f"stripe {PERIOD} --customers c.csv --send", "Stopped: GREENROOM_STRIPE_API_KEY is not set"),
    ],
)
def test_what_is_refused(typed: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.csv").write_text("account_id,stripe_customer_id\n")
    Path("bad.csv").write_text("who,what\n")
    found = CliRunner().invoke(app, ["usage", *typed.split()], env={"COLUMNS": "200"})
    assert found.exit_code == 1, found.output
    assert told in " ".join(found.output.split())


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("GREENROOM_CURRENCY", "euro", "GREENROOM_CURRENCY cannot be used:"),
        ("GREENROOM_PRICE_PER_CREDIT", "-1", "GREENROOM_PRICE_PER_CREDIT cannot be used:"),
        ("GREENROOM_STRIPE_URL", "http://stripe.example", "GREENROOM_STRIPE_URL must begin with https://"),
    ],
)
def test_a_setting_that_cannot_be_used(
    name: str, value: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.csv").write_text("account_id,stripe_customer_id\n")
    env = {"COLUMNS": "200", "GREENROOM_STRIPE_API_KEY": "rk_test_1", name: value}
    found = CliRunner().invoke(app, ["usage", "stripe", *PERIOD.split(), "--customers", "c.csv", "--send"], env=env)
    assert (found.exit_code, told in found.output) == (1, True), found.output
    assert "rk_test_1" not in found.output
