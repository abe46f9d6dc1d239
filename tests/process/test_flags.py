import pytest
from pydantic import Field, field_validator

from k8sfromscratch.process.flags import Duration, FlagError, Flags


class Example(Flags):
    """An example of flags."""

    name: str = Field(description="a name")
    count: int = Field(3, ge=1, description="a number")
    leader_elect: bool = Field(True, description="a switch")
    urls: list[str] = Field(default_factory=list, description="a list")
    node_labels: dict[str, str] = Field(default_factory=dict, description="pairs")
    limit: int | None = Field(None, description="an optional number")

    @field_validator("name")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if " " in value:
            raise ValueError("has a space in it")
        return value


class Timed(Flags):
    period: Duration = Field(1.0, description="a time")


def test_upstreams_forms() -> None:
    flags = Example.parse(["--name=a", "--count", "7", "--leader-elect=false", "--urls=x,y", "--urls", "z", "--node-labels=a=b,c=d", "--limit=5"])
    assert flags == Example(name="a", count=7, leader_elect=False, urls=["x", "y", "z"], node_labels={"a": "b", "c": "d"}, limit=5)


def test_a_switch_alone_is_true_and_takes_no_value() -> None:
    assert Example.parse(["--leader-elect", "--name", "a"]).leader_elect is True


def test_a_command_line_made_from_flags_is_read_as_the_same_flags() -> None:
    flags = Example(name="a", count=9, leader_elect=False, urls=["x", "y"], node_labels={"k": "v"}, limit=1)
    assert Example.parse(flags.argv()) == flags


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--name is required"),
        (["--name"], "flag needs an argument: --name"),
        (["--name=a", "--nmae=b"], "unknown flag: --nmae"),
        (["--name=a", "--leader_elect"], "unknown flag: --leader_elect"),
        (["--name=a", "extra"], "unexpected argument 'extra'"),
        (["--name=a", "--count=zero"], "invalid value for --count"),
        (["--name=a", "--count=0"], "invalid value for --count"),
        (["--name=a b"], "invalid value for --name: has a space in it (given: 'a b')"),
        (["--name=a", "--leader-elect=maybe"], "'maybe' is neither true nor false"),
        (["--name=a", "--node-labels=x"], "'x' is not of the form key=value"),
    ],
)
def test_what_is_wrong_is_said_with_the_flag(argv: list[str], said: str) -> None:
    with pytest.raises(FlagError) as caught:
        Example.parse(argv)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Example.parse(["--help"])
    shown = capsys.readouterr().out
    assert "--leader-elect" in shown and "(default 'true')" in shown and "(required)" in shown


@pytest.mark.parametrize(("text", "seconds"), [("15s", 15), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200), ("7", 7), ("0.5", 0.5)])
def test_durations_are_gos_or_plain_seconds(text: str, seconds: float) -> None:
    assert Timed.parse([f"--period={text}"]).period == seconds


def test_what_is_no_duration_is_refused() -> None:
    with pytest.raises(FlagError, match="not a duration such as 40s"):
        Timed.parse(["--period=soon"])
