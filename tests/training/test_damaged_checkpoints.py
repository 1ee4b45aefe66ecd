"""A run survives a failing save and a damaged checkpoint, and ends with the same weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.runs import (
    KilledError,
    Make,
    Run,
    assert_equal,
    load,
    names_in,
    record,
)


class TestFailingSave:
    """A save that fails, as on a full disk."""

    @pytest.fixture
    def break_off(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        """Let the n-th call of torch.save from now on, and all later ones, write a little and fail."""
        save = torch.save

        def arrange(call: int) -> None:
            count = iter(range(1, 1000))

            def half_save(contents: Any, file: Any, **options: Any) -> None:
                if next(count) < call:
                    return save(contents, file, **options)
                if isinstance(file, (str, Path)):
                    Path(file).write_bytes(b"half a file")
                else:
                    file.write(b"half a file")
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(torch, "save", half_save)

        return arrange

    @pytest.mark.parametrize("call", [1, 2, 3], ids=["weights on resuming", "checkpoint", "weights"])
    def test_keeps_the_previous_files_and_leaves_nothing_else(
        self, make_run: Make, tmp_path: Path, break_off: Callable[[int], None], call: int
    ) -> None:
        with pytest.raises(KilledError):
            make_run(tmp_path, kill_at=7).trainer.run()
        files = [path for path in tmp_path.rglob("*.pt")]
        before = {path: path.read_bytes() for path in files}
        assert len(before) == 3  # two checkpoints and model.pt
        break_off(call)
        with pytest.raises(OSError, match="was not written: the disk is full"):
            make_run(tmp_path, resume=True).trainer.run()
        assert all(path.read_bytes() == contents for path, contents in before.items() if path.exists())
        assert (tmp_path / "checkpoints" / "epoch_0002.pt").exists()
        assert all(path.suffix == ".pt" for path in (tmp_path / "checkpoints").iterdir())
        for path in tmp_path.rglob("*.pt"):
            load(path)

    def test_can_be_resumed_to_the_same_weights(
        self,
        make_run: Make,
        uninterrupted: Run,
        tmp_path: Path,
        break_off: Callable[[int], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        break_off(4)  # the weights of epoch 2
        with pytest.raises(OSError, match="was not written: the disk is full"):
            make_run(tmp_path / "broken").trainer.run()
        monkeypatch.undo()
        make_run(tmp_path / "broken", resume=True).trainer.run()
        assert_equal(load(tmp_path / "broken" / "model.pt"), load(tmp_path / "whole" / "model.pt"))


class TestDamagedCheckpoints:
    """A checkpoint that cannot be used is named, and the one before it takes its place."""

    @pytest.fixture
    def killed(self, make_run: Make, tmp_path: Path) -> Path:
        """A run of which epochs 1 to 3 are saved."""
        with pytest.raises(KilledError):
            make_run(tmp_path / "killed", kill_at=11).trainer.run()
        return tmp_path / "killed"

    @pytest.mark.parametrize(
        ("damage", "named"),
        [
            (lambda path: path.write_bytes(b""), "epoch_0003.pt cannot be used: it is empty"),
            (lambda path: flip_a_bit(path), "epoch_0003.pt cannot be used: it is damaged: it does not match its SHA"),
            (lambda path: path.write_bytes(path.read_bytes()[:-500]), "epoch_0003.pt cannot be used: it is truncated"),
            (lambda path: torch.save({"a": torch.zeros(1)}, path), "epoch_0003.pt cannot be used: it is no checkpoint"),
            (lambda path: path.unlink(), "has epoch 3, but .*epoch_0003.pt is missing.*Resuming from .*epoch_0002.pt"),
        ],
        ids=["empty", "flipped bit", "truncated", "weights", "missing"],
    )
    def test_the_one_before_it_continues_to_the_same_weights(
        self,
        make_run: Make,
        uninterrupted: Run,
        killed: Path,
        tmp_path: Path,
        damage: Callable[[Path], Any],
        named: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        damage(killed / "checkpoints" / "epoch_0003.pt")
        make_run(killed, resume=True).trainer.run()
        assert re.search(named, caplog.text)
        assert_equal(load(killed / "model.pt"), load(tmp_path / "whole" / "model.pt"))
        assert record(killed) == record(tmp_path / "whole")
        assert names_in(killed / "checkpoints") == ["epoch_0003.pt", "epoch_0004.pt"]

    def test_an_undamaged_run_resumes_without_a_warning(
        self, make_run: Make, killed: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        make_run(killed, resume=True).trainer.run()
        assert not [entry for entry in caplog.records if entry.levelname == "WARNING"]

    def test_without_any_usable_checkpoint_the_error_leads_to_another_folder(
        self, make_run: Make, killed: Path
    ) -> None:
        for path in (killed / "checkpoints").iterdir():
            path.write_bytes(b"")
        with pytest.raises(
            ValueError, match=r"epoch_0003\.pt .*epoch_0002\.pt .*Train in another --output_dir"
        ) as error:
            make_run(killed, resume=True).trainer.run()
        assert "--resume" not in str(error.value)

    def test_a_kill_between_checkpoint_and_weights_leaves_no_old_weights(
        self, make_run: Make, uninterrupted: Run, tmp_path: Path
    ) -> None:
        weights = tmp_path / "whole" / "model.pt"
        expected = load(weights)
        torch.save({}, weights)
        make_run(tmp_path / "whole", resume=True).trainer.run()
        assert_equal(load(weights), expected)

    def test_a_checkpoint_of_another_version_is_named(self, make_run: Make, killed: Path) -> None:
        path = killed / "checkpoints" / "epoch_0003.pt"
        contents = load(path)
        del contents["record"]
        torch.save(contents, path)
        with pytest.raises(ValueError, match=r"epoch_0003\.pt lacks record: another version"):
            make_run(killed, resume=True).trainer.run()


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
