"""`durable adopt`: named by the refusal, and done once."""

from pathlib import Path

from tests.cli.conftest import Command
from tests.store.test_adopt import application


def test_the_command_adopts_and_every_other_says_how(durable_: Command, tmp_path: Path) -> None:
    path = application(tmp_path / "shop.db")
    before = Path(path).read_bytes()

    refused = durable_("-d", path, "ls")

    assert refused.code != 0
    assert "let durable put its tables beside yours: `durable adopt`" in refused.err
    assert Path(path).read_bytes() == before
    assert durable_("adopt", path).out == f"{path} has durable's tables now, beside its own\n"
    assert durable_("-d", path, "ls").code == 0
