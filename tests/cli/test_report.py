"""The commands `report` and `compare`."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2net_bundle.cli import main
from tests.reports.runs import score_rows, write_scores, write_training, write_views


@pytest.mark.slow
def test_report_prints_where_the_page_is(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = tmp_path / "run"
    write_training(run)
    write_views(run, ["a", "b"], views=1)
    main(["report", str(run)])
    assert capsys.readouterr().out.strip() == str(run / "report" / "index.html")
    with pytest.raises(SystemExit, match=r"i2net: .*not empty"):
        main(["report", str(run)])
    main(["report", str(run), "--out", str(tmp_path / "out"), "--max-cases", "1"])
    assert [path.name for path in (tmp_path / "out" / "figures").glob("case_*")] == ["case_001.png"]


def test_report_of_nothing_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"i2net: .*contains neither training\.csv"):
        main(["report", str(tmp_path)])


def test_compare_prints_markdown_and_writes_three_files(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    dice = {f"case{i}": [0.5 + 0.05 * i, 0.6, 0.7] for i in range(6)}
    fewer = {case: [0.6, 0.6, 0.7] for case in list(dice)[1:]}
    runs = [str(write_scores(tmp_path / name, score_rows(d))) for name, d in (("a", dice), ("b", fewer))]
    with pytest.raises(SystemExit, match="i2net: b lacks case0"):
        main(["compare", *runs])
    main(["compare", *runs, "--common-only"])
    assert "| Method | Dice (%) |" in capsys.readouterr().out
    assert not list(tmp_path.glob("comparison*"))
    main(["compare", *runs, "--common-only", "--out", str(tmp_path / "out")])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"comparison.{e}" for e in ("md", "tex", "csv")}
    assert (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8") in capsys.readouterr().out
